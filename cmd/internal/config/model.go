package config

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Model is the language model of a bot, at a server with the chat completions API (docs/llm.md). URL
// and Key may be references.
type Model struct {
	URL      string        `yaml:"url"`
	Key      string        `yaml:"key"` // empty when the server needs none
	Name     string        `yaml:"name"`
	PriceIn  float64       `yaml:"price_in"`  // of a million tokens
	PriceOut float64       `yaml:"price_out"` // of a million tokens
	Use      dialog.LLMUse `yaml:"use"`       // unknown or always, in place of what the knowledge says
	Daily    ModelBudget   `yaml:"daily"`
}

// ModelBudget is what all chats of a bot together may take of its model in a day (UTC). When it is
// used up, an operator answers.
type ModelBudget struct {
	Calls  int64   `yaml:"calls"`  // 0 means dailyCalls
	Tokens int64   `yaml:"tokens"` // in and out; 0 means dailyTokens
	Cost   float64 `yaml:"cost"`   // by the prices; 0 means no limit
}

const (
	// dailyCalls and dailyTokens are the budget that holds where a bots file sets none: some 1,000
	// conversations with a few questions each.
	dailyCalls  = 5_000
	dailyTokens = 10_000_000
	// micros is how many millionths one unit of a currency has.
	micros = 1e6
	// maxDailyCost keeps a cost in millionths within 64 bits.
	maxDailyCost = 1e12
)

// Usage returns the budget with the defaults.
func (b ModelBudget) Usage() commands.ModelUsage {
	return commands.ModelUsage{
		Calls: cmp.Or(b.Calls, dailyCalls), Tokens: cmp.Or(b.Tokens, dailyTokens), Cost: int64(math.Ceil(b.Cost * micros)),
	}
}

func (m *Model) references() []reference {
	return []reference{{"model: url", &m.URL}, {"model: key", &m.Key}}
}

func (m *Model) Config() llm.Config {
	return llm.Config{URL: m.URL, Key: m.Key, Name: m.Name, PriceIn: m.PriceIn, PriceOut: m.PriceOut,
		Daily: m.Daily.Usage()}
}

func (m *Model) check() error {
	if m.Use != "" && m.Use != dialog.LLMUnknown && m.Use != dialog.LLMAlways {
		return fmt.Errorf("use: %q is neither %s nor %s; leave it out to use what the knowledge says", m.Use,
			dialog.LLMUnknown, dialog.LLMAlways)
	}
	switch d := m.Daily; {
	case d.Calls < 0 || d.Tokens < 0 || !(d.Cost >= 0 && d.Cost < maxDailyCost):
		return errors.New("daily: calls, tokens and cost must be 0 or more; leave out what you do not limit")
	case d.Cost > 0 && m.PriceIn == 0 && m.PriceOut == 0:
		return errors.New("daily: cost needs price_in and price_out: without them every question costs nothing")
	}
	return m.Config().Check()
}

// Informs adds the model to the settings of a bot's decisions.
func (m *Model) Informs(s chat.Settings) chat.Settings {
	if m == nil {
		return s
	}
	s.Model = m.Name
	if m.Use != "" && s.Knowledge != nil && s.Knowledge.LLM.Use != m.Use {
		k := *s.Knowledge
		k.LLM.Use = m.Use
		s.Knowledge = &k
	}
	return s
}
