// Package delivery sends the deliveries of the outbox. A worker holds the lease of one
// delivery, makes an attempt with no transaction open, and records the outcome: as a command on
// the chat's stream, and in the delivery's row in the same commit.
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

// Failer is a sender with its own command to record that a delivery failed and is not retried.
type Failer interface {
	Fail(c commands.Claimed, reason string) chat.Command
}

// Outbox holds the deliveries.
type Outbox interface {
	// Postpone returns a delivery to the outbox, for another attempt after o.After. It returns
	// false if another worker has the lease now.
	Postpone(ctx context.Context, delivery uuid.UUID, fence int64, o commands.Outcome) (bool, error)
}

const (
	// maxAttempts and maxAge bound the retries of a delivery. With the backoff below, maxAttempts
	// takes some six hours. A message older than a day is of no use to a customer.
	maxAttempts = 80
	maxAge      = 24 * time.Hour
	// unreadableFor is the pause of a delivery whose chat cannot be read: that ends with the start of
	// another program.
	unreadableFor = time.Minute
	// The backoff between attempts doubles from pauseMin to pauseMax. Up to half of it is taken off
	// at random, so that deliveries that failed together are not retried together.
	pauseMin = 500 * time.Millisecond
	pauseMax = 5 * time.Minute
	// reserve is the last part of a lease, in which the outcome is recorded.
	reserve = 4 * time.Second
)

// Policy decides whether to make another attempt after one whose outcome is unknown.
type Policy string

const (
	// Resend makes one more attempt, marked as a possible duplicate, and no third: a duplicate
	// message is better than a lost one. Attempts that most likely did not arrive, because a gateway
	// answered them, are retried like any other.
	Resend Policy = "resend"
	// Ask makes no further attempt until an operator has decided, even if the last one most likely
	// did not arrive.
	Ask Policy = "ask"
	// Repeat retries as if the attempt had not arrived. It is for requests with an idempotency key,
	// and for senders that first check whether an earlier attempt arrived (see commands.Claimed).
	Repeat Policy = "repeat"
)

// unsureLimit returns the number of attempts with an unknown outcome after which no more are made.
func (p Policy) unsureLimit() int {
	return map[Policy]int{Resend: 2, Ask: 1, Repeat: maxAttempts}[p]
}

// Worker handles claimed deliveries. Senders are by kind.
type Worker struct {
	Senders  map[domain.DeliveryKind]Sender
	Policies Policies
	Outbox   Outbox
	Handler  Handler
	Streams  Streams
	Now      func() time.Time // the time of outcomes; leases use the system clock
	Log      *slog.Logger
	Observer Observer
}

// Policies returns the policy of a delivery.
type Policies interface {
	Policy(commands.Claimed) Policy
}

// Streams reports whether outcomes can be recorded: commands.Handler.
type Streams interface {
	// Readable returns commands.ErrUnreadable for a stream that cannot be decided for.
	Readable(context.Context, domain.StreamID) error
}

// Handler records outcomes: commands.Handler.
type Handler interface {
	Handle(context.Context, commands.Request) (commands.Result, error)
}

// Observer measures attempts.
type Observer interface {
	Attempted(ctx context.Context, c commands.Claimed, state domain.DeliveryState, took time.Duration)
}

// Deliver makes one attempt at a delivery and records its outcome. It makes none while the outcome could
// not be recorded, because the chat has an event that this program cannot read: the attempt would be
// repeated.
func (w *Worker) Deliver(ctx context.Context, c commands.Claimed) error {
	if err := w.Streams.Readable(ctx, c.Stream); errors.Is(err, commands.ErrUnreadable) {
		return w.unreadable(ctx, c, commands.Outcome{State: domain.DeliveryRetry, Untried: true, Reason: err.Error()})
	}
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
		outcome.Reason = fmt.Sprintf("given up after %d attempts in %s: %s", c.Attempt, c.Age.Round(time.Second),
			outcome.Reason)
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
	if sender == nil { // a newer version may have one
		return commands.Outcome{State: domain.DeliveryDead, Reason: fmt.Sprintf("this program has no sender for %s", c.Kind)}
	}
	if c.Unsure-c.Waived >= w.Policies.Policy(c).unsureLimit() {
		return commands.Outcome{State: domain.DeliveryUnknown, Untried: true, Reason: "not sent again"}
	}
	ctx, cancel := context.WithDeadline(ctx, c.Deadline.Add(-reserve))
	defer cancel()
	return sender.Send(ctx, c)
}

