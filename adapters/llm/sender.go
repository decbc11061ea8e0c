package llm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Models sends the deliveries that ask a model.
type Models struct {
	Clients map[string]*Client // by bot
	Usage   Usage
	Now     func() time.Time // the time of a record
	Log     *slog.Logger
}

// Usage counts the usage of the models by all processes.
type Usage interface {
	// Reserve counts the most that a question can use. It returns false, and counts nothing, if that
	// exceeds the bot's budget of the day.
	Reserve(ctx context.Context, bot string, most, budget commands.ModelUsage) (commands.ModelDay, bool, error)
	// Settle replaces the reserved usage by that of the question.
	Settle(ctx context.Context, day commands.ModelDay, reserved, took commands.ModelUsage) error
}

const (
	// uncounted is the backoff when the budget cannot be read from the database.
	uncounted = time.Second
	// settleTimeout bounds the time for counting the usage of a question.
	settleTimeout = 2 * time.Second
)

// Send asks the model once. A second call costs money but changes nothing, so a question whose answer was lost
// is retried until its deadline.
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
	most := client.most(q)
	day, granted, err := m.Usage.Reserve(ctx, d.Stream.Bot(), most, client.config.Daily)
	switch {
	case err != nil:
		return commands.Outcome{State: domain.DeliveryRetry, Untried: true, After: uncounted, Reason: err.Error()}
	case !granted:
		return m.spent(d)
	}
	begun := time.Now() // only measures the duration
	reply, err := client.Ask(ctx, q)
	m.settle(ctx, day, most, took(reply, err, most))
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

// took returns the usage of a question. Without an answer it may be the most possible, unless the server
// answered with an error or was not called.
func took(reply Reply, err error, most commands.ModelUsage) commands.ModelUsage {
	e, failed := errors.AsType[*Error](err)
	switch {
	case err == nil:
		return commands.ModelUsage{Calls: 1, Tokens: int64(reply.TokensIn + reply.TokensOut), Cost: reply.Cost}
	case failed && e.Uncalled:
		return commands.ModelUsage{}
	case failed && e.Rejected:
		return commands.ModelUsage{Calls: 1}
	}
	return most
}

// settle counts the usage of a question. If that fails, the reserved usage stays counted.
func (m Models) settle(ctx context.Context, day commands.ModelDay, reserved, took commands.ModelUsage) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer done()
	if err := m.Usage.Settle(ctx, day, reserved, took); err != nil {
		m.Log.WarnContext(ctx, "usage of a model not counted; the most that it could use stays counted",
			"bot", day.Bot, "error", err)
	}
}

// spent returns the outcome of a question that exceeds the budget of the day.
func (m Models) spent(d commands.Claimed) commands.Outcome {
	const reason = "the bot's daily budget for its model is used up"
	record := m.record(d, reason)
	record.Spent = true
	return commands.Outcome{State: domain.DeliveryRefused, Reason: reason, Command: record}
}

// judge translates an error into the outcome of the delivery. A question that could only be retried after its
// deadline is refused at once, so that the customer does not wait.
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

// Fail returns the command that records that a question failed and is not retried.
func (m Models) Fail(d commands.Claimed, reason string) chat.Command { return m.record(d, reason) }

func (m Models) record(d commands.Claimed, reason string) chat.RecordModel {
	var q commands.AskModel
	if err := json.Unmarshal(d.Body, &q); err != nil {
		reason += "; read the payload: " + err.Error()
	}
	record := q.Answered(d.ID, m.Now())
	record.Reason = reason
	return record
}
