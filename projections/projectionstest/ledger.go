//go:build unix

// Package projectionstest gives the tests of projections and of their rebuild a ledger of generated
// histories.
package projectionstest

import (
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// Ledger is a database with an event store, and a session that folds.
type Ledger struct {
	eventstore.Ledger
	DSN  string
	Conn *pgx.Conn
}

// New opens a ledger in a database of its own.
func New(t testing.TB) *Ledger {
	t.Helper()
	dsn := pgtest.Database(t)
	s, err := eventstore.Open(t.Context(), dsn, "test", chat.NewCodec())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	l := &Ledger{Ledger: eventstore.Ledger{Store: s}, DSN: dsn}
	l.Conn = l.Session(t)
	return l
}

// Session opens another session.
func (l *Ledger) Session(t testing.TB) *pgx.Conn {
	t.Helper()
	return pgtest.Connect(t, l.DSN)
}

// AppendAll stores histories, a few events of each chat at a time, so that chats
// are interleaved in the feed.
func (l *Ledger) AppendAll(t testing.TB, histories []History, cut func(left int) int) {
	t.Helper()
	done := make([]int, len(histories))
	for {
		var batch []commands.Append
		for i, h := range histories {
			n := min(cut(len(h.Events)-done[i]), len(h.Events)-done[i])
			if n > 0 {
				events := h.Events[done[i] : done[i]+n]
				batch = append(batch, commands.Append{
					Stream: h.Stream, Expected: domain.Version(done[i]), Events: events,
				})
				done[i] += n
			}
		}
		if len(batch) == 0 {
			return
		}
		errs, err := l.Append(waittest.Context(t), batch)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range errs {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Settle waits until the feed shows every event. Open write transactions of other tests hold the feed
// back, too.
func (l *Ledger) Settle(t testing.TB) {
	t.Helper()
	waittest.Until(t, "the feed shows every event", func() bool {
		return pgtest.Ask[bool](t, l.Pool(), `
			select coalesce((
				select transaction_id < pg_snapshot_xmin(pg_current_snapshot())
				from eventstore.Events order by transaction_id desc limit 1), true)`)
	})
}

// Follow folds the feed into a projection's table up to the last event, in pages of the given sizes.
func (l *Ledger) Follow(t testing.TB, p projections.Projection, size func() int) {
	t.Helper()
	ctx := waittest.Context(t)
	total := pgtest.Ask[int64](t, l.Conn, `select count(*) from eventstore.Events`)
	l.Settle(t)
	c, err := l.SubscribeTable(ctx, p.Name(), p.Version(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for done := pgtest.Ask[int64](t, l.Conn, `select events from eventstore.checkpoints where consumer_group = $1`,
		p.Name()); done < total; {
		page, err := c.Next(ctx, size())
		if err != nil {
			t.Fatal(err)
		}
		tx, err := c.Begin(ctx)
		if err == nil {
			err = p.Apply(ctx, tx, page)
		}
		if err == nil {
			err = c.Advance(ctx, tx, page)
		}
		if err != nil {
			t.Fatal(err)
		}
		done += int64(len(page))
	}
}

// Verify fails the test unless a table has the rows that the events lead to.
func (l *Ledger) Verify(t testing.TB, p projections.Projection) rebuild.Verification {
	t.Helper()
	v, err := rebuild.Verify(waittest.Context(t), l.Conn, l, p)
	if err != nil {
		t.Fatal(err)
	}
	if v.First != nil {
		t.Fatal(v.First)
	}
	return v
}

// Rows returns the result of a query, such as a whole table, as one text.
func Rows(t testing.TB, conn *pgx.Conn, query string) string {
	t.Helper()
	return pgtest.Ask[string](t, conn, `select coalesce(string_agg(r::text, E'\n'), '') from (`+query+`) r`)
}
