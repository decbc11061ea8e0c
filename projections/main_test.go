//go:build unix

package projections_test

import (
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// ledger is a database with a store, and a session for whoever folds.
type ledger struct {
	postgres.Ledger
	dsn  string
	conn *pgx.Conn
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	dsn := pgtest.Database(t)
	s, err := postgres.OpenStore(t.Context(), dsn, "test", chat.NewCodec())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	l := &ledger{Ledger: postgres.Ledger{Store: s}, dsn: dsn}
	l.conn = l.session(t)
	return l
}

func (l *ledger) session(t testing.TB) *pgx.Conn {
	t.Helper()
	return pgtest.Connect(t, l.dsn)
}

// appendAll stores histories, a few events of each chat at a time, so that chats
// are interleaved in the feed.
func (l *ledger) appendAll(t testing.TB, histories []history, cut func(left int) int) {
	t.Helper()
	done := make([]int, len(histories))
	for {
		var batch []commands.Append
		for i, h := range histories {
			n := min(cut(len(h.events)-done[i]), len(h.events)-done[i])
			if n > 0 {
				batch = append(batch, commands.Append{Stream: h.stream, Expected: domain.Version(done[i]), Events: h.events[done[i] : done[i]+n]})
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

// settle waits until the feed shows every event: other tests' open writes hold it
// back too.
func (l *ledger) settle(t testing.TB) {
	t.Helper()
	waittest.Until(t, "the feed shows every event", func() bool {
		return pgtest.Ask[bool](t, l.Pool(), `
			select coalesce((select transaction_id < pg_snapshot_xmin(pg_current_snapshot()) from eventstore.events order by transaction_id desc limit 1), true)`)
	})
}

// follow folds the feed into a projection's table until it stands behind every
// event there is, in pages of the sizes given.
func (l *ledger) follow(t testing.TB, p projections.Projection, size func() int) {
	t.Helper()
	ctx := waittest.Context(t)
	total := pgtest.Ask[int64](t, l.conn, `select count(*) from eventstore.events`)
	l.settle(t)
	c, err := l.LeadTable(ctx, p.Name(), p.Version(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for done := pgtest.Ask[int64](t, l.conn, `select events from eventstore.checkpoints where consumer_group = $1`, p.Name()); done < total; {
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

// verify wants a table to be what the events lead to.
func (l *ledger) verify(t testing.TB, p projections.Projection) projections.Verified {
	t.Helper()
	v, err := projections.Verify(waittest.Context(t), l.conn, l, p)
	if err != nil {
		t.Fatal(err)
	}
	if v.First != nil {
		t.Fatal(v.First)
	}
	return v
}

// rebuild rebuilds a table and wants it to be what the events lead to.
func (l *ledger) rebuild(t testing.TB, p projections.Projection) projections.Rebuilt {
	t.Helper()
	done, err := projections.Rebuild(waittest.Context(t), l.conn, l, p, projections.How{})
	if err != nil {
		t.Fatal(err)
	}
	l.verify(t, p)
	return done
}

// rows is a whole table, or what else a query finds, as one text.
func rows(t testing.TB, conn *pgx.Conn, query string) string {
	t.Helper()
	return pgtest.Ask[string](t, conn, `select coalesce(string_agg(r::text, E'\n'), '') from (`+query+`) r`)
}
