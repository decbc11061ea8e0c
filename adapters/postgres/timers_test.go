//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/postgres/timers"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Times of an urgent ticket by a bot that was told nothing.
const (
	respond = 15 * time.Minute
	resolve = 4 * time.Hour
)

// clock stands still until it is moved.
type clock struct{ micros atomic.Int64 }

func clockAt(t time.Time) *clock {
	c := &clock{}
	c.set(t)
	return c
}

func (c *clock) set(t time.Time) { c.micros.Store(t.UnixMicro()) }
func (c *clock) now() time.Time  { return time.UnixMicro(c.micros.Load()).UTC() }

// keep runs a timekeeper of a process of its own until the test is over, or it is stopped.
func keep(t testing.TB, s *process, c *clock, handler commands.BatchHandler) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	k := &commands.Timekeeper{Store: timers.New(s.DB), Handler: handler, Now: c.now, Every: time.Millisecond,
		Log: slog.New(slog.DiscardHandler)}
	var done sync.WaitGroup
	done.Go(func() { k.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(stop)
	return stop
}

func handlerOn(t testing.TB, s *process) *commands.Handler {
	h := commands.NewHandler(s, commands.Config{})
	t.Cleanup(h.Close)
	return h
}

// openTicket opens an urgent ticket in each chat.
func openTicket(t testing.TB, h *commands.Handler, streams ...domain.StreamID) {
	t.Helper()
	requests := make([]commands.Request, len(streams))
	for i, id := range streams {
		requests[i] = commands.Request{Stream: id, Actor: "operator:ann", At: at,
			Command: chat.OpenTicket{Reason: "asked", Priority: dialog.Urgent, At: at}}
	}
	if _, err := h.HandleAll(t.Context(), requests); err != nil {
		t.Fatal(err)
	}
}

// timerOf is when a stream's timer goes off; "" when it has none.
func timerOf(t testing.TB, s *process, id domain.StreamID) string {
	t.Helper()
	return pgtest.Ask[string](t, s.Pool(),
		`select coalesce((select to_char(due_at, 'YYYY-MM-DD HH24:MI:SS') from eventstore.timers where stream_id = $1), '')`,
		string(id))
}

func second(t time.Time) string { return t.Format(time.DateTime) }

// breaches counts the events that say that something is late.
func breaches(t testing.TB, s *process, id domain.StreamID) int {
	t.Helper()
	return pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.events
		where stream_id = $1 and name = 'due_breached'`, string(id))
}

func TestTimer_Due_OneEvent(t *testing.T) {
	t.Parallel()
	const id = domain.StreamID("chat-demo:1")
	s := newStore(t)
	h, c := handlerOn(t, s), clockAt(at)
	openTicket(t, h, id)
	keep(t, s, c, h)
	for _, step := range []struct {
		after    time.Duration
		breaches int
		next     string
	}{
		{respond - time.Microsecond, 0, second(at.Add(respond))},
		{respond, 1, second(at.Add(resolve))},
		{resolve - time.Microsecond, 1, second(at.Add(resolve))},
		{resolve + 24*time.Hour, 2, ""},
	} {
		c.set(at.Add(step.after))
		waittest.Until(t, fmt.Sprintf("after %s there are %d breaches", step.after, step.breaches), func() bool {
			return breaches(t, s, id) == step.breaches && timerOf(t, s, id) == step.next
		})
	}
	events := stream(t, s, id)
	if last := events[len(events)-1]; last.Actor != domain.ActorTimer ||
		last.Event.(chat.DueBreached).What != chat.DueResolution {
		t.Errorf("the last event is %+v", last)
	}
}

// Two processes with two timekeepers each, and a person who answers every other customer
// in the very moment in which it becomes too late.
func TestTimer_ManyTimekeepers_OneEvent(t *testing.T) {
	t.Parallel()
	const chats = 300
	dsn := pgtest.Database(t)
	stores := []*process{open(t, dsn), open(t, dsn)}
	c := clockAt(at)
	var ids []domain.StreamID
	for n := range int64(chats) {
		ids = append(ids, domain.ChatStream("demo", n+1))
	}
	handlers := []*commands.Handler{handlerOn(t, stores[0]), handlerOn(t, stores[1])}
	openTicket(t, handlers[0], ids...)
	for i := range 4 {
		keep(t, stores[i%2], c, handlers[i%2])
	}
	c.set(at.Add(respond))
	var person sync.WaitGroup
	for n := range 4 {
		person.Go(func() {
			for i := n; i < chats; i += 8 {
				reply := chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "ann"}, Text: "hello"}
				if _, err := handlers[i%2].Handle(t.Context(),
					commands.Request{Stream: ids[i], Actor: "operator:ann", At: c.now(), Command: reply}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	person.Wait()
	waittest.Until(t, "no timer is due", func() bool {
		return pgtest.Ask[int](t, stores[0].Pool(), `select count(*) from eventstore.timers where due_at <= $1`, c.now()) == 0
	})
	for i, id := range ids {
		answered := i%8 < 4
		if n := breaches(t, stores[0], id); n > 1 || n == 0 && !answered {
			t.Errorf("%s: %d breaches", id, n)
		}
		if next := timerOf(t, stores[0], id); next != second(at.Add(resolve)) {
			t.Errorf("%s: the next timer is %q", id, next)
		}
	}
}

// A process that dies leaves a timer that is taken, before the event, or one that should
// not be there any more, behind it.
func TestTimer_ProcessGone_FiresOnce(t *testing.T) {
	t.Parallel()
	const before, behind = domain.StreamID("chat-demo:1"), domain.StreamID("chat-demo:2")
	s := newStore(t)
	h, c := handlerOn(t, s), clockAt(at)
	openTicket(t, h, before, behind)
	c.set(at.Add(respond))

	taken := make(chan struct{})
	stop := keep(t, s, c, batchFunc(func(ctx context.Context, requests []commands.Request) ([]commands.Result, error) {
		for _, r := range requests {
			if r.Stream == behind {
				if _, err := h.Handle(ctx, r); err != nil {
					t.Error(err)
				}
			}
		}
		close(taken)
		<-ctx.Done() // and nothing more is heard of it
		return nil, ctx.Err()
	}))
	<-taken
	stop()
	if _, err := s.Pool().Exec(t.Context(), `update eventstore.timers set due_at = $2 where stream_id = $1`,
		string(behind), at.Add(respond)); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.timers where taken_until > now()`); n != 1 {
		t.Errorf("%d timers are taken, want that of %s", n, before)
	}

	later := open(t, pgtestDSN(s))
	keep(t, later, c, handlerOn(t, later))
	waittest.Until(t, "the timer that should not be there is put right",
		func() bool { return timerOf(t, s, behind) == second(at.Add(resolve)) })
	if n := breaches(t, s, before); n != 0 {
		t.Errorf("%d breaches while another has the timer", n)
	}
	const expire = `update eventstore.timers set taken_until = now() where taken_until is not null`
	if _, err := s.Pool().Exec(t.Context(), expire); err != nil {
		t.Fatal(err)
	}
	for _, id := range []domain.StreamID{before, behind} {
		waittest.Until(t, "the next timer is set", func() bool { return timerOf(t, s, id) == second(at.Add(resolve)) })
		if n := breaches(t, s, id); n != 1 {
			t.Errorf("%s: %d breaches", id, n)
		}
	}
}

