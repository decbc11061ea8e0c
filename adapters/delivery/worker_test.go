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

// sender returns the same outcome for every attempt, and counts attempts.
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

// failer is a sender with its own command for a failure.
type failer struct{ sender }

func (*failer) Fail(c commands.Claimed, reason string) chat.Command {
	return chat.RecordTool{Delivery: c.ID, Reason: reason}
}

// fixture is a worker with its sender, and the outbox, handler and observer of the worker.
type fixture struct {
	worker     Worker
	sender     *sender
	postponed  []commands.Outcome
	claimed    commands.Claimed
	recorded   []commands.Request
	observed   []domain.DeliveryState
	unreadable error   // returned by Readable
	errs       []error // returned by Handle, one after the other; then nil
}

const kind = "telegram.sendMessage"

func newFixture(outcome commands.Outcome) *fixture {
	o := &fixture{sender: &sender{outcome: outcome}}
	o.worker = Worker{
		Now:      time.Now,
		Policies: always(Resend),
		Senders:  map[domain.DeliveryKind]Sender{kind: o.sender}, Outbox: o, Log: slog.New(slog.DiscardHandler),
		Handler: o, Streams: o, Observer: o,
	}
	return o
}

// Readable implements Streams.
func (o *fixture) Readable(context.Context, domain.StreamID) error { return o.unreadable }

// Handle implements Handler.
func (o *fixture) Handle(_ context.Context, r commands.Request) (commands.Result, error) {
	o.recorded = append(o.recorded, r)
	if len(o.errs) == 0 {
		return commands.Result{}, nil
	}
	err := o.errs[0]
	o.errs = o.errs[1:]
	return commands.Result{}, err
}

// Attempted implements Observer.
func (o *fixture) Attempted(_ context.Context, _ commands.Claimed, state domain.DeliveryState, _ time.Duration) {
	o.observed = append(o.observed, state)
}

// always returns one policy for all deliveries.
type always Policy

func (p always) Policy(commands.Claimed) Policy { return Policy(p) }

func (o *fixture) Postpone(_ context.Context, id uuid.UUID, fence int64, outcome commands.Outcome) (bool, error) {
	if id != o.claimed.ID || fence != o.claimed.Fence {
		return false, fmt.Errorf("postponed %s with fence %d", id, fence)
	}
	o.postponed = append(o.postponed, outcome)
	return true, nil
}

// claim returns a delivery for its first attempt, with a new lease.
func claim() commands.Claimed {
	return commands.Claimed{
		Delivery: commands.Delivery{ID: uuid.New(), Stream: "chat-demo:1", Version: 3, Kind: kind, Correlation: uuid.New()},
		Attempt:  1, Fence: 5, Deadline: time.Now().Add(30 * time.Second), Age: time.Second,
	}
}

