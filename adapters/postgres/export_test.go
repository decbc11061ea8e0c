//go:build unix

package postgres_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Large events make short pages, of which none is left out.
func TestArchivePages_Feed_BoundedAndComplete(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const events, large = 30, 1 << 20
	for i := range events {
		e := event(chat.UpdateKept{Kind: fmt.Sprint(i)})
		e.Raw = []byte(`"` + strings.Repeat("x", large) + `"`)
		must(t, s, commands.Append{Stream: domain.ChatStream("demo", int64(i)), Events: []commands.NewEvent{e}})
	}
	extent, err := eventstore.NewExporter(s.events).Extent(t.Context(), "responder")
	if err != nil {
		t.Fatal(err)
	}
	var at domain.Position
	var pages, read int
	waittest.Until(t, "all are final and read", func() bool {
		page, err := eventstore.NewExporter(s.events).Read(t.Context(), at, extent.End)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > 10 {
			t.Errorf("a page has %d events of a MiB each", len(page))
		}
		for _, e := range page {
			if want := domain.ChatStream("demo", int64(read)); e.Stream != want || len(e.Raw) != large+2 {
				t.Errorf("event %d is of %s, with %d bytes of raw", read, e.Stream, len(e.Raw))
			}
			at, read = e.Position, read+1
		}
		pages++
		return at == extent.End
	})
	if read != events || pages < 3 {
		t.Errorf("%d events were read in %d pages", read, pages)
	}
}

// The extent is one moment.
func TestExtent_ConcurrentAppends_OneSnapshot(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if e, err := eventstore.NewExporter(s.events).Extent(t.Context(), "responder"); err != nil ||
		e.End != (domain.Position{}) || e.AnsweredTo != (domain.Position{}) {
		t.Errorf("of an empty store: %+v, %v", e, err)
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(3)})
	pgtest.Exec(t, s.Pool(),
		`insert into eventstore.checkpoints (consumer_group, transaction_id, position) values ('responder', '5', 6)`)
	e, err := eventstore.NewExporter(s.events).Extent(t.Context(), "responder")
	if err != nil || e.AnsweredTo != (domain.Position{Transaction: 5, Number: 6}) {
		t.Errorf("%+v, %v", e, err)
	}
	last := pgtest.Ask[string](t, s.Pool(), `select event_id::text from eventstore.events where version = 3`)
	if id, err := eventstore.NewExporter(s.events).EventAt(t.Context(), e.End); err != nil || id.String() != last {
		t.Errorf("at the end stands %v (%v), want %s", id, err, last)
	}
}
