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
	Now     func() time.Time   // nil is the clock
}

// Send asks once. Asking twice costs money and changes nothing, so that a question whose
// answer got lost is asked again, as long as its time is not over.
func (m Models) Send(ctx context.Context, d commands.Claimed) commands.Outcome {
	var q commands.AskModel
	if err := json.Unmarshal(d.Body, &q); err != nil {
		return m.refuse(d, fmt.Sprintf("the payload cannot be read: %v", err))
	}
	client := m.Clients[d.Stream.Bot()]
	switch {
	case client == nil:
		return m.refuse(d, fmt.Sprintf("bot %s has no model configured", d.Stream.Bot()))
	case !m.now().Before(q.Until):
		return m.refuse(d, "it was not answered in time")
	}
	ctx, cancel := context.WithTimeout(ctx, q.Until.Sub(m.now()))
	defer cancel()
	begun := time.Now()
	reply, err := client.Ask(ctx, q)
	if err != nil {
		return m.judge(d, q, err)
	}
	record := q.Answered(d.ID, m.now())
	record.Text, record.Calls, record.Took = reply.Text, reply.Calls, time.Since(begun)
	record.TokensIn, record.TokensOut, record.Cost = reply.TokensIn, reply.TokensOut, reply.Cost
	text, err := json.Marshal(map[string]any{"model": client.Name(), "tokens_in": reply.TokensIn, "tokens_out": reply.TokensOut, "cost_micros": reply.Cost})
	if err != nil { // strings and numbers always can
		panic(err)
	}
	return commands.Outcome{State: domain.DeliveryDone, Answer: text, Command: record}
}

// judge says what follows an error. What could only be asked again when its time is over
// is given up at once: the customer need not wait for that.
func (m Models) judge(d commands.Claimed, q commands.AskModel, err error) commands.Outcome {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.State == domain.DeliveryRefused || !m.now().Add(e.After).Before(q.Until) {
		return m.refuse(d, err.Error())
	}
	return commands.Outcome{State: domain.DeliveryRetry, After: e.After, Reason: err.Error()}
}

func (m Models) refuse(d commands.Claimed, reason string) commands.Outcome {
	return commands.Outcome{State: domain.DeliveryRefused, Reason: reason, Command: m.Fail(d, reason)}
}

// Fail is what is recorded when a question is given up.
func (m Models) Fail(d commands.Claimed, reason string) chat.Command {
	var q commands.AskModel
	if err := json.Unmarshal(d.Body, &q); err != nil {
		reason += "; and the payload cannot be read: " + err.Error()
	}
	record := q.Answered(d.ID, m.now())
	record.Reason = reason
	return record
}

func (m Models) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now().UTC().Truncate(time.Microsecond)
}
