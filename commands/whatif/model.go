package whatif

import (
	"encoding/json"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// A model is never asked again. Where the chat of today asks it the same as then, it
// answers what it answered then; where it asks anything else, nobody knows what it would
// have said.

// said is what models of a recorded chat were asked, by the number of the question, and
// what they last answered to that.
type said struct {
	asked   map[int]string
	answers map[string]chat.ModelAnswered
}

func saidIn(history []domain.Recorded) said {
	s := said{map[int]string{}, map[string]chat.ModelAnswered{}}
	for _, r := range history {
		switch e := r.Event.(type) {
		case chat.ModelAsked:
			s.asked[e.Ask] = prompt(e)
		case chat.ModelAnswered:
			if question, ok := s.asked[e.Ask]; ok {
				s.answers[question] = e
			}
		}
	}
	return s
}

// prompt names what a model is asked: its messages and its tools.
func prompt(e chat.ModelAsked) string {
	text, _ := json.Marshal([]any{e.Messages, e.Tools})
	return string(text)
}

// to is what was answered to a question; recorded is what came of this very one.
func (s said) to(e chat.ModelAsked, recorded domain.Event) (chat.ModelAnswered, bool) {
	question := prompt(e)
	if answer, ok := recorded.(chat.ModelAnswered); ok && s.asked[answer.Ask] == question {
		return answer, true
	}
	answer, known := s.answers[question]
	return answer, known
}

// asThen has a bot whose settings are not given ask its model where it did then.
func asThen(s chat.Settings, then decision) chat.Settings {
	k := dialog.Bare
	if s.Knowledge != nil {
		k = *s.Knowledge
	}
	k.LLM.Use = dialog.LLMNever
	for _, r := range then {
		switch e := r.Event.(type) {
		case chat.ModelAsked:
			k.LLM.Use, s.Model = dialog.LLMAlways, e.Model
			s.Tools = map[string]bool{}
			for _, tool := range e.Tools {
				s.Tools[tool] = true
			}
		case chat.ConfirmationAsked:
			s.Tools[e.Call.Tool] = true
		case chat.ExchangeJoined, chat.AttackRefused:
			k.LLM.Use, s.Model = dialog.LLMAlways, "as then"
		case chat.ReplyQueued:
			if e.Author.Kind == chat.Model {
				s.Model = e.Author.Name
			}
		}
	}
	s.Knowledge = &k
	return s
}