func pgtestDSN(s *process) string { return s.Pool().Config().ConnString() }

// A timer whose command fails stays, and the other timers fire.
func TestTimer_CommandFails_Stays(t *testing.T) {
	t.Parallel()
	const broken, well = domain.StreamID("chat-demo:1"), domain.StreamID("chat-demo:2")
	s := newStore(t)
	h, c := handlerOn(t, s), clockAt(at)
	openTicket(t, h, broken, well)
	var fails atomic.Bool
	fails.Store(true)
	keep(t, s, c, batchFunc(func(ctx context.Context, requests []commands.Request) ([]commands.Result, error) {
		results, err := make([]commands.Result, len(requests)), error(nil)
		for i, r := range requests {
			if r.Stream == broken && fails.Load() {
				err = errors.New("the database is away")
				continue
			}
			results[i], _ = h.Handle(ctx, r)
		}
		return results, err
	}))
	c.set(at.Add(respond))
	waittest.Until(t, "the other goes off", func() bool { return breaches(t, s, well) == 1 })
	if next := timerOf(t, s, broken); next != second(at.Add(respond)) || breaches(t, s, broken) != 0 {
		t.Errorf("the timer is %q", next)
	}
	fails.Store(false)
	const expire = `update eventstore.timers set taken_until = now() where stream_id = $1`
	if _, err := s.Pool().Exec(t.Context(), expire, string(broken)); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "it goes off in the end",
		func() bool { return breaches(t, s, broken) == 1 && timerOf(t, s, broken) == second(at.Add(resolve)) })
}

