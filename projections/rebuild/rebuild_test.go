//go:build unix

package rebuild_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/projectionstest"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// hooked is a projection with something to be done before pages are applied.
type hooked struct {
	projections.Projection
	before func(tx pgx.Tx) error
}

func (h hooked) Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	if err := h.before(tx); err != nil {
		return err
	}
	return h.Projection.Apply(ctx, tx, page)
}

// oneMore appends one event, to a chat of its own.
func (l *ledger) oneMore(t testing.TB, id domain.StreamID) {
	t.Helper()
	g := projectionstest.Generator{
		History: &projectionstest.History{Stream: id}, Rand: rand.New(rand.NewPCG(1, 4)), Now: time.Now(),
	}
	g.Ask("customer",
		chat.Receive{
			Event: chat.MessageReceived{Update: chat.Update{ID: 1, Key: 1}, MessageID: 1, Date: g.Now, Text: "hello"},
			At:    g.Now,
		})
	g.Ask("operator:bo", chat.OpenTicket{Reason: "asked", Priority: "urgent", At: g.Now})
	l.AppendAll(t, []projectionstest.History{*g.History}, func(left int) int { return left })
	l.Settle(t)
}

// table is everything in a projection's table.
func (l *ledger) table(t testing.TB, p projections.Projection) string {
	t.Helper()
	return projectionstest.Rows(t, l.Conn, `select * from readmodel.`+p.Name()+` order by 1`)
}

func (l *ledger) checkpoint(t testing.TB, p projections.Projection) string {
	t.Helper()
	return projectionstest.Rows(t, l.Conn,
		`select transaction_id, position, events from eventstore.checkpoints where consumer_group = '`+p.Name()+`'`)
}

// number is what tells a table from another of the same name.
func (l *ledger) number(t testing.TB, p projections.Projection) uint32 {
	t.Helper()
	return pgtest.Ask[uint32](t, l.Conn, `select $1::text::regclass::oid`, "readmodel."+p.Name())
}

// A rebuilt table equals the live one.
func TestRebuild_Table_EqualsLive(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 10, 60)
	total := 0
	for _, h := range histories {
		total += len(h.Events)
	}
	for _, p := range projections.All() {
		before, checkpoint, number := l.table(t, p), l.checkpoint(t, p), l.number(t, p)
		done := l.rebuild(t, p)
		if diff := cmp.Diff(before, l.table(t, p)); diff != "" {
			t.Errorf("%s (-live +rebuilt):\n%s", p.Name(), diff)
		}
		if got := l.checkpoint(t, p); got != checkpoint {
			t.Errorf("%s: the checkpoint is %s, was %s", p.Name(), got, checkpoint)
		}
		if int(done.Events) != total ||
			done.Rows != pgtest.Ask[int64](t, l.Conn, `select count(*) from readmodel.`+p.Name()) || done.Took <= 0 {
			t.Errorf("%s: %+v, want %d events and the table's rows", p.Name(), done, total)
		}
		if l.number(t, p) == number {
			t.Errorf("%s is still the old table", p.Name())
		}
	}
	if n := pgtest.Ask[int](t, l.Conn,
		`select count(*) from pg_class where relnamespace = 'readmodel_rebuild'::regnamespace and relkind = 'r'`); n != 0 {
		t.Errorf("%d tables are left over", n)
	}
}

// A rebuild of a table that no consumer has ever folded folds the whole feed.
func TestRebuild_NoConsumer_FoldsWholeFeed(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 11, 20)
	for _, p := range projections.All() {
		before := l.table(t, p)
		pgtest.Exec(t, l.Conn, `truncate readmodel.`+p.Name())
		pgtest.Exec(t, l.Conn, `delete from eventstore.checkpoints where consumer_group = $1`, p.Name())
		l.rebuild(t, p)
		if diff := cmp.Diff(before, l.table(t, p)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", p.Name(), diff)
		}
	}
}

