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

// fakeLedger owes deliveries by destination.
type fakeLedger struct {
	mu     sync.Mutex
	owed   map[string]int
	wake   chan struct{}
	claims []time.Time
	leases []time.Duration
	owners []string
	fail   error
	back   []uuid.UUID
}

func newLedger(destination string, n int) *fakeLedger {
	return &fakeLedger{owed: map[string]int{destination: n}, wake: make(chan struct{})}
}

func (l *fakeLedger) Claim(
	_ context.Context, destination, owner string, limit int, lease time.Duration,
) ([]commands.Claimed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims, l.leases, l.owners = append(l.claims, time.Now()), append(l.leases, lease), append(l.owners, owner)
	if l.fail != nil {
		return nil, l.fail
	}
	n := min(limit, l.owed[destination])
	l.owed[destination] -= n
	claimed := make([]commands.Claimed, n)
	for i := range claimed {
		claimed[i].ID, claimed[i].Destination, claimed[i].Body = uuid.New(), destination, []byte(`{"chat_id":1}`)
	}
	return claimed, nil
}

func (l *fakeLedger) Postpone(ctx context.Context, delivery uuid.UUID, _ int64, o commands.Outcome) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o.State == domain.DeliveryRetry && o.Untried && ctx.Err() == nil {
		l.back = append(l.back, delivery)
	}
	return true, ctx.Err()
}

func (l *fakeLedger) Ready(string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wake
}

// owe adds deliveries, and wakes the claimers when asked to.
func (l *fakeLedger) owe(destination string, n int, wake bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed[destination] += n
	if wake {
		close(l.wake)
		l.wake = make(chan struct{})
	}
}

func (l *fakeLedger) claimed() int {
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

// waiting takes what is handed out at this moment.
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

// A message carries its delivery.
func TestLeases_Message_CarriesDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := newLedger("telegram:demo", 1)
		leases := NewLeases(ledger, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		msg := <-messages
		c := Claimed(msg)
		if c.Destination != "telegram:demo" || c.ID.String() != msg.UUID || string(msg.Payload) != `{"chat_id":1}` {
			t.Errorf("the message is %s %s for %+v", msg.UUID, msg.Payload, c)
		}
		if ledger.owners[0] != "host/1" || ledger.leases[0] != lease {
			t.Errorf("claimed by %s for %s", ledger.owners[0], ledger.leases[0])
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = leases.Close() }()
		synctest.Wait()
		if msg.Context().Err() != nil {
			t.Error("the attempt is cut off by Close")
		}
		msg.Ack()
		<-done
	})
}

// A few deliveries to each destination are under way.
func TestLeases_Destination_ConcurrencyBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := newLedger("slow", 25)
		ledger.owed["quick"] = 3
		leases := NewLeases(ledger, "host/1", quiet)
		slow, quick := subscribe(t, leases, "slow"), subscribe(t, leases, "quick")
		first := waiting(slow)
		if len(first) != atOnce {
			t.Fatalf("%d are under way, want %d", len(first), atOnce)
		}
		time.Sleep(time.Minute) // a slow destination does not fill up with time
		if more := waiting(slow); len(more) > 0 {
			t.Fatalf("%d more are under way", len(more))
		}
		if n := waiting(quick); len(n) != 3 {
			t.Errorf("%d to another destination, want 3: it does not wait for this one", len(n))
		} else {
			ackAll(n)
		}
		first[0].Ack()
		first[1].Nack() // what became of it stands in the ledger
		time.Sleep(claimEvery)
		second := waiting(slow)
		if len(second) != 2 {
			t.Errorf("%d followed the two that ended", len(second))
		}
		ackAll(append(first[2:], second...))
		time.Sleep(claimEvery)
		rest := waiting(slow)
		if len(rest) != atOnce {
			t.Errorf("%d more are under way, want %d", len(rest), atOnce)
		}
		ackAll(rest)
		time.Sleep(claimEvery)
		ackAll(waiting(slow))
		if err := leases.Close(); err != nil || ledger.owed["slow"] != 0 {
			t.Errorf("%d are still owed: %v", ledger.owed["slow"], err)
		}
	})
}

