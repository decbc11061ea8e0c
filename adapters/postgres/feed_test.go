//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// lead leads a group or fails the test.
func lead(t testing.TB, s *process, group string) *eventstore.Consumer {
	t.Helper()
	c, err := s.Subscribe(waittest.Context(t), group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// next reads a page that must come.
func next(t testing.TB, c *eventstore.Consumer, limit int) []domain.Recorded {
	t.Helper()
	page, err := c.Next(waittest.Context(t), limit)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// whole reads until the page behind the checkpoint holds n events. What several commits
// have stored becomes final one by one: a write that another test has open in this server
// may stand between them, and a page ends before it.
func whole(t testing.TB, c *eventstore.Consumer, n int) (page []domain.Recorded) {
	t.Helper()
	waittest.Until(t, fmt.Sprintf("the feed shows %d events", n), func() bool {
		page = next(t, c, n)
		return len(page) == n
	})
	return page
}

// effect is a transaction in which a page has led to something.
func effect(t testing.TB, c *eventstore.Consumer) pgx.Tx {
	t.Helper()
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, tx, `select 'an effect'`)
	return tx
}

// advance moves the checkpoint behind a page that has led to something.
func advance(t testing.TB, c *eventstore.Consumer, page []domain.Recorded) {
	t.Helper()
	if err := c.Advance(t.Context(), effect(t, c), page); err != nil {
		t.Fatal(err)
	}
}

// pass moves behind a page that has led to nothing.
func pass(t testing.TB, c *eventstore.Consumer, page []domain.Recorded) {
	t.Helper()
	tx, err := c.Begin(t.Context())
	if err == nil {
		err = c.Advance(t.Context(), tx, page)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// nothing asserts that the feed shows no event for the moment.
func nothing(t testing.TB, s *process) {
	t.Helper()
	page, err := s.ReadFeed(t.Context(), s.Pool(), domain.Position{}, 10)
	if err != nil || len(page) > 0 {
		t.Fatalf("the feed shows %d events (%v), want none yet", len(page), err)
	}
}

// names are the places of a page, stream by stream.
func names(page []domain.Recorded) (list []string) {
	for _, r := range page {
		list = append(list, fmt.Sprintf("%s/%d", r.Stream, r.Version))
	}
	return list
}

func wantPage(t testing.TB, page []domain.Recorded, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, names(page)); diff != "" {
		t.Fatalf("the page (-want +got):\n%s", diff)
	}
}

// An event of a transaction that commits late is not skipped.
func TestFeed_LateCommit_NotSkipped(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s, conn := open(t, dsn), pgtest.Connect(t, dsn)
	consumer := lead(t, s, "readers")
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Exec(t.Context(), `
		insert into eventstore.events (stream_id, version, event_id, name, event_version, payload,
		correlation_id, actor, occurred_at)
		values ('chat-demo:1', 1, $1, 'update_kept', 1, '{}', $1, 'test', now())`, uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	must(t, s, commands.Append{Stream: "chat-demo:2", Events: said(1)})
	nothing(t, s) // it would stand behind one that is not there yet
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantPage(t, whole(t, consumer, 2), "chat-demo:1/1", "chat-demo:2/1")
}

// An open write transaction holds the feed back; one that only reads does not.
func TestFeed_OpenTransaction_OnlyWriteHoldsItBack(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s, conn := open(t, dsn), pgtest.Connect(t, dsn)
	consumer := lead(t, s, "readers")
	reading, err := pgtest.Connect(t, dsn).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Ask[int](t, reading, `select count(*) from eventstore.events`)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	page := next(t, consumer, 10) // with the reader's snapshot still open
	wantPage(t, page, "chat-demo:1/1")
	advance(t, consumer, page)

	writing, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, writing, `select pg_current_xact_id()`)
	for v := range 3 {
		must(t, s, commands.Append{Stream: "chat-demo:1", Expected: domain.Version(v + 1), Events: said(1)})
	}
	at := page[0].Position
	if held, err := s.ReadFeed(t.Context(), s.Pool(), at, 10); err != nil || len(held) > 0 {
		t.Errorf("the feed shows %v (%v) past a running transaction", names(held), err)
	}
	if err := writing.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantPage(t, whole(t, consumer, 3), "chat-demo:1/2", "chat-demo:1/3", "chat-demo:1/4")
	if n := pgtest.Ask[int](t, reading, `select count(*) from eventstore.events`); n != 0 {
		t.Errorf("the reader's snapshot shows %d events; it has no open snapshot", n)
	}
}

// A page has at most limit events, and the next one begins after it.
func TestNext_Limit_PagesFollowEachOther(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(5)})
	consumer := lead(t, s, "readers")
	page := next(t, consumer, 2)
	wantPage(t, page, "chat-demo:1/1", "chat-demo:1/2")
	wantPage(t, next(t, consumer, 2), "chat-demo:1/1", "chat-demo:1/2") // not moved yet
	advance(t, consumer, page)
	wantPage(t, next(t, consumer, 9), "chat-demo:1/3", "chat-demo:1/4", "chat-demo:1/5")
	consumer.Close()
	wantPage(t, next(t, lead(t, s, "readers"), 1), "chat-demo:1/3")
	wantPage(t, next(t, lead(t, s, "others"), 1), "chat-demo:1/1") // each group for itself
	if n := pgtest.Ask[int](t, s.Pool(), `select events from eventstore.checkpoints
		where consumer_group = 'readers'`); n != 2 {
		t.Errorf("the checkpoint counts %d events, want 2", n)
	}
}

// Groups of one process share pages, and each sees every event once.
func TestNext_SharedPage_EachGroupSeesEventsOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first, second, third := lead(t, s, "first"), lead(t, s, "second"), lead(t, s, "third")
	var version domain.Version
	add := func(n int) {
		must(t, s, commands.Append{Stream: "chat-demo:1", Expected: version, Events: said(n)})
		version += domain.Version(n)
	}
	reached := map[*eventstore.Consumer]domain.Version{}
	read := func(c *eventstore.Consumer, limit int, keep bool) {
		t.Helper()
		page := next(t, c, limit)
		for i, r := range page {
			if r.Version != reached[c]+domain.Version(i+1) {
				t.Fatalf("version %d stands at place %d behind %d", r.Version, i+1, reached[c])
			}
		}
		if keep {
			advance(t, c, page)
			reached[c] += domain.Version(len(page))
		}
	}
	rng := rand.New(rand.NewPCG(1, 7))
	for range 30 {
		add(1 + rng.IntN(3))
		for _, c := range []*eventstore.Consumer{first, second, third} {
			if reached[c] < version && rng.IntN(3) > 0 {
				read(c, 1+rng.IntN(4), rng.IntN(4) > 0)
			}
		}
	}
	for _, c := range []*eventstore.Consumer{first, second, third} {
		for reached[c] < version {
			read(c, 100, true)
		}
	}
}

