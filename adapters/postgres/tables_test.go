//go:build unix

package postgres_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

var quiet = slog.New(slog.DiscardHandler)

// leadTable leads a table's group or fails the test.
func leadTable(t testing.TB, s *process, table string, version int) *eventstore.Consumer {
	t.Helper()
	c, err := s.SubscribeTable(waittest.Context(t), table, version, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestLeader_OtherTableVersion_NotLeader(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s, watch := open(t, dsn), pgtest.Connect(t, dsn)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(3)})
	second := leadTable(t, s, "tables", 2) // the first to come
	if v := pgtest.Ask[int](t, watch,
		`select version from eventstore.checkpoints where consumer_group = 'tables'`); v != 2 {
		t.Errorf("the table is of version %d, want 2", v)
	}
	advance(t, second, next(t, second, 1))
	second.Close()

	reader, writer := io.Pipe()
	led := make(chan *eventstore.Consumer, 1)
	go func() {
		c, err := s.SubscribeTable(waittest.Context(t), "tables", 3, slog.New(slog.NewTextHandler(writer, nil)))
		if err != nil {
			t.Error(err)
		}
		led <- c
	}()
	said := make([]byte, 1000)
	n, err := reader.Read(said)
	if err != nil || !strings.Contains(string(said[:n]), "version=2 ours=3") {
		t.Errorf("it says %q (%v)", said[:n], err)
	}
	// While it waits, the group is free for others of the table's version.
	second = leadTable(t, s, "tables", 2)
	page := next(t, second, 1)
	wantPage(t, page, "chat-demo:1/2")
	pgtest.Exec(t, watch, `update eventstore.checkpoints set version = 3 where consumer_group = 'tables'`)
	err = second.Advance(t.Context(), effect(t, second), page)
	if err == nil || !strings.Contains(err.Error(), "has another version") {
		t.Errorf("the leader was not overtaken: %v", err)
	}
	second.Close()
	third := <-led
	defer third.Close()
	wantPage(t, next(t, third, 10), "chat-demo:1/2", "chat-demo:1/3")
}

// There is nothing to read, so nothing would make it look.
func TestLeader_IdleCheckpointMoved_Noticed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"back": `update eventstore.checkpoints set position = 0, transaction_id = '0'
			where consumer_group = 'tables'`,
		"to another version":  `update eventstore.checkpoints set version = 2 where consumer_group = 'tables'`,
		"away, with its data": `delete from eventstore.checkpoints where consumer_group = 'tables'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(3)})
			c := leadTable(t, s, "tables", 1)
			advance(t, c, next(t, c, 10))
			failed := make(chan error, 1)
			go func() {
				_, err := c.Next(waittest.Context(t), 10)
				failed <- err
			}()
			pgtest.Exec(t, s.Pool(), change)
			if err := <-failed; err == nil || strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// sample draws streams.
func sample(t testing.TB, s *process, n int) (streams []domain.StreamID) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) (err error) {
		streams, err = eventstore.Ledger{Store: s.events}.Sample(t.Context(), tx, n)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return streams
}

// A sample is drawn evenly.
func TestSample_Table_DrawnEvenly(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if got := sample(t, s, 10); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
	pgtest.Exec(t, s.Pool(),
		`insert into eventstore.streams (stream_id) select 'chat-demo:' || i from generate_series(1, 30) i`)
	if got := sample(t, s, 10); len(got) != 10 {
		t.Errorf("%d of 30 streams were drawn, want 10", len(got))
	}
	if got := sample(t, s, 100); len(got) != 30 {
		t.Errorf("%d of 30 streams were drawn, want all", len(got))
	}
	const streams, tenths, rounds, each = 40_000, 10, 100, 20
	pgtest.Exec(t, s.Pool(),
		`insert into eventstore.streams (stream_id) select 'chat-demo:' || i from generate_series(31, $1) i`, streams)
	var drawn [tenths]int
	for range rounds {
		got := sample(t, s, each)
		if len(got) != each {
			t.Fatalf("%d were drawn, want %d", len(got), each)
		}
		seen := map[domain.StreamID]bool{}
		for _, id := range got {
			chat, ok := id.Chat()
			if !ok || seen[id] || chat > streams {
				t.Fatalf("drawn: %v", got)
			}
			seen[id] = true
			drawn[(chat-1)*tenths/streams]++
		}
	}
	for i, n := range drawn { // 200 expected, with a deviation of 14
		if n < 120 || n > 280 {
			t.Errorf("of the %d. tenth of the streams %d were drawn, of all %v", i+1, n, drawn)
		}
	}
}

// The work is that of the draws, however many streams there are.
func TestSample_LargeTable_FewPagesRead(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	pgtest.Exec(t, s.Pool(),
		`insert into eventstore.streams (stream_id) select 'chat-demo:' || i from generate_series(1, 40000) i`)
	pgtest.Exec(t, s.Pool(), `vacuum analyze eventstore.streams`)
	conn := pgtest.Connect(t, s.Pool().Config().ConnString())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (eventstore.Ledger{Store: s.events}).Sample(t.Context(), tx, 20); err != nil {
		t.Fatal(err)
	}
	n := pgtest.Ask[int64](t, tx,
		`select pg_stat_get_xact_tuples_returned('eventstore.streams'::regclass) +
			pg_stat_get_xact_tuples_fetched('eventstore.streams'::regclass)`)
	if n > 1000 {
		t.Errorf("%d rows were read for 20 streams of 40000", n)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}
