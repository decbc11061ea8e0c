//go:build unix

package postgres_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

const (
	destination = "telegram:demo"
	// leaseLong outlives any test; leaseOver has run out when it is given.
	leaseLong = time.Hour
	leaseOver = -time.Second
)

// pending returns a delivery with an ordering key; its version identifies it among those of the key.
func pending(key string, version int) commands.Delivery {
	return commands.Delivery{
		ID: uuid.Must(uuid.NewV7()), Stream: domain.StreamID(key), Version: domain.Version(version),
		Kind:        domain.KindSendMessage,
		Destination: destination, OrderingKey: key,
		Payload:     commands.SendMessage{ChatID: 1, Text: fmt.Sprintf("%s/%d", key, version)},
		Correlation: uuid.Must(uuid.NewV7()),
	}
}

func enqueue(t testing.TB, s *process, deliveries ...commands.Delivery) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error { return s.Enqueue(t.Context(), tx, deliveries) })
	if err != nil {
		t.Fatal(err)
	}
}

func claim(t testing.TB, s *process, limit int, lease time.Duration) []commands.Claimed {
	t.Helper()
	c, err := s.Claim(t.Context(), destination, "worker", limit, lease)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func claimAll(t testing.TB, s *process, lease time.Duration) []commands.Claimed {
	t.Helper()
	return claim(t, s, 1000, lease)
}

// claimed enqueues a delivery with an ordering key and claims it under a lease that has run out
// for TakeOver, and still is one for everybody else.
func claimed(t testing.TB, s *process, key domain.StreamID) commands.Claimed {
	t.Helper()
	enqueue(t, s, pending(string(key), 1))
	c := claimAll(t, s, leaseOver)
	if len(c) != 1 || c[0].OrderingKey != string(key) {
		t.Fatalf("claimed %+v, want the delivery enqueued for %s", c, key)
	}
	return c[0]
}

func takeOver(t testing.TB, s *process) {
	t.Helper()
	if n, err := s.ReclaimExpired(t.Context()); err != nil || n != 1 {
		t.Fatalf("took over %d deliveries (%v), want 1", n, err)
	}
}

// settle ends an attempt.
func settle(t testing.TB, s *process, c commands.Claimed, state domain.DeliveryState) {
	t.Helper()
	must(t, s, outcome(commands.Settlement{Delivery: c.ID, Fence: c.Fence, State: state}))
}

// hold ends an attempt with a dead letter.
func hold(t testing.TB, s *process, c commands.Claimed, state domain.DeliveryState, reason string) {
	t.Helper()
	must(t, s, outcome(commands.Settlement{Delivery: c.ID, Fence: c.Fence, State: state, BlocksKey: true, Reason: reason}))
}

// outcome settles a delivery together with an event on a stream that nobody else uses.
func outcome(s commands.Settlement) commands.Append {
	return commands.Append{Stream: domain.StreamID("chat-demo:" + uuid.NewString()), Events: said(1),
		Settled: []commands.Settlement{s}}
}

// places are claimed deliveries as "<key>/<version>", sorted.
func places(claimed []commands.Claimed) string {
	var list []string
	for _, c := range claimed {
		list = append(list, fmt.Sprintf("%s/%d", c.OrderingKey, c.Version))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestClaim_Delivery_EqualsEnqueued(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := pending("a", 3)
	d.Priority = 10
	d.Payload = commands.SendMessage{ChatID: -100, Text: "nul \x00, emoji 👋"}
	enqueue(t, s, d)
	pgtest.Exec(t, s.Pool(), `update eventstore.deliveries set created_at = now() - interval '50 hours'`)
	before := time.Now()
	got := claim(t, s, 1, leaseLong)
	if len(got) != 1 {
		t.Fatalf("claimed %d", len(got))
	}
	c := got[0]
	var payload commands.SendMessage
	if err := json.Unmarshal(c.Body, &payload); err != nil {
		t.Fatal(err)
	}
	if payload.ChatID != -100 || payload.Text != "nul \x00, emoji 👋" {
		t.Errorf("the payload reads %+v", payload)
	}
	if c.ID != d.ID || c.Stream != d.Stream || c.Version != 3 || c.Kind != d.Kind || c.Destination != destination ||
		c.OrderingKey != "a" || c.Priority != 10 || c.Correlation != d.Correlation {
		t.Errorf("claimed %+v, enqueued %+v", c.Delivery, d)
	}
	if c.Attempt != 1 || c.Unsure != 0 || c.Fence != 1 {
		t.Errorf("attempt %d, unsure %d, fence %d; want 1, 0, 1", c.Attempt, c.Unsure, c.Fence)
	}
	if c.Age < 50*time.Hour || c.Age > 51*time.Hour {
		t.Errorf("it is %s old, want two days and two hours", c.Age)
	}
	if c.Deadline.Before(before.Add(leaseLong)) || c.Deadline.After(time.Now().Add(leaseLong)) {
		t.Errorf("its lease ends at %s", c.Deadline)
	}
}

func TestEnqueue_SamePageAgain_AddsNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	page := []commands.Delivery{pending("a", 1), pending("b", 1)}
	enqueue(t, s, page...)
	settle(t, s, claimAll(t, s, leaseLong)[0], domain.DeliveryDone)
	enqueue(t, s, append(page, pending("a", 2))...)
	if n := pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.deliveries`); n != 3 {
		t.Errorf("%d deliveries, want 3", n)
	}
	if n := pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.deliveries where state = 'done'`); n != 1 {
		t.Errorf("%d are done, want the 1 that was", n)
	}
}

func TestEnqueue_Rollback_Undone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	tx, err := s.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Enqueue(t.Context(), tx, []commands.Delivery{pending("a", 1)}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := claimAll(t, s, leaseLong); len(got) > 0 {
		t.Errorf("claimed %s, which nobody owes", places(got))
	}
}

func TestClaim_OrderingKey_FirstOnly(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	enqueue(t, s, pending("a", 1), pending("b", 1), pending("a", 2), pending("a", 3), pending("b", 2))
	step := func(want string) []commands.Claimed {
		t.Helper()
		got := claimAll(t, s, leaseLong)
		if places(got) != want {
			t.Fatalf("claimed %q, want %q", places(got), want)
		}
		return got
	}
	heads := step("a/1 b/1")
	step("") // their followers wait for the outcomes
	slices.SortFunc(heads, func(x, y commands.Claimed) int { return strings.Compare(x.OrderingKey, y.OrderingKey) })
	settle(t, s, heads[0], domain.DeliveryDone)
	a2 := step("a/2") // b is slow, which is nothing to a
	settle(t, s, a2[0], domain.DeliveryDead)
	a3 := step("a/3") // given up need not be a dead letter: its chat may have gone on from there
	settle(t, s, a3[0], domain.DeliveryRefused)
	settle(t, s, heads[1], domain.DeliveryUnknown)
	settle(t, s, step("b/2")[0], domain.DeliveryDone)
	step("")
}

func TestClaim_FirstPostponed_BlocksItsKeyOnly(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	enqueue(t, s, pending("a", 1), pending("a", 2), pending("b", 1))
	for _, c := range claimAll(t, s, leaseLong) {
		if c.OrderingKey == "b" {
			settle(t, s, c, domain.DeliveryDone)
		} else if ok, err := s.Postpone(t.Context(), c.ID, c.Fence,
			commands.Outcome{State: domain.DeliveryRetry, After: time.Hour, Reason: "busy\x00"}); err != nil || !ok {
			t.Fatalf("put off: %t, %v", ok, err)
		}
	}
	enqueue(t, s, pending("b", 2))
	if got := claimAll(t, s, leaseLong); places(got) != "b/2" {
		t.Errorf("claimed %q, want b/2 alone", places(got))
	}
	if got := pgtest.Ask[string](t, s.Pool(), `select reason from eventstore.deliveries where ordering_key = 'a'
		and version = 1`); got != "busy␀" {
		t.Errorf("the reason reads %q", got)
	}
	// An hour later:
	pgtest.Exec(t, s.Pool(), `update eventstore.deliveries set next_attempt = now()
		where ordering_key = 'a' and version = 1`)
	if err := s.ResumeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := claimAll(t, s, leaseLong)
	if places(got) != "a/1" || got[0].Attempt != 2 || got[0].Unsure != 0 {
		t.Errorf("claimed %+v, want the second attempt at a/1, no doubt about the first", got)
	}
}

func TestClaim_BehindDeadLetter_WaitsForOperator(t *testing.T) {
	t.Parallel()
	for _, state := range []domain.DeliveryState{domain.DeliveryDead, domain.DeliveryUnknown} {
		for _, decision := range []domain.DeliveryState{domain.DeliveryWaiting, domain.DeliverySkipped} {
			t.Run(fmt.Sprintf("%s, then %s", state, decision), func(t *testing.T) {
				t.Parallel()
				s := newStore(t)
				enqueue(t, s, pending("a", 1), pending("a", 2), pending("a", 3), pending("b", 1), pending("b", 2))
				var letter commands.Claimed
				for _, c := range claimAll(t, s, leaseLong) {
					if c.OrderingKey == "a" {
						letter = c
						hold(t, s, c, state, "why")
					} else {
						settle(t, s, c, domain.DeliveryDone)
					}
				}
				if got := claimAll(t, s, leaseLong); places(got) != "b/2" {
					t.Fatalf("claimed %q, want b/2: a waits, and it alone", places(got))
				}
				enqueue(t, s, pending("a", 4))
				if got := claimAll(t, s, leaseLong); len(got) > 0 {
					t.Fatalf("claimed %q past a dead letter", places(got))
				}
				must(t, s, outcome(commands.Settlement{Delivery: letter.ID, Was: state, Fence: letter.Fence,
					State: decision, Reason: "decided"}))
				var order []string
				for got := claimAll(t, s, leaseLong); len(got) > 0; got = claimAll(t, s, leaseLong) {
					order = append(order, places(got))
					settle(t, s, got[0], domain.DeliveryDone)
				}
				want := "a/1 a/2 a/3 a/4"
				if decision == domain.DeliverySkipped {
					want = "a/2 a/3 a/4"
				}
				if got := strings.Join(order, " "); got != want {
					t.Errorf("then %q was claimed, want %q", got, want)
				}
			})
		}
	}
}

func TestRetry_DeadLetter_KeepsUnsureAttempts(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	enqueue(t, s, pending("a", 1))
	for range 2 {
		c := claim(t, s, 1, leaseLong)[0]
		if ok, err := s.Postpone(t.Context(), c.ID, c.Fence, commands.Outcome{State: domain.DeliveryUnknown}); err != nil ||
			!ok {
			t.Fatalf("put off: %t, %v", ok, err)
		}
	}
	letter := claim(t, s, 1, leaseLong)[0]
	hold(t, s, letter, domain.DeliveryDead, "why")
	pgtest.Exec(t, s.Pool(), `update eventstore.deliveries set created_at = now() - interval '2 days'`)
	must(t, s, outcome(commands.Settlement{Delivery: letter.ID, Was: domain.DeliveryDead, Fence: letter.Fence,
		State: domain.DeliveryWaiting}))
	got := claimAll(t, s, leaseLong)
	if len(got) != 1 || got[0].Attempt != 1 || got[0].Age > time.Hour || got[0].Unsure != 2 || got[0].Waived != 2 ||
		got[0].Fence <= letter.Fence {
		t.Errorf("claimed %+v, want a first attempt of now, with two doubts that are waived", got)
	}
}

func TestDeadLetter_ChangedSinceShown_Refused(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	enqueue(t, s, pending("a", 1))
	c := claim(t, s, 1, leaseLong)[0]
	retry := func(was domain.DeliveryState, fence int64) error {
		return appendOne(t, s,
			outcome(commands.Settlement{Delivery: c.ID, Was: was, Fence: fence, State: domain.DeliveryWaiting}))
	}
	fenced := func(what string, err error) {
		t.Helper()
		var f commands.Fenced
		if !errors.As(err, &f) || !slices.Equal(f, commands.Fenced{c.ID}) {
			t.Errorf("%s: %v", what, err)
		}
	}
	fenced("retried under the sender's hands", retry(domain.DeliveryDead, c.Fence))
	hold(t, s, c, domain.DeliveryDead, "why")
	fenced("retried as what it is not", retry(domain.DeliveryDone, c.Fence))
	fenced("retried as it was before", retry(domain.DeliveryDead, c.Fence-1))

	// Many operators at once: one of them decides.
	decided := make(chan error)
	for range 8 {
		go func() {
			retry := outcome(commands.Settlement{Delivery: c.ID, Was: domain.DeliveryDead, Fence: c.Fence,
				State: domain.DeliveryWaiting})
			errs, err := s.Append(t.Context(), []commands.Append{retry})
			if err == nil {
				err = errs[0]
			}
			decided <- err
		}()
	}
	won := 0
	for range 8 {
		if err := <-decided; err == nil {
			won++
		} else {
			fenced("retried by another", err)
		}
	}
	if won != 1 {
		t.Errorf("%d operators decided", won)
	}
	if n := pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.events`); n != 2 {
		t.Errorf("%d events, want that of the outcome and that of the decision", n)
	}
}

// crowd makes a dead letter and n deliveries that have waited behind it for long.
func crowd(t *testing.T, s *process, n int) commands.Claimed {
	t.Helper()
	list := make([]commands.Delivery, n+1)
	for i := range list {
		list[i] = pending("crowded", i+1)
	}
	enqueue(t, s, list...)
	letter := claim(t, s, 1, leaseLong)[0]
	hold(t, s, letter, domain.DeliveryDead, "why")
	pgtest.Exec(t, s.Pool(), `update eventstore.deliveries set created_at = now() - interval '1 hour'`)
	return letter
}

func park(t *testing.T, s *process) {
	t.Helper()
	if err := s.DeferFollowers(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestClaim_LongBlockedKey_OthersUnaffected(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	crowd(t, s, 10_000)
	park(t, s)
	others := make([]commands.Delivery, 20)
	for i := range others {
		others[i] = pending(fmt.Sprint("key", i), 1)
	}
	enqueue(t, s, others...)
	pgtest.Exec(t, s.Pool(), `analyze eventstore.deliveries`)

	// EXPLAIN ANALYZE does what it explains.
	var plan []struct{ Plan node }
	text := pgtest.Ask[[]byte](t, s.Pool(), `explain (analyze, timing off, format json) `+outbox.ClaimSQL, destination,
		"worker", 10, leaseLong)
	if err := json.Unmarshal(text, &plan); err != nil {
		t.Fatal(err)
	}
	if n := plan[0].Plan.read(); n < 10 || n > 50 {
		t.Errorf("%v rows were read to claim 10:\n%s", n, text)
	}
	if got := claimAll(t, s, leaseLong); len(got) != 10 {
		t.Errorf("then %d were claimed, want the other 10", len(got))
	}
}

// An outage postpones a delivery of every chat: claims of what is due must not read them all.
func TestClaim_ThousandsPostponed_ReadsWhatIsDue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	late := make([]commands.Delivery, 5000)
	for i := range late {
		late[i] = pending(fmt.Sprint("late", i), 1)
	}
	enqueue(t, s, late...)
	c := claim(t, s, 1, leaseLong)[0]
	if ok, err := s.Postpone(t.Context(), c.ID, c.Fence,
		commands.Outcome{State: domain.DeliveryRetry, After: time.Hour}); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if n := pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.deliveries where postponed`); n != 1 {
		t.Fatalf("%d are hidden from claims, want the one that is postponed for an hour", n)
	}
	pgtest.Exec(t, s.Pool(), `update eventstore.deliveries set postponed = true, next_attempt = now() + interval '1 hour'`)
	enqueue(t, s, pending("now", 1))
	pgtest.Exec(t, s.Pool(), `analyze eventstore.deliveries`)
	var plan []struct{ Plan node }
	text := pgtest.Ask[[]byte](t, s.Pool(),
		`explain (analyze, timing off, format json) `+outbox.ClaimSQL, destination, "worker", 10, leaseLong)
	if err := json.Unmarshal(text, &plan); err != nil {
		t.Fatal(err)
	}
	if n := plan[0].Plan.read(); n > 20 {
		t.Errorf("%v rows were read to claim 1:\n%s", n, text)
	}
	pgtest.Exec(t, s.Pool(), `update eventstore.deliveries set next_attempt = now()
		where ordering_key in ('late1', 'late2')`)
	if err := s.ResumeDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := claimAll(t, s, leaseLong); len(got) != 2 {
		t.Errorf("%d claimed when two are due, want both", len(got))
	}
}