// Deliveries are claimed at once when woken and otherwise soon.
func TestLeases_Woken_ClaimsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := newLedger("telegram:demo", 0)
		leases := NewLeases(ledger, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		time.Sleep(claimEvery / 2) // between two claims
		synctest.Wait()
		now := time.Now()
		ledger.owe("telegram:demo", 1, true)
		msg := <-messages
		if took := time.Since(now); took != 0 {
			t.Errorf("it took %s to claim what was announced", took)
		}
		msg.Ack()
		ledger.owe("telegram:demo", 1, false) // by another process
		msg = <-messages
		if took := time.Since(now); took == 0 || took > claimEvery {
			t.Errorf("it took %s to claim what was not announced", took)
		}
		msg.Ack()
		if err := leases.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Under load one claim serves several signals.
func TestLeases_ManySignals_OneClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := newLedger("telegram:demo", 0)
		leases := NewLeases(ledger, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		time.Sleep(claimEvery / 2)
		synctest.Wait()
		before, begun := ledger.claimed(), time.Now()
		const signals = 8
		for range signals {
			ledger.owe("telegram:demo", 1, true)
			synctest.Wait() // whoever is woken has looked
			time.Sleep(claimApart / signals)
		}
		for range signals {
			(<-messages).Ack()
		}
		if took := time.Since(begun); took > 2*claimApart {
			t.Errorf("the last was claimed after %s", took)
		}
		if n := ledger.claimed() - before; n > 3 {
			t.Errorf("%d claims for %d signals in %s", n, signals, claimApart)
		}
		if err := leases.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Close waits for deliveries under way and claims no more.
func TestLeases_Close_WaitsForAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := newLedger("telegram:demo", 2)
		leases := NewLeases(ledger, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		underWay := waiting(messages)
		closed := make(chan struct{})
		go func() { defer close(closed); _ = leases.Close() }()
		synctest.Wait()
		claims := ledger.claimed()
		for _, msg := range underWay {
			select {
			case <-closed:
				t.Fatal("Close did not wait")
			default:
			}
			ledger.owe("telegram:demo", 1, true)
			time.Sleep(time.Second)
			msg.Ack()
			synctest.Wait()
		}
		<-closed
		if n := ledger.claimed(); n != claims {
			t.Errorf("%d more claims after Close", n-claims)
		}
		if _, open := <-messages; open {
			t.Error("another delivery was handed out")
		}
	})
}

// The ledger cannot be reached: it is asked again, at the usual pace at most.
func TestLeases_ClaimFails_RetriedWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := newLedger("telegram:demo", 1)
		ledger.fail = errors.New("no connection")
		leases := NewLeases(ledger, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		time.Sleep(10*claimAgain - 1)
		synctest.Wait()
		if n := ledger.claimed(); n < 2 || n > 10 {
			t.Errorf("%d claims in %s", n, 10*claimEvery)
		}
		ledger.mu.Lock()
		ledger.fail = nil
		ledger.mu.Unlock()
		(<-messages).Ack()
		if err := leases.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestLeases_Close_UnusedClaimsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ledger := newLedger("telegram:demo", 3)
		leases := NewLeases(ledger, "host/1", quiet)
		messages := subscribe(t, leases, "telegram:demo")
		taken := <-messages
		synctest.Wait() // the others are offered
		go taken.Ack()
		if err := leases.Close(); err != nil {
			t.Fatal(err)
		}
		if len(ledger.back) != 2 || slices.Contains(ledger.back, uuid.MustParse(taken.UUID)) {
			t.Errorf("given back: %v, and %s was taken", ledger.back, taken.UUID)
		}
	})
}
