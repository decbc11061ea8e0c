//go:build unix

package postgres_test

import (
	"log/slog"
	"strings"
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

// A stopped process keeps its sessions, with their locks and open writes. Another process still
// takes over, and the stopped one can move nothing when it continues.
func TestLeader_Hangs_IsReplacedAndFenced(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	first, second := open(t, dsn), open(t, dsn)
	must(t, first, commands.Append{Stream: "chat-demo:1", Events: said(2)})
	leader := lead(t, first, "readers")
	page := next(t, leader, 1)
	tx := effect(t, leader)
	first.Pool().Close() // no heartbeats any more, and the leader's own session stays open
	select {
	case c := <-follow(t, second, "readers"):
		defer c.Close()
		if err := leader.Advance(t.Context(), tx, page); err == nil {
			t.Error("the hung leader moved the checkpoint after another took over")
		}
		wantPage(t, next(t, c, 10), "chat-demo:1/1", "chat-demo:1/2")
	case <-time.After(waittest.Timeout):
		t.Fatal("a hung leader was not replaced")
	}
}

// A process that waits for a group logs who leads it, once for each leader.
func TestSubscribe_GroupIsLed_LeaderLoggedOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	first, second := open(t, dsn), open(t, dsn)
	leader := lead(t, first, "readers")
	var log waittest.Log
	second.Log = slog.New(slog.NewTextHandler(&log, nil))
	followed := follow(t, second, "readers")
	const line = "another process leads the consumer group"
	waittest.Until(t, "the leader is logged", func() bool { return strings.Contains(log.String(), line) })
	leader.Close()
	c := <-followed
	defer c.Close()
	if got := log.String(); strings.Count(got, line) != 1 || !strings.Contains(got, "leader="+first.Process()) {
		t.Errorf("logged %s", got)
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
	if _, err := other.Exec(t.Context(),
		`select pg_advisory_lock(hashtextextended('chatledger group readers', 0))`); err != nil {
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

// Heartbeats go on while a leader hangs in a page: its own process must notice it.
func TestHung_LeaderKeepsItsPage_Named(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	leader, err := s.Subscribe(t.Context(), "readers")
	if err != nil {
		t.Fatal(err)
	}
	next(t, leader, 1)
	if group, hangs := s.Hung(time.Hour); hangs {
		t.Errorf("group %s hangs at once", group)
	}
	if group, hangs := s.Hung(0); !hangs || group != "readers" {
		t.Errorf("group %q hangs: %t, want readers", group, hangs)
	}
	leader.Close()
	if group, hangs := s.Hung(0); hangs {
		t.Errorf("group %s hangs, and this process does not lead it any more", group)
	}
}
