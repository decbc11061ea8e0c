package main

import (
	"fmt"

	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/domain/chat"
)

// aware is a command that decides something for a bot: it must know what the bot knows.
type aware struct {
	Bots string `env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"The bots file: business hours and workflows are those of the bot's knowledge. Without it they are the shop's."`
}

// with is what a bot's decisions are taken with.
func (c aware) with(e *env) (func(bot string) chat.Settings, error) {
	if c.Bots == "" {
		shop, err := config.ShopKnowledge()
		return func(string) chat.Settings { return chat.Settings{Knowledge: shop} }, err
	}
	bots, err := config.ReadSettings(c.Bots)
	if err != nil {
		return nil, err
	}
	all := map[string]chat.Settings{}
	for name, b := range bots {
		s, err := decidesWith(name, b, e.log)
		if err != nil {
			return nil, fmt.Errorf("bots file %s: bot %s: %w", c.Bots, name, err)
		}
		all[name] = s.With
	}
	return func(bot string) chat.Settings { return all[bot] }, nil
}