// deliver makes one attempt, which must not return an error.
func (o *fixture) deliver(t *testing.T, c commands.Claimed) {
	t.Helper()
	o.claimed = c
	if err := o.worker.Deliver(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

// wantKeyBlocked checks whether the ordering key is blocked until an operator decides.
func (o *fixture) wantKeyBlocked(t *testing.T, want bool) {
	t.Helper()
	if got := o.recorded[0].Settles.BlocksKey; got != want {
		t.Errorf("ordering key blocked: %t, want %t", got, want)
	}
}

// wantRecorded checks that one request was recorded, which settles the delivery in a state.
func (o *fixture) wantRecorded(t *testing.T, c commands.Claimed, state domain.DeliveryState, reason string,
	command chat.Command) {
	t.Helper()
	if len(o.postponed) > 0 || len(o.recorded) != 1 {
		t.Fatalf("postponed %v, recorded %d times; want one record", o.postponed, len(o.recorded))
	}
	r := o.recorded[0]
	if s := r.Settles; s == nil || s.Delivery != c.ID || s.Fence != c.Fence || s.State != state || s.Reason != reason {
		t.Errorf("settled as %+v, want %s with reason %q", r.Settles, state, reason)
	}
	if r.Stream != c.Stream || r.Actor != "delivery" || r.Causation != c.ID || r.Correlation != c.Correlation ||
		r.At.IsZero() {
		t.Errorf("recorded as %+v", r)
	}
	if recorded, ok := command.(chat.RecordDelivery); ok {
		recorded.Held = r.Settles.BlocksKey // the event says whether the key is blocked, too
		command = recorded
	}
	if diff := cmp.Diff(command, r.Command); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
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
		o, c := newFixture(outcome), claim()
		o.deliver(t, c)
		o.wantRecorded(t, c, outcome.State, outcome.Reason, chat.RecordDelivery{
			Delivery: c.ID, Kind: kind, Outcome: outcome.State, MessageID: outcome.MessageID, Reason: outcome.Reason,
			Blocked: outcome.Blocked})
		if got := string(o.recorded[0].Settles.Outcome); got != string(outcome.Answer) {
			t.Errorf("the settlement has the answer %s", got)
		}
		o.wantKeyBlocked(t, false)
	}
}

func TestWorker_SenderOutcome_Recorded(t *testing.T) {
	t.Parallel()
	found := chat.RecordTool{Tool: "order_status", Output: map[string]string{"found": "true"}}
	o, c := newFixture(commands.Outcome{State: domain.DeliveryDone, Command: found}), claim()
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryDone, "", found)

	o = newFixture(commands.Outcome{})
	refused := commands.Outcome{State: domain.DeliveryRefused, Reason: "no such order system"}
	o.worker.Senders[kind] = &failer{sender{outcome: refused}}
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryRefused, "no such order system",
		chat.RecordTool{Delivery: c.ID, Reason: "no such order system"})

	// A failure with a command of its own does not block the ordering key: the chat handles it.
	o = newFixture(commands.Outcome{})
	dead := commands.Outcome{State: domain.DeliveryDead, Reason: "no longer in use"}
	o.worker.Senders[kind] = &failer{sender{outcome: dead}}
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryDead, "no longer in use",
		chat.RecordTool{Delivery: c.ID, Reason: "no longer in use"})
	o.wantKeyBlocked(t, false)

	o = newFixture(commands.Outcome{})
	o.worker.Senders[kind] = &failer{sender{outcome: commands.Outcome{State: domain.DeliveryDone, MessageID: 3}}}
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryDone, "",
		chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "done", MessageID: 3})
}

// A delivery without a sender is a dead letter, which an operator can retry with a version that has one.
func TestWorker_NoSender_DeadLetter(t *testing.T) {
	t.Parallel()
	o, c := newFixture(commands.Outcome{}), claim()
	c.Kind = "pigeon"
	o.deliver(t, c)
	reason := "this program has no sender for pigeon"
	o.wantRecorded(t, c, domain.DeliveryDead, reason,
		chat.RecordDelivery{Delivery: c.ID, Kind: "pigeon", Outcome: "dead", Reason: reason})
	o.wantKeyBlocked(t, true)
}

func TestWorker_NotSent_RetriedWithBackoff(t *testing.T) {
	t.Parallel()
	for attempt := 1; attempt < maxAttempts; attempt++ {
		o, c := newFixture(commands.Outcome{State: domain.DeliveryRetry, Reason: "503"}), claim()
		c.Attempt = attempt
		o.deliver(t, c)
		if len(o.postponed) != 1 || len(o.recorded) != 0 {
			t.Fatalf("attempt %d: postponed %v, recorded %d", attempt, o.postponed, len(o.recorded))
		}
		p := o.postponed[0]
		longest := pauseMax
		if attempt < 20 {
			longest = min(pauseMin<<(attempt-1), pauseMax)
		}
		if p.State != domain.DeliveryRetry || p.Reason != "503" || p.After < longest/2 || p.After > longest {
			t.Errorf("attempt %d: postponed %+v, want a backoff of %s to %s", attempt, p, longest/2, longest)
		}
		if len(o.observed) != 1 || o.observed[0] != domain.DeliveryRetry {
			t.Errorf("attempt %d: observed %v", attempt, o.observed)
		}
	}
}

// A retry is made after the time that the other system asked for, but not later than maxAge.
func TestWorker_RetryAfter_Honoured(t *testing.T) {
	t.Parallel()
	o := newFixture(commands.Outcome{State: domain.DeliveryRetry, Reason: "429", After: 17 * time.Second})
	o.deliver(t, claim())
	if len(o.postponed) != 1 || o.postponed[0].After != 17*time.Second {
		t.Errorf("postponed %v, want 17 s", o.postponed)
	}

	// At maxAge the delivery becomes a dead letter.
	o = newFixture(commands.Outcome{State: domain.DeliveryRetry, Reason: "429", After: 10_000 * time.Hour})
	c := claim()
	c.Age = maxAge - time.Hour
	o.deliver(t, c)
	if len(o.postponed) != 1 || o.postponed[0].After != time.Hour {
		t.Errorf("postponed %v, want until it is %s old", o.postponed, maxAge)
	}
}

