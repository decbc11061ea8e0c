//go:build unix

package postgres_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

const (
	destination = "telegram:demo"
	// leaseLong outlives any test; leaseOver has run out when it is given.
	leaseLong = time.Hour
	leaseOver = -time.Second
)

// owed makes a delivery on a lane; its version tells it from the lane's others.
func owed(lane string, version int) commands.Delivery {
	return commands.Delivery{
		ID: uuid.Must(uuid.NewV7()), Stream: domain.StreamID(lane), Version: domain.Version(version), Kind: commands.KindSendMessage,
		Destination: destination, Lane: lane, Payload: commands.SendMessage{ChatID: 1, Text: fmt.Sprintf("%s/%d", lane, version)},
		Correlation: uuid.Must(uuid.NewV7()),
	}
}

func owe(t testing.TB, s *postgres.Store, deliveries ...commands.Delivery) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error { return s.Owe(t.Context(), tx, deliveries) })
	if err != nil {
		t.Fatal(err)
	}
}

func claim(t testing.TB, s *postgres.Store, limit int, lease time.Duration) []commands.Claimed {
	t.Helper()
	c, err := s.Claim(t.Context(), destination, "worker", limit, lease)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func claimAll(t testing.TB, s *postgres.Store, lease time.Duration) []commands.Claimed {
	t.Helper()
	return claim(t, s, 1000, lease)
}

// claimed owes a delivery on a lane and claims it under a lease that has run out
// for TakeOver, and still is one for everybody else.
func claimed(t testing.TB, s *postgres.Store, lane domain.StreamID) commands.Claimed {
	t.Helper()
	owe(t, s, owed(string(lane), 1))
	c := claimAll(t, s, leaseOver)
	if len(c) != 1 || c[0].Lane != string(lane) {
		t.Fatalf("claimed %+v, want what was owed on %s", c, lane)
	}
	return c[0]
}

func takeOver(t testing.TB, s *postgres.Store) {
	t.Helper()
	if n, err := s.TakeOver(t.Context()); err != nil || n != 1 {
		t.Fatalf("took over %d deliveries (%v), want 1", n, err)
	}
}

// settle ends an attempt on a stream that nobody else uses.
func settle(t testing.TB, s *postgres.Store, c commands.Claimed, state commands.State) {
	t.Helper()
	must(t, s, commands.Append{Stream: domain.StreamID("outcome-" + c.ID.String()), Events: said(1),
		Settled: []commands.Settlement{{Delivery: c.ID, Fence: c.Fence, State: string(state)}}})
}

// places are claimed deliveries as "<lane>/<version>", sorted.
func places(claimed []commands.Claimed) string {
	var list []string
	for _, c := range claimed {
		list = append(list, fmt.Sprintf("%s/%d", c.Lane, c.Version))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestAClaimedDeliveryIsWhatWasOwed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := owed("a", 3)
	d.Priority = 10
	d.Payload = commands.SendMessage{ChatID: -100, Text: "nul \x00, emoji 👋"}
	owe(t, s, d)
	exec(t, s.Pool(), `update eventstore.deliveries set created_at = now() - interval '50 hours'`)
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
	if c.ID != d.ID || c.Stream != d.Stream || c.Version != 3 || c.Kind != d.Kind || c.Destination != destination || c.Lane != "a" || c.Priority != 10 || c.Correlation != d.Correlation {
		t.Errorf("claimed %+v, owed %+v", c.Delivery, d)
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

func TestOwingAPageAgainAddsNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	page := []commands.Delivery{owed("a", 1), owed("b", 1)}
	owe(t, s, page...)
	settle(t, s, claimAll(t, s, leaseLong)[0], commands.Done)
	owe(t, s, append(page, owed("a", 2))...)
	if n := ask[int](t, s.Pool(), `select count(*) from eventstore.deliveries`); n != 3 {
		t.Errorf("%d deliveries, want 3", n)
	}
	if n := ask[int](t, s.Pool(), `select count(*) from eventstore.deliveries where state = 'done'`); n != 1 {
		t.Errorf("%d are done, want the 1 that was", n)
	}
}

func TestOwingIsUndoneWithItsTransaction(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	tx, err := s.Pool().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Owe(t.Context(), tx, []commands.Delivery{owed("a", 1)}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := claimAll(t, s, leaseLong); len(got) > 0 {
		t.Errorf("claimed %s, which nobody owes", places(got))
	}
}

func TestOnlyTheHeadOfALaneIsClaimed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	owe(t, s, owed("a", 1), owed("b", 1), owed("a", 2), owed("a", 3), owed("b", 2))
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
	slices.SortFunc(heads, func(x, y commands.Claimed) int { return strings.Compare(x.Lane, y.Lane) })
	settle(t, s, heads[0], commands.Done)
	a2 := step("a/2") // b is slow, which is nothing to a
	settle(t, s, a2[0], commands.Dead)
	a3 := step("a/3") // given up is an outcome too
	settle(t, s, a3[0], commands.Refused)
	settle(t, s, heads[1], commands.Unknown)
	settle(t, s, step("b/2")[0], commands.Done)
	step("")
}

func TestAHeadThatIsPutOffBlocksItsLaneAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	owe(t, s, owed("a", 1), owed("a", 2), owed("b", 1))
	for _, c := range claimAll(t, s, leaseLong) {
		if c.Lane == "b" {
			settle(t, s, c, commands.Done)
		} else if ok, err := s.PutOff(t.Context(), c.ID, c.Fence, time.Hour, false, "busy\x00"); err != nil || !ok {
			t.Fatalf("put off: %t, %v", ok, err)
		}
	}
	owe(t, s, owed("b", 2))
	if got := claimAll(t, s, leaseLong); places(got) != "b/2" {
		t.Errorf("claimed %q, want b/2 alone", places(got))
	}
	if got := ask[string](t, s.Pool(), `select reason from eventstore.deliveries where lane = 'a' and version = 1`); got != "busy␀" {
		t.Errorf("the reason reads %q", got)
	}
	exec(t, s.Pool(), `update eventstore.deliveries set next_attempt = now() where lane = 'a' and version = 1`) // an hour later
	got := claimAll(t, s, leaseLong)
	if places(got) != "a/1" || got[0].Attempt != 2 || got[0].Unsure != 0 {
		t.Errorf("claimed %+v, want the second attempt at a/1, no doubt about the first", got)
	}
}

func TestADoubtfulAttemptIsCounted(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	owe(t, s, owed("a", 1))
	c := claim(t, s, 1, leaseLong)[0]
	if ok, err := s.PutOff(t.Context(), c.ID, c.Fence, 0, true, "no answer"); err != nil || !ok {
		t.Fatalf("put off: %t, %v", ok, err)
	}
	if got := claim(t, s, 1, leaseLong); len(got) != 1 || got[0].Unsure != 1 || got[0].Attempt != 2 {
		t.Errorf("claimed %+v, want attempt 2 after 1 doubtful one", got)
	}
}

func TestTheUrgentGoFirstThenTheOldest(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	late := owed("late", 1)
	late.Priority = 10
	owe(t, s, owed("early", 1), owed("middle", 1), late)
	for _, want := range []string{"late/1", "early/1", "middle/1"} {
		if got := claim(t, s, 1, leaseLong); places(got) != want {
			t.Errorf("claimed %q, want %s", places(got), want)
		}
	}
}

func TestADestinationIsClaimedForItself(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	d := owed("a", 1)
	d.Destination = "orders:demo"
	owe(t, s, d, owed("b", 1))
	if got := claimAll(t, s, leaseLong); places(got) != "b/1" {
		t.Errorf("claimed %q, want b/1: a/1 goes elsewhere", places(got))
	}
}

func TestALeaseThatRanOutIsTakenOver(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	owe(t, s, owed("a", 1), owed("b", 1))
	gone := claim(t, s, 1, leaseOver)[0]
	claim(t, s, 1, leaseLong) // b's worker is alive
	takeOver(t, s)
	if ok, err := s.PutOff(t.Context(), gone.ID, gone.Fence, 0, false, "too late"); err != nil || ok {
		t.Errorf("who lost the lease put the delivery off: %t, %v", ok, err)
	}
	got := claimAll(t, s, leaseLong)
	if places(got) != "a/1" || got[0].Unsure != 1 || got[0].Attempt != 2 || got[0].Fence <= gone.Fence {
		t.Errorf("claimed %+v, want a/1 again, in doubt, under a new fence", got)
	}
	if n, err := s.TakeOver(t.Context()); err != nil || n != 0 {
		t.Errorf("took %d more over (%v)", n, err)
	}
}

// Workers of two processes claim, put off, lose leases and settle as they come.
func TestNoDeliveryIsInTwoHandsAndLanesStayInOrder(t *testing.T) {
	t.Parallel()
	const lanes, each = 12, 8
	dsn := pgtest.Database(t)
	stores := []*postgres.Store{open(t, dsn), open(t, dsn)}
	var all []commands.Delivery
	for version := range each {
		for lane := range lanes {
			all = append(all, owed(fmt.Sprintf("lane%d", lane), version+1))
		}
	}
	owe(t, stores[0], all...)

	var mu sync.Mutex
	busy := map[string]domain.Version{} // lanes with somebody sending
	reached := map[string]domain.Version{}
	left := len(all)
	ctx := patiently(t)
	var wg sync.WaitGroup
	for w := range 4 {
		rng := rand.New(rand.NewPCG(uint64(w), 4))
		s := stores[w%2]
		wg.Go(func() {
			for ctx.Err() == nil {
				mu.Lock()
				done := left == 0
				mu.Unlock()
				if done {
					return
				}
				got, err := s.Claim(ctx, destination, fmt.Sprint("worker ", w), 1+rng.IntN(4), leaseLong)
				if err != nil {
					t.Error(err)
					return
				}
				for _, c := range got {
					mu.Lock()
					if other, taken := busy[c.Lane]; taken {
						t.Errorf("%s: version %d was claimed while %d is being sent", c.Lane, c.Version, other)
					}
					if c.Version != reached[c.Lane]+1 {
						t.Errorf("%s: version %d was claimed after %d", c.Lane, c.Version, reached[c.Lane])
					}
					busy[c.Lane] = c.Version
					mu.Unlock()
				}
				for _, c := range got {
					again := rng.IntN(3) == 0
					mu.Lock()
					delete(busy, c.Lane) // before the store lets go: another may claim at once
					if !again {
						reached[c.Lane] = c.Version
						left--
					}
					mu.Unlock()
					if again {
						if ok, err := s.PutOff(ctx, c.ID, c.Fence, 0, false, "busy"); err != nil || !ok {
							t.Errorf("put off: %t, %v", ok, err)
						}
						continue
					}
					errs, err := s.Append(ctx, []commands.Append{{Stream: domain.StreamID("outcome-" + c.ID.String()), Events: said(1),
						Settled: []commands.Settlement{{Delivery: c.ID, Fence: c.Fence, State: "done"}}}})
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

func TestClaimersAreWoken(t *testing.T) {
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
	waiting := s.Waiting()
	owe(t, s, owed("a", 1))
	if woken(waiting) {
		t.Error("claimers were woken by Owe, which may yet be rolled back")
	}
	if s.Owed(); !woken(waiting) {
		t.Error("claimers were not woken by Owed")
	}
	claim(t, s, 1, leaseOver)
	waiting = s.Waiting()
	if takeOver(t, s); !woken(waiting) {
		t.Error("claimers were not woken by a take-over")
	}
	waiting = s.Waiting()
	if _, err := s.TakeOver(t.Context()); err != nil || woken(waiting) {
		t.Errorf("claimers were woken for nothing (%v)", err)
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	if woken(waiting) {
		t.Error("claimers were woken by an append that settles nothing")
	}
	c := claim(t, s, 1, leaseLong)[0]
	if settle(t, s, c, commands.Done); !woken(waiting) {
		t.Error("claimers were not woken though a lane moved up")
	}
}