// node is a step of a plan.
type node struct {
	Rows    float64 `json:"Actual Rows"` // on average
	Loops   float64 `json:"Actual Loops"`
	Removed float64 `json:"Rows Removed by Filter"`
	Index   string  `json:"Index Name"`
	Plans   []node
}

// read is how many rows the plan's scans have read.
func (n node) read() (rows float64) {
	if n.Index != "" {
		rows = (n.Rows + n.Removed) * n.Loops
	}
	for _, p := range n.Plans {
		rows += p.read()
	}
	return rows
}

func TestClaim_DeadLetterGone_InOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	letter := crowd(t, s, 100)
	park(t, s)
	if n := pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.deliveries where deferred`); n != 100 {
		t.Fatalf("%d are deferred, want 100", n)
	}
	must(t, s, outcome(commands.Settlement{Delivery: letter.ID, Was: domain.DeliveryDead, Fence: letter.Fence,
		State: domain.DeliverySkipped}))
	enqueue(t, s, pending("crowded", 102))
	const unwanted = 30 // while it is deferred
	skipped := pgtest.Ask[uuid.UUID](t, s.Pool(), `select delivery_id from eventstore.deliveries
		where version = $1`, unwanted)
	must(t, s, outcome(commands.Settlement{Delivery: skipped, Was: domain.DeliveryWaiting,
		State: domain.DeliverySkipped}))
	for version := 2; version <= 102; version++ {
		if version == unwanted {
			continue
		}
		got := claimAll(t, s, leaseLong)
		if len(got) != 1 || got[0].Version != domain.Version(version) {
			t.Fatalf("claimed %q, want version %d", places(got), version)
		}
		if version == 75 { // from here on by the careful statement
			if err := appendOne(t, s,
				commands.Append{Stream: "chat-demo:1", Expected: 5, Events: said(1)}); err != commands.ErrConflict {
				t.Fatal(err)
			}
		}
		if park(t, s); version == 50 {
			// A head that was deferred at the very moment it became one.
			pgtest.Exec(t, s.Pool(), `update eventstore.deliveries set state = 'done', finished_at = now()
				where delivery_id = $1`, got[0].ID.String())
			waiting := s.Ready(destination)
			park(t, s)
			<-waiting // or this test does not end
			continue
		}
		settle(t, s, got[0], domain.DeliveryDone)
	}
	if n := pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.deliveries where deferred`); n != 0 {
		t.Errorf("%d are deferred at the end", n)
	}
}

