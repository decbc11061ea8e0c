package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// sender answers every attempt with the same outcome, and remembers it.
type sender struct {
	outcome  commands.Outcome
	sent     int
	deadline time.Time
}

func (s *sender) Send(ctx context.Context, _ commands.Claimed) commands.Outcome {
	s.sent++
	s.deadline, _ = ctx.Deadline()
	return s.outcome
}

// failer is a sender that says what its failure means.
type failer struct{ sender }

func (*failer) Fail(c commands.Claimed, reason string) chat.Command {
	return chat.RecordLookup{Delivery: c.ID, Reason: reason}
}

// putOff is what the ledger was told of a delivery that is tried again.
type putOff struct {
	id     uuid.UUID
	fence  int64
	after  time.Duration
	unsure bool
	reason string
}

// office is a worker with everything around it.
type office struct {
	worker   Worker
	sender   *sender
	putOffs  []putOff
	recorded []commands.Request
	observed []commands.State
	answers  []error // of Handle, one after the other; then nil
}

const kind = "telegram.sendMessage"

func newOffice(outcome commands.Outcome) *office {
	o := &office{sender: &sender{outcome: outcome}}
	o.worker = Worker{
		Senders: map[string]Sender{kind: o.sender}, Ledger: o, Log: slog.New(slog.DiscardHandler),
		Handle: func(_ context.Context, r commands.Request) (commands.Result, error) {
			o.recorded = append(o.recorded, r)
			if len(o.answers) == 0 {
				return commands.Result{}, nil
			}
			err := o.answers[0]
			o.answers = o.answers[1:]
			return commands.Result{}, err
		},
		Observe: func(_ commands.Claimed, state commands.State, _ time.Duration) {
			o.observed = append(o.observed, state)
		},
	}
	return o
}

func (o *office) PutOff(_ context.Context, id uuid.UUID, fence int64, after time.Duration, unsure bool, reason string) (bool, error) {
	o.putOffs = append(o.putOffs, putOff{id, fence, after, unsure, reason})
	return true, nil
}

// claim is a first attempt under a fresh lease.
func claim() commands.Claimed {
	return commands.Claimed{
		Delivery: commands.Delivery{ID: uuid.New(), Stream: "chat-demo:1", Version: 3, Kind: kind, Correlation: uuid.New()},
		Attempt:  1, Fence: 5, Deadline: time.Now().Add(30 * time.Second), Age: time.Second,
	}
}

