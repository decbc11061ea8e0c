package whatif_test

import (
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/llm"
)

// thinking has a bot ask a model about all but workflows.
func thinking(s chat.Settings) chat.Settings {
	k := *s.Knowledge
	k.LLM = dialog.LLM{Use: dialog.LLMAlways, Rounds: 3, Tokens: 1000, Within: time.Minute}
	s.Model, s.Knowledge = "small-1", &k
	return s
}

var (
	changing = llm.Call{ID: "c1", Tool: dialog.ChangeAddress,
		Input: map[string]string{"address": "12 Baker Street, London NW1 6XE"}}
	reading = llm.Call{ID: "c2", Tool: dialog.OrderStatus, Input: map[string]string{"number": "1001"}}
)

// anyAnswer is whatever a model may make of a question.
func anyAnswer(t *rapid.T, c chat.RecordModel) chat.RecordModel {
	switch rapid.SampledFrom([]string{"says", "reads", "changes", "fetches a person", "talks nonsense",
		"is down", "makes things up"}).Draw(t, "the model") {
	case "reads":
		c.Text, c.Calls = "", []llm.Call{reading}
	case "changes":
		c.Text, c.Calls = "", []llm.Call{changing, reading}
	case "fetches a person":
		c.Text, c.Calls = "", []llm.Call{{Tool: llm.HandOver}}
	case "talks nonsense":
		c.Calls = []llm.Call{{Tool: "rm"}, {Tool: dialog.OrderStatus, Problem: "the input is no JSON object"}, reading}
	case "is down":
		c.Text, c.TokensIn, c.TokensOut, c.Cost, c.Reason = "", 0, 0, 0, "it is down"
	case "makes things up":
		c.Text = "You get 5000 EUR"
	}
	return c
}

// exchange is one with the model: it wants something changed, the customer writes more,
// presses a button, or waits.
func (l *life) exchange(t *rapid.T) {
	l.say("what is it made of")
	for l.turn() {
	}
	if rapid.Bool().Draw(t, "more") {
		l.say("and how big is it")
	}
	l.end(func(asked domain.Recorded) chat.Command {
		if answer, ok := l.well(asked).(chat.RecordModel); ok && l.crm {
			answer.Text, answer.Calls = "", []llm.Call{changing}
			return answer
		}
		return l.anyOutcome(t, asked)
	})
	if l.state.Reasoning != nil {
		l.update++
		l.receive(l.update, fmt.Sprintf(`"callback_query": {"id": "q%d", "from": {"id": 7}, "message": `+
			`{"message_id": 3, "chat": {"id": %d}}, "data": "c:%d:%s"}`,
			len(l.chat.History), chatID, l.state.Reasoning.Confirmations,
			rapid.SampledFrom([]string{"yes", "yes", "no"}).Draw(t, "pressed")))
	}
	l.end(func(asked domain.Recorded) chat.Command { return l.anyOutcome(t, asked) })
}