func TestAttempt_Unsure_Counted(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	enqueue(t, s, pending("a", 1))
	c := claim(t, s, 1, leaseLong)[0]
	if ok, err := s.Postpone(t.Context(), c.ID, c.Fence,
		commands.Outcome{State: domain.DeliveryUnknown, Reason: "no answer"}); err != nil || !ok {
		t.Fatalf("put off: %t, %v", ok, err)
	}
	got := claim(t, s, 1, leaseLong)
	if len(got) != 1 || got[0].Unsure != 1 || got[0].Attempt != 2 || got[0].Waived != 0 {
		t.Fatalf("claimed %+v, want attempt 2 after 1 doubtful one", got)
	}
	if ok, err := s.Postpone(t.Context(), got[0].ID, got[0].Fence,
		commands.Outcome{State: domain.DeliveryRetry, Untried: true}); err != nil || !ok {
		t.Fatalf("put off: %t, %v", ok, err)
	}
	if got := claim(t, s, 1, leaseLong); len(got) != 1 || got[0].Unsure != 1 || got[0].Attempt != 2 {
		t.Errorf("claimed %+v, want attempt 2 again: the last was none", got)
	}
}

// The urgent go first then the oldest.
func TestClaim_Order_UrgentThenOldest(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	late := pending("late", 1)
	late.Priority = 10
	enqueue(t, s, pending("early", 1), pending("middle", 1), late)
	for _, want := range []string{"late/1", "early/1", "middle/1"} {
		if got := claim(t, s, 1, leaseLong); places(got) != want {
			t.Errorf("claimed %q, want %s", places(got), want)
		}
	}
}

