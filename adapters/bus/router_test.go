package bus

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// runRouter runs a router until the returned function is called.
func runRouter(t *testing.T, r *Router) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	<-r.Running()
	return func() { cancel(); <-done }
}

func newRouter(t *testing.T) *Router {
	t.Helper()
	r, err := NewRouter(quiet)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// After an error or a panic of the handler, the page is read again.
func TestRouter_HandlerPanics_PageAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(2)
		r := newRouter(t)
		var tries [][]int
		var txs []pgx.Tx
		observed := make(chan int, 1)
		r.Follow(NewLog("readers", f.lead, quiet, func(group string, page []domain.Recorded, _ time.Duration) {
			if group != "readers" {
				t.Errorf("group %s was observed", group)
			}
			observed <- len(page)
		}), func(_ context.Context, tx pgx.Tx, page []domain.Recorded) error {
			tries, txs = append(tries, versions(page)), append(txs, tx)
			switch len(tries) {
			case 1:
				return errors.New("rejected")
			case 2:
				panic("a mistake")
			}
			return nil
		})
		stop := runRouter(t, r)
		if n := <-observed; n != 2 {
			t.Errorf("observed a page of %d", n)
		}
		stop()
		want := [][]int{{1, 2}, {1, 2}, {1, 2}}
		if !slices.EqualFunc(tries, want, slices.Equal) {
			t.Errorf("the handler got %v, want %v", tries, want)
		}
		for i, state := range []string{"rolled back", "rolled back", "committed"} {
			if got := txs[i].(*fakeTx).state; got != state {
				t.Errorf("transaction %d was %s, want %s", i+1, got, state)
			}
		}
		other := func(group string) bool { return group != "readers" }
		if f.checkpoint != 2 || f.open != 0 || slices.ContainsFunc(f.leads, other) {
			t.Errorf("checkpoint %d, %d readers, led %v", f.checkpoint, f.open, f.leads)
		}
	})
}

// A group whose handler always fails does not delay other groups.
func TestRouter_FailingGroup_OthersContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := newFeed(1), newFeed(1)
		r := newRouter(t)
		nothing := func(string, []domain.Recorded, time.Duration) {}
		r.Follow(NewLog("bad", bad.lead, quiet, nothing),
			func(context.Context, pgx.Tx, []domain.Recorded) error { return errors.New("refused") })
		r.Follow(NewLog("good", good.lead, quiet, nothing),
			func(context.Context, pgx.Tx, []domain.Recorded) error { return nil })
		stop := runRouter(t, r)
		time.Sleep(time.Minute)
		good.add(1)
		synctest.Wait()
		if good.checkpoint != 2 || bad.checkpoint != 0 {
			t.Errorf("checkpoints %d and %d, want 2 and 0", good.checkpoint, bad.checkpoint)
		}
		stop()
	})
}

// A stopping router waits for its handlers.
func TestRouter_Stop_HandlersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, outbox := newFeed(1), newOutbox("telegram:demo", 1)
		r := newRouter(t)
		leases := NewLeases(outbox, "host/1", quiet)
		var sent, folded bool
		busy := drainTimeout / 2
		r.Follow(NewLog("readers", f.lead, quiet, func(string, []domain.Recorded, time.Duration) {}),
			func(context.Context, pgx.Tx, []domain.Recorded) error {
				time.Sleep(busy)
				folded = true
				return nil
			})
		r.Deliver(leases, "telegram:demo", func(ctx context.Context, c commands.Claimed) error {
			time.Sleep(busy)
			sent = ctx.Err() == nil && c.Destination == "telegram:demo"
			return nil
		})
		stop := runRouter(t, r)
		synctest.Wait()
		stop()
		if !sent || !folded || f.checkpoint != 1 {
			t.Errorf("sent %t, folded %t, checkpoint %d: want all work in progress completed", sent, folded, f.checkpoint)
		}
	})
}

// A panic of the handler does not block further deliveries to the destination.
func TestRouter_DeliveryPanics_SlotFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newOutbox("telegram:demo", 3*atOnce)
		r := newRouter(t)
		leases := NewLeases(outbox, "host/1", quiet)
		r.Deliver(leases, "telegram:demo", func(context.Context, commands.Claimed) error { panic("a mistake") })
		stop := runRouter(t, r)
		time.Sleep(time.Minute)
		synctest.Wait()
		if left := outbox.pending["telegram:demo"]; left != 0 {
			t.Errorf("%d deliveries are still pending, want 0", left)
		}
		stop()
	})
}

// A destination can be removed and added again while others continue.
func TestRouter_DestinationRemoved_OthersContinue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outbox := newOutbox("telegram:demo", 3)
		r := newRouter(t)
		leases := NewLeases(outbox, "host/1", quiet)
		var ended, others, again atomic.Int64
		r.Follow(NewLog("readers", newFeed(1).lead, quiet, func(string, []domain.Recorded, time.Duration) {}),
			func(context.Context, pgx.Tx, []domain.Recorded) error { return nil })
		remove := r.Deliver(leases, "telegram:demo", func(ctx context.Context, _ commands.Claimed) error {
			time.Sleep(time.Second)
			if ctx.Err() == nil {
				ended.Add(1)
			}
			return nil
		})
		r.Deliver(leases, "telegram:other",
			func(context.Context, commands.Claimed) error { others.Add(1); return nil })
		stop := runRouter(t, r)
		synctest.Wait()
		remove() // returns when the attempts in progress have ended
		if n := ended.Load(); n != 3 {
			t.Errorf("%d of 3 attempts ended normally", n)
		}
		outbox.enqueue("telegram:demo", 2, false)
		outbox.enqueue("telegram:other", 1, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if ended.Load() != 3 || others.Load() != 1 {
			t.Errorf("after the removal: %d attempts, want 3; to the other destination %d, want 1", ended.Load(), others.Load())
		}
		r.Deliver(leases, "telegram:demo", func(context.Context, commands.Claimed) error { again.Add(1); return nil })
		ctx, end := context.WithCancel(t.Context())
		if err := r.Start(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := again.Load(); n != 2 {
			t.Errorf("%d of 2 deliveries were attempted after it was added again", n)
		}
		end()
		stop()
	})
}