// Next returns when its context is cancelled.
func TestNext_ContextCancelled_Returns(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	consumer := lead(t, s, "readers")
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := consumer.Next(ctx, 10); !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// sessionOf waits for the session with this application name, and returns its process id.
func sessionOf(t testing.TB, conn *pgx.Conn, name string) (pid int) {
	t.Helper()
	waittest.Until(t, "there is a session "+name, func() bool {
		err := conn.QueryRow(t.Context(), `
			select pid from pg_stat_activity where datname = current_database() and application_name = $1
			order by backend_start desc limit 1`, name).Scan(&pid)
		return err == nil
	})
	return pid
}

// A group has one leader; another process becomes leader after it.
func TestSubscribe_TwoProcesses_OneLeads(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	watch := pgtest.Connect(t, dsn)
	first, second := open(t, dsn), open(t, dsn)
	leader := lead(t, first, "readers")
	lead(t, second, "others") // the leader of another group does not matter
	var leads atomic.Bool
	waited := make(chan *eventstore.Consumer, 1)
	go func() {
		c, err := second.Subscribe(t.Context(), "readers")
		if err != nil {
			t.Error(err)
		}
		leads.Store(true)
		waited <- c
	}()
	// It has tried and failed when its session begins to wait for the second time.
	tried := map[time.Time]bool{}
	waittest.Until(t, "the second process has tried twice", func() bool {
		var at time.Time
		err := watch.QueryRow(t.Context(), `
			select query_start from pg_stat_activity
			where datname = current_database() and application_name = 'process readers' and state = 'idle'
			and query like '%from eventstore.leaders l where%'`).Scan(&at)
		if err == nil {
			tried[at] = true
		}
		return len(tried) >= 2
	})
	if leads.Load() {
		t.Fatal("two processes lead one group")
	}
	leader.Close()
	select {
	case c := <-waited:
		c.Close()
	case <-time.After(waittest.Timeout):
		t.Fatal("no other process became leader")
	}
}

// A leader whose session has ended is replaced within seconds.
func TestLeader_ConnectionLost_ReplacedWithinSeconds(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	watch := pgtest.Connect(t, dsn)
	first, second := open(t, dsn), open(t, dsn)
	must(t, first, commands.Append{Stream: "chat-demo:1", Events: said(2)})
	leader := lead(t, first, "readers")
	page := next(t, leader, 1)
	tx := effect(t, leader)
	pid := sessionOf(t, watch, "process readers")
	follower := make(chan *eventstore.Consumer, 1)
	go func() {
		c, err := second.Subscribe(t.Context(), "readers")
		if err != nil {
			t.Error(err)
		}
		follower <- c
	}()
	died := time.Now()
	if !pgtest.Ask[bool](t, watch, `select pg_terminate_backend($1)`, pid) {
		t.Fatal("the leader's session could not be ended")
	}
	select {
	case c := <-follower:
		defer c.Close()
		if took := time.Since(died); took > 3*time.Second {
			t.Errorf("it took %s to follow the leader", took)
		}
		if err := leader.Advance(t.Context(), tx, page); err == nil {
			t.Error("the dead leader moved the checkpoint")
		}
		wantPage(t, next(t, c, 10), "chat-demo:1/1", "chat-demo:1/2")
	case <-time.After(waittest.Timeout):
		t.Fatal("no other process became leader")
	}
}

// The checkpoint of a page that wrote nothing is saved later, without a commit for each page.
func TestAdvance_NothingWritten_CheckpointSavedLater(t *testing.T) {
	t.Parallel()
	for name, follow := range map[string]func(*testing.T, *process, *eventstore.Consumer){
		"with the next page that leads to something": func(t *testing.T, _ *process, c *eventstore.Consumer) {
			advance(t, c, next(t, c, 1))
		},
		"when there is nothing more to do": func(t *testing.T, s *process, c *eventstore.Consumer) {
			pass(t, c, next(t, c, 1))
			ctx, stop := context.WithCancel(waittest.Context(t))
			idle := make(chan error, 1)
			go func() {
				_, err := c.Next(ctx, 1)
				idle <- err
			}()
			waittest.Until(t, "the checkpoint has followed", func() bool {
				return pgtest.Ask[int](t, s.Pool(), `select events from eventstore.checkpoints
					where consumer_group = 'readers'`) == 4
			})
			stop()
			if err := <-idle; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		},
		"when the group is given up": func(t *testing.T, _ *process, c *eventstore.Consumer) {
			pass(t, c, next(t, c, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(4)})
			c := lead(t, s, "readers")
			before := c.SaveInterval
			c.SaveInterval = time.Hour
			for range 3 {
				pass(t, c, next(t, c, 1))
			}
			if n := pgtest.Ask[int](t, s.Pool(), `select events from eventstore.checkpoints
				where consumer_group = 'readers'`); n != 0 {
				t.Errorf("pages that led to nothing were committed: the checkpoint counts %d events", n)
			}
			c.SaveInterval = before
			follow(t, s, c)
			c.Close()
			if n := pgtest.Ask[int](t, s.Pool(), `select events from eventstore.checkpoints
				where consumer_group = 'readers'`); n != 4 {
				t.Errorf("the checkpoint counts %d events, want 4", n)
			}
			c = lead(t, s, "readers")
			defer c.Close()
			must(t, s, commands.Append{Stream: "chat-demo:2", Events: said(1)})
			wantPage(t, next(t, c, 10), "chat-demo:2/1")
		})
	}
}