// A destination is claimed for itself.
func TestClaim_Destination_OthersUntouched(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := pending("a", 1)
	d.Destination = "orders:demo"
	enqueue(t, s, d, pending("b", 1))
	if got := claimAll(t, s, leaseLong); places(got) != "b/1" {
		t.Errorf("claimed %q, want b/1: a/1 goes elsewhere", places(got))
	}
}

// Every claim there is waits for the server; updates are taken in all the same.
func TestClaim_FiftyBots_ConnectionsLeftForAppends(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s, watch := open(t, dsn), pgtest.Connect(t, dsn)
	blocking, err := pgtest.Connect(t, dsn).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, blocking, `lock table eventstore.deliveries in exclusive mode`)
	ctx := waittest.Context(t)
	var started, claims sync.WaitGroup
	defer claims.Wait()
	for bot := range 50 {
		for _, kind := range []string{"telegram", "zendesk", "crm"} {
			started.Add(1)
			claims.Go(func() {
				started.Done()
				if _, err := s.Claim(ctx, fmt.Sprintf("%s:bot%d", kind, bot), "worker", 10, leaseLong); err != nil {
					t.Error(err)
				}
			})
		}
	}
	started.Wait()
	blocked := func() int {
		return pgtest.Ask[int](t, watch, `
			select count(*) from pg_locks
			where not granted and database = (select oid from pg_database where datname = current_database())`)
	}
	waittest.Until(t, "as many claims as may have a connection", func() bool { return blocked() >= outbox.ClaimsAtOnce })
	for i := range 100 {
		errs, err := s.Append(ctx, []commands.Append{{Stream: domain.ChatStream("demo", int64(i)), Events: said(1)}})
		if err != nil || errs[0] != nil {
			t.Fatalf("append %d: %v, %v", i, err, errs)
		}
	}
	if n := blocked(); n > outbox.ClaimsAtOnce {
		t.Errorf("%d claims have a connection, want at most %d", n, outbox.ClaimsAtOnce)
	}
	if err := blocking.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A lease that ran out is taken over.
