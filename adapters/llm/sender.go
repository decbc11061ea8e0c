package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Models sends the deliveries that ask a model.
type Models struct {
	Clients map[string]*Client // by bot
	Now     func() time.Time   // dates what is recorded
}

// Send asks once. A repeated question costs money but changes nothing, so a question whose
// answer was lost is retried until its deadline.
func (m Models) Send(ctx context.Context, d commands.Claimed) commands.Outcome {
	var q commands.AskModel
	if err := json.Unmarshal(d.Body, &q); err != nil {
		return m.refuse(d, fmt.Sprintf("read the payload: %v", err))
	}
	client := m.Clients[d.Stream.Bot()]
	switch {
	case client == nil:
		return m.refuse(d, fmt.Sprintf("bot %s has no model configured", d.Stream.Bot()))
	case !m.Now().Before(q.Until):
		return m.refuse(d, "deadline exceeded: the model did not answer in time")
	}
	ctx, cancel := context.WithTimeout(ctx, q.Until.Sub(m.Now()))
	defer cancel()
	begun := time.Now() // a stopwatch: it dates nothing
	reply, err := client.Ask(ctx, q)
	if err != nil {
		return m.judge(d, q, err)
	}
	record := q.Answered(d.ID, m.Now())
	record.Text, record.Calls, record.Took = reply.Text, reply.Calls, time.Since(begun)
	record.TokensIn, record.TokensOut, record.Cost = reply.TokensIn, reply.TokensOut, reply.Cost
	text, err := json.Marshal(map[string]any{
		"model": client.Name(), "tokens_in": reply.TokensIn, "tokens_out": reply.TokensOut, "cost_micros": reply.Cost,
	})
	if err != nil {
		panic(err) // strings and numbers can always be encoded
	}
	return commands.Outcome{State: domain.DeliveryDone, Answer: text, Command: record}
}

// judge translates an error into the outcome of the delivery. A question that could only be
// retried after its deadline is given up at once, so that the customer does not wait.
func (m Models) judge(d commands.Claimed, q commands.AskModel, err error) commands.Outcome {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.State == domain.DeliveryRefused || !m.Now().Add(e.After).Before(q.Until) {
		return m.refuse(d, err.Error())
	}
	return commands.Outcome{State: domain.DeliveryRetry, After: e.After, Reason: err.Error()}
}

func (m Models) refuse(d commands.Claimed, reason string) commands.Outcome {
	return commands.Outcome{State: domain.DeliveryRefused, Reason: reason, Command: m.Fail(d, reason)}
}

// Fail returns the command that records that a question was given up.
func (m Models) Fail(d commands.Claimed, reason string) chat.Command {
	var q commands.AskModel
	if err := json.Unmarshal(d.Body, &q); err != nil {
		reason += "; read the payload: " + err.Error()
	}
	record := q.Answered(d.ID, m.Now())
	record.Reason = reason
	return record
}
