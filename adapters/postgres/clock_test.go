//go:build unix

package postgres_test

import (
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/postgres/timers"
	"github.com/chatledger/chatledger/commands"
)

// The server's clock is set back by an hour: what was enqueued, limited and taken before is as if it
// had been an hour ahead. Nothing waits for that hour.
func TestClock_SetBackAnHour_NothingWaits(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	enqueue(t, s, pending("telegram:demo:1", 1))
	pgtest.Exec(t, s.Pool(), `update eventstore.deliveries set created_at = created_at + interval '1 hour',
		next_attempt = next_attempt + interval '1 hour'`)
	if got := claimAll(t, s, leaseLong); len(got) != 1 {
		t.Errorf("%d deliveries claimed, want 1", len(got))
	}

	f := newFlow(t, s)
	for range 3 {
		f.admit("7")
	}
	f.now = f.now.Add(-time.Hour)
	for i, want := range []time.Duration{0, 0, time.Second} { // as at first
		if got := f.admit("7"); got.Wait != want || got.Cause != "" {
			t.Errorf("call %d after the clock was set back: %+v, want to wait %s", i, got, want)
		}
	}

	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1), Wake: &at})
	kept := timers.New(s.DB)
	take := func() int {
		t.Helper()
		taken, err := kept.Take(t.Context(), at)
		if err != nil {
			t.Fatal(err)
		}
		return len(taken)
	}
	if first, again := take(), take(); first != 1 || again != 0 {
		t.Fatalf("%d timers taken, then %d, want 1 and 0", first, again)
	}
	pgtest.Exec(t, s.Pool(), `update eventstore.timers set taken_until = taken_until + interval '1 hour'`)
	if next, err := kept.Next(t.Context()); err != nil || next.IsZero() {
		t.Errorf("the next timer is due at %v, error %v", next, err)
	}
	if got := take(); got != 1 {
		t.Errorf("%d timers taken after the clock was set back, want 1", got)
	}
}