func TestLease_Expired_TakenOver(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	enqueue(t, s, pending("a", 1), pending("b", 1))
	gone := claim(t, s, 1, leaseOver)[0]
	claim(t, s, 1, leaseLong) // b's worker is alive
	takeOver(t, s)
	if ok, err := s.Postpone(t.Context(), gone.ID, gone.Fence,
		commands.Outcome{State: domain.DeliveryRetry, Reason: "too late"}); err != nil || ok {
		t.Errorf("who lost the lease put the delivery off: %t, %v", ok, err)
	}
	got := claimAll(t, s, leaseLong)
	if places(got) != "a/1" || got[0].Unsure != 1 || got[0].Attempt != 2 || got[0].Fence <= gone.Fence {
		t.Errorf("claimed %+v, want a/1 again, in doubt, under a new fence", got)
	}
	if n, err := s.ReclaimExpired(t.Context()); err != nil || n != 0 {
		t.Errorf("took %d more over (%v)", n, err)
	}
}

// Workers of two processes claim, put off, give up and settle as they come, while
// operators retry and the deliveries of long keys are deferred.
func TestClaim_Concurrent_OnceAndInOrder(t *testing.T) {
	t.Parallel()
	const keys, each = 12, 8
	dsn := pgtest.Database(t)
	stores := []*process{open(t, dsn), open(t, dsn)}
	var all []commands.Delivery
	for version := range each {
		for key := range keys {
			all = append(all, pending(fmt.Sprintf("key%d", key), version+1))
		}
	}
	enqueue(t, stores[0], all...)
	pgtest.Exec(t, stores[0].Pool(), `update eventstore.deliveries set created_at = now() - interval '1 hour'`)

	var mu sync.Mutex
	busy := map[string]domain.Version{} // keys of which a delivery is being sent
	reached := map[string]domain.Version{}
	left := len(all)
	ctx := waittest.Context(t)
	var wg sync.WaitGroup
	unfinished := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return left > 0 && ctx.Err() == nil
	}
	for _, s := range stores {
		wg.Go(func() {
			for unfinished() {
				if err := s.DeferFollowers(ctx); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range 4 {
		rng := rand.New(rand.NewPCG(uint64(w), 4))
		s := stores[w%2]
		wg.Go(func() {
			for unfinished() {
				got, err := s.Claim(ctx, destination, fmt.Sprint("worker ", w), 1+rng.IntN(4), leaseLong)
				if err != nil {
					t.Error(err)
					return
				}
				for _, c := range got {
					mu.Lock()
					if other, taken := busy[c.OrderingKey]; taken {
						t.Errorf("%s: version %d was claimed while %d is being sent", c.OrderingKey, c.Version, other)
					}
					if c.Version != reached[c.OrderingKey]+1 {
						t.Errorf("%s: version %d was claimed after %d", c.OrderingKey, c.Version, reached[c.OrderingKey])
					}
					busy[c.OrderingKey] = c.Version
					mu.Unlock()
				}
				for _, c := range got {
					what := rng.IntN(6)
					again := what < 3
					mu.Lock()
					delete(busy, c.OrderingKey) // before the store lets go: another may claim at once
					if !again {
						reached[c.OrderingKey] = c.Version
						left--
					}
					mu.Unlock()
					if what == 0 {
						letter := commands.Settlement{Delivery: c.ID, Fence: c.Fence, State: domain.DeliveryDead, BlocksKey: true}
						retry := commands.Settlement{Delivery: c.ID, Was: domain.DeliveryDead, Fence: c.Fence,
							State: domain.DeliveryWaiting}
						for _, decision := range []commands.Settlement{letter, retry} {
							if errs, err := s.Append(ctx, []commands.Append{outcome(decision)}); err != nil || errs[0] != nil {
								t.Errorf("%+v: %v, %v", decision, errs, err)
							}
						}
						continue
					}
					if again {
						if ok, err := s.Postpone(ctx, c.ID, c.Fence,
							commands.Outcome{State: domain.DeliveryRetry, Reason: "busy"}); err != nil || !ok {
							t.Errorf("put off: %t, %v", ok, err)
						}
						continue
					}
					errs, err := s.Append(ctx,
						[]commands.Append{outcome(commands.Settlement{Delivery: c.ID, Fence: c.Fence, State: domain.DeliveryDone})})
					if err != nil || errs[0] != nil {
						t.Errorf("settle: %v, %v", errs, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if left > 0 {
		t.Errorf("%d deliveries were never claimed", left)
	}
}

// Claimers are woken.
func TestClaim_Enqueue_WakesClaimers(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	woken := func(waiting <-chan struct{}) bool {
		select {
		case <-waiting:
			return true
		default:
			return false
		}
	}
	waiting, neighbour := s.Ready(destination), s.Ready("telegram:neighbour")
	enqueue(t, s, pending("a", 1))
	if woken(waiting) {
		t.Error("claimers were woken by Owe, which may yet be rolled back")
	}
	if s.Notify("demo"); !woken(waiting) {
		t.Error("claimers were not woken by Owed")
	}
	if woken(neighbour) {
		t.Error("claimers were woken by what another bot owes")
	}
	claim(t, s, 1, leaseOver)
	waiting = s.Ready(destination)
	if takeOver(t, s); !woken(waiting) || !woken(neighbour) {
		t.Error("claimers were not woken by a take-over")
	}
	waiting, neighbour = s.Ready(destination), s.Ready("telegram:neighbour")
	if _, err := s.ReclaimExpired(t.Context()); err != nil || woken(waiting) {
		t.Errorf("claimers were woken for nothing (%v)", err)
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	if woken(waiting) {
		t.Error("claimers were woken by an append that settles nothing")
	}
	c := claim(t, s, 1, leaseLong)[0]
	if settle(t, s, c, domain.DeliveryDone); !woken(waiting) {
		t.Error("claimers were not woken after the next delivery of a key became free")
	}
	if woken(neighbour) {
		t.Error("claimers were woken by a delivery of another bot")
	}
}

// A gateway's answer is an unsure attempt that does not use up the one repeat.
func TestPostpone_Unlikely_UnsureAndWaived(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	enqueue(t, s, pending("chat-demo:1", 1))
	for attempt := range 3 {
		c := claimAll(t, s, time.Minute)[0]
		if c.Unsure != attempt || c.Waived != attempt || c.Attempt != attempt+1 {
			t.Errorf("attempt %d: %d unsure, %d waived", c.Attempt, c.Unsure, c.Waived)
		}
		page := commands.Outcome{State: domain.DeliveryUnknown, Unlikely: true, Reason: "502 Bad Gateway"}
		if ok, err := s.Postpone(t.Context(), c.ID, c.Fence, page); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
}
