//go:build unix

package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// follower is a consumer group that writes what it handles, and fails on some events.
type follower struct {
	mu    sync.Mutex
	fails func(domain.Recorded) error
	bots  []string // those that are served; nil serves all
}

func (f *follower) serves(bot string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bots == nil || slices.Contains(f.bots, bot)
}

func (f *follower) serve(bots ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bots = bots
}

func (f *follower) failOn(fails func(domain.Recorded) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = fails
}

func (f *follower) apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range page {
		if err := f.fails(r); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `insert into handled values ($1, $2)`, string(r.Stream), int64(r.Version)); err != nil {
			return err
		}
	}
	return nil
}

// follow runs the group until the test ends.
func (f *follower) follow(t *testing.T, s *process) {
	t.Helper()
	pgtest.Exec(t, s.Pool(), `create table if not exists readmodel.handled (stream text, version bigint,
		n bigint generated always as identity, primary key (stream, version))`)
	router, err := bus.NewRouter(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	lead := func(ctx context.Context, group string) (bus.Reader, error) {
		return s.SubscribeBots(ctx, group, f.serves)
	}
	log := bus.NewLog("followers", lead, slog.New(slog.DiscardHandler), func(string, []domain.Recorded, time.Duration) {}).
		Hold(func(r domain.Recorded) bool { return !f.serves(r.Stream.Bot()) })
	router.Follow(log, f.apply)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := router.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// handled are the versions of a stream that the group has handled, in the order in which it did.
func handled(t *testing.T, s *process, stream domain.StreamID) string {
	return pgtest.Ask[string](t, s.Pool(), `
		select coalesce(string_agg(version::text, ' ' order by n), '') from readmodel.handled
		where stream = $1`, string(stream))
}

func wantHandled(t *testing.T, s *process, stream domain.StreamID, want string) {
	t.Helper()
	waittest.Until(t, fmt.Sprintf("%s is handled up to %s", stream, want),
		func() bool { return handled(t, s, stream) == want })
}

// A stream with an event that the group cannot handle is parked with its reason; the others go
// on. After a retry its events have been handled in order, once each.
func TestParked_FailingEvent_RetriedInOrder(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := &follower{}
	f.failOn(func(r domain.Recorded) error {
		if r.Stream == "chat-demo:1" && r.Version == 3 {
			return errors.New("poison \x00 \xff")
		}
		return nil
	})
	f.follow(t, s)
	for version := range 5 {
		for chat := range 3 {
			must(t, s, commands.Append{Stream: domain.ChatStream("demo", int64(chat)), Expected: domain.Version(version),
				Events: said(1)})
		}
	}
	wantHandled(t, s, "chat-demo:0", "1 2 3 4 5")
	wantHandled(t, s, "chat-demo:2", "1 2 3 4 5")
	wantHandled(t, s, "chat-demo:1", "1 2")
	list, err := s.Parked(t.Context(), "")
	if err != nil || len(list) != 1 {
		t.Fatalf("parked %+v, error %v", list, err)
	}
	if p := list[0]; p.Group != "followers" || p.Stream != "chat-demo:1" || p.Version != 3 ||
		p.Event != "message_received" ||
		p.Reason != "poison ␀ \uFFFD" || p.Tries < 1 {
		t.Errorf("parked %+v", p)
	}

	// A retry that fails says so and leaves it parked.
	request(t, s, "chat-demo:1", commands.ParkedRetry)
	waittest.Until(t, "the retry is counted", func() bool {
		list, err := s.Parked(t.Context(), "followers")
		return err == nil && len(list) == 1 && list[0].Tries > 3 && list[0].Request == commands.ParkedWaits
	})
	f.failOn(func(domain.Recorded) error { return nil })
	request(t, s, "chat-demo:1", commands.ParkedRetry)
	wantHandled(t, s, "chat-demo:1", "1 2 3 4 5")
	must(t, s, commands.Append{Stream: "chat-demo:1", Expected: 5, Events: said(1)})
	wantHandled(t, s, "chat-demo:1", "1 2 3 4 5 6")
	if list, err := s.Parked(t.Context(), ""); err != nil || len(list) != 0 {
		t.Errorf("still parked: %+v, error %v", list, err)
	}
}

// An event type that the program does not know parks its stream; skipped, the events after it
// are handled.
func TestParked_UnknownType_SkippedOnRequest(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := &follower{fails: func(domain.Recorded) error { return nil }}
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	must(t, s, commands.Append{Stream: "chat-demo:1", Expected: 1,
		Events: []commands.NewEvent{event(anything{json.RawMessage(`{}`)})}})
	must(t, s, commands.Append{Stream: "chat-demo:1", Expected: 2, Events: said(1)})
	must(t, s, commands.Append{Stream: "chat-demo:2", Events: said(1)})
	pgtest.Exec(t, s.Pool(), `update eventstore.events set name = 'from_tomorrow' where name = 'anything'`)
	f.follow(t, s)
	wantHandled(t, s, "chat-demo:2", "1")
	wantHandled(t, s, "chat-demo:1", "1")
	list, err := s.Parked(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].Event != "from_tomorrow" ||
		!strings.Contains(list[0].Reason, "unknown event from_tomorrow@1") {
		t.Fatalf("parked %+v, error %v", list, err)
	}
	if unknown, err := s.NewerTypes(t.Context()); err != nil || fmt.Sprint(unknown) != "[from_tomorrow@1]" {
		t.Errorf("newer types %v, error %v", unknown, err)
	}
	request(t, s, "chat-demo:1", commands.ParkedSkip)
	wantHandled(t, s, "chat-demo:1", "1 3")
}

func request(t *testing.T, s *process, stream domain.StreamID, what commands.ParkedRequest) {
	t.Helper()
	if found, err := s.RequestParked(t.Context(), "followers", stream, what); err != nil || !found {
		t.Fatalf("%s of %s: found %t, error %v", what, stream, found, err)
	}
}

// The chats of a bot that the leader does not serve are held, in one row, and the others go on. When the
// bot is served, what was held is handled in order, once.
func TestHeld_BotNotServed_HandledOnceServed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := &follower{fails: func(domain.Recorded) error { return nil }, bots: []string{"demo"}}
	f.follow(t, s)
	write := func(from, to int) {
		for version := from; version < to; version++ {
			for chat := range int64(3) {
				for _, bot := range []string{"demo", "stray"} {
					must(t, s, commands.Append{
						Stream: domain.ChatStream(bot, chat), Expected: domain.Version(version), Events: said(1),
					})
				}
			}
		}
	}
	write(0, 4)
	wantHandled(t, s, "chat-demo:2", "1 2 3 4")
	list, err := s.Parked(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].Stream != "chat-stray:*" ||
		!strings.Contains(list[0].Reason, "not in the bots file") {
		t.Fatalf("held %+v, error %v", list, err)
	}
	if got := handled(t, s, "chat-stray:0"); got != "" {
		t.Fatalf("handled %s of a bot that is not served", got)
	}
	f.serve("demo", "stray")
	write(4, 6)
	for chat := range int64(3) {
		wantHandled(t, s, domain.ChatStream("stray", chat), "1 2 3 4 5 6")
		wantHandled(t, s, domain.ChatStream("demo", chat), "1 2 3 4 5 6")
	}
	waittest.Until(t, "the bot is no longer held", func() bool {
		list, err := s.Parked(t.Context(), "")
		return err == nil && len(list) == 0
	})
}

// A chat of a held bot that cannot be handled is parked alone when the bot is served.
func TestHeld_FailingEvent_OnlyItsStreamParked(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := &follower{bots: []string{}, fails: func(r domain.Recorded) error {
		if r.Stream == "chat-demo:1" && r.Version == 2 {
			return errors.New("poison")
		}
		return nil
	}}
	for version := range 3 {
		for chat := range int64(3) {
			must(t, s,
				commands.Append{Stream: domain.ChatStream("demo", chat), Expected: domain.Version(version), Events: said(1)})
		}
	}
	f.follow(t, s)
	parked := func() string {
		list, err := s.Parked(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		names := ""
		for _, p := range list {
			names += fmt.Sprintf("%s@%d ", p.Stream, p.Version)
		}
		return names
	}
	waittest.Until(t, "the bot is held", func() bool { return parked() == "chat-demo:*@0 " })
	f.serve("demo")
	wantHandled(t, s, "chat-demo:0", "1 2 3")
	wantHandled(t, s, "chat-demo:2", "1 2 3")
	waittest.Until(t, "one chat is parked", func() bool { return parked() == "chat-demo:1@2 " })
	if got := handled(t, s, "chat-demo:1"); got != "1" {
		t.Errorf("handled %s", got)
	}
}

// A skip releases the held chats of a removed bot without handling them.
func TestHeld_Skipped_LetGo(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := &follower{fails: func(domain.Recorded) error { return nil }, bots: []string{"demo"}}
	f.follow(t, s)
	must(t, s, commands.Append{Stream: "chat-gone:1", Events: said(1)})
	waittest.Until(t, "the bot is held", func() bool {
		list, err := s.Parked(t.Context(), "followers")
		return err == nil && len(list) == 1
	})
	request(t, s, "chat-gone:*", commands.ParkedSkip)
	waittest.Until(t, "the bot is no longer held", func() bool {
		list, err := s.Parked(t.Context(), "followers")
		return err == nil && len(list) == 0
	})
	if got := handled(t, s, "chat-gone:1"); got != "" {
		t.Errorf("handled %s", got)
	}
}

// The leader gives the group up when another process asks for a bot that it holds.
func TestHeld_AskedFor_GivenUp(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	f := &follower{fails: func(domain.Recorded) error { return nil }, bots: []string{}}
	f.follow(t, s)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(2)})
	waittest.Until(t, "the bot is held", func() bool {
		list, err := s.Parked(t.Context(), "followers")
		return err == nil && len(list) == 1
	})
	other := &follower{fails: f.fails, bots: []string{"demo"}}
	other.follow(t, open(t, s.Config().ConnString()))
	request(t, s, "chat-demo:*", commands.ParkedRetry)
	wantHandled(t, s, "chat-demo:1", "1 2")
}