// deliver makes one attempt and wants it to end well.
func (o *office) deliver(t *testing.T, c commands.Claimed) {
	t.Helper()
	if err := o.worker.Deliver(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// wantRecorded wants one request that settles the delivery in a state.
func (o *office) wantRecorded(t *testing.T, c commands.Claimed, state commands.State, reason string, command chat.Command) {
	t.Helper()
	if len(o.putOffs) > 0 || len(o.recorded) != 1 {
		t.Fatalf("put off %v, recorded %d times; want one record", o.putOffs, len(o.recorded))
	}
	r := o.recorded[0]
	if s := r.Settles; s == nil || s.Delivery != c.ID || s.Fence != c.Fence || s.State != string(state) || s.Reason != reason {
		t.Errorf("it settles %+v, want %s because of %q", r.Settles, state, reason)
	}
	if r.Stream != c.Stream || r.Actor != "delivery" || r.Causation != c.ID || r.Correlation != c.Correlation || r.At.IsZero() {
		t.Errorf("it is recorded as %+v", r)
	}
	if diff := cmp.Diff(command, r.Command); diff != "" {
		t.Errorf("the command (-want +got):\n%s", diff)
	}
	if len(o.observed) != 1 || o.observed[0] != state {
		t.Errorf("observed %v, want %s", o.observed, state)
	}
}

func TestWhatIsDoneOrRefusedIsRecorded(t *testing.T) {
	t.Parallel()
	for _, outcome := range []commands.Outcome{
		{State: commands.Done, MessageID: 77, Answer: []byte(`{"message_id":77}`)},
		{State: commands.Refused, Reason: "bot was blocked by the user", Blocked: true, Answer: []byte(`{"ok":false}`)},
	} {
		o, c := newOffice(outcome), claim()
		o.deliver(t, c)
		o.wantRecorded(t, c, outcome.State, outcome.Reason, chat.RecordDelivery{
			Delivery: c.ID, Kind: kind, Outcome: string(outcome.State), MessageID: outcome.MessageID, Reason: outcome.Reason, Blocked: outcome.Blocked})
		if got := string(o.recorded[0].Settles.Outcome); got != string(outcome.Answer) {
			t.Errorf("the ledger is told %s", got)
		}
	}
}

func TestASenderMaySayWhatIsRecorded(t *testing.T) {
	t.Parallel()
	found := chat.RecordLookup{Number: "42", Found: true}
	o, c := newOffice(commands.Outcome{State: commands.Done, Command: found}), claim()
	o.deliver(t, c)
	o.wantRecorded(t, c, commands.Done, "", found)

	o = newOffice(commands.Outcome{})
	o.worker.Senders[kind] = &failer{sender{outcome: commands.Outcome{State: commands.Refused, Reason: "no such order system"}}}
	o.deliver(t, c)
	o.wantRecorded(t, c, commands.Refused, "no such order system", chat.RecordLookup{Delivery: c.ID, Reason: "no such order system"})

	o = newOffice(commands.Outcome{})
	o.worker.Senders[kind] = &failer{sender{outcome: commands.Outcome{State: commands.Done, MessageID: 3}}}
	o.deliver(t, c)
	o.wantRecorded(t, c, commands.Done, "", chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "done", MessageID: 3})
}

func TestADeliveryWithoutASenderIsRefused(t *testing.T) {
	t.Parallel()
	o, c := newOffice(commands.Outcome{}), claim()
	c.Kind = "pigeon"
	o.deliver(t, c)
	reason := "this program has no sender for pigeon"
	o.wantRecorded(t, c, commands.Refused, reason, chat.RecordDelivery{Delivery: c.ID, Kind: "pigeon", Outcome: "refused", Reason: reason})
}

func TestWhatDidNotArriveIsTriedAgainLaterAndLater(t *testing.T) {
	t.Parallel()
	for attempt := 1; attempt < maxAttempts; attempt++ {
		o, c := newOffice(commands.Outcome{State: commands.Again, Reason: "503"}), claim()
		c.Attempt = attempt
		o.deliver(t, c)
		if len(o.putOffs) != 1 || len(o.recorded) != 0 {
			t.Fatalf("attempt %d: put off %v, recorded %d", attempt, o.putOffs, len(o.recorded))
		}
		p := o.putOffs[0]
		longest := pauseMax
		if attempt < 20 {
			longest = min(pauseMin<<(attempt-1), pauseMax)
		}
		if p.id != c.ID || p.fence != c.Fence || p.unsure || p.reason != "503" || p.after < longest/2 || p.after > longest {
			t.Errorf("attempt %d: put off %+v, want by %s to %s", attempt, p, longest/2, longest)
		}
		if len(o.observed) != 1 || o.observed[0] != commands.Again {
			t.Errorf("attempt %d: observed %v", attempt, o.observed)
		}
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	o := newOffice(commands.Outcome{State: commands.Again, Reason: "429", After: 17 * time.Second})
	o.deliver(t, claim())
	if len(o.putOffs) != 1 || o.putOffs[0].after != 17*time.Second {
		t.Errorf("put off %v, want by 17 s", o.putOffs)
	}
}

func TestWhatIsTriedTooOftenOrTooLongIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*commands.Claimed){
		"attempts": func(c *commands.Claimed) { c.Attempt = maxAttempts },
		"age":      func(c *commands.Claimed) { c.Age = maxAge },
	} {
		o, c := newOffice(commands.Outcome{State: commands.Again, Reason: "503"}), claim()
		limit(&c)
		o.deliver(t, c)
		reason := fmt.Sprintf("given up after %d attempts in %s: 503", c.Attempt, c.Age)
		t.Log(name, reason)
		o.wantRecorded(t, c, commands.Dead, reason, chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "dead", Reason: reason})
	}
}

