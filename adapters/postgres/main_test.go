//go:build unix

package postgres_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// at is when everything in these tests happens.
var at = time.Date(2026, 3, 4, 5, 6, 7, 123456000, time.UTC)

// anything is an event whose payload is any JSON value.
type anything struct{ json.RawMessage }

func codec() *domain.Codec {
	c := chat.NewCodec()
	domain.Register[anything](c, "anything")
	return c
}

type (
	events     = eventstore.Store
	deliveries = outbox.Store
)

// process is one process that uses a database: its event store and its outbox.
type process struct {
	*events
	*deliveries
}

// open connects one process to a database.
func open(t testing.TB, dsn string) *process {
	t.Helper()
	db, err := postgres.Open(t.Context(), dsn, "process")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	box := outbox.New(db)
	return &process{eventstore.New(db, codec(), box), box}
}

// newStore is one process with a database of its own.
func newStore(t testing.TB) *process {
	t.Helper()
	return open(t, pgtest.Database(t))
}

// event is a new event as a handler would make it.
func event(e domain.Event) commands.NewEvent {
	id := uuid.Must(uuid.NewV7())
	return commands.NewEvent{ID: id, Event: e, Correlation: id, Actor: domain.ActorCustomer, OccurredAt: at}
}

// said are n messages as new events.
func said(n int) []commands.NewEvent {
	events := make([]commands.NewEvent, n)
	for i := range events {
		events[i] = event(chat.MessageReceived{Text: fmt.Sprintf("message %d", i), Date: at})
	}
	return events
}

// appendOne appends to one stream and returns what became of it.
func appendOne(t testing.TB, s *process, a commands.Append) error {
	t.Helper()
	errs, err := s.Append(t.Context(), []commands.Append{a})
	if err != nil {
		t.Fatal(err)
	}
	if len(errs) != 1 {
		t.Fatalf("%d results for one append", len(errs))
	}
	return errs[0]
}

// must appends to one stream and insists.
func must(t testing.TB, s *process, a commands.Append) {
	t.Helper()
	if err := appendOne(t, s, a); err != nil {
		t.Fatalf("append to %s at %d: %v", a.Stream, a.Expected, err)
	}
}

// stream reads a whole stream back, and checks that its versions have no gaps.
func stream(t testing.TB, s *process, id domain.StreamID) []domain.Recorded {
	t.Helper()
	events, err := s.ReadStream(t.Context(), s.Pool(), id, 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range events {
		if r.Version != domain.Version(i+1) {
			t.Fatalf("%s: version %d stands in place %d", id, r.Version, i+1)
		}
	}
	return events
}