// described reads what the catalogue says of the tables and views, except object numbers.
const described = `
	select 1 as part, c.relname,
		'options ' || coalesce(c.reloptions::text, '') || ', toast ' || coalesce(t.reloptions::text, '')
		|| ', owner ' || pg_get_userbyid(c.relowner) || ', kind ' || c.relkind::text
		|| ', rights ' || coalesce(c.relacl::text, '')
		|| ', comment ' || coalesce(obj_description(c.oid, 'pg_class'), '') as what
	from pg_class c left join pg_class t on t.oid = c.reltoastrelid
	where c.relnamespace = 'readmodel'::regnamespace
	union all
	select 2, c.relname,
		format('column %s %s %s, not null %s, default %s, storage %s, rights %s, comment %s',
			a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
			pg_get_expr(d.adbin, d.adrelid), a.attstorage::text, a.attacl::text, col_description(c.oid, a.attnum))
	from pg_class c
	join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
	left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
	where c.relnamespace = 'readmodel'::regnamespace and c.relkind in ('r', 'v')
	union all
	select 3, c.relname, pg_get_indexdef(c.oid) || coalesce(obj_description(c.oid, 'pg_class'), '')
	from pg_class c where c.relnamespace = 'readmodel'::regnamespace and c.relkind = 'i'
	union all
	select 4, conname, pg_get_constraintdef(oid) || conrelid::regclass::text
	from pg_constraint where connamespace = 'readmodel'::regnamespace
	union all
	select 5, c.relname, pg_get_viewdef(c.oid)
	from pg_class c where c.relnamespace = 'readmodel'::regnamespace and c.relkind = 'v'
	order by 1, 2, 3`

// A rebuild keeps the table's options, owner, rights, columns, indexes, constraints, comments and views.
func TestRebuild_GrantsAndIndexes_Kept(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 12, 40)
	role := fmt.Sprintf("analyst_%d",
		pgtest.Ask[uint32](t, l.Conn, `select oid from pg_database where datname = current_database()`))
	pgtest.Exec(t, l.Conn, `
		create role `+role+`;
		grant usage on schema readmodel to `+role+`;
		grant select on readmodel.tickets to `+role+` with grant option;
		grant select on readmodel.ticket_queue, readmodel.conversations to `+role+`;
		grant select (ticket_id), update (subject) on readmodel.tickets to public;
		comment on index readmodel.tickets_open is 'What waits for a person.';
		alter table readmodel.tickets set (toast.autovacuum_enabled = false, autovacuum_vacuum_threshold = 7);
		alter table readmodel.tickets alter column subject set storage external, alter column escalations set default 3;
		alter table readmodel.tickets add constraint "reopened or not" check (reopened >= 0);
		create index "Tickets by Priority" on readmodel.tickets (priority) with (fillfactor = 50);
		create view readmodel.with_names with (security_barrier = true) as
			select t.ticket_id, c.customer from readmodel.tickets t join readmodel.conversations c using (stream_id);
		comment on view readmodel.with_names is 'Who waits.';
		create view readmodel.queue_length as select count(*) from readmodel.ticket_queue;
		create view readmodel.urgent as select * from readmodel.tickets
			where priority = 'urgent' with local check option`, pgx.QueryExecModeSimpleProtocol)
	t.Cleanup(func() {
		ctx := context.Background()
		conn, err := pgx.Connect(ctx, l.DSN)
		if err == nil {
			defer conn.Close(ctx)
			_, err = conn.Exec(ctx, `drop owned by `+role+`; drop role `+role, pgx.QueryExecModeSimpleProtocol)
		}
		if err != nil {
			t.Error(err)
		}
	})
	before := projectionstest.Rows(t, l.Conn, described)
	for _, part := range []string{
		"fillfactor=70", "toast {autovacuum_enabled=false}", role + "=r*/", "What waits for a person.",
		"Tickets by Priority", "security_barrier=true", "check_option=local",
	} {
		if !strings.Contains(before, part) {
			t.Fatalf("the description lacks %q:\n%s", part, before)
		}
	}
	view := projectionstest.Rows(t, l.Conn, `select ticket_id, status from readmodel.ticket_queue`)
	for range 2 {
		for _, p := range projections.All() {
			l.rebuild(t, p)
			if diff := cmp.Diff(strings.Split(before, "\n"),
				strings.Split(projectionstest.Rows(t, l.Conn, described), "\n")); diff != "" {
				t.Errorf("after a rebuild of %s (-before +after):\n%s", p.Name(), diff)
			}
		}
	}
	if got := projectionstest.Rows(t, l.Conn, `select ticket_id, status from readmodel.ticket_queue`); got != view ||
		got == "" {
		t.Errorf("the queue shows %q, showed %q", got, view)
	}
	// The views read the new tables.
	l.oneMore(t, "chat-demo:77")
	l.Follow(t, projections.Tickets{}, func() int { return 10 })
	l.Follow(t, projections.Conversations{}, func() int { return 10 })
	for _, name := range []string{"ticket_queue", "with_names", "urgent"} {
		if n := pgtest.Ask[int](t, l.Conn,
			`select count(*) from readmodel.`+name+` where ticket_id = 'demo:77#1'`); n != 1 {
			t.Errorf("%s shows a new ticket %d times", name, n)
		}
	}
}

