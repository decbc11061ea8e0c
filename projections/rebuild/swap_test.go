//go:build unix

package rebuild_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/projectionstest"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// rollback puts the previous table back.
func (l *ledger) rollback(t testing.TB, p projections.Projection) {
	t.Helper()
	if _, _, err := rebuild.Rollback(waittest.Context(t), l.Conn, p); err != nil {
		t.Fatal(err)
	}
}

// A rollback undoes a rebuild, and a second rollback undoes the first.
func TestRollback_Twice_BackToRebuilt(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 40, 30)
	for i, p := range projections.All() {
		pgtest.Exec(t, l.Conn, `update readmodel.`+p.Name()+` set bot = 'damaged'`)
		before, checkpoint := l.table(t, p), l.checkpoint(t, p)
		l.oneMore(t, domain.ChatStream("demo", int64(77+i)))
		l.rebuild(t, p)
		rebuilt, moved := l.table(t, p), l.checkpoint(t, p)
		for range 2 {
			l.rollback(t, p)
			if l.table(t, p) != before || l.checkpoint(t, p) != checkpoint {
				t.Errorf("%s: the table before the rebuild is not back", p.Name())
			}
			l.rollback(t, p)
			if l.table(t, p) != rebuilt || l.checkpoint(t, p) != moved {
				t.Errorf("%s: the rebuilt table is not back", p.Name())
			}
		}
		l.Follow(t, p, func() int { return 10 })
		l.Verify(t, p)
		// The next rebuild keeps another one.
		l.rebuild(t, p)
		l.rollback(t, p)
		l.Verify(t, p)
	}
}

// A rollback without a previous table is rejected.
func TestRollback_NoPreviousTable_Rejected(t *testing.T) {
	t.Parallel()
	p := projections.Tickets{}
	for what, c := range map[string]struct{ before, want string }{
		"nothing was rebuilt":     {`select 1`, "roll tickets back: no table is kept from an earlier rebuild"},
		"a column came meanwhile": {`alter table readmodel.tickets add column mood text`, "changed meanwhile"},
		"an index came meanwhile": {`create index tickets_reason on readmodel.tickets (reason)`, "changed meanwhile"},
	} {
		l, _ := folded(t, 41, 10, p)
		if what != "nothing was rebuilt" {
			l.rebuild(t, p)
		}
		pgtest.Exec(t, l.Conn, c.before)
		before, checkpoint, number := l.table(t, p), l.checkpoint(t, p), l.number(t, p)
		if _, _, err := rebuild.Rollback(waittest.Context(t), l.Conn, p); err == nil || !strings.Contains(err.Error(),
			c.want) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
		if l.table(t, p) != before || l.checkpoint(t, p) != checkpoint || l.number(t, p) != number {
			t.Errorf("%s: the live table is not what it was", what)
		}
	}
}

// A rollback does not restore rights that were revoked after the previous table was replaced.
func TestRollback_RevokedRights_NotRestored(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 42, 20, projections.Tickets{})
	p := projections.Tickets{}
	pgtest.Exec(t, l.Conn, `
		grant select, update on readmodel.tickets to public;
		grant update (subject) on readmodel.tickets to public;
		create view readmodel.urgent as select * from readmodel.tickets where priority = 'urgent'`)
	l.rebuild(t, p)
	pgtest.Exec(t, l.Conn, `
		revoke update on readmodel.tickets from public;
		grant select (ticket_id) on readmodel.tickets to public;
		comment on table readmodel.tickets is 'Cases.'`)
	before := projectionstest.Rows(t, l.Conn, described)
	for range 2 {
		l.rollback(t, p)
		if diff := cmp.Diff(strings.Split(before, "\n"),
			strings.Split(projectionstest.Rows(t, l.Conn, described), "\n")); diff != "" {
			t.Errorf("after a rollback (-before +after):\n%s", diff)
		}
	}
	l.oneMore(t, "chat-demo:77")
	l.Follow(t, p, func() int { return 10 })
	if n := pgtest.Ask[int](t, l.Conn,
		`select count(*) from readmodel.ticket_queue where ticket_id = 'demo:77#1'`); n != 1 {
		t.Errorf("the queue shows a new ticket %d times", n)
	}
}

