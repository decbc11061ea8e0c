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
	"github.com/chatledger/chatledger/domain"
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
	return chat.RecordTool{Delivery: c.ID, Reason: reason}
}

// office is a worker with everything around it.
type office struct {
	worker    Worker
	sender    *sender
	postpones []commands.Outcome
	claimed   commands.Claimed
	recorded  []commands.Request
	observed  []domain.DeliveryState
	answers   []error // of Handle, one after the other; then nil
}

const kind = "telegram.sendMessage"

func newOffice(outcome commands.Outcome) *office {
	o := &office{sender: &sender{outcome: outcome}}
	o.worker = Worker{
		Now:      time.Now,
		Policies: always(Resend),
		Senders:  map[domain.DeliveryKind]Sender{kind: o.sender}, Outbox: o, Log: slog.New(slog.DiscardHandler),
		Handler: o, Observer: o,
	}
	return o
}

// Handle implements Handler.
func (o *office) Handle(_ context.Context, r commands.Request) (commands.Result, error) {
	o.recorded = append(o.recorded, r)
	if len(o.answers) == 0 {
		return commands.Result{}, nil
	}
	err := o.answers[0]
	o.answers = o.answers[1:]
	return commands.Result{}, err
}

// Attempted implements Observer.
func (o *office) Attempted(_ context.Context, _ commands.Claimed, state domain.DeliveryState, _ time.Duration) {
	o.observed = append(o.observed, state)
}

// always is one policy for all deliveries.
type always Policy

func (p always) Policy(commands.Claimed) Policy { return Policy(p) }

func (o *office) Postpone(_ context.Context, id uuid.UUID, fence int64, outcome commands.Outcome) (bool, error) {
	if id != o.claimed.ID || fence != o.claimed.Fence {
		return false, fmt.Errorf("put off %s under %d", id, fence)
	}
	o.postpones = append(o.postpones, outcome)
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
	o.claimed = c
	if err := o.worker.Deliver(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// wantHeld wants the lane to wait for an operator, or not.
func (o *office) wantHeld(t *testing.T, want bool) {
	t.Helper()
	if got := o.recorded[0].Settles.BlocksKey; got != want {
		t.Errorf("the lane is held: %t, want %t", got, want)
	}
}

// wantRecorded wants one request that settles the delivery in a state.
func (o *office) wantRecorded(t *testing.T, c commands.Claimed, state domain.DeliveryState, reason string, command chat.Command) {
	t.Helper()
	if len(o.postpones) > 0 || len(o.recorded) != 1 {
		t.Fatalf("put off %v, recorded %d times; want one record", o.postpones, len(o.recorded))
	}
	r := o.recorded[0]
	if s := r.Settles; s == nil || s.Delivery != c.ID || s.Fence != c.Fence || s.State != state || s.Reason != reason {
		t.Errorf("it settles %+v, want %s because of %q", r.Settles, state, reason)
	}
	if r.Stream != c.Stream || r.Actor != "delivery" || r.Causation != c.ID || r.Correlation != c.Correlation || r.At.IsZero() {
		t.Errorf("it is recorded as %+v", r)
	}
	if recorded, ok := command.(chat.RecordDelivery); ok {
		recorded.Held = r.Settles.BlocksKey // the chat knows what the ledger does
		command = recorded
	}
	if diff := cmp.Diff(command, r.Command); diff != "" {
		t.Errorf("the command (-want +got):\n%s", diff)
	}
	if len(o.observed) != 1 || o.observed[0] != state {
		t.Errorf("observed %v, want %s", o.observed, state)
	}
}

func TestWorker_DoneOrRefused_Recorded(t *testing.T) {
	t.Parallel()
	for _, outcome := range []commands.Outcome{
		{State: domain.DeliveryDone, MessageID: 77, Answer: []byte(`{"message_id":77}`)},
		{State: domain.DeliveryRefused, Reason: "bot was blocked by the user", Blocked: true, Answer: []byte(`{"ok":false}`)},
	} {
		o, c := newOffice(outcome), claim()
		o.deliver(t, c)
		o.wantRecorded(t, c, outcome.State, outcome.Reason, chat.RecordDelivery{
			Delivery: c.ID, Kind: kind, Outcome: outcome.State, MessageID: outcome.MessageID, Reason: outcome.Reason, Blocked: outcome.Blocked})
		if got := string(o.recorded[0].Settles.Outcome); got != string(outcome.Answer) {
			t.Errorf("the ledger is told %s", got)
		}
		o.wantHeld(t, false)
	}
}

func TestWorker_SenderOutcome_Recorded(t *testing.T) {
	t.Parallel()
	found := chat.RecordTool{Tool: "order_status", Output: map[string]string{"found": "true"}}
	o, c := newOffice(commands.Outcome{State: domain.DeliveryDone, Command: found}), claim()
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryDone, "", found)

	o = newOffice(commands.Outcome{})
	o.worker.Senders[kind] = &failer{sender{outcome: commands.Outcome{State: domain.DeliveryRefused, Reason: "no such order system"}}}
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryRefused, "no such order system", chat.RecordTool{Delivery: c.ID, Reason: "no such order system"})

	// The chat goes on from what is recorded, and then its lane need not wait.
	o = newOffice(commands.Outcome{})
	o.worker.Senders[kind] = &failer{sender{outcome: commands.Outcome{State: domain.DeliveryDead, Reason: "no longer in use"}}}
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryDead, "no longer in use", chat.RecordTool{Delivery: c.ID, Reason: "no longer in use"})
	o.wantHeld(t, false)

	o = newOffice(commands.Outcome{})
	o.worker.Senders[kind] = &failer{sender{outcome: commands.Outcome{State: domain.DeliveryDone, MessageID: 3}}}
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryDone, "", chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "done", MessageID: 3})
}