func TestWorker_AttemptsExhausted_DeadLetter(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*commands.Claimed){
		"attempts": func(c *commands.Claimed) { c.Attempt = maxAttempts },
		"age":      func(c *commands.Claimed) { c.Age = maxAge },
	} {
		o, c := newFixture(commands.Outcome{State: domain.DeliveryRetry, Reason: "503"}), claim()
		limit(&c)
		o.deliver(t, c)
		reason := fmt.Sprintf("given up after %d attempts in %s: 503", c.Attempt, c.Age)
		t.Log(name, reason)
		o.wantRecorded(t, c, domain.DeliveryDead, reason,
			chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "dead", Reason: reason})
		o.wantKeyBlocked(t, true)
	}
}

// An open circuit breaker or an exhausted rate limit postpones a delivery without a call. That does not
// count as an attempt, so the delivery becomes a dead letter by its age only.
func TestWorker_NeverAttempted_DeadByAge(t *testing.T) {
	t.Parallel()
	untried := commands.Outcome{State: domain.DeliveryRetry, Untried: true, After: time.Minute, Reason: "breaker open"}
	o, c := newFixture(untried), claim()
	c.Attempt = maxAttempts
	o.deliver(t, c)
	if len(o.postponed) != 1 || !o.postponed[0].Untried {
		t.Errorf("postponed %v", o.postponed)
	}
	o.postponed = nil
	c.Age = maxAge
	o.deliver(t, c)
	if len(o.recorded) != 1 || o.recorded[0].Settles.State != domain.DeliveryDead {
		t.Errorf("recorded %v, postponed %v", o.recorded, o.postponed)
	}
}

func TestWorker_UnsureTwice_Unknown(t *testing.T) {
	t.Parallel()
	unknown := commands.Outcome{State: domain.DeliveryUnknown, Reason: "no answer"}
	o, c := newFixture(unknown), claim()
	o.deliver(t, c)
	if len(o.postponed) != 1 || o.postponed[0].State != domain.DeliveryUnknown || o.postponed[0].Reason != "no answer" ||
		len(o.recorded) != 0 {
		t.Fatalf("after the first: postponed %v, recorded %d", o.postponed, len(o.recorded))
	}

	o = newFixture(unknown)
	c.Attempt, c.Unsure = 2, 1
	o.deliver(t, c)
	if o.sender.sent != 1 {
		t.Errorf("%d attempts, want the second one made", o.sender.sent)
	}
	reason := "no answer; an earlier attempt may have arrived"
	o.wantRecorded(t, c, domain.DeliveryUnknown, reason,
		chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: reason, Unsure: 2})
	o.wantKeyBlocked(t, false)

	// Two workers ended during their attempts, so both attempts may have arrived.
	o = newFixture(commands.Outcome{State: domain.DeliveryDone})
	c.Attempt, c.Unsure = 3, 2
	o.deliver(t, c)
	if o.sender.sent != 0 {
		t.Error("a third attempt was made")
	}
	reason = "not sent again; an earlier attempt may have arrived"
	o.wantRecorded(t, c, domain.DeliveryUnknown, reason,
		chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: reason, Unsure: 2})

	// An attempt that is postponed by a 429 did not arrive, although an earlier one may have.
	o = newFixture(commands.Outcome{State: domain.DeliveryRetry, Reason: "429", After: time.Second})
	c.Attempt, c.Unsure = 2, 1
	o.deliver(t, c)
	if len(o.postponed) != 1 || o.postponed[0].State != domain.DeliveryRetry {
		t.Errorf("postponed %v, want state retry", o.postponed)
	}
}

// While the outcome cannot be recorded, no attempt is made. An attempt during which the chat became
// unreadable is unknown, and does not hold the worker.
func TestWorker_UnreadableChat_NoAttempt(t *testing.T) {
	t.Parallel()
	o, c := newFixture(commands.Outcome{State: domain.DeliveryDone}), claim()
	o.unreadable = fmt.Errorf("state: %w", commands.ErrUnreadable)
	c.Age = 2 * maxAge
	o.deliver(t, c)
	if len(o.postponed) != 1 || !o.postponed[0].Untried || o.postponed[0].After != unreadableFor || len(o.recorded) > 0 {
		t.Errorf("postponed %+v, recorded %+v", o.postponed, o.recorded)
	}

	o = newFixture(commands.Outcome{State: domain.DeliveryDone, MessageID: 7})
	o.errs = []error{fmt.Errorf("decide: %w", commands.ErrUnreadable)}
	o.deliver(t, claim())
	if len(o.recorded) != 1 || len(o.postponed) != 1 || o.postponed[0].State != domain.DeliveryUnknown ||
		o.postponed[0].Untried {
		t.Errorf("postponed %+v, recorded %d times", o.postponed, len(o.recorded))
	}
}

