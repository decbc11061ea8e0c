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
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
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

// Outbox takes deliveries back that are to be retried.
type Outbox interface {
	// Postpone gives a delivery back to be attempted after o.After. It is false when the
	// lease is another's now.
	Postpone(ctx context.Context, delivery uuid.UUID, fence int64, o commands.Outcome) (bool, error)
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
	// reserve is kept of a lease for recording the outcome.
	reserve = 4 * time.Second
)

// Policy decides what follows an attempt that may have arrived.
type Policy string

const (
	// Resend makes one more, marked as a possible double, and leaves it at that: a
	// doubled answer is better than a lost one, a third is noise. Attempts that most likely
	// did not arrive, because a gateway answered them, are repeated for as long as any other.
	Resend Policy = "resend"
	// Ask makes none until an operator has decided, even if an attempt most likely did not arrive.
	Ask Policy = "ask"
	// Repeat makes more, as if it had not arrived. It is for what the other side
	// recognises when it comes again, and for senders that look first whether an
	// earlier attempt arrived (see commands.Claimed).
	Repeat Policy = "repeat"
)

// unsureLimit is how many attempts may have arrived before no more are made.
func (p Policy) unsureLimit() int {
	return map[Policy]int{Resend: 2, Ask: 1, Repeat: maxAttempts}[p]
}

// Worker handles claimed deliveries. Senders are by kind.
type Worker struct {
	Senders  map[domain.DeliveryKind]Sender
	Policies Policies
	Outbox   Outbox
	Handler  Handler
	Now      func() time.Time // dates outcomes; leases go by the system clock
	Log      *slog.Logger
	Observer Observer
}

// Policies says which policy a delivery is under.
type Policies interface {
	Policy(commands.Claimed) Policy
}

// Handler records outcomes: commands.Handler.
type Handler interface {
	Handle(context.Context, commands.Request) (commands.Result, error)
}

// Observer measures attempts.
type Observer interface {
	Attempted(ctx context.Context, c commands.Claimed, state domain.DeliveryState, took time.Duration)
}

// Deliver makes one attempt at a delivery and records what came of it.
func (w *Worker) Deliver(ctx context.Context, c commands.Claimed) error {
	begun := time.Now()
	outcome := w.attempt(ctx, c)
	if outcome.MovedTo != 0 {
		w.moved(ctx, c, outcome)
	}
	if w.another(c, outcome) {
		w.Observer.Attempted(ctx, c, outcome.State, time.Since(begun))
		return w.postpone(ctx, c, outcome)
	}
	if outcome.State == domain.DeliveryRetry || outcome.Unlikely && w.Policies.Policy(c) != Ask {
		outcome.State = domain.DeliveryDead
		outcome.Reason = fmt.Sprintf("given up after %d attempts in %s: %s", c.Attempt, c.Age.Round(time.Second), outcome.Reason)
	}
	w.Observer.Attempted(ctx, c, outcome.State, time.Since(begun))
	return w.record(ctx, c, outcome)
}

// another reports whether another attempt follows an attempt with this outcome.
func (w *Worker) another(c commands.Claimed, o commands.Outcome) bool {
	switch {
	case c.Attempt >= maxAttempts && !o.Untried || c.Age >= maxAge:
		return false
	case o.State == domain.DeliveryUnknown && o.Unlikely:
		return w.Policies.Policy(c) != Ask
	case o.State == domain.DeliveryUnknown:
		return c.Unsure-c.Waived+1 < w.Policies.Policy(c).unsureLimit()
	default:
		return o.State == domain.DeliveryRetry
	}
}

func (w *Worker) attempt(ctx context.Context, c commands.Claimed) commands.Outcome {
	sender := w.Senders[c.Kind]
	if sender == nil { // a newer program has, perhaps
		return commands.Outcome{State: domain.DeliveryDead, Reason: fmt.Sprintf("this program has no sender for %s", c.Kind)}
	}
	if c.Unsure-c.Waived >= w.Policies.Policy(c).unsureLimit() {
		return commands.Outcome{State: domain.DeliveryUnknown, Untried: true, Reason: "it is not sent again"}
	}
	ctx, cancel := context.WithDeadline(ctx, c.Deadline.Add(-reserve))
	defer cancel()
	return sender.Send(ctx, c)
}