// A delivery without a sender waits for a program that has one.
func TestWorker_NoSender_Postponed(t *testing.T) {
	t.Parallel()
	o, c := newOffice(commands.Outcome{}), claim()
	c.Kind = "pigeon"
	o.deliver(t, c)
	reason := "this program has no sender for pigeon"
	o.wantRecorded(t, c, domain.DeliveryDead, reason, chat.RecordDelivery{Delivery: c.ID, Kind: "pigeon", Outcome: "dead", Reason: reason})
	o.wantHeld(t, true)
}

func TestWorker_NotSent_RetriedWithBackoff(t *testing.T) {
	t.Parallel()
	for attempt := 1; attempt < maxAttempts; attempt++ {
		o, c := newOffice(commands.Outcome{State: domain.DeliveryRetry, Reason: "503"}), claim()
		c.Attempt = attempt
		o.deliver(t, c)
		if len(o.postpones) != 1 || len(o.recorded) != 0 {
			t.Fatalf("attempt %d: put off %v, recorded %d", attempt, o.postpones, len(o.recorded))
		}
		p := o.postpones[0]
		longest := pauseMax
		if attempt < 20 {
			longest = min(pauseMin<<(attempt-1), pauseMax)
		}
		if p.State != domain.DeliveryRetry || p.Reason != "503" || p.After < longest/2 || p.After > longest {
			t.Errorf("attempt %d: put off %+v, want by %s to %s", attempt, p, longest/2, longest)
		}
		if len(o.observed) != 1 || o.observed[0] != domain.DeliveryRetry {
			t.Errorf("attempt %d: observed %v", attempt, o.observed)
		}
	}
}

// Retry after is honoured.
func TestWorker_RetryAfter_Honoured(t *testing.T) {
	t.Parallel()
	o := newOffice(commands.Outcome{State: domain.DeliveryRetry, Reason: "429", After: 17 * time.Second})
	o.deliver(t, claim())
	if len(o.postpones) != 1 || o.postpones[0].After != 17*time.Second {
		t.Errorf("put off %v, want by 17 s", o.postpones)
	}

	// Yet not for ever: when its time is over, it is a dead letter.
	o = newOffice(commands.Outcome{State: domain.DeliveryRetry, Reason: "429", After: 10_000 * time.Hour})
	c := claim()
	c.Age = maxAge - time.Hour
	o.deliver(t, c)
	if len(o.postpones) != 1 || o.postpones[0].After != time.Hour {
		t.Errorf("put off %v, want until it is %s old", o.postpones, maxAge)
	}
}

func TestWorker_AttemptsExhausted_DeadLetter(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*commands.Claimed){
		"attempts": func(c *commands.Claimed) { c.Attempt = maxAttempts },
		"age":      func(c *commands.Claimed) { c.Age = maxAge },
	} {
		o, c := newOffice(commands.Outcome{State: domain.DeliveryRetry, Reason: "503"}), claim()
		limit(&c)
		o.deliver(t, c)
		reason := fmt.Sprintf("given up after %d attempts in %s: 503", c.Attempt, c.Age)
		t.Log(name, reason)
		o.wantRecorded(t, c, domain.DeliveryDead, reason, chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "dead", Reason: reason})
		o.wantHeld(t, true)
	}
}

// A breaker that is open, or a limit that is used up, says so without a call.
func TestWorker_NeverAttempted_DeadByAge(t *testing.T) {
	t.Parallel()
	o, c := newOffice(commands.Outcome{State: domain.DeliveryRetry, Untried: true, After: time.Minute, Reason: "the breaker is open"}), claim()
	c.Attempt = maxAttempts
	o.deliver(t, c)
	if len(o.postpones) != 1 || !o.postpones[0].Untried {
		t.Errorf("put off %v", o.postpones)
	}
	o.postpones = nil
	c.Age = maxAge
	o.deliver(t, c)
	if len(o.recorded) != 1 || o.recorded[0].Settles.State != domain.DeliveryDead {
		t.Errorf("recorded %v, put off %v", o.recorded, o.postpones)
	}
}