// moved records that the chat has a new id. Telegram also reports this by an update in the chat, but
// perhaps later.
func (w *Worker) moved(ctx context.Context, c commands.Claimed, o commands.Outcome) {
	at := w.Now().UTC()
	_, err := w.Handler.Handle(ctx, commands.Request{Stream: c.CallsTo(), Command: chat.Migrate{To: o.MovedTo, At: at},
		Actor: domain.ActorTelegram, Causation: c.ID, Correlation: c.Correlation, At: at})
	if err != nil {
		w.about(c).WarnContext(ctx, "new chat id of a group not recorded; Telegram reports it in the chat as well",
			"to", o.MovedTo, "error", err)
	}
}

func (w *Worker) postpone(ctx context.Context, c commands.Claimed, o commands.Outcome) error {
	if o.After == 0 {
		pause := min(pauseMin<<min(c.Attempt-1, 20), pauseMax)
		o.After = pause/2 + rand.N(pause/2)
	}
	o.After = min(o.After, maxAge-c.Age) // at maxAge it becomes a dead letter, even before retry_after
	if _, err := w.Outbox.Postpone(ctx, c.ID, c.Fence, o); err != nil {
		return err
	}
	w.about(c).InfoContext(ctx, "delivery will be retried", "attempt", c.Attempt, "state", o.State, "after", o.After,
		"cause", o.Cause)
	return nil
}

// unreadable postpones a delivery whose outcome cannot be recorded.
func (w *Worker) unreadable(ctx context.Context, c commands.Claimed, o commands.Outcome) error {
	o.After = unreadableFor
	_, err := w.Outbox.Postpone(ctx, c.ID, c.Fence, o)
	return err
}

// about returns a log with the attributes of a delivery. The reason of a failure is not logged, because
// the other system may quote the customer; the ledger has it.
func (w *Worker) about(c commands.Claimed) *slog.Logger {
	return w.Log.With("delivery", c.ID, "kind", c.Kind, "bot", c.Stream.Bot(), "stream", c.Stream,
		"correlation", c.Correlation)
}

// record stores the outcome. If the database is not available it retries until the lease ends; then
// another worker claims the delivery, as one whose outcome is unknown.
func (w *Worker) record(ctx context.Context, c commands.Claimed, o commands.Outcome) error {
	request := commands.Request{Stream: c.Stream, Actor: domain.ActorDelivery, Causation: c.ID,
		Correlation: c.Correlation, At: w.Now().UTC()}
	request.Command, request.Settles = w.outcome(c, o)
	if o.State != domain.DeliveryDone {
		w.about(c).WarnContext(ctx, "delivery failed", "outcome", o.State,
			"hint", "`chatledger deliveries show "+c.ID.String()+"` has the reason")
	}
	for pause := pauseMin; ; pause *= 2 {
		_, err := w.Handler.Handle(ctx, request)
		var fenced commands.Fenced
		if errors.As(err, &fenced) {
			w.about(c).WarnContext(ctx, "outcome rejected: the lease expired and another worker has the delivery")
			return nil
		}
		if errors.Is(err, commands.ErrUnreadable) { // since the attempt began: it may be repeated, and says so then
			reason := fmt.Sprintf("the outcome %s cannot be recorded: %v", o.State, err)
			return w.unreadable(ctx, c, commands.Outcome{State: domain.DeliveryUnknown, Reason: reason})
		}
		if err == nil || time.Now().Add(pause).After(c.Deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

// outcome returns the command and the settlement that record the last attempt of a delivery, in the
// chat's stream and in the delivery's row.
func (w *Worker) outcome(c commands.Claimed, o commands.Outcome) (chat.Command, *commands.Settlement) {
	policy, unsure := w.Policies.Policy(c), c.Unsure
	if o.State == domain.DeliveryDone && policy == Repeat {
		unsure = 0 // the attempts before had no further effect
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
		return failer.Fail(c, o.Reason), settles // the chat handles the failure, so the ordering key is not blocked
	}
	settles.BlocksKey = o.State == domain.DeliveryDead || o.State == domain.DeliveryUnknown && policy != Resend
	return chat.RecordDelivery{Delivery: c.ID, Kind: c.Kind, Outcome: o.State, MessageID: o.MessageID,
		Reason: o.Reason, Blocked: o.Blocked, Unsure: unsure, Held: settles.BlocksKey}, settles
}
