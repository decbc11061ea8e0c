//go:build unix

package rebuild_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/projectionstest"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// folded is a ledger of some chats with these tables up to date: all when none is named.
func folded(
	t testing.TB, seed uint64, chats int, tables ...projections.Projection,
) (*ledger, []projectionstest.History) {
	t.Helper()
	if len(tables) == 0 {
		tables = projections.All()
	}
	rng := rand.New(rand.NewPCG(seed, 3))
	l := newLedger(t)
	histories := projectionstest.Generate(rng, chats, 40)
	l.AppendAll(t, histories, func(left int) int { return left })
	for _, p := range tables {
		l.Follow(t, p, func() int { return 1000 })
	}
	return l, histories
}

// Verify names the row that differs.
func TestVerify_DifferentRow_Named(t *testing.T) {
	t.Parallel()
	const (
		conversation = `(select stream_id from readmodel.conversations order by stream_id offset 5 limit 1)`
		ticket       = `(select ticket_id from readmodel.tickets order by ticket_id offset 5 limit 1)`
	)
	for name, c := range map[string]struct {
		p      projections.Projection
		key    string // of the row, as a query
		damage string // $1 is the key
		detail string
	}{
		"a changed text": {
			projections.Conversations{}, conversation,
			`update readmodel.conversations set last_reply = 'what nobody said' where stream_id = $1`,
			`last_reply is "what nobody said", the events lead to `,
		},
		"a changed count": {
			projections.Conversations{}, conversation,
			`update readmodel.conversations set messages = messages + 1000 where stream_id = $1`, "messages is 10",
		},
		"a changed time": {
			projections.Conversations{}, conversation,
			`update readmodel.conversations set updated_at = updated_at + interval '1 microsecond'
			where stream_id = $1`, `updated_at is "2026-`,
		},
		"changed JSON": {
			projections.Conversations{}, conversation,
			`update readmodel.conversations set collected = '{"a": "b"}' where stream_id = $1`,
			"collected is map[a:b], the events lead to map[",
		},
		"a changed position": {
			projections.Conversations{}, conversation,
			`update readmodel.conversations set position = position + 1 where stream_id = $1`, "position is ",
		},
		"a missing chat": {
			projections.Conversations{}, conversation, `delete from readmodel.conversations where stream_id = $1`,
			"the row is missing",
		},
		"a changed ticket": {
			projections.Tickets{}, ticket, `update readmodel.tickets set status = 'lost' where ticket_id = $1`,
			`status is "lost", the events lead to `,
		},
		"a null": {
			projections.Tickets{}, ticket,
			`update readmodel.tickets set first_reply_at = case when first_reply_at is null then now() end
			where ticket_id = $1`, "first_reply_at is ",
		},
		"a missing ticket": {
			projections.Tickets{}, ticket, `delete from readmodel.tickets where ticket_id = $1`, "the row is missing",
		},
		"an invented ticket": {
			projections.Tickets{}, ticket + " || '#'",
			`insert into readmodel.tickets
			select (jsonb_populate_record(x, jsonb_build_object('ticket_id', x.ticket_id || '#'))).*
			from readmodel.tickets x where x.ticket_id || '#' = $1`,
			"no event leads to it",
		},
		"an invented chat": {
			projections.Conversations{}, `'chat-demo:5'`,
			`insert into readmodel.conversations
			select (jsonb_populate_record(x, '{"stream_id": "chat-demo:5"}')).*
			from readmodel.conversations x where $1::text is not null limit 1`,
			"no event leads to it",
		},
		"a ticket of an unknown stream": {
			projections.Tickets{}, `'a#1'`,
			`insert into readmodel.tickets
			select (jsonb_populate_record(x, '{"ticket_id": "a#1", "stream_id": "chat-demo:5"}')).*
			from readmodel.tickets x where $1::text is not null limit 1`,
			"no event leads to it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := folded(t, 1, 15, c.p)
			l.Verify(t, c.p)
			key := pgtest.Ask[string](t, l.Conn, `select `+c.key)
			pgtest.Exec(t, l.Conn, c.damage, key)
			v, err := rebuild.Verify(t.Context(), l.Conn, l, c.p)
			if err != nil {
				t.Fatal(err)
			}
			if v.First == nil || v.First.Table != c.p.Name() || v.First.Key != key || !strings.Contains(v.First.Detail,
				c.detail) {
				t.Fatalf("found %v, want %s of %s: %s", v.First, key, c.p.Name(), c.detail)
			}
			if v.First.Stream == "" || !strings.Contains(v.First.String(), key) || !strings.Contains(v.First.String(),
				string(v.First.Stream)) {
				t.Errorf("%q names neither row nor stream", v.First)
			}
			l.rebuild(t, c.p) // mends it
		})
	}
}

