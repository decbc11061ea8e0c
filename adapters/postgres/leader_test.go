//go:build unix

package postgres_test

import (
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
)

// follow subscribes in the background.
func follow(t *testing.T, s *process, group string) <-chan *eventstore.Consumer {
	t.Helper()
	followed := make(chan *eventstore.Consumer, 1)
	go func() {
		c, err := s.Subscribe(t.Context(), group)
		if err != nil {
			t.Error(err)
		}
		followed <- c
	}()
	return followed
}

// A process that is stopped keeps its sessions, and with them whatever they have locked and
// written. It is followed within 5 s all the same, and moves nothing when it comes back.
func TestLeader_Hangs_IsReplacedAndFenced(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	first, second := open(t, dsn), open(t, dsn)
	must(t, first, commands.Append{Stream: "chat-demo:1", Events: said(2)})
	leader := lead(t, first, "readers")
	page := next(t, leader, 1)
	tx := effect(t, leader)
	first.Pool().Close() // no heartbeats any more, and the leader's own session stays open
	hung := time.Now()
	select {
	case c := <-follow(t, second, "readers"):
		defer c.Close()
		if took := time.Since(hung); took > 5*time.Second {
			t.Errorf("the hung leader was replaced after %s, must be within 5 s", took)
		}
		if err := leader.Advance(t.Context(), tx, page); err == nil {
			t.Error("the hung leader moved the checkpoint after another took over")
		}
		wantPage(t, next(t, c, 10), "chat-demo:1/1", "chat-demo:1/2")
	case <-time.After(waittest.Timeout):
		t.Fatal("a hung leader was not replaced")
	}
}

// A leader whose session could not be ended, as under another role, is fenced by its term.
func TestLeader_WithAnEarlierTerm_MovesNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	leader := lead(t, s, "readers")
	page := next(t, leader, 1)
	if _, err := s.Pool().Exec(t.Context(), `update eventstore.checkpoints set term = term + 1`); err != nil {
		t.Fatal(err)
	}
	tx := effect(t, leader)
	if err := leader.Advance(t.Context(), tx, page); err == nil {
		t.Error("a leader with an earlier term moved the checkpoint")
	}
}

// Whoever may connect may take advisory locks: they must not stop a group.
func TestLeader_AdvisoryLockOfAnother_DoesNotBlock(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	other := pgtest.Connect(t, dsn)
	if _, err := other.Exec(t.Context(), `select pg_advisory_lock(hashtextextended('chatledger group readers', 0))`); err != nil {
		t.Fatal(err)
	}
	lead(t, open(t, dsn), "readers")
}

// A leader that works on one page for longer than the lease keeps its group.
func TestLeader_SlowPage_KeepsTheGroup(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	first, second := open(t, dsn), open(t, dsn)
	must(t, first, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	leader := lead(t, first, "readers")
	page := next(t, leader, 1)
	followed := follow(t, second, "readers")
	select {
	case <-followed:
		t.Fatal("a slow leader lost its group")
	case <-time.After(4500 * time.Millisecond): // the lease and an attempt
	}
	if err := leader.Advance(t.Context(), effect(t, leader), page); err != nil {
		t.Fatal(err)
	}
	leader.Close()
	(<-followed).Close()
}
