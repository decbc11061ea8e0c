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
	Now     func() time.Time // dates what is recorded
	Log     *slog.Logger
}

// Usage counts what the models use, for all processes.
type Usage interface {
	// Reserve counts the most that a question can take, unless that exceeds the bot's budget of the day.
	Reserve(ctx context.Context, bot string, most, budget commands.ModelUsage) (commands.ModelDay, bool, error)
	// Settle replaces what was reserved by what the question took.
	Settle(ctx context.Context, day commands.ModelDay, reserved, took commands.ModelUsage) error
}

const (
	// uncounted is the pause when the budget cannot be read, as while the database is away.
	uncounted = time.Second
	// settleTimeout bounds the counting of what a question took.
	settleTimeout = 2 * time.Second
)

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
	most := client.most(q)
	day, granted, err := m.Usage.Reserve(ctx, d.Stream.Bot(), most, client.config.Daily)
	switch {
	case err != nil:
		return commands.Outcome{State: domain.DeliveryRetry, Untried: true, After: uncounted, Reason: err.Error()}
	case !granted:
		return m.spent(d)
	}
	begun := time.Now() // a stopwatch: it dates nothing
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

// took is what a question took. One without an answer may have cost as much as any, unless the server
// said that it refused it, or was not called.
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

// settle counts what a question took. If that fails, the most that it could take stays counted.
func (m Models) settle(ctx context.Context, day commands.ModelDay, reserved, took commands.ModelUsage) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer done()
	if err := m.Usage.Settle(ctx, day, reserved, took); err != nil {
		m.Log.WarnContext(ctx, "cannot count what a model used; the most that it could is counted", "bot", day.Bot,
			"error", err)
	}
}

// spent is the outcome of a question that the budget of the day does not allow.
func (m Models) spent(d commands.Claimed) commands.Outcome {
	const reason = "the bot's daily budget for its model is used up"
	record := m.record(d, reason)
	record.Spent = true
	return commands.Outcome{State: domain.DeliveryRefused, Reason: reason, Command: record}
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
