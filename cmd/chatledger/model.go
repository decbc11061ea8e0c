package main

import (
	"context"
	"fmt"

	"github.com/chatledger/chatledger/adapters/agent"
	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// modelConfig is the model that answers what a bot's knowledge says a model is to answer:
// any at a server that speaks chat completions (docs/agent.md). URL and Key may be
// references.
type modelConfig struct {
	URL      string          `yaml:"url"`
	Key      string          `yaml:"key"` // empty when the server wants none
	Name     string          `yaml:"name"`
	PriceIn  float64         `yaml:"price_in"`  // of a million tokens
	PriceOut float64         `yaml:"price_out"` // of a million tokens
	Use      dialog.AgentUse `yaml:"use"`       // unknown or always, in place of what the knowledge says
}

func (m *modelConfig) references() []reference {
	return []reference{{"model: url", &m.URL}, {"model: key", &m.Key}}
}

func (m *modelConfig) config() agent.Config {
	return agent.Config{URL: m.URL, Key: m.Key, Name: m.Name, PriceIn: m.PriceIn, PriceOut: m.PriceOut}
}

func (m *modelConfig) check() error {
	if m.Use != "" && m.Use != dialog.AgentUnknown && m.Use != dialog.AgentAlways {
		return fmt.Errorf("use: %q is none of %s and %s; leave it out to have it as the knowledge says", m.Use, dialog.AgentUnknown, dialog.AgentAlways)
	}
	return m.config().Check()
}

// informs adds the model to what a bot's decisions are taken with.
func (m *modelConfig) informs(s chat.Settings) chat.Settings {
	if m == nil {
		return s
	}
	s.Model = m.Name
	if m.Use != "" && s.Knowledge != nil && s.Knowledge.Agent.Use != m.Use {
		k := *s.Knowledge
		k.Agent.Use = m.Use
		s.Knowledge = &k
	}
	return s
}

// think subscribes a worker to the models of those bots that have one. Its lease is
// longer than others'.
func (a *app) think(c appConfig, worker *delivery.Worker, deliver func(context.Context, commands.Claimed) error, typing func(delivery.Asker) *delivery.Typing) error {
	a.models = agent.Models{}
	a.typing[chat.KindAsk] = typing(a.models)
	worker.Senders[chat.KindAsk] = a.typing[chat.KindAsk]
	leases := bus.NewLeases(a.store, a.owner, c.Log).For(agent.Lease)
	for name, b := range c.Bots {
		if b.Model == nil {
			continue
		}
		client, err := agent.NewClient(b.Model.config())
		if err != nil {
			return fmt.Errorf("bot %s: %w", name, err)
		}
		client.Through(a.tracing.Transport)
		a.models[name] = client
		a.metrics.Breaker("agent:"+name, client.Breaker)
		a.router.Deliver(leases, "agent:"+name, deliver)
	}
	return nil
}
