//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// address forwards connections to a server, and fails over to another one.
type address struct {
	net.Listener
	mu     sync.Mutex
	target string
	open   []net.Conn
}

func newAddress(t *testing.T, target string) *address {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	a := &address{Listener: l, target: target}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			out, err := net.Dial("tcp", a.target)
			if err != nil {
				in.Close()
				a.mu.Unlock()
				continue
			}
			a.open = append(a.open, in, out)
			a.mu.Unlock()
			go func() { _, _ = io.Copy(out, in); out.Close() }()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
		}
	}()
	return a
}

func (a *address) failOver(target string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.target = target
	for _, c := range a.open {
		c.Close()
	}
	a.open = nil
}

// A replica is promoted that lacks the last events. What was read from the former primary must not be
// handed out any more, and nothing is appended that was decided on it, though the versions match.
func TestFailover_LostTail_EndsWhatWasRead(t *testing.T) {
	t.Parallel()
	pair := pgtest.NewPair(t)
	u, err := url.Parse(pair.Database(t, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	a := newAddress(t, u.Host)
	u.Host = a.Addr().String()
	s := open(t, u.String())
	before := s.Incarnation()
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(2)})
	pair.LoseTail(t)
	must(t, s, commands.Append{Stream: "chat-demo:1", Expected: 2, Events: said(1)})
	must(t, s, commands.Append{Stream: "chat-demo:2", Events: said(1)})
	readers := lead(t, s, "readers")
	wantPage(t, whole(t, readers, 4), "chat-demo:1/1", "chat-demo:1/2", "chat-demo:1/3", "chat-demo:2/1")

	a.failOver(pair.FailOver(t))
	waittest.Until(t, "the replica is reached", func() bool { return s.Pool().Ping(context.Background()) == nil })
	if s.Incarnation() == before {
		t.Fatal("the failover was not noticed: the incarnation is still the same")
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Incarnation: s.Incarnation(), Expected: 2, Events: said(1)})
	if err := appendOne(t, s, commands.Append{Stream: "chat-demo:1", Incarnation: before, Expected: 3,
		Events: said(1)}); err != commands.ErrConflict {
		t.Errorf("an append that was decided on lost events: %v, want a conflict", err)
	}
	if _, err := readers.Next(t.Context(), 10); err == nil {
		t.Error("a leader goes on with what it read from the former primary")
	}
	wantPage(t, whole(t, lead(t, s, "others"), 3), "chat-demo:1/1", "chat-demo:1/2", "chat-demo:1/3")
}

// A pooler keeps our connections when the server behind it becomes another one, here one with
// another epoch. Each of the statements that append must notice it, whatever version matches.
func TestAppend_DecidedOnAnotherServer_Conflicts(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s, admin := open(t, dsn), pgtest.Connect(t, dsn)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	next := func(expected domain.Version, stream domain.StreamID, update int64) commands.Append {
		return commands.Append{Stream: stream, Incarnation: s.Incarnation(), Expected: expected, Events: said(1),
			Updates: []commands.ConsumedUpdate{{Bot: "demo", ID: update, Version: expected + 1}}}
	}
	for i, batch := range [][]commands.Append{
		{next(1, "chat-demo:1", 1)},                             // a single update
		{next(1, "chat-demo:1", 1), next(0, "chat-demo:2", 2)},  // many
		{next(1, "chat-demo:1", 1), next(7, "chat-demo:2", 12)}, // one of them is a conflict anyway
	} {
		for j := range batch {
			batch[j].Incarnation = s.Incarnation()
		}
		pgtest.Exec(t, admin, fmt.Sprintf(`create or replace function eventstore.rebased(id xid8) returns xid8
			language sql stable parallel safe as 'select (id::text::numeric + %d)::text::xid8'`, i+1))
		for try := range 2 { // the second is not asked any more
			errs, err := s.Append(t.Context(), batch)
			if err != nil {
				t.Fatal(err)
			}
			for j, err := range errs {
				if err != commands.ErrConflict {
					t.Errorf("batch %d, try %d: append %d: %v, want a conflict", i, try, j, err)
				}
			}
		}
		if s.Incarnation() == batch[0].Incarnation {
			t.Errorf("batch %d: the other server was not noticed", i)
		}
	}
	must(t, s, next(1, "chat-demo:1", 1))
	if got := len(stream(t, s, "chat-demo:1")); got != 2 {
		t.Errorf("%d events, want 2", got)
	}
}