func TestWorker_UnsureTwice_Unknown(t *testing.T) {
	t.Parallel()
	unknown := commands.Outcome{State: domain.DeliveryUnknown, Reason: "no answer"}
	o, c := newOffice(unknown), claim()
	o.deliver(t, c)
	if len(o.postpones) != 1 || o.postpones[0].State != domain.DeliveryUnknown || o.postpones[0].Reason != "no answer" || len(o.recorded) != 0 {
		t.Fatalf("after the first: put off %v, recorded %d", o.postpones, len(o.recorded))
	}

	o = newOffice(unknown)
	c.Attempt, c.Unsure = 2, 1
	o.deliver(t, c)
	if o.sender.sent != 1 {
		t.Errorf("the second attempt was not made")
	}
	reason := "no answer; an earlier attempt may have arrived"
	o.wantRecorded(t, c, domain.DeliveryUnknown, reason, chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: reason, Unsure: 2})
	o.wantHeld(t, false)

	// Two workers died over it: nobody knows whether they had sent it.
	o = newOffice(commands.Outcome{State: domain.DeliveryDone})
	c.Attempt, c.Unsure = 3, 2
	o.deliver(t, c)
	if o.sender.sent != 0 {
		t.Error("it was sent a third time")
	}
	reason = "it is not sent again; an earlier attempt may have arrived"
	o.wantRecorded(t, c, domain.DeliveryUnknown, reason, chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: reason, Unsure: 2})

	// Being put off after an unsure attempt is not unsure itself.
	o = newOffice(commands.Outcome{State: domain.DeliveryRetry, Reason: "429", After: time.Second})
	c.Attempt, c.Unsure = 2, 1
	o.deliver(t, c)
	if len(o.postpones) != 1 || o.postpones[0].State != domain.DeliveryRetry {
		t.Errorf("put off %v, want without a doubt of its own", o.postpones)
	}
}

// A gateway's answer means that an attempt most likely did not arrive: it is repeated for
// hours, and then a dead letter that says what may have arrived.
func TestDeliver_GatewayAnswers_RepeatedThenDead(t *testing.T) {
	t.Parallel()
	gateway := commands.Outcome{State: domain.DeliveryUnknown, Unlikely: true, Unanswered: true, Reason: "502 Bad Gateway"}
	o, c := newOffice(gateway), claim()
	c.Attempt, c.Unsure, c.Waived = 40, 39, 39
	o.deliver(t, c)
	if len(o.postpones) != 1 || !o.postpones[0].Unlikely || o.postpones[0].After < pauseMax/2 {
		t.Errorf("postponed %+v, want once, by minutes", o.postpones)
	}

	o = newOffice(gateway)
	c.Age = maxAge
	o.deliver(t, c)
	reason := "given up after 40 attempts in 24h0m0s: 502 Bad Gateway; an earlier attempt may have arrived"
	o.wantRecorded(t, c, domain.DeliveryDead, reason, chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "dead", Reason: reason, Unsure: 40})
	o.wantHeld(t, true)

	// An operator who wants to be asked is asked about these, too.
	o, c = newOffice(gateway), claim()
	o.worker.Policies = always(Ask)
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryUnknown, "502 Bad Gateway", chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: "502 Bad Gateway", Unsure: 1})
	o.wantHeld(t, true)
}

func TestWorker_UnsureThenRefused_Unknown(t *testing.T) {
	t.Parallel()
	for _, last := range []struct {
		outcome commands.Outcome
		reason  string
	}{
		{commands.Outcome{State: domain.DeliveryDone, MessageID: 77}, "an earlier attempt may have arrived"},
		{commands.Outcome{State: domain.DeliveryRefused, Reason: "403", Blocked: true}, "403; an earlier attempt may have arrived"},
		{commands.Outcome{State: domain.DeliveryDead, Reason: "moved"}, "moved; an earlier attempt may have arrived"},
	} {
		o, c := newOffice(last.outcome), claim()
		c.Attempt, c.Unsure = 2, 1
		o.deliver(t, c)
		o.wantRecorded(t, c, last.outcome.State, last.reason, chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: last.outcome.State,
			MessageID: last.outcome.MessageID, Reason: last.reason, Blocked: last.outcome.Blocked, Unsure: 1})
	}
}

