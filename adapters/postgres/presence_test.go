//go:build unix

package postgres_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
)

// attend lets a process announce itself until the returned function ends it, as kill -9 would.
func attend(t *testing.T, s *process) (kill func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s.RunNotifier(ctx, slog.New(slog.DiscardHandler))
	}()
	kill = func() { cancel(); <-gone }
	t.Cleanup(kill)
	for begun := time.Now(); !s.Presence.Held(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > waittest.Timeout {
			t.Fatal("nobody vouches for the process")
		}
	}
	return kill
}

// vouched counts the processes that hold the lock which says that they are there.
func vouched(t *testing.T, s *process) (n int) {
	t.Helper()
	err := s.Pool().QueryRow(t.Context(), `
		select count(*) from eventstore.locks l join pg_stat_activity a using (pid, backend_start)
		where l.name like 'process %' and a.datname = current_database()
		and a.application_name like '% announcements'`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLease_ProcessKilled_TakenOverEarly(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	killed, other, unvouched := open(t, dsn), open(t, dsn), open(t, dsn)
	kill := attend(t, killed)
	attend(t, other)
	enqueue(t, other, pending("chat-demo:1", 1), pending("chat-demo:2", 1), pending("chat-demo:3", 1))
	for _, s := range []*process{killed, other, unvouched} {
		if c := claim(t, s, 1, time.Hour); len(c) != 1 {
			t.Fatalf("claimed %+v", c)
		}
	}
	kill()
	begun := time.Now()
	for {
		n, err := other.ReclaimExpired(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			break
		}
		if n != 0 || time.Since(begun) > waittest.Timeout {
			t.Fatalf("%d were taken over after %s, want the one of the killed process", n, time.Since(begun))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if c := claimAll(t, other, time.Hour); len(c) != 1 || c[0].OrderingKey != "chat-demo:1" || c[0].Unsure != 1 {
		t.Errorf("claimed again: %+v", c)
	}
}

func TestLease_ConnectionLostBriefly_Kept(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	cut, other := open(t, dsn), open(t, dsn)
	attend(t, cut)
	enqueue(t, other, pending("chat-demo:1", 1))
	sending := claim(t, cut, 1, time.Hour)[0]
	if _, err := other.Pool().Exec(t.Context(), `
		select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
		and application_name like '% announcements'`); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); vouched(t, cut) == 0 ||
		time.Since(begun) < time.Second; time.Sleep(20 * time.Millisecond) {
		if n, err := other.ReclaimExpired(t.Context()); err != nil || n != 0 {
			t.Fatalf("%d were taken over from a process that lives (%v)", n, err)
		}
		if time.Since(begun) > waittest.Timeout {
			t.Fatal("nobody vouches for the process any more")
		}
	}
	settle(t, cut, sending, "done")
}
