//go:build unix

package rebuild_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// dryRun compares a table with what a rebuild makes of it, and wants nothing changed.
func (l *ledger) dryRun(t testing.TB, p projections.Projection) rebuild.Comparison {
	t.Helper()
	before, checkpoint, number := l.table(t, p), l.checkpoint(t, p), l.number(t, p)
	done, err := rebuild.Table(waittest.Context(t), l.Conn, l, p, rebuild.Options{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if l.table(t, p) != before || l.checkpoint(t, p) != checkpoint || l.number(t, p) != number {
		t.Errorf("a dry run of %s changed the live table", p.Name())
	}
	if n := pgtest.Ask[int](t, l.Conn,
		`select count(*) from pg_class where relnamespace = 'readmodel_rebuild'::regnamespace and relkind = 'r'`); n != 0 {
		t.Errorf("a dry run left %d tables", n)
	}
	return *done.Comparison
}

// wantFew wants a comparison to show these rows, in any order, as "key: detail".
func wantFew(t testing.TB, c rebuild.Comparison, want ...string) {
	t.Helper()
	var got []string
	for _, d := range c.First {
		got = append(got, d.Key+": "+d.Detail)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the rows shown (-want +got):\n%s", diff)
	}
}

// A comparison finds every row that differs.
func TestCompare_DifferentRows_AllFound(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 30, 60)
	for _, p := range projections.All() {
		rows := pgtest.Ask[int64](t, l.Conn, `select count(*) from readmodel.`+p.Name())
		if c := l.dryRun(t, p); c.Differences() != 0 || len(c.First) != 0 || c.Rows != rows {
			t.Errorf("%s: %+v of %d rows, want no difference", p.Name(), c, rows)
		}
	}
	missing, changed := string(histories[3].Stream), string(histories[5].Stream)
	pgtest.Exec(t, l.Conn, `delete from readmodel.conversations where stream_id = $1`, missing)
	pgtest.Exec(t, l.Conn,
		`update readmodel.conversations set username = 'mallory', messages = 1000000 where stream_id = $1`, changed)
	pgtest.Exec(t, l.Conn, `
		insert into readmodel.conversations
		select (jsonb_populate_record(c, '{"stream_id": "chat-demo:5"}')).* from readmodel.conversations c limit 1`)
	c := l.dryRun(t, projections.Conversations{})
	if want := int64(len(histories) + 1); c.OnlyOld != 1 || c.OnlyNew != 1 || c.Differ != 1 || c.Rows != want {
		t.Errorf("%+v, want one of each kind in %d rows", c, want)
	}
	was := pgtest.Ask[string](t, l.Conn,
		`select coalesce('"' || (select payload -> 'from' ->> 'username' from eventstore.events
		where stream_id = $1 and payload ? 'from' order by version desc limit 1) || '"', 'null')`, changed)
	n := pgtest.Ask[int](t, l.Conn,
		`select count(*) from eventstore.events where stream_id = $1 and name = 'message_received'`, changed)
	wantFew(t, c, missing+": the row is missing", "chat-demo:5: the row exists and no event leads to it",
		fmt.Sprintf(`%s: username is "mallory", the events lead to %s; messages is 1000000, the events lead to %d`,
			changed, was, n))

	// A rebuild would lose the content of a column that the program does not fill.
	l.rebuild(t, projections.Tickets{})
	pgtest.Exec(t, l.Conn, `drop table readmodel_previous.tickets; alter table readmodel.tickets add column note text`)
	key := pgtest.Ask[string](t, l.Conn, `
		update readmodel.tickets set note = 'call back'
		where ticket_id = (select min(ticket_id) from readmodel.tickets) returning ticket_id`)
	wantFew(t, l.dryRun(t, projections.Tickets{}), key+": it differs in columns that this program does not know")
}

// A comparison with many differences shows the first few.
func TestCompare_ManyDifferences_FirstShown(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 31, 60, projections.Conversations{})
	pgtest.Exec(t, l.Conn, `
		update readmodel.conversations set bot = bot || '!'
		where stream_id in (select stream_id from readmodel.conversations order by 1 offset 2 limit 30)`)
	pgtest.Exec(t, l.Conn, `
		delete from readmodel.conversations
		where stream_id in (select stream_id from readmodel.conversations order by 1 offset 40 limit 12)`)
	c := l.dryRun(t, projections.Conversations{})
	if c.Differ != 30 || c.OnlyNew != 12 || c.OnlyOld != 0 || c.Differences() != 42 || len(c.First) != 20 ||
		int(c.Rows) != len(histories) {
		t.Errorf("%+v", c)
	}
	first := pgtest.Ask[string](t, l.Conn, `select stream_id from readmodel.conversations order by 1 offset 2 limit 1`)
	if c.First[0].Key != first || !strings.Contains(c.First[0].Detail, "bot is ") {
		t.Errorf("the first is %v, want %s", c.First[0], first)
	}
}

