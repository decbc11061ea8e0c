// Package delivery sends what the ledger owes. A worker holds the lease of one
// delivery, sends it with no transaction open, and records the outcome: on the
// chat's stream as a command, and on the delivery's row in the same commit.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// Sender makes one attempt. It returns before the claim's deadline.
type Sender interface {
	Send(context.Context, commands.Claimed) commands.Outcome
}

// Failer lets a sender say what to record when a delivery is given up.
type Failer interface {
	Fail(c commands.Claimed, reason string) chat.Command
}

// Ledger takes deliveries back that are to be tried again.
type Ledger interface {
	PutOff(ctx context.Context, delivery uuid.UUID, fence int64, after time.Duration, unsure bool, reason string) (bool, error)
}

const (
	// maxAttempts and maxAge bound what is retried: with the pauses below some
	// six hours; an answer that comes later than a day helps nobody.
	maxAttempts = 80
	maxAge      = 24 * time.Hour
	// Pauses between attempts double from pauseMin to pauseMax, less up to half
	// of each, so that what failed together does not come back together.
	pauseMin = 500 * time.Millisecond
	pauseMax = 5 * time.Minute
	// maxUnsure is how often something is sent that may have arrived already. One
	// repeat: a doubled answer is better than a lost one, a third is noise.
	maxUnsure = 2
	// reserve is kept of a lease for recording the outcome.
	reserve = 4 * time.Second
)

// Worker handles claimed deliveries. Senders are by kind.
type Worker struct {
	Senders map[string]Sender
	Ledger  Ledger
	Handle  func(context.Context, commands.Request) (commands.Result, error)
	Log     *slog.Logger
	Observe func(c commands.Claimed, state commands.State, took time.Duration)
}

// Deliver makes one attempt at a delivery and records what came of it.
func (w *Worker) Deliver(ctx context.Context, c commands.Claimed) error {
	begun := time.Now()
	outcome := w.attempt(ctx, c)
	if outcome.State == commands.Unknown && c.Unsure+1 < maxUnsure {
		w.Observe(c, commands.Unknown, time.Since(begun))
		return w.putOff(ctx, c, outcome, true)
	}
	if outcome.State == commands.Again {
		if c.Attempt < maxAttempts && c.Age < maxAge {
			w.Observe(c, commands.Again, time.Since(begun))
			return w.putOff(ctx, c, outcome, false)
		}
		outcome.State = commands.Dead
		outcome.Reason = fmt.Sprintf("given up after %d attempts in %s: %s", c.Attempt, c.Age.Round(time.Second), outcome.Reason)
	}
	w.Observe(c, outcome.State, time.Since(begun))
	return w.record(ctx, c, outcome)
}

func (w *Worker) attempt(ctx context.Context, c commands.Claimed) commands.Outcome {
	sender := w.Senders[c.Kind]
	if sender == nil {
		return commands.Outcome{State: commands.Refused, Reason: fmt.Sprintf("this program has no sender for %s", c.Kind)}
	}
	if c.Unsure >= maxUnsure {
		return commands.Outcome{State: commands.Unknown, Reason: fmt.Sprintf("%d attempts may have arrived; it is not sent again", c.Unsure)}
	}
	ctx, cancel := context.WithDeadline(ctx, c.Deadline.Add(-reserve))
	defer cancel()
	return sender.Send(ctx, c)
}

func (w *Worker) putOff(ctx context.Context, c commands.Claimed, o commands.Outcome, unsure bool) error {
	after := o.After
	if after == 0 {
		pause := min(pauseMin<<min(c.Attempt-1, 20), pauseMax)
		after = pause/2 + rand.N(pause/2)
	}
	if _, err := w.Ledger.PutOff(ctx, c.ID, c.Fence, after, unsure, o.Reason); err != nil {
		return err
	}
	w.Log.Info("delivery put off", "delivery", c.ID, "kind", c.Kind, "stream", c.Stream, "attempt", c.Attempt, "after", after, "unsure", unsure, "reason", o.Reason)
	return nil
}

// record brings the outcome home. Without the database it tries until the lease
// ends; then another worker finds the delivery unsure.
func (w *Worker) record(ctx context.Context, c commands.Claimed, o commands.Outcome) error {
	command := o.Command
	if command == nil {
		if failer, ok := w.Senders[c.Kind].(Failer); ok && o.State != commands.Done {
			command = failer.Fail(c, o.Reason)
		} else {
			command = chat.RecordDelivery{Delivery: c.ID, Kind: c.Kind, Outcome: string(o.State), MessageID: o.MessageID, Reason: o.Reason, Blocked: o.Blocked}
		}
	}
	request := commands.Request{
		Stream: c.Stream, Command: command, Actor: "delivery", Causation: c.ID, Correlation: c.Correlation, At: time.Now().UTC(),
		Settles: &commands.Settlement{Delivery: c.ID, Fence: c.Fence, State: string(o.State), Outcome: o.Answer, Reason: o.Reason},
	}
	if o.State != commands.Done {
		w.Log.Warn("delivery failed", "delivery", c.ID, "kind", c.Kind, "stream", c.Stream, "outcome", o.State, "reason", o.Reason)
	}
	for pause := pauseMin; ; pause *= 2 {
		_, err := w.Handle(ctx, request)
		var fenced commands.Fenced
		if errors.As(err, &fenced) {
			w.Log.Warn("outcome came too late; another worker has the delivery", "delivery", c.ID, "stream", c.Stream)
			return nil
		}
		if err == nil || time.Now().Add(pause).After(c.Deadline) {
			return err
		}
		time.Sleep(pause)
	}
}
