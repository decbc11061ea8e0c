//go:build unix

package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// census is what is counted, by name and labels.
func census(t *testing.T, s *process, groups ...string) map[string]float64 {
	t.Helper()
	readings, err := health.Of(s.DB).Readings(t.Context(), groups)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, r := range readings {
		found[strings.TrimPrefix(r.Name, "chatledger_")+" "+strings.Join(r.Labels, " ")] = r.Value
	}
	return found
}

func TestReadings_Group_ReportsLag(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	lead, err := s.Subscribe(t.Context(), "responder")
	if err != nil {
		t.Fatal(err)
	}
	defer lead.Close()
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(3)})
	waittest.Until(t, "the events are final", func() bool {
		found := census(t, s, "responder")
		return found["consumer_lag_events responder"] == 3 && found["consumer_lag_seconds responder"] > 0
	})
	page, err := lead.Next(waittest.Context(t), 10)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := lead.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `select 1`); err != nil { // a page that led to something
		t.Fatal(err)
	}
	if err := lead.Advance(t.Context(), tx, page); err != nil {
		t.Fatal(err)
	}
	found := census(t, s, "responder", "nobody")
	if events, known := found["consumer_lag_events responder"]; events != 0 || !known ||
		found["consumer_lag_seconds responder"] != 0 {
		t.Errorf("a group that has seen everything is behind: %v", found)
	}
	if _, known := found["consumer_lag_events nobody"]; known {
		t.Errorf("a group that there is not is counted: %v", found)
	}
}

func TestReadings_DeadLetters_Counted(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	err := pgx.BeginFunc(t.Context(), s.Pool(), func(tx pgx.Tx) error {
		var unfinished []commands.Delivery
		for range 3 {
			unfinished = append(unfinished,
				commands.Delivery{ID: uuid.Must(uuid.NewV7()), Stream: "chat-demo:1", Version: 1,
					Kind:        domain.KindSendMessage,
					Destination: "telegram:demo", OrderingKey: "chat-demo:1", Payload: "", Correlation: uuid.New()})
		}
		if err := s.Enqueue(t.Context(), tx, unfinished); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(),
			`update eventstore.deliveries set state = 'dead', created_at = now() - interval '1 hour' where delivery_id = $1`,
			unfinished[0].ID.String())
		return err
	})
	if err == nil {
		_, err = s.Pool().Exec(t.Context(), `
			insert into readmodel.tickets (ticket_id, stream_id, bot, chat_id, status, priority, reason, subject, opened_at,
			due_at, first_reply_at,
				reopened, escalations, updated_at, version, transaction_id, position)
			select n::text, 'chat-demo:1', 'demo', 1, status, priority, '', '', now() - interval '2 hours',
			now() - interval '1 hour', replied, 0, 0, now(), 1, '1', 1
			from (values (1, 'open', 'high', null), (2, 'assigned', 'high', now()), (3, 'resolved', 'high', null),
			(4, 'open', 'low', null)) as t(n, status, priority, replied)`)
	}
	if err != nil {
		t.Fatal(err)
	}
	found := census(t, s)
	for what, want := range map[string]float64{
		"deliveries_open telegram:demo dead": 1, "deliveries_open telegram:demo waiting": 2,
		"dead_letters telegram:demo": 1,
		"tickets_waiting urgent":     0, "tickets_waiting high": 2, "tickets_waiting normal": 0,
		"tickets_waiting low":  1,
		"tickets_overdue high": 1, "tickets_overdue low": 1,
	} {
		if got, known := found[what]; got != want || !known {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	for what, want := range map[string]float64{
		"delivery_oldest_seconds telegram:demo dead": 3600, "ticket_oldest_seconds high": 7200,
		"ticket_overdue_seconds high": 3600,
	} {
		if got := found[what]; got < want || got > want+waittest.Timeout.Seconds() {
			t.Errorf("%s is %v, want some %v", what, got, want)
		}
	}
	if found["database_bytes "] < 1<<20 {
		t.Errorf("the database has %v bytes", found["database_bytes "])
	}
}

// A group is stalled when events wait and its checkpoint stands still, and not merely behind.
func TestWork_CheckpointStandsStill_IsStalled(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	lead, err := s.Subscribe(t.Context(), "responder")
	if err != nil {
		t.Fatal(err)
	}
	defer lead.Close()
	stalled := func() []health.Stall {
		t.Helper()
		w, err := health.Of(s.DB).Work(t.Context(), []string{"responder"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return w.Stalled
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	pgtest.Exec(t, s.Pool(), `update eventstore.checkpoints set updated_at = now() - interval '1 hour'`)
	if got := stalled(); len(got) > 0 {
		t.Errorf("stalled though nothing has waited: %+v", got)
	}
	pgtest.Exec(t, s.Pool(), `update eventstore.events set recorded_at = now() - interval '1 hour'`)
	got := stalled()
	if len(got) != 1 || got[0].Group != "responder" || got[0].Behind < 50*time.Minute || got[0].Holder == "" {
		t.Errorf("an hour behind: %+v", got)
	}
	pgtest.Exec(t, s.Pool(), `update eventstore.checkpoints set updated_at = now()`)
	if got := stalled(); len(got) > 0 {
		t.Errorf("stalled though it moves: %+v", got)
	}
}

// A young write may hold an older transaction id: an hour-old one gets its id only when it writes.
func TestOldestWriter_IdTakenLate_OpenLongestIsFound(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s := open(t, dsn)
	begin := func() pgx.Tx {
		tx, err := pgtest.Connect(t, dsn).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pgtest.Exec(t, tx, `select 1`)
		return tx
	}
	old, young := begin(), begin()
	for _, tx := range []pgx.Tx{young, old} {
		pgtest.Exec(t, tx, `select pg_current_xact_id()`)
	}
	want := int32(old.Conn().PgConn().PID())
	// Other tests write on this server, too, so the answer is waited for.
	waittest.Until(t, "the oldest write is found", func() bool {
		w, found, err := health.Of(s.DB).OldestWriter(t.Context())
		return err == nil && found && w.PID == want
	})
}