// Pages that wrote nothing are read again after a crash.
func TestAdvance_CrashBeforeSave_PagesReadAgain(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	watch := pgtest.Connect(t, s.Pool().Config().ConnString())
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(2)})
	c := lead(t, s, "readers")
	c.SaveInterval = time.Hour
	pass(t, c, next(t, c, 2))
	if !pgtest.Ask[bool](t, watch, `select pg_terminate_backend($1)`, sessionOf(t, watch, "process readers")) {
		t.Fatal("the leader's session could not be ended")
	}
	c.Close()
	again := lead(t, s, "readers")
	defer again.Close()
	wantPage(t, next(t, again, 10), "chat-demo:1/1", "chat-demo:1/2")
}

// The effects of a page and its checkpoint are committed together, or neither is.
func TestAdvance_Effects_CommitWithCheckpoint(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	pgtest.Exec(t, s.Pool(), `create table effects (stream text, version bigint)`)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(2)})
	consumer := lead(t, s, "readers")
	write := func(c *eventstore.Consumer, page []domain.Recorded) pgx.Tx {
		tx, err := c.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			pgtest.Exec(t, tx, `insert into public.effects values ($1, $2)`, string(r.Stream), int64(r.Version))
		}
		return tx
	}
	effects := func() int { return pgtest.Ask[int](t, s.Pool(), `select count(*) from effects`) }

	page := next(t, consumer, 10)
	if err := write(consumer, page).Rollback(t.Context()); err != nil { // the handler failed
		t.Fatal(err)
	}
	if effects() != 0 {
		t.Error("a failed page left effects")
	}
	page = next(t, consumer, 10)
	wantPage(t, page, "chat-demo:1/1", "chat-demo:1/2")
	write(consumer, page) // the process died with the transaction open
	consumer.Close()
	consumer = lead(t, s, "readers")
	if effects() != 0 {
		t.Error("a lost page left effects")
	}
	page = next(t, consumer, 10)
	wantPage(t, page, "chat-demo:1/1", "chat-demo:1/2")
	if err := consumer.Advance(t.Context(), write(consumer, page), page); err != nil {
		t.Fatal(err)
	}
	consumer.Close()
	if effects() != 2 {
		t.Errorf("%d effects, want 2", effects())
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Expected: 2, Events: said(1)})
	wantPage(t, next(t, lead(t, s, "readers"), 10), "chat-demo:1/3")
}