// After the answer of a gateway, an attempt most likely did not arrive. So it is retried for hours, and
// then becomes a dead letter whose reason says that an attempt may have arrived.
func TestWorker_GatewayAnswers_RetriedThenDead(t *testing.T) {
	t.Parallel()
	gateway := commands.Outcome{State: domain.DeliveryUnknown, Unlikely: true, Unanswered: true, Reason: "502 Bad Gateway"}
	o, c := newFixture(gateway), claim()
	c.Attempt, c.Unsure, c.Waived = 40, 39, 39
	o.deliver(t, c)
	if len(o.postponed) != 1 || !o.postponed[0].Unlikely || o.postponed[0].After < pauseMax/2 {
		t.Errorf("postponed %+v, want once, by minutes", o.postponed)
	}

	o = newFixture(gateway)
	c.Age = maxAge
	o.deliver(t, c)
	reason := "given up after 40 attempts in 24h0m0s: 502 Bad Gateway; an earlier attempt may have arrived"
	o.wantRecorded(t, c, domain.DeliveryDead, reason,
		chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "dead", Reason: reason, Unsure: 40})
	o.wantKeyBlocked(t, true)

	// Under the policy ask, an operator decides about these attempts, too.
	o, c = newFixture(gateway), claim()
	o.worker.Policies = always(Ask)
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryUnknown, "502 Bad Gateway",
		chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: "502 Bad Gateway", Unsure: 1})
	o.wantKeyBlocked(t, true)
}

func TestWorker_UnsureThenOutcome_ReasonSaysSo(t *testing.T) {
	t.Parallel()
	for _, last := range []struct {
		outcome commands.Outcome
		reason  string
	}{
		{commands.Outcome{State: domain.DeliveryDone, MessageID: 77}, "an earlier attempt may have arrived"},
		{commands.Outcome{State: domain.DeliveryRefused, Reason: "403", Blocked: true},
			"403; an earlier attempt may have arrived"},
		{commands.Outcome{State: domain.DeliveryDead, Reason: "moved"}, "moved; an earlier attempt may have arrived"},
	} {
		o, c := newFixture(last.outcome), claim()
		c.Attempt, c.Unsure = 2, 1
		o.deliver(t, c)
		o.wantRecorded(t, c, last.outcome.State, last.reason,
			chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: last.outcome.State,
				MessageID: last.outcome.MessageID, Reason: last.reason, Blocked: last.outcome.Blocked, Unsure: 1})
	}
}

func TestWorker_UnsureUnderAsk_KeyBlocked(t *testing.T) {
	t.Parallel()
	ask := func(state domain.DeliveryState) *fixture {
		o := newFixture(commands.Outcome{State: state, Reason: "no answer"})
		o.worker.Policies = always(Ask)
		return o
	}
	o, c := ask(domain.DeliveryUnknown), claim()
	o.deliver(t, c)
	o.wantRecorded(t, c, domain.DeliveryUnknown, "no answer",
		chat.RecordDelivery{Delivery: c.ID, Kind: kind, Outcome: "unknown", Reason: "no answer", Unsure: 1})
	o.wantKeyBlocked(t, true)

	// The worker ended during the attempt.
	o = ask(domain.DeliveryDone)
	c.Attempt, c.Unsure = 2, 1
	o.deliver(t, c)
	if o.sender.sent != 0 {
		t.Error("another attempt was made without an operator's decision")
	}
	o.wantKeyBlocked(t, true)

	// The operator retries it, and the attempt is postponed: the earlier unknown attempt does not count.
	o = ask(domain.DeliveryRetry)
	c.Attempt, c.Waived = 2, 1
	o.deliver(t, c)
	if o.sender.sent != 1 || len(o.postponed) != 1 || o.postponed[0].State != domain.DeliveryRetry {
		t.Errorf("%d attempts, postponed %v", o.sender.sent, o.postponed)
	}
	o = ask(domain.DeliveryUnknown)
	o.deliver(t, c)
	o.wantKeyBlocked(t, true)
}