// moved tells the chat that it has another id. It is not needed: Telegram says so in
// the chat itself, too, but perhaps later.
func (w *Worker) moved(ctx context.Context, c commands.Claimed, o commands.Outcome) {
	at := w.Now().UTC()
	_, err := w.Handler.Handle(ctx, commands.Request{Stream: c.CallsTo(), Command: chat.Migrate{To: o.MovedTo, At: at},
		Actor: domain.ActorTelegram, Causation: c.ID, Correlation: c.Correlation, At: at})
	if err != nil {
		w.about(c).WarnContext(ctx, "cannot record that the group has a new chat id; Telegram reports it in the chat, too", "to", o.MovedTo, "error", err)
	}
}

func (w *Worker) postpone(ctx context.Context, c commands.Claimed, o commands.Outcome) error {
	if o.After == 0 {
		pause := min(pauseMin<<min(c.Attempt-1, 20), pauseMax)
		o.After = pause/2 + rand.N(pause/2)
	}
	o.After = min(o.After, maxAge-c.Age) // to be given up then, whatever the other side asks for
	if _, err := w.Outbox.Postpone(ctx, c.ID, c.Fence, o); err != nil {
		return err
	}
	w.about(c).InfoContext(ctx, "delivery will be retried", "attempt", c.Attempt, "state", o.State, "after", o.After, "cause", o.Cause)
	return nil
}

// about is a log whose lines say which delivery they are about. Why it failed they do not
// say: the other side's words may be the customer's. The ledger keeps them.
func (w *Worker) about(c commands.Claimed) *slog.Logger {
	return w.Log.With("delivery", c.ID, "kind", c.Kind, "bot", c.Stream.Bot(), "stream", c.Stream, "correlation", c.Correlation)
}

// record brings the outcome home. Without the database it tries until the lease
// ends; then another worker finds the delivery unsure.
func (w *Worker) record(ctx context.Context, c commands.Claimed, o commands.Outcome) error {
	request := commands.Request{Stream: c.Stream, Actor: domain.ActorDelivery, Causation: c.ID, Correlation: c.Correlation, At: w.Now().UTC()}
	request.Command, request.Settles = w.outcome(c, o)
	if o.State != domain.DeliveryDone {
		w.about(c).WarnContext(ctx, "delivery failed", "outcome", o.State, "hint", "`chatledger deliveries show "+c.ID.String()+"` has the reason")
	}
	for pause := pauseMin; ; pause *= 2 {
		_, err := w.Handler.Handle(ctx, request)
		var fenced commands.Fenced
		if errors.As(err, &fenced) {
			w.about(c).WarnContext(ctx, "outcome rejected: the lease expired and another worker has the delivery")
			return nil
		}
		if err == nil || time.Now().Add(pause).After(c.Deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

// outcome is what an attempt that is not followed by another means to the chat, and to
// the ledger.
func (w *Worker) outcome(c commands.Claimed, o commands.Outcome) (chat.Command, *commands.Settlement) {
	policy, unsure := w.Policies.Policy(c), c.Unsure
	if o.State == domain.DeliveryDone && policy == Repeat {
		unsure = 0 // done once, however often it was asked for
	}
	if unsure > 0 {
		o.Reason = strings.TrimPrefix(o.Reason+"; an earlier attempt may have arrived", "; ")
	}
	settles := &commands.Settlement{Delivery: c.ID, Fence: c.Fence, State: o.State, Outcome: o.Answer, Reason: o.Reason}
	if (o.State == domain.DeliveryUnknown || o.Unlikely) && !o.Untried {
		settles.Unsure = true
		unsure++
	}
	if o.Command != nil {
		return o.Command, settles
	}
	if failer, ok := w.Senders[c.Kind].(Failer); ok && o.State != domain.DeliveryDone {
		return failer.Fail(c, o.Reason), settles // the chat goes on from there, and so does the ordering key
	}
	settles.BlocksKey = o.State == domain.DeliveryDead || o.State == domain.DeliveryUnknown && policy != Resend
	return chat.RecordDelivery{Delivery: c.ID, Kind: c.Kind, Outcome: o.State, MessageID: o.MessageID,
		Reason: o.Reason, Blocked: o.Blocked, Unsure: unsure, Held: settles.BlocksKey}, settles
}