// A leader that waits for events when the table is rolled back continues from the previous table's
// checkpoint and folds the missing events. Readers see a complete table all the time.
func TestRollback_LiveConsumer_Continues(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 43, 60)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	router, err := bus.NewRouter(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range projections.All() {
		router.Follow(bus.NewLog(p.Name(), l.leadTable(p), slog.New(slog.DiscardHandler),
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
	for _, p := range projections.All() {
		// keeps the table as it is now
		if _, err := rebuild.Table(waittest.Context(t), l.Conn, l, p, rebuild.Options{}); err != nil {
			t.Fatal(err)
		}
		conn := l.Session(t)
		least := pgtest.Ask[int](t, conn, `select count(*) from readmodel.`+p.Name())
		running.Go(func() {
			pace := time.NewTicker(2 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				<-pace.C
				var n int
				err := conn.QueryRow(ctx, `select count(*) from readmodel.`+p.Name()).Scan(&n)
				if ctx.Err() == nil && (err != nil || n < least) {
					t.Errorf("%s shows %d rows, want at least %d: %v", p.Name(), n, least, err)
					return
				}
			}
		})
	}
	more := projectionstest.Generate(rand.New(rand.NewPCG(44, 4)), 40, 20)
	for i := range more {
		more[i].Stream = "chat-more:" + more[i].Stream[len(more[i].Stream)-4:]
	}
	l.AppendAll(t, more[:30], func(int) int { return 3 })
	l.caughtUp(t)
	for round := range 3 {
		for _, p := range projections.All() {
			l.rollback(t, p)
		}
		l.caughtUp(t) // without a new event that would wake it
		for _, p := range projections.All() {
			l.Verify(t, p)
		}
		l.AppendAll(t, more[30+round:31+round], func(int) int { return 1 })
	}
	l.caughtUp(t)
	for _, p := range projections.All() {
		l.Verify(t, p)
	}
}

// caughtUp waits until each table has folded every event there is.
func (l *ledger) caughtUp(t testing.TB) {
	t.Helper()
	total := pgtest.Ask[int64](t, l.Conn, `select count(*) from eventstore.events`)
	for _, p := range projections.All() {
		waittest.Until(t, p.Name()+"'s consumer has come to the end", func() bool {
			return pgtest.Ask[int64](t, l.Conn, `select events from eventstore.checkpoints where consumer_group = $1`,
				p.Name()) == total
		})
	}
}

// leadTable leads a projection's group, as serve does.
func (l *ledger) leadTable(p projections.Projection) func(context.Context, string) (bus.Reader, error) {
	return func(ctx context.Context, table string) (bus.Reader, error) {
		return l.SubscribeTable(ctx, table, p.Version(), slog.New(slog.DiscardHandler))
	}
}

// A consumer that has read a page when the table is rolled back cannot commit it, and no row is
// written twice.
func TestRollback_PageInHand_Discarded(t *testing.T) {
	t.Parallel()
	for _, p := range projections.All() {
		l, _ := folded(t, 45, 20, p)
		l.rebuild(t, p)
		l.oneMore(t, "chat-demo:77")
		l.Follow(t, p, func() int { return 10 })
		l.oneMore(t, "chat-demo:78")
		consumer, err := l.SubscribeTable(waittest.Context(t), p.Name(), p.Version(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		page, err := consumer.Next(waittest.Context(t), 10)
		if err != nil {
			t.Fatal(err)
		}
		l.rollback(t, p)
		tx, err := consumer.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Apply(t.Context(), tx, page); err != nil {
			t.Fatal(err)
		}
		if err := consumer.Advance(t.Context(), tx, page); err == nil || !strings.Contains(err.Error(),
			"another process moved it") {
			t.Errorf("%s: %v", p.Name(), err)
		}
		consumer.Close()
		l.Follow(t, p, func() int { return 10 })
		if v := l.Verify(t, p); v.Rows < 2 {
			t.Errorf("%+v", v)
		}
	}
}

// The next swap drops the table that the last rebuild kept, unless a query uses it.
func TestRebuild_PreviousTableInUse_NotDropped(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 46, 10, projections.Tickets{})
	p := projections.Tickets{}
	l.rebuild(t, p)
	pgtest.Exec(t, l.Conn, `create view public.before as select * from readmodel_previous.tickets`)
	number := l.number(t, p)
	_, err := rebuild.Table(waittest.Context(t), l.Conn, l, p, rebuild.Options{})
	if err == nil || !strings.Contains(err.Error(), "view public.before depends on") || l.number(t, p) != number {
		t.Errorf("got %v", err)
	}
	pgtest.Exec(t, l.Conn, `drop view public.before`)
	l.rebuild(t, p)
	if n := pgtest.Ask[int](t, l.Conn,
		`select count(*) from pg_class where relname = 'tickets' and relkind = 'r'`); n != 2 {
		t.Errorf("there are %d tables of tickets, want the live and the previous one", n)
	}
}

// The connection that reads the live table is lost while the two are compared.
func TestRebuild_ConnectionsCut_ChangesNothing(t *testing.T) {
	t.Parallel()
	const session = `
		select pid from pg_stat_activity
		where datname = current_database() and pid <> pg_backend_pid()
		and query like '%hashtextextended(t::text, 0) from "SCHEMA"."tickets"%'`
	for name, schema := range map[string]string{
		"reader of the live table": `readmodel`,
		"reader of the new table":  `readmodel\_rebuild`,
	} {
		victim := strings.Replace(session, "SCHEMA", schema, 1)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := folded(t, 47, 40, projections.Tickets{})
			p := projections.Tickets{}
			before, checkpoint, number := l.table(t, p), l.checkpoint(t, p), l.number(t, p)
			cut := 0
			_, err := rebuild.Table(waittest.Context(t), l.Session(t), l, p,
				rebuild.Options{Progress: func(at rebuild.Progress) {
					if at.Comparing {
						cut = pgtest.Ask[int](t, l.Conn, `select count(pg_terminate_backend(pid)) from (`+victim+`) v`)
						waittest.Until(t, "the session has ended",
							func() bool {
								return pgtest.Ask[int](t, l.Conn, `select count(*) from (`+victim+`) v`) == 0
							})
					}
				}})
			if cut != 1 {
				t.Fatalf("%d sessions were cut", cut)
			}
			// So few rows may have been read before.
			if err != nil &&
				(l.table(t, p) != before || l.checkpoint(t, p) != checkpoint || l.number(t, p) != number) {
				t.Error("the live table is not what it was")
			}
			if err == nil {
				t.Error("the rebuild succeeded although it had lost a connection")
			}
			l.rebuild(t, p)
		})
	}
}