func TestWhatMayHaveArrivedIsSentOnceMoreAndThenRecordedUnknown(t *testing.T) {
	t.Parallel()
	unknown := commands.Outcome{State: commands.Unknown, Reason: "no answer"}
	o, c := newOffice(unknown), claim()
	o.deliver(t, c)
	if len(o.putOffs) != 1 || !o.putOffs[0].unsure || o.putOffs[0].reason != "no answer" || len(o.recorded) != 0 {
		t.Fatalf("after the first: put off %v, recorded %d", o.putOffs, len(o.recorded))
	}

	o = newOffice(unknown)
	c.Attempt, c.Unsure = 2, 1
	o.deliver(t, c)
	if o.sender.sent != 1 {
		t.Errorf("the second attempt was not made")
	}
	o.wantRecorded(t, c, commands.Unknown, "no answer", chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: "no answer"})

	// Two workers died over it: nobody knows whether they had sent it.
	o = newOffice(commands.Outcome{State: commands.Done})
	c.Attempt, c.Unsure = 3, 2
	o.deliver(t, c)
	if o.sender.sent != 0 {
		t.Error("it was sent a third time")
	}
	reason := "2 attempts may have arrived; it is not sent again"
	o.wantRecorded(t, c, commands.Unknown, reason, chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: reason})

	// A doubtful attempt that is then done, refused or put off is no longer doubtful.
	o = newOffice(commands.Outcome{State: commands.Again, Reason: "429", After: time.Second})
	c.Attempt, c.Unsure = 2, 1
	o.deliver(t, c)
	if len(o.putOffs) != 1 || o.putOffs[0].unsure {
		t.Errorf("put off %v, want without a doubt of its own", o.putOffs)
	}
}

func TestAnAttemptEndsBeforeItsLease(t *testing.T) {
	t.Parallel()
	o, c := newOffice(commands.Outcome{State: commands.Done}), claim()
	o.deliver(t, c)
	if want := c.Deadline.Add(-reserve); !o.sender.deadline.Equal(want) {
		t.Errorf("the attempt may last until %s, want %s", o.sender.deadline, want)
	}
}

func TestAnOutcomeThatComesTooLateIsDropped(t *testing.T) {
	t.Parallel()
	o, c := newOffice(commands.Outcome{State: commands.Done}), claim()
	o.answers = []error{fmt.Errorf("chat-demo:1: %w", commands.Fenced{c.ID})}
	o.deliver(t, c)
	if len(o.recorded) != 1 || len(o.putOffs) != 0 {
		t.Errorf("recorded %d times, put off %v; want one try and no more", len(o.recorded), o.putOffs)
	}
}

func TestAnOutcomeIsRecordedOnceTheDatabaseIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, c := newOffice(commands.Outcome{State: commands.Done, MessageID: 9}), claim()
		lost := errors.New("no connection")
		o.answers = []error{lost, lost, lost}
		begun := time.Now()
		o.deliver(t, c)
		if len(o.recorded) != 4 || o.sender.sent != 1 {
			t.Errorf("recorded in %d tries, sent %d times; want 4 and 1", len(o.recorded), o.sender.sent)
		}
		if took := time.Since(begun); took != pauseMin+2*pauseMin+4*pauseMin {
			t.Errorf("it took %s", took)
		}
	})
}

func TestAnOutcomeThatCannotBeRecordedIsLeftToTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, c := newOffice(commands.Outcome{State: commands.Done}), claim()
		o.worker.Handle = func(context.Context, commands.Request) (commands.Result, error) {
			return commands.Result{}, errors.New("no connection")
		}
		err := o.worker.Deliver(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "no connection") {
			t.Errorf("got %v", err)
		}
		if time.Now().After(c.Deadline) {
			t.Errorf("it went on %s after the lease", time.Since(c.Deadline))
		}
		if len(o.putOffs) > 0 || o.sender.sent != 1 {
			t.Errorf("put off %v, sent %d times", o.putOffs, o.sender.sent)
		}
	})
}

func TestAFailureToPutOffIsReported(t *testing.T) {
	t.Parallel()
	o := newOffice(commands.Outcome{State: commands.Again})
	o.worker.Ledger = lostLedger{}
	if err := o.worker.Deliver(t.Context(), claim()); !errors.Is(err, errLost) {
		t.Errorf("got %v", err)
	}
}

var errLost = errors.New("no connection")

type lostLedger struct{}

func (lostLedger) PutOff(context.Context, uuid.UUID, int64, time.Duration, bool, string) (bool, error) {
	return false, errLost
}
