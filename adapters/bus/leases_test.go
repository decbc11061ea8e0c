package bus

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// fakeOutbox is an Outbox in memory.
type fakeOutbox struct {
	mu       sync.Mutex
	pending  map[string]int // by destination
	wake     chan struct{}
	claims   []time.Time
	leases   []time.Duration
	owners   []string
	fail     error
	released []uuid.UUID
}

func newOutbox(destination string, n int) *fakeOutbox {
	return &fakeOutbox{pending: map[string]int{destination: n}, wake: make(chan struct{})}
}

func (l *fakeOutbox) Claim(
	_ context.Context, destination, owner string, limit int, lease time.Duration,
) ([]commands.Claimed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims, l.leases, l.owners = append(l.claims, time.Now()), append(l.leases, lease), append(l.owners, owner)
	if l.fail != nil {
		return nil, l.fail
	}
	n := min(limit, l.pending[destination])
	l.pending[destination] -= n
	claimed := make([]commands.Claimed, n)
	for i := range claimed {
		claimed[i].ID, claimed[i].Destination, claimed[i].Body = uuid.New(), destination, []byte(`{"chat_id":1}`)
	}
	return claimed, nil
}

func (l *fakeOutbox) Postpone(ctx context.Context, delivery uuid.UUID, _ int64, o commands.Outcome) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.State == domain.DeliveryRetry && o.Untried && ctx.Err() == nil {
		l.released = append(l.released, delivery)
	}
	return true, ctx.Err()
}

func (l *fakeOutbox) Ready(string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wake
}

// enqueue adds deliveries, and wakes the claimers if wake is set.
func (l *fakeOutbox) enqueue(destination string, n int, wake bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending[destination] += n
	if wake {
		close(l.wake)
		l.wake = make(chan struct{})
	}
}

func (l *fakeOutbox) claimed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.claims)
}

func subscribe(t *testing.T, leases *Leases, destination string) <-chan *message.Message {
	t.Helper()
	messages, err := leases.Subscribe(t.Context(), destination)
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// waiting receives the messages that are available now.
func waiting(messages <-chan *message.Message) (list []*message.Message) {
	for {
		synctest.Wait()
		select {
		case msg, open := <-messages:
			if !open {
				return list
			}
			list = append(list, msg)
		default:
			return list
		}
	}
}

func ackAll(messages []*message.Message) {
	for _, msg := range messages {
		msg.Ack()
	}
}

// A message has its delivery, and its context is not cancelled by Close.
func TestLeases_Message_HasDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newOutbox("telegram:demo", 1)
		leases := NewLeases(outbox, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		msg := <-messages
		c := Claimed(msg)
		if c.Destination != "telegram:demo" || c.ID.String() != msg.UUID || string(msg.Payload) != `{"chat_id":1}` {
			t.Errorf("message %s %s for delivery %+v", msg.UUID, msg.Payload, c)
		}
		if outbox.owners[0] != "host/1" || outbox.leases[0] != lease {
			t.Errorf("claimed by %s for %s", outbox.owners[0], outbox.leases[0])
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = leases.Close() }()
		synctest.Wait()
		if msg.Context().Err() != nil {
			t.Error("Close cancels the attempt")
		}
		msg.Ack()
		<-done
	})
}

// At most atOnce deliveries to each destination are in progress.
func TestLeases_Destination_ConcurrencyBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newOutbox("slow", 25)
		outbox.pending["quick"] = 3
		leases := NewLeases(outbox, "host/1", quiet)
		slow, quick := subscribe(t, leases, "slow"), subscribe(t, leases, "quick")
		first := waiting(slow)
		if len(first) != atOnce {
			t.Fatalf("%d in progress, want %d", len(first), atOnce)
		}
		time.Sleep(time.Minute) // a slow destination does not get more of them with time
		if more := waiting(slow); len(more) > 0 {
			t.Fatalf("%d more in progress, want none", len(more))
		}
		if n := waiting(quick); len(n) != 3 {
			t.Errorf("%d to another destination, want 3: it must not wait for this one", len(n))
		} else {
			ackAll(n)
		}
		first[0].Ack()
		first[1].Nack() // the same as Ack: the outcome is in the outbox
		time.Sleep(claimEvery)
		second := waiting(slow)
		if len(second) != 2 {
			t.Errorf("%d more after two have ended, want 2", len(second))
		}
		ackAll(append(first[2:], second...))
		time.Sleep(claimEvery)
		rest := waiting(slow)
		if len(rest) != atOnce {
			t.Errorf("%d more in progress, want %d", len(rest), atOnce)
		}
		ackAll(rest)
		time.Sleep(claimEvery)
		ackAll(waiting(slow))
		if err := leases.Close(); err != nil || outbox.pending["slow"] != 0 {
			t.Errorf("%d are still pending: %v", outbox.pending["slow"], err)
		}
	})
}