func TestWorker_UnsureAskOperator_DeadLetter(t *testing.T) {
	t.Parallel()
	ask := func(state domain.DeliveryState) *office {
		o := newOffice(commands.Outcome{State: state, Reason: "no answer"})
		o.worker.Policies = always(Ask)
		return o
	}
	o, c := ask(domain.DeliveryUnknown), claim()
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryUnknown, "no answer", chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: "no answer", Unsure: 1})
	o.wantHeld(t, true)

	// Its worker died over it.
	o = ask(domain.DeliveryDone)
	c.Attempt, c.Unsure = 2, 1
	o.deliver(t, c)
	if o.sender.sent != 0 {
		t.Error("it was sent again, and nobody was asked")
	}
	o.wantHeld(t, true)

	// The operator wants it sent again, and it is put off: the old doubt is no new one.
	o = ask(domain.DeliveryRetry)
	c.Attempt, c.Waived = 2, 1
	o.deliver(t, c)
	if o.sender.sent != 1 || len(o.postpones) != 1 || o.postpones[0].State != domain.DeliveryRetry {
		t.Errorf("sent %d times, put off %v", o.sender.sent, o.postpones)
	}
	o = ask(domain.DeliveryUnknown)
	o.deliver(t, c)
	o.wantHeld(t, true)
}

func TestWorker_UnsureIdempotent_Retried(t *testing.T) {
	t.Parallel()
	repeat := func(state domain.DeliveryState) *office {
		o := newOffice(commands.Outcome{State: state})
		o.worker.Policies = always(Repeat)
		return o
	}
	o, c := repeat(domain.DeliveryUnknown), claim()
	c.Attempt, c.Unsure = 10, 9
	o.deliver(t, c)
	if len(o.postpones) != 1 || o.postpones[0].State != domain.DeliveryUnknown {
		t.Errorf("put off %v", o.postpones)
	}
	o = repeat(domain.DeliveryDone)
	o.deliver(t, c)
	if got := o.recorded[0].Command.(chat.RecordDelivery); got.Unsure != 0 || o.recorded[0].Settles.Reason != "" {
		t.Errorf("recorded %+v: it was done once", got)
	}
	o = repeat(domain.DeliveryUnknown)
	c.Attempt = maxAttempts
	o.deliver(t, c)
	if got := o.recorded[0].Command.(chat.RecordDelivery); got.Outcome != "unknown" || got.Unsure != 10 || !o.recorded[0].Settles.Unsure {
		t.Errorf("recorded %+v", got)
	}
	o.wantHeld(t, true)
}

// An attempt ends before its lease.
func TestWorker_Attempt_EndsBeforeLease(t *testing.T) {
	t.Parallel()
	o, c := newOffice(commands.Outcome{State: domain.DeliveryDone}), claim()
	o.deliver(t, c)
	if want := c.Deadline.Add(-reserve); !o.sender.deadline.Equal(want) {
		t.Errorf("the attempt may last until %s, want %s", o.sender.deadline, want)
	}
}

// An outcome that comes too late is dropped.
func TestWorker_LateOutcome_Dropped(t *testing.T) {
	t.Parallel()
	o, c := newOffice(commands.Outcome{State: domain.DeliveryDone}), claim()
	o.answers = []error{fmt.Errorf("chat-demo:1: %w", commands.Fenced{c.ID})}
	o.deliver(t, c)
	if len(o.recorded) != 1 || len(o.postpones) != 0 {
		t.Errorf("recorded %d times, put off %v; want one try and no more", len(o.recorded), o.postpones)
	}
}

// An outcome is recorded once the database is back.
func TestWorker_DatabaseBack_OutcomeRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, c := newOffice(commands.Outcome{State: domain.DeliveryDone, MessageID: 9}), claim()
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

// An outcome that cannot be recorded is left to the lease.
func TestWorker_OutcomeNotStored_LeftToLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, c := newOffice(commands.Outcome{State: domain.DeliveryDone}), claim()
		o.worker.Handler = lostLedger{}
		err := o.worker.Deliver(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "no connection") {
			t.Errorf("got %v", err)
		}
		if time.Now().After(c.Deadline) {
			t.Errorf("it went on %s after the lease", time.Since(c.Deadline))
		}
		if len(o.postpones) > 0 || o.sender.sent != 1 {
			t.Errorf("put off %v, sent %d times", o.postpones, o.sender.sent)
		}
	})
}

// A failure to postpone is reported.
func TestWorker_PostponeFails_Reported(t *testing.T) {
	t.Parallel()
	o := newOffice(commands.Outcome{State: domain.DeliveryRetry})
	o.worker.Outbox = lostLedger{}
	if err := o.worker.Deliver(t.Context(), claim()); !errors.Is(err, errLost) {
		t.Errorf("got %v", err)
	}
}

var errLost = errors.New("no connection")

type lostLedger struct{}

func (lostLedger) Postpone(context.Context, uuid.UUID, int64, commands.Outcome) (bool, error) {
	return false, errLost
}

func (lostLedger) Handle(context.Context, commands.Request) (commands.Result, error) {
	return commands.Result{}, errLost
}