// A consumer does not overwrite a checkpoint that another process has moved.
func TestAdvance_CheckpointMoved_Rejected(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	pgtest.Exec(t, s.Pool(), `create table effects ()`)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(2)})
	consumer := lead(t, s, "readers")
	page := next(t, consumer, 1)
	tx, err := consumer.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, s.Pool(), `update eventstore.checkpoints set position = position + 1000
		where consumer_group = 'readers'`)
	pgtest.Exec(t, tx, `insert into public.effects default values`)
	if err := consumer.Advance(t.Context(), tx, page); err == nil ||
		!strings.Contains(err.Error(), "another process moved it") {
		t.Errorf("got %v", err)
	}
	consumer.Close()
	if n := pgtest.Ask[int](t, s.Pool(), `select position from eventstore.checkpoints
		where consumer_group = 'readers'`); n != 1000 {
		t.Errorf("the checkpoint is at %d, want where it was moved to", n)
	}
	if n := pgtest.Ask[int](t, s.Pool(), `select count(*) from effects`); n != 0 {
		t.Error("the page left effects")
	}
}

// Two processes append, sessions hold transactions open, and the consumer crashes sometimes: every event
// has its effect once, and in order.
func TestConsumer_CrashesAndRivals_EveryEventOnce(t *testing.T) {
	t.Parallel()
	const streams, appends = 6, 60
	const total = streams * appends / 4 * (1 + 2 + 3 + 4) // events: an append has one to four
	dsn := pgtest.Database(t)
	stores := []*process{open(t, dsn), open(t, dsn)}
	pgtest.Exec(t, stores[0].Pool(),
		`create table effects (n bigint generated always as identity, stream text, version bigint)`)
	ctx := waittest.Context(t)
	var writing sync.WaitGroup
	for w := range streams {
		s := stores[w%2]
		conn := pgtest.Connect(t, dsn)
		writing.Go(func() {
			id, version := domain.ChatStream("demo", int64(w)), domain.Version(0)
			for i := range appends {
				tx, err := conn.Begin(ctx) // somebody writes something else meanwhile
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := tx.Exec(ctx, `select pg_current_xact_id()`); err != nil {
					t.Error(err)
				}
				events := said(1 + (w+i)%4)
				errs, err := s.Append(ctx, []commands.Append{{Stream: id, Expected: version, Events: events}})
				if err != nil || errs[0] != nil {
					t.Errorf("append: %v, %v", errs, err)
				}
				version += domain.Version(len(events))
				if err := tx.Commit(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}

	rng := rand.New(rand.NewPCG(7, 6))
	consumer := lead(t, stores[0], "readers")
	for kept := 0; kept < total; {
		page := next(t, consumer, 1+rng.IntN(20))
		tx, err := consumer.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			pgtest.Exec(t, tx, `insert into public.effects (stream, version) values ($1, $2)`,
				string(r.Stream), int64(r.Version))
		}
		if rng.IntN(8) == 0 { // it crashes with the page in hand
			consumer.Close()
			consumer = lead(t, stores[rng.IntN(2)], "readers")
			continue
		}
		if err := consumer.Advance(ctx, tx, page); err != nil {
			t.Fatal(err)
		}
		kept += len(page)
	}
	writing.Wait()
	rows, err := stores[0].Pool().Query(ctx, `select stream, version from effects order by n`)
	if err != nil {
		t.Fatal(err)
	}
	versions, n := map[string]int64{}, 0
	var id string
	var version int64
	_, err = pgx.ForEachRow(rows, []any{&id, &version}, func() error {
		if n++; version != versions[id]+1 {
			return fmt.Errorf("%s: version %d had its effect after %d", id, version, versions[id])
		}
		versions[id] = version
		return nil
	})
	if err != nil || n != total {
		t.Errorf("%d effects of %d events: %v", n, total, err)
	}
}

// rarely is a poll interval longer than any test: a consumer reads only after a notification.
const rarely = time.Hour

// An append wakes the consumers of other processes.
func TestNotifier_Append_WakesOtherProcesses(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	watch := pgtest.Connect(t, dsn)
	here, there := open(t, dsn), open(t, dsn)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, s := range []*process{here, there} {
		running.Go(func() { s.RunNotifier(ctx, slog.New(slog.DiscardHandler)) })
	}
	defer running.Wait()
	defer stop()
	waittest.Until(t, "both processes notify and listen", func() bool {
		return pgtest.Ask[int](t, watch, `select count(*) from pg_stat_activity where datname = current_database()
			and application_name = 'process announcements'`) == 4 &&
			pgtest.Ask[int](t, watch, `select count(*) from pg_stat_activity where datname = current_database()
				and state = 'idle' and query like 'listen %'`) == 2
	})
	consumer := lead(t, there, "readers")
	consumer.PollInterval = rarely
	for i := range 6 {
		waits := reads(t, watch, consumer)
		must(t, here, commands.Append{Stream: "chat-demo:1", Expected: domain.Version(i), Events: said(1)})
		page := <-waits
		wantPage(t, page, fmt.Sprintf("chat-demo:1/%d", i+1))
		advance(t, consumer, page)
	}
}

// An event that was notified before it was final is read as soon as it is: the end of the transaction
// that held the feed back sends no notification.
func TestNext_NotifiedBeforeFinal_ReadOnceFinal(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s, watch, conn := open(t, dsn), pgtest.Connect(t, dsn), pgtest.Connect(t, dsn)
	consumer := lead(t, s, "readers")
	consumer.PollInterval = rarely
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	writing, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, writing, `select pg_current_xact_id()`)
	must(t, s, commands.Append{Stream: "chat-demo:1", Expected: 1, Events: said(1)})
	page := next(t, consumer, 10)
	wantPage(t, page, "chat-demo:1/1")
	advance(t, consumer, page)
	waits := reads(t, watch, consumer)
	if err := writing.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantPage(t, <-waits, "chat-demo:1/2")
}

// reads lets a consumer wait for its next page, and returns when it has looked in vain.
func reads(t testing.TB, watch *pgx.Conn, c *eventstore.Consumer) <-chan []domain.Recorded {
	t.Helper()
	begun := pgtest.Ask[time.Time](t, watch, `select clock_timestamp()`)
	ctx, page := waittest.Context(t), make(chan []domain.Recorded, 1)
	go func() {
		events, err := c.Next(ctx, 10)
		if err != nil {
			t.Error(err)
		}
		page <- events
	}()
	waittest.Until(t, "the consumer has looked", func() bool {
		return pgtest.Ask[bool](t, watch, `
			select exists (select from pg_stat_activity where datname = current_database()
			and application_name = 'process readers'
			and state = 'idle' and query like '%from eventstore.events%' and query_start > $1)`, begun)
	})
	return page
}

// Notifications continue after their sessions were lost.
func TestNotifier_SessionsLost_Continues(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	watch, s := pgtest.Connect(t, dsn), open(t, dsn)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.RunNotifier(ctx, slog.New(slog.DiscardHandler)) }()
	sessions := func() (pids []int) {
		return pgtest.Ask[[]int](t, watch, `select coalesce(array_agg(pid), '{}') from pg_stat_activity
			where datname = current_database() and application_name = 'process announcements'`)
	}
	waittest.Until(t, "it notifies and listens", func() bool { return len(sessions()) == 2 })
	lost := sessions()
	for _, pid := range lost {
		pgtest.Ask[bool](t, watch, `select pg_terminate_backend($1)`, pid)
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)}) // there is something to tell
	waittest.Until(t, "it tells and listens again", func() bool {
		now := sessions()
		return len(now) == 2 && now[0] != lost[0] && now[0] != lost[1] && now[1] != lost[0] && now[1] != lost[1]
	})
	stop()
	select {
	case <-done:
	case <-time.After(waittest.Timeout):
		t.Error("it does not end with its context")
	}
}

// Pages end by bytes, too: a thousand of the longest updates would be a gigabyte.
func TestNext_LargeEvents_PageEndsByBytes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const events = 30
	for n := range events {
		e := event(chat.MessageReceived{Update: chat.Update{ID: int64(n)}, Text: strings.Repeat("x", 900_000)})
		must(t, s, commands.Append{Stream: "chat-demo:1", Expected: domain.Version(n), Events: []commands.NewEvent{e}})
	}
	lead, err := s.Subscribe(t.Context(), "responder")
	if err != nil {
		t.Fatal(err)
	}
	defer lead.Close()
	var read, pages int
	for read < events {
		page, err := lead.Next(waittest.Context(t), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > 12 {
			t.Fatalf("a page of %d events of 900 kB", len(page))
		}
		tx, err := lead.Begin(t.Context())
		if err == nil {
			err = lead.Advance(t.Context(), tx, page)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page {
			if read++; r.Version != domain.Version(read) {
				t.Fatalf("version %d follows %d", r.Version, read-1)
			}
		}
		pages++
	}
	if pages < 3 {
		t.Errorf("%d events in %d pages", read, pages)
	}
}
