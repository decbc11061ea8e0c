package config

import (
	"fmt"

	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Model is the model that answers what a bot's knowledge says a model is to answer:
// any at a server that speaks chat completions (docs/llm.md). URL and Key may be
// references.
type Model struct {
	URL      string        `yaml:"url"`
	Key      string        `yaml:"key"` // empty when the server wants none
	Name     string        `yaml:"name"`
	PriceIn  float64       `yaml:"price_in"`  // of a million tokens
	PriceOut float64       `yaml:"price_out"` // of a million tokens
	Use      dialog.LLMUse `yaml:"use"`       // unknown or always, in place of what the knowledge says
}

func (m *Model) references() []reference {
	return []reference{{"model: url", &m.URL}, {"model: key", &m.Key}}
}

func (m *Model) Config() llm.Config {
	return llm.Config{URL: m.URL, Key: m.Key, Name: m.Name, PriceIn: m.PriceIn, PriceOut: m.PriceOut}
}

func (m *Model) check() error {
	if m.Use != "" && m.Use != dialog.LLMUnknown && m.Use != dialog.LLMAlways {
		return fmt.Errorf("use: %q is none of %s and %s; leave it out to have it as the knowledge says", m.Use,
			dialog.LLMUnknown, dialog.LLMAlways)
	}
	return m.Config().Check()
}

// Informs adds the model to what a bot's decisions are taken with.
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