func TestWorker_UnsureUnderRepeat_Retried(t *testing.T) {
	t.Parallel()
	repeat := func(state domain.DeliveryState) *fixture {
		o := newFixture(commands.Outcome{State: state})
		o.worker.Policies = always(Repeat)
		return o
	}
	o, c := repeat(domain.DeliveryUnknown), claim()
	c.Attempt, c.Unsure = 10, 9
	o.deliver(t, c)
	if len(o.postponed) != 1 || o.postponed[0].State != domain.DeliveryUnknown {
		t.Errorf("postponed %v", o.postponed)
	}
	o = repeat(domain.DeliveryDone)
	o.deliver(t, c)
	if got := o.recorded[0].Command.(chat.RecordDelivery); got.Unsure != 0 || o.recorded[0].Settles.Reason != "" {
		t.Errorf("recorded %+v, want no unsure attempt", got)
	}
	o = repeat(domain.DeliveryUnknown)
	c.Attempt = maxAttempts
	o.deliver(t, c)
	if got := o.recorded[0].Command.(chat.RecordDelivery); got.Outcome != "unknown" || got.Unsure != 10 ||
		!o.recorded[0].Settles.Unsure {
		t.Errorf("recorded %+v", got)
	}
	o.wantKeyBlocked(t, true)
}

// The context of an attempt ends before the lease, with a reserve for recording the outcome.
func TestWorker_Attempt_EndsBeforeLease(t *testing.T) {
	t.Parallel()
	o, c := newFixture(commands.Outcome{State: domain.DeliveryDone}), claim()
	o.deliver(t, c)
	if want := c.Deadline.Add(-reserve); !o.sender.deadline.Equal(want) {
		t.Errorf("the attempt has the deadline %s, want %s", o.sender.deadline, want)
	}
}

// An outcome is dropped if the lease has expired and another worker has the delivery.
func TestWorker_LateOutcome_Dropped(t *testing.T) {
	t.Parallel()
	o, c := newFixture(commands.Outcome{State: domain.DeliveryDone}), claim()
	o.errs = []error{fmt.Errorf("chat-demo:1: %w", commands.Fenced{c.ID})}
	o.deliver(t, c)
	if len(o.recorded) != 1 || len(o.postponed) != 0 {
		t.Errorf("recorded %d times, postponed %v; want one try", len(o.recorded), o.postponed)
	}
}

// An outcome is recorded when the database is available again.
func TestWorker_DatabaseRecovers_OutcomeRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, c := newFixture(commands.Outcome{State: domain.DeliveryDone, MessageID: 9}), claim()
		lost := errors.New("no connection")
		o.errs = []error{lost, lost, lost}
		begun := time.Now()
		o.deliver(t, c)
		if len(o.recorded) != 4 || o.sender.sent != 1 {
			t.Errorf("recorded in %d tries, %d attempts; want 4 and 1", len(o.recorded), o.sender.sent)
		}
		if took := time.Since(begun); took != pauseMin+2*pauseMin+4*pauseMin {
			t.Errorf("recording took %s", took)
		}
	})
}

// If an outcome cannot be recorded before the lease ends, Deliver returns the error. The delivery is then
// recovered as one with an expired lease.
func TestWorker_OutcomeNotStored_ErrorAtLeaseEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, c := newFixture(commands.Outcome{State: domain.DeliveryDone}), claim()
		o.worker.Handler = noDatabase{}
		err := o.worker.Deliver(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), "no connection") {
			t.Errorf("got %v", err)
		}
		if time.Now().After(c.Deadline) {
			t.Errorf("Deliver returned %s after the end of the lease", time.Since(c.Deadline))
		}
		if len(o.postponed) > 0 || o.sender.sent != 1 {
			t.Errorf("postponed %v, %d attempts", o.postponed, o.sender.sent)
		}
	})
}

// An error of Postpone is returned.
func TestWorker_PostponeFails_Error(t *testing.T) {
	t.Parallel()
	o := newFixture(commands.Outcome{State: domain.DeliveryRetry})
	o.worker.Outbox = noDatabase{}
	if err := o.worker.Deliver(t.Context(), claim()); !errors.Is(err, errLost) {
		t.Errorf("got %v", err)
	}
}

var errLost = errors.New("no connection")

type noDatabase struct{}

func (noDatabase) Postpone(context.Context, uuid.UUID, int64, commands.Outcome) (bool, error) {
	return false, errLost
}

func (noDatabase) Handle(context.Context, commands.Request) (commands.Result, error) {
	return commands.Result{}, errLost
}