// Whatever is refused leaves the timer alone, and whatever is stored sets it, alone and
// beside others.
func TestTimer_Append_CommitsTogether(t *testing.T) {
	t.Parallel()
	soon, later, never := at.Add(time.Minute), at.Add(time.Hour), time.Time{}
	for _, company := range []int{0, 2} {
		for name, a := range map[string]struct {
			commands.Append
			refused bool
			want    string
		}{
			"set":             {commands.Append{Expected: 1, Events: said(1), Wake: &later}, false, second(later)},
			"unset":           {commands.Append{Expected: 1, Events: said(1), Wake: &never}, false, ""},
			"left alone":      {commands.Append{Expected: 1, Events: said(1)}, false, second(soon)},
			"conflict":        {commands.Append{Expected: 0, Events: said(1), Wake: &later}, true, second(soon)},
			"conflict, ahead": {commands.Append{Expected: 7, Events: said(1), Wake: &never}, true, second(soon)},
			"repeated": {commands.Append{Expected: 1, Events: said(1), Wake: &later,
				Updates: []commands.ConsumedUpdate{{Bot: "demo", ID: 7, Version: 2}}}, true, second(soon)},
			"fenced": {commands.Append{Expected: 1, Events: said(1), Wake: &never,
				Settled: []commands.Settlement{{Delivery: uuid.New(), Fence: 1, State: domain.DeliveryDone}}}, true, second(soon)},
			"sealed": {
				commands.Append{Expected: 1, Wake: &later,
					Events: []commands.NewEvent{event(chat.MessageReceived{Text: "a\x00b"})}}, false, second(later),
			},
		} {
			t.Run(fmt.Sprintf("%s beside %d", name, company), func(t *testing.T) {
				t.Parallel()
				s := newStore(t)
				must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1), Wake: &soon,
					Updates: []commands.ConsumedUpdate{{Bot: "demo", ID: 7, Version: 1}}})
				a.Stream = "chat-demo:1"
				batch := []commands.Append{a.Append}
				for n := range int64(company) {
					batch = append(batch, commands.Append{Stream: domain.ChatStream("demo", 2+n), Events: said(1), Wake: &later})
				}
				errs, err := s.Append(t.Context(), batch)
				if err != nil || (errs[0] != nil) != a.refused {
					t.Fatal(errs, err)
				}
				if got := timerOf(t, s, "chat-demo:1"); got != a.want {
					t.Errorf("the timer is %q, want %q", got, a.want)
				}
				for _, other := range batch[1:] {
					if got := timerOf(t, s, other.Stream); got != second(later) {
						t.Errorf("%s: the timer is %q", other.Stream, got)
					}
				}
			})
		}
	}
}

// Most of what happens changes no time, and must not cost a write of a timer.
func TestTimer_SameTime_RowUntouched(t *testing.T) {
	t.Parallel()
	const id = domain.StreamID("chat-demo:1")
	s := newStore(t)
	h := handlerOn(t, s)
	openTicket(t, h, id)
	written := func() string {
		return pgtest.Ask[string](t, s.Pool(), `select xmin::text || due_at from eventstore.timers
			where stream_id = $1`, string(id))
	}
	was := written()
	for n := range int64(3) {
		_, err := h.Handle(t.Context(), commands.Request{Stream: id, Actor: domain.ActorCustomer, At: at,
			Update: &commands.Update{Bot: "demo", ID: n + 1, Raw: []byte(`{}`)},
			Command: chat.Receive{Event: chat.MessageReceived{Update: chat.Update{ID: n + 1, Key: uint64(n + 1)},
				MessageID: n + 1, Text: "hello?", Date: at}, At: at}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if now := written(); now != was {
		t.Errorf("the timer was written: %s, before %s", now, was)
	}
	if _, err := h.Handle(t.Context(),
		commands.Request{Stream: id, Actor: "operator:ann", At: at, Command: chat.ResolveTicket{At: at}}); err != nil {
		t.Fatal(err)
	}
	if next := timerOf(t, s, id); next != "" {
		t.Errorf("a closed case has a timer at %s", next)
	}
}

// batchFunc is a commands.BatchHandler made of a function.
type batchFunc func(context.Context, []commands.Request) ([]commands.Result, error)

func (f batchFunc) HandleAll(ctx context.Context, requests []commands.Request) ([]commands.Result, error) {
	return f(ctx, requests)
}