// Consumers fold, customers write, analysts query and verify, while the tables are rebuilt and rolled
// back several times.
func TestRebuild_Queries_Undisturbed(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 13, 60)
	more := projectionstest.Generate(rand.New(rand.NewPCG(14, 4)), 60, 30)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()

	router, err := bus.NewRouter(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	lead := func(ctx context.Context, group string) (bus.Reader, error) { return l.Subscribe(ctx, group) }
	for _, p := range projections.All() {
		router.Follow(bus.NewLog(p.Name(), lead, slog.New(slog.DiscardHandler),
			func(string, []domain.Recorded, time.Duration) {}), p.Apply)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := router.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer stop()
	<-router.Running()

	var queries atomic.Int64
	for _, query := range []string{
		`select count(*) from readmodel.conversations`, `select count(*) from readmodel.tickets`,
		`select count(*) from readmodel.ticket_queue`,
		`select count(*) from readmodel.ticket_queue q join readmodel.tickets t using (ticket_id)`,
	} {
		conn := l.Session(t)
		least := pgtest.Ask[int](t, conn, query) // no row is ever taken away; what is resolved leaves the queue
		if strings.Contains(query, "queue") {
			least = 1
		}
		running.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond) // there are only so many processors
			defer pace.Stop()
			for ctx.Err() == nil {
				<-pace.C
				var n int
				err := conn.QueryRow(ctx, query).Scan(&n)
				if err != nil && ctx.Err() == nil || err == nil && n < least {
					t.Errorf("%s: %d, want at least %d: %v", query, n, least, err)
					return
				}
				queries.Add(1)
			}
		})
	}
	for _, p := range projections.All() {
		conn := l.Session(t)
		running.Go(func() {
			pace := time.NewTicker(100 * time.Millisecond) // a verification folds the whole ledger
			defer pace.Stop()
			for ctx.Err() == nil {
				<-pace.C
				v, err := rebuild.Verify(ctx, conn, l, p)
				if err == nil && v.First != nil {
					t.Error(v.First)
					return
				}
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		for i, h := range more {
			h.Stream = domain.ChatStream("more", int64(i))
			l.AppendAll(t, []projectionstest.History{h}, func(int) int { return 3 })
		}
	})
	for _, p := range projections.All() {
		conn := l.Session(t)
		least := pgtest.Ask[int](t, conn, `select count(*) from readmodel.`+p.Name())
		writing.Go(func() {
			for n := range 4 {
				done, err := rebuild.Table(waittest.Context(t), conn, l, p, rebuild.Options{})
				if err != nil {
					t.Error(err)
				} else if done.Comparison.Differences() != 0 || done.Comparison.Rows < int64(least) {
					t.Errorf("%s: %+v, want at least %d rows, all the same in both tables", p.Name(), done.Comparison,
						least)
				}
				if n%2 == 1 {
					if _, _, err := rebuild.Rollback(waittest.Context(t), conn, p); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	writing.Wait()
	total := pgtest.Ask[int64](t, l.Conn, `select count(*) from eventstore.events`)
	for _, p := range projections.All() {
		waittest.Until(t, p.Name()+"'s consumer has come to the end", func() bool {
			return pgtest.Ask[int64](t, l.Conn, `select events from eventstore.checkpoints where consumer_group = $1`,
				p.Name()) == total
		})
		if v := l.Verify(t, p); int(v.Streams) < len(histories) {
			t.Errorf("%s: %d streams were verified", p.Name(), v.Streams)
		}
	}
	if queries.Load() < 10 {
		t.Errorf("only %d queries were answered meanwhile", queries.Load())
	}
}

// The page that a consumer has read before the swap also fits the new table.
func TestSwap_PageInHand_FitsNewTable(t *testing.T) {
	t.Parallel()
	for _, p := range projections.All() {
		l, _ := folded(t, 15, 20, p)
		consumer, err := l.SubscribeTable(waittest.Context(t), p.Name(), p.Version(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer consumer.Close()
		l.oneMore(t, "chat-demo:77")
		page, err := consumer.Next(waittest.Context(t), 10)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := consumer.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.oneMore(t, "chat-demo:78")
		if done := l.rebuild(t, p); done.At.Before(page[0].Position) == false {
			t.Errorf("%s was rebuilt up to %v, past the page at %v", p.Name(), done.At, page[0].Position)
		}
		if err := p.Apply(t.Context(), tx, page); err != nil {
			t.Fatal(err)
		}
		if err := consumer.Advance(t.Context(), tx, page); err != nil {
			t.Fatal(err)
		}
		consumer.Close()
		l.Follow(t, p, func() int { return 10 })
		l.Verify(t, p)
	}
}

// telling is a rebuild that does something whenever it tells how far it has come
// behind the comparison.
func telling(do func()) rebuild.Options {
	compared := false
	return rebuild.Options{Progress: func(p rebuild.Progress) {
		if compared = compared || p.Comparing; compared && !p.Comparing {
			do()
		}
	}}
}

// swapping is a projection that calls do once, after the live table is locked and before the swap.
func swapping(t testing.TB, p projections.Projection, do func()) projections.Projection {
	done := false
	return hooked{p, func(tx pgx.Tx) error {
		locked := pgtest.Ask[bool](t, tx, `
			select exists (select from pg_locks
				where pid = pg_backend_pid() and mode = 'AccessExclusiveLock' and granted
				and relation = $1::text::regclass)`, "readmodel."+p.Name())
		if locked && !done {
			done = true
			do()
		}
		return nil
	}}
}

// Queries that start during the swap wait for it, and then see the new table.
func TestSwap_Queries_WaitAndSucceed(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 16, 40)
	watch := l.Session(t)
	var waiting sync.WaitGroup
	swapped := false
	p := swapping(t, projections.Tickets{}, func() {
		swapped = true
		for _, query := range []string{
			`select count(*) from readmodel.ticket_queue where ticket_id = 'demo:77#1'`,
			`select count(*) from readmodel.tickets where ticket_id = 'demo:77#1'`,
		} {
			conn := l.Session(t)
			pid := conn.PgConn().PID()
			waiting.Go(func() {
				var n int
				if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil || n != 1 {
					t.Errorf("%s: %d, %v", query, n, err)
				}
			})
			waittest.Until(t, "the query waits", func() bool {
				return pgtest.Ask[bool](t, watch, `
					select wait_event_type = 'Lock' from pg_stat_activity
					where pid = $1 and wait_event_type is not null
					union all select false limit 1`, pid)
			})
		}
	})
	once := false
	_, err := rebuild.Table(waittest.Context(t), l.Conn, l, p, telling(func() {
		if !once { // left for the swap
			once = true
			l.oneMore(t, "chat-demo:77")
		}
	}))
	waiting.Wait()
	if err != nil || !swapped {
		t.Errorf("swapped %t: %v", swapped, err)
	}
}

// A long query on the live table delays the swap, and no other query for long.
func TestSwap_LongQuery_OnlySwapWaits(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 17, 20)
	long, err := l.Session(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Ask[int](t, long, `select count(*) from readmodel.tickets`)
	tries := make(chan int, 1000)
	done := make(chan error, 1)
	conn := l.Session(t)
	go func() {
		n := 0
		_, err := rebuild.Table(waittest.Context(t), conn, l, projections.Tickets{},
			telling(func() { n++; tries <- n }))
		done <- err
	}()
	for n := 0; n < 3; { // it comes back to catch up after each failed try
		select {
		case n = <-tries:
		case err := <-done:
			t.Fatalf("it is done in spite of the query: %v", err)
		}
	}
	quick, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var n int
	if err := l.Session(t).QueryRow(quick, `select count(*) from readmodel.ticket_queue`).Scan(&n); err != nil ||
		n == 0 {
		t.Errorf("another query meanwhile: %d, %v", n, err)
	}
	if err := long.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	l.Verify(t, projections.Tickets{})
}

// An interrupted rebuild changes nothing.
func TestRebuild_Interrupted_ChangesNothing(t *testing.T) {
	t.Parallel()
	why := errors.New("stopped by an operator")
	for name, interrupt := range map[string]func(
		t *testing.T, l *ledger, cancel context.CancelCauseFunc,
	) (projections.Projection, rebuild.Options){
		"while folding": func(
			t *testing.T, _ *ledger, cancel context.CancelCauseFunc,
		) (projections.Projection, rebuild.Options) {
			return hooked{projections.Tickets{}, func(pgx.Tx) error { cancel(why); return nil }}, rebuild.Options{}
		},
		"while comparing": func(
			_ *testing.T, _ *ledger, cancel context.CancelCauseFunc,
		) (projections.Projection, rebuild.Options) {
			return projections.Tickets{}, rebuild.Options{Progress: func(p rebuild.Progress) {
				if p.Comparing {
					cancel(why)
				}
			}}
		},
		"between pages": func(
			_ *testing.T, _ *ledger, cancel context.CancelCauseFunc,
		) (projections.Projection, rebuild.Options) {
			return projections.Tickets{}, telling(func() { cancel(why) })
		},
		"while swapping": func(
			t *testing.T, l *ledger, cancel context.CancelCauseFunc,
		) (projections.Projection, rebuild.Options) {
			return swapping(t, projections.Tickets{},
				func() { cancel(why) }), telling(func() { l.oneMore(t, "chat-demo:77") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := folded(t, 18, 20, projections.Tickets{})
			tickets := projections.Tickets{}
			before, checkpoint, number := l.table(t, tickets), l.checkpoint(t, tickets), l.number(t, tickets)
			ctx, cancel := context.WithCancelCause(waittest.Context(t))
			p, how := interrupt(t, l, cancel)
			if _, err := rebuild.Table(ctx, l.Session(t), l, p, how); err == nil || context.Cause(ctx) != why {
				t.Fatalf("it was not interrupted: %v", err)
			}
			if l.table(t, tickets) != before || l.checkpoint(t, tickets) != checkpoint || l.number(t,
				tickets) != number {
				t.Error("the live table is not what it was")
			}
			if n := pgtest.Ask[int](t, l.Conn,
				`select count(*) from pg_class where relnamespace = 'readmodel_rebuild'::regnamespace and relkind = 'r'`); n != 1 {
				t.Fatalf("%d tables of a rebuild were left, so the next run has nothing to clear", n)
			}
			waittest.Until(t, "the interrupted session has ended", func() bool {
				return pgtest.Ask[int](t, l.Conn,
					`select count(*) from eventstore.locks l where eventstore.session_exists(l.pid, l.backend_start)`) == 0
			})
			l.rebuild(t, tickets)
			if n := pgtest.Ask[int](t, l.Conn,
				`select count(*) from pg_class where relnamespace = 'readmodel_rebuild'::regnamespace and relkind = 'r'`); n != 0 {
				t.Errorf("%d tables are left over", n)
			}
		})
	}
}

// A second rebuild of the same table is rejected while the first runs.
func TestRebuild_AlreadyRunning_Rejected(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 19, 20)
	other := l.Session(t)
	var second, elsewhere error
	p := hooked{projections.Tickets{}, func(pgx.Tx) error {
		_, second = rebuild.Table(t.Context(), other, l, projections.Tickets{}, rebuild.Options{})
		_, elsewhere = rebuild.Table(waittest.Context(t), other, l, projections.Conversations{}, rebuild.Options{})
		return nil
	}}
	if _, err := rebuild.Table(waittest.Context(t), l.Conn, l, p, rebuild.Options{}); err != nil {
		t.Errorf("the first: %v", err)
	}
	if want := "rebuild tickets: another rebuild of it is running; wait for it, or end its process"; second == nil ||
		second.Error() != want {
		t.Errorf("the second: %v, want %s", second, want)
	}
	if elsewhere != nil {
		t.Errorf("of another table: %v", elsewhere)
	}
	if _, err := rebuild.Table(waittest.Context(t), other, l, projections.Tickets{}, rebuild.Options{}); err != nil {
		t.Errorf("when the first is done: %v", err)
	}
	l.Verify(t, projections.Tickets{})
}

// A rebuild that would break a dependent object, or lose changes, is rejected.
func TestRebuild_WouldBreakDependent_Rejected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, during, want string }{
		"a materialized view": {
			`create materialized view readmodel.by_day as
				select opened_at::date, count(*) from readmodel.tickets group by 1`,
			`select 1`, "readmodel.by_day",
		},
		"a column added meanwhile": {
			`select 1`, `alter table readmodel.tickets add column mood text`,
			"columns, indexes or constraints were changed meanwhile",
		},
		"a feed that has lost events": {
			`select 1`,
			`delete from eventstore.events where (transaction_id, position) >=
				(select transaction_id, position from eventstore.checkpoints where consumer_group = 'tickets')`,
			"events are missing from the feed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := folded(t, 20, 20, projections.Tickets{})
			pgtest.Exec(t, l.Conn, c.before)
			number, n := l.number(t, projections.Tickets{}), pgtest.Ask[int](t, l.Conn,
				`select count(*) from readmodel.tickets`)
			other := l.Session(t)
			if name == "a feed that has lost events" {
				pgtest.Exec(t, other, c.during)
			}
			_, err := rebuild.Table(waittest.Context(t), l.Conn, l, projections.Tickets{},
				telling(func() { pgtest.Exec(t, other, c.during) }))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %s", err, c.want)
			}
			if l.number(t, projections.Tickets{}) != number || pgtest.Ask[int](t, l.Conn,
				`select count(*) from readmodel.tickets`) != n {
				t.Error("the live table is not what it was")
			}
		})
	}
}

// A rebuild leaves out a stream with a gap, and reports the reason and the version.
func TestRebuild_Gap_StreamParked(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 21, 10, projections.Conversations{})
	torn := histories[slices.IndexFunc(histories,
		func(h projectionstest.History) bool { return len(h.Events) > 1 })].Stream
	pgtest.Exec(t, l.Conn, `delete from eventstore.events where stream_id = $1 and version = 1`, string(torn))
	done, err := rebuild.Table(waittest.Context(t), l.Conn, l, projections.Conversations{}, rebuild.Options{})
	if err != nil || len(done.Parked) != 1 || done.Parked[0].Stream != torn || done.Parked[0].Version != 2 ||
		!strings.Contains(done.Parked[0].Reason, "is at version 0, and the next event is version 2") {
		t.Errorf("parked %v, error %v", done.Parked, err)
	}
}

// A rebuild reports its progress after each page; at the end all events are folded.
func TestRebuild_Progress_ReportedByPage(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	h := projectionstest.History{Stream: "chat-demo:1"}
	g := projectionstest.Generator{History: &h, Rand: rand.New(rand.NewPCG(1, 5)), Now: time.Now()}
	for range 11_000 {
		g.Ask("operator:bo", chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "bo"}, Text: "hello"})
	}
	errs, err := l.Append(waittest.Context(t), []commands.Append{{Stream: h.Stream, Events: h.Events}})
	if err != nil || errs[0] != nil {
		t.Fatal(errs, err)
	}
	l.Settle(t)
	var told [][2]int64
	done, err := rebuild.Table(waittest.Context(t), l.Conn, l, projections.Conversations{},
		rebuild.Options{Progress: func(p rebuild.Progress) {
			if !p.Comparing {
				told = append(told, [2]int64{p.Done, p.Total})
			}
		}})
	if err != nil || done.Events != 11_000 || done.Rows != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if diff := cmp.Diff([][2]int64{{0, 11_000}, {5000, 11_000}, {10_000, 11_000}, {11_000, 11_000}},
		slices.Compact(told)); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
