package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/domain"
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

func (m *modelConfig) config() llm.Config {
	return llm.Config{URL: m.URL, Key: m.Key, Name: m.Name, PriceIn: m.PriceIn, PriceOut: m.PriceOut}
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

// think has the bot's worker ask its model, if it has one. The lease is longer than others'.
func (a *app) think(b *bot, typing func(delivery.Asker) *delivery.Typing) (err error) {
	models := llm.Models{Clients: map[string]*llm.Client{}, Now: a.now}
	b.typing[chat.KindAsk] = typing(models)
	if b.config.Model == nil {
		return nil
	}
	if b.model, err = llm.NewClient(b.config.Model.config()); err != nil {
		return err
	}
	b.model.Through(a.tracing.Transport)
	models.Clients[b.name] = b.model
	b.breakers["agent:"+b.name], b.owes["agent:"+b.name] = b.model.Breaker, a.patient
	return nil
}

// told is what a chat's model was asked, said and cost, in words.
func told(history []domain.Recorded) [][2]string {
	var asks, in, out int
	var cost int64
	var lines [][2]string
	add := func(what, format string, args ...any) {
		lines = append(lines, [2]string{what, fmt.Sprintf(format, args...)})
	}
	for _, r := range history {
		switch e := r.Event.(type) {
		case chat.ModelAsked:
			asks++
			last := e.Messages[len(e.Messages)-1]
			add(fmt.Sprintf("model asked %d", e.Ask), "round %d, %d messages, the last of %s: %s", e.Round, len(e.Messages), last.Role, last.Text)
		case chat.ModelAnswered:
			in, out, cost = in+e.TokensIn, out+e.TokensOut, cost+e.Cost
			add(fmt.Sprintf("model answered %d", e.Ask), "%s", answerOf(e))
		case chat.ConfirmationAsked:
			add("to confirm", "%s%s", e.Call.Tool, inputs(e.Call.Input))
		case chat.ToolConfirmed:
			add("confirmed", "%t", e.Yes)
		case chat.ToolReturned:
			if e.Receipt != "" {
				add("receipt", "%s of %s", e.Receipt, e.Tool)
			}
		case chat.ExchangeEnded:
			add("model ended", "%s", e.Reason)
		case chat.AttackRefused:
			add("attack refused", "%s", e.Kind)
		}
	}
	if asks == 0 && len(lines) == 0 {
		return nil
	}
	total := [2]string{"model", fmt.Sprintf("%d questions, %d tokens in and %d out, cost %.6f", asks, in, out, float64(cost)/1e6)}
	return append([][2]string{total}, lines...)
}

// answerOf is what a model said, wanted, or did not do, on one line.
func answerOf(e chat.ModelAnswered) string {
	var parts []string
	for _, c := range e.Calls {
		call := c.Tool + inputs(c.Input)
		if c.Problem != "" {
			call += " (not used: " + c.Problem + ")"
		}
		parts = append(parts, call)
	}
	if e.Text != "" {
		parts = append(parts, strings.Join(strings.Fields(e.Text), " "))
	}
	for _, why := range []struct{ what, text string }{{"failed: ", e.Reason}, {"held back: ", e.Blocked}} {
		if why.text != "" {
			parts = append(parts, why.what+why.text)
		}
	}
	if e.Outdated {
		parts = append(parts, "outdated")
	}
	return fmt.Sprintf("%s (%d tokens in, %d out, %d ms)", strings.Join(parts, "; "), e.TokensIn, e.TokensOut, e.Took)
}

func inputs(fields map[string]string) (list string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		list += fmt.Sprintf(" %s = %s", name, fields[name])
	}
	return list
}