// Deliveries are claimed at once after a wake-up, and otherwise within claimEvery.
func TestLeases_Woken_ClaimsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newOutbox("telegram:demo", 0)
		leases := NewLeases(outbox, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		time.Sleep(claimEvery / 2) // between two claims
		synctest.Wait()
		now := time.Now()
		outbox.enqueue("telegram:demo", 1, true)
		msg := <-messages
		if took := time.Since(now); took != 0 {
			t.Errorf("claimed %s after the wake-up, want at once", took)
		}
		msg.Ack()
		outbox.enqueue("telegram:demo", 1, false) // by another process, without a wake-up
		msg = <-messages
		if took := time.Since(now); took == 0 || took > claimEvery {
			t.Errorf("claimed after %s without a wake-up, want at most claimEvery", took)
		}
		msg.Ack()
		if err := leases.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Under load there is one claim for several wake-ups.
func TestLeases_ManyWakeUps_FewClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newOutbox("telegram:demo", 0)
		leases := NewLeases(outbox, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		time.Sleep(claimEvery / 2)
		synctest.Wait()
		before, begun := outbox.claimed(), time.Now()
		const signals = 8
		for range signals {
			outbox.enqueue("telegram:demo", 1, true)
			synctest.Wait() // until the claimers have handled the wake-up
			time.Sleep(claimApart / signals)
		}
		for range signals {
			(<-messages).Ack()
		}
		if took := time.Since(begun); took > 2*claimApart {
			t.Errorf("the last delivery was claimed after %s", took)
		}
		if n := outbox.claimed() - before; n > 3 {
			t.Errorf("%d claims for %d wake-ups in %s", n, signals, claimApart)
		}
		if err := leases.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Close waits for the attempts in progress and claims no more deliveries.
func TestLeases_Close_WaitsForAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newOutbox("telegram:demo", 2)
		leases := NewLeases(outbox, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		inProgress := waiting(messages)
		closed := make(chan struct{})
		go func() { defer close(closed); _ = leases.Close() }()
		synctest.Wait()
		claims := outbox.claimed()
		for _, msg := range inProgress {
			select {
			case <-closed:
				t.Fatal("Close did not wait")
			default:
			}
			outbox.enqueue("telegram:demo", 1, true)
			time.Sleep(time.Second)
			msg.Ack()
			synctest.Wait()
		}
		<-closed
		if n := outbox.claimed(); n != claims {
			t.Errorf("%d more claims after Close", n-claims)
		}
		if _, open := <-messages; open {
			t.Error("another message after Close")
		}
	})
}

// After a failed claim, for example without a database, the next one is made after claimAgain.
func TestLeases_ClaimFails_RetriedWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newOutbox("telegram:demo", 1)
		outbox.fail = errors.New("no connection")
		leases := NewLeases(outbox, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		time.Sleep(10*claimAgain - 1)
		synctest.Wait()
		if n := outbox.claimed(); n < 2 || n > 10 {
			t.Errorf("%d claims in %s", n, 10*claimEvery)
		}
		outbox.mu.Lock()
		outbox.fail = nil
		outbox.mu.Unlock()
		(<-messages).Ack()
		if err := leases.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestLeases_Close_UnusedClaimsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newOutbox("telegram:demo", 3)
		leases := NewLeases(outbox, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		taken := <-messages
		synctest.Wait() // until the other messages wait for a receiver
		go taken.Ack()
		if err := leases.Close(); err != nil {
			t.Fatal(err)
		}
		if len(outbox.released) != 2 || slices.Contains(outbox.released, uuid.MustParse(taken.UUID)) {
			t.Errorf("released %v, want the two others than %s", outbox.released, taken.UUID)
		}
	})
}