// A live table that is behind the feed is compared at its checkpoint; the swapped table is at the end
// of the feed.
func TestCompare_LiveBehindFeed_AtCheckpoint(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 32, 30)
	for i := range 5 {
		l.oneMore(t, domain.ChatStream("demo", int64(77+i)))
	}
	for _, p := range projections.All() {
		rows, at := pgtest.Ask[int64](t, l.Conn, `select count(*) from readmodel.`+p.Name()), l.checkpoint(t, p)
		c := l.dryRun(t, p)
		if c.Differences() != 0 || c.Rows != rows || !strings.HasPrefix(at,
			fmt.Sprintf("(%d,%d,", c.At.Transaction, c.At.Number)) {
			t.Errorf("%s at %s: %+v of %d rows", p.Name(), at, c, rows)
		}
		done := l.rebuild(t, p)
		if done.Comparison.Differences() != 0 || done.Rows != rows+5 || !done.Comparison.At.Before(done.At) {
			t.Errorf("%s: %+v, want %d rows more than compared", p.Name(), done, 5)
		}
	}
}

// The cause of a difference is the event since which the columns that differ have the values that the
// whole history leads to.
func TestDivergence_ChangedRow_FirstEventNamed(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 33, 40)
	rng := rand.New(rand.NewPCG(33, 1))
	for _, p := range []projections.Projection{projections.Conversations{}, projections.Tickets{}} {
		key := map[string]string{"conversations": "stream_id", "tickets": "ticket_id"}[p.Name()]
		columns := map[string][]string{
			"conversations": {
				"customer", "username", "handler", "last_intent", "last_message", "last_reply", "workflow", "step",
				"last_failure", "bot",
			},
			"tickets": {"status", "priority", "assignee", "subject"},
		}[p.Name()]
		explained := 0
		for _, h := range histories {
			recorded, err := l.ReadStream(t.Context(), l.Pool(), h.Stream, 0, 100_000)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := projections.Fold(p, recorded)
			if err != nil {
				t.Fatal(err)
			}
			for k := range rows {
				explained++
				column := columns[rng.IntN(len(columns))]
				tx, err := l.Conn.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				pgtest.Exec(t, tx,
					`update readmodel.`+p.Name()+` set `+column+` = 'what nobody said' where `+key+` = $1`, k)
				if err := tx.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				want := recorded[since(t, p, recorded, k, column)-1]
				wantCause(t, l, p, k, want)
				pgtest.Exec(t, l.Conn, `update readmodel.`+p.Name()+` set `+column+` = $2 where `+key+` = $1`, k,
					value(rows[k], column))
			}
		}
		if explained < 20 {
			t.Errorf("%s: only %d rows were looked at", p.Name(), explained)
		}
		l.Verify(t, p)
	}
}

func value(row projections.Row, column string) any {
	return row[slices.IndexFunc(row, func(c projections.Column) bool { return c.Name == column })].Value
}

// since is the length of the shortest beginning of a history from which on a column of
// a row is, and stays, what it ends with; reckoned the long way.
func since(t testing.TB, p projections.Projection, history []domain.Recorded, key, column string) int {
	t.Helper()
	after := func(n int) (any, bool) {
		rows, err := projections.Fold(p, history[:n])
		if err != nil {
			t.Fatal(err)
		}
		if rows[key] == nil {
			return nil, false
		}
		return value(rows[key], column), true
	}
	want, _ := after(len(history))
	for n := len(history); n > 0; n-- {
		if got, there := after(n - 1); !there || !reflect.DeepEqual(got, want) {
			return n
		}
	}
	t.Fatalf("%s is not there", key)
	return 0
}

// wantCause wants the one row that differs to be explained by an event.
func wantCause(t testing.TB, l *ledger, p projections.Projection, key string, want domain.Recorded) {
	t.Helper()
	v, err := rebuild.Verify(waittest.Context(t), l.Conn, l, p)
	if err != nil {
		t.Fatal(err)
	}
	cause := rebuild.Cause{Position: want.Position, Version: want.Version, Name: chat.NewCodec().Name(want.Event)}
	if v.First == nil || v.First.Key != key || v.First.Cause == nil || *v.First.Cause != cause {
		t.Fatalf("%s: %v, want %s explained by %+v", p.Name(), v.First, key, cause)
	}
	if text := v.First.String(); !strings.Contains(text,
		fmt.Sprintf("%s, version %d at %v", cause.Name, cause.Version, cause.Position)) {
		t.Errorf("%q does not tell the event", text)
	}
}

// The cause of a missing row, or of one that was not updated, is the next event of its stream.
func TestDivergence_StaleRow_MissingEventNamed(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 34, 40, projections.Conversations{})
	p := projections.Conversations{}
	for _, h := range histories[:15] {
		recorded, err := l.ReadStream(t.Context(), l.Pool(), h.Stream, 0, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		n := len(recorded) / 2
		tx, err := l.Conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, tx, `set local search_path = readmodel`)
		pgtest.Exec(t, tx, `delete from conversations where stream_id = $1`, string(h.Stream))
		if err := p.Apply(t.Context(), tx, recorded[:n]); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantCause(t, l, p, string(h.Stream), recorded[n])
		l.rebuild(t, p)
	}
}
