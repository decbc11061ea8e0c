package server

import (
	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/adapters/postgres/modelusage"
	"github.com/chatledger/chatledger/domain"
)

// addModel has the bot's worker ask its model, if it has one. The lease is longer than others'.
func (f *botFactory) addModel(b *bot, typing func(delivery.Asker) *delivery.Typing) (err error) {
	models := llm.Models{Clients: map[string]*llm.Client{}, Usage: modelusage.New(f.db), Now: f.now, Log: f.log}
	b.Typing[domain.KindAskModel] = typing(models)
	if b.config.Model == nil {
		return nil
	}
	if b.model, err = llm.NewClient(b.config.Model.Config()); err != nil {
		return err
	}
	b.model.Through(f.tracing.Transport)
	models.Clients[b.name] = b.model
	b.breakers["llm:"+b.name], b.destinations["llm:"+b.name] = b.model.Breaker, f.slowLeases
	return nil
}