// The table is compared with what the events up to its checkpoint lead to.
func TestVerify_BehindFeed_StopsAtCheckpoint(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 3))
	l := newLedger(t)
	histories := projectionstest.Generate(rng, 20, 40)
	for _, p := range projections.All() {
		if v := l.Verify(t, p); v.Streams != 0 || v.Rows != 0 || (v.At != domain.Position{}) {
			t.Errorf("an empty ledger: %+v", v)
		}
	}
	half := make([]projectionstest.History, len(histories))
	for i, h := range histories {
		half[i] = projectionstest.History{Stream: h.Stream, Events: h.Events[:(len(h.Events)+1)/2]}
	}
	l.AppendAll(t, half, func(left int) int { return left })
	for _, p := range projections.All() {
		l.Follow(t, p, func() int { return 7 })
	}
	before := l.Verify(t, projections.Conversations{})
	// More of the same chats and a new one, which nobody has folded yet.
	rest := []projectionstest.History{{Stream: "chat-demo:77", Events: projectionstest.Generate(rng, 2, 5)[1].Events}}
	l.AppendAll(t, rest, func(left int) int { return left })
	after := l.Verify(t, projections.Conversations{})
	if before.At != after.At || before.Rows != after.Rows || before.Rows != int64(len(histories)) {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// halting is a ledger that does something when a batch of streams is asked for.
type halting struct {
	*ledger
	before func(batch int)
	batch  int
}

func (h *halting) Streams(
	ctx context.Context, tx pgx.Tx, after domain.StreamID, limit int,
) ([]domain.StreamID, error) {
	h.batch++
	h.before(h.batch)
	return h.ledger.Streams(ctx, tx, after, limit)
}

// A rebuild that waits for the swap gets its lock between two batches, and Verify finds no difference
// in either table.
func TestVerify_Swap_Continues(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 4, 1100, projections.Conversations{})
	p := projections.Conversations{}
	rebuilder, watch := l.Session(t), l.Session(t)
	swapped := false
	for !swapped { // it may lose patience on a busy machine, and swap afterwards
		number := l.number(t, p)
		done := make(chan error, 1)
		h := &halting{ledger: l, before: func(batch int) {
			if batch > 1 {
				swapped = swapped || pgtest.Ask[uint32](t, watch,
					`select 'readmodel.conversations'::regclass::oid`) != number
				return
			}
			go func() {
				_, err := rebuild.Table(waittest.Context(t), rebuilder, l, p, rebuild.Options{})
				done <- err
			}()
			waittest.Until(t, "the rebuild waits for its turn", func() bool {
				return pgtest.Ask[bool](t, watch,
					`select exists (select from pg_locks
					where mode = 'AccessExclusiveLock' and not granted and pid = $1)`, rebuilder.PgConn().PID())
			})
		}}
		v, err := rebuild.Verify(waittest.Context(t), l.Conn, h, p)
		if err != nil || v.First != nil || v.Streams != 1100 || v.Rows != 1100 || h.batch < 3 {
			t.Fatalf("%+v in %d batches: %v", v, h.batch, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// A sample finds a row that differs.
func TestVerify_Sample_DifferentRowFound(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 5, 30, projections.Conversations{})
	p := projections.Conversations{}
	v, err := rebuild.VerifySample(t.Context(), l.Conn, l, p, 10)
	if err != nil || v.First != nil || v.Streams != 10 || v.Rows != 10 {
		t.Errorf("%+v: %v", v, err)
	}
	key := string(histories[7].Stream)
	pgtest.Exec(t, l.Conn, `update readmodel.conversations set bot = 'nobody' where stream_id = $1`, key)
	found := 0
	const samples = 60
	for range samples { // a third of them have it
		v, err := rebuild.VerifySample(t.Context(), l.Conn, l, p, 10)
		if err != nil || v.First != nil && (v.First.Key != key || v.First.Cause.Version != 1) {
			t.Fatalf("%+v: %v", v, err)
		}
		if v.First != nil {
			found++
		}
	}
	if found < samples/30 || found > 2*samples/3 { // five standard deviations
		t.Errorf("%d of %d samples found it, want some %d", found, samples, samples/3)
	}
}

// Verify reports a history that cannot be folded, and not a table that differs.
func TestVerify_Gap_Reported(t *testing.T) {
	t.Parallel()
	l, histories := folded(t, 3, 3, projections.Conversations{})
	pgtest.Exec(t, l.Conn, `delete from eventstore.events where stream_id = $1 and version = 1`,
		string(histories[1].Stream))
	v, err := rebuild.Verify(t.Context(), l.Conn, l, projections.Conversations{})
	if len(histories[1].Events) < 2 {
		t.Fatal("the history is too short for a gap")
	}
	if err != nil || v.First != nil || len(v.Stopped) != 1 || v.Stopped[0].Stream != histories[1].Stream ||
		!strings.Contains(v.Stopped[0].Reason, "version 0, and the next event is version 2") {
		t.Errorf("%+v, error %v", v, err)
	}
}

// Projections are found by name.
func TestProjections_Name_Found(t *testing.T) {
	t.Parallel()
	for _, p := range projections.All() {
		if found, err := projections.Named(p.Name()); err != nil || found != p {
			t.Errorf("%s: %v, %v", p.Name(), found, err)
		}
	}
	_, err := projections.Named("orders")
	if err == nil || !strings.Contains(err.Error(), `"orders"`) || !strings.Contains(err.Error(), "conversations") ||
		!strings.Contains(err.Error(), "tickets") {
		t.Errorf("got %v, want what was asked for and what there is", err)
	}
}
