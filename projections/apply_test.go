//go:build unix

package projections_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/projectionstest"
)

// For any events and any division into pages, each row equals the result of folding its stream's
// history in memory.
func TestProjection_Histories_RowsEqualFold(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			l := projectionstest.New(t)
			histories := projectionstest.Generate(rng, 120, 60)
			l.AppendAll(t, histories, func(left int) int { return rng.IntN(12) + left/20 })
			for _, p := range projections.All() {
				longest := 50 + rng.IntN(400)
				l.Follow(t, p, func() int {
					if rng.IntN(8) == 0 {
						return 1 + rng.IntN(3)
					}
					return 1 + rng.IntN(longest)
				})
				v := l.Verify(t, p)
				if int(v.Streams) != len(histories) {
					t.Errorf("%s: %d streams were verified, want %d", p.Name(), v.Streams, len(histories))
				}
				// The rows are also counted without Verify.
				rows := 0
				for _, h := range histories {
					rows += compare(t, l, p, h.Stream)
				}
				if n := pgtest.Ask[int](t, l.Conn, `select count(*) from readmodel.`+p.Name()); n != rows ||
					int64(n) != v.Rows {
					t.Errorf("%s has %d rows, %d were verified, the histories fold to %d", p.Name(), n, v.Rows, rows)
				}
			}
		})
	}
}

// compare fails the test unless a stream's rows equal its folded history. It returns their number.
func compare(t *testing.T, l *projectionstest.Ledger, p projections.Projection, id domain.StreamID) int {
	t.Helper()
	recorded, err := l.ReadStream(t.Context(), l.Pool(), id, 0, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	want, err := projections.Fold(p, recorded)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]projections.Row
	err = pgx.BeginFunc(t.Context(), l.Conn, func(tx pgx.Tx) error {
		pgtest.Exec(t, tx, `set local search_path = readmodel`)
		got, err = p.Rows(t.Context(), tx, []string{string(id)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s of %s (-history +table):\n%s", p.Name(), id, diff)
	}
	return len(want)
}

// Events that leave a gap, or repeat committed ones, are rejected.
func TestProjection_GapOrRepeat_Error(t *testing.T) {
	t.Parallel()
	record := func(version domain.Version, e domain.Event) domain.Recorded {
		return domain.Recorded{Position: domain.Position{Transaction: 9, Number: int64(version)},
			Stream: "chat-demo:1", Version: version,
			ID: uuid.New(), Event: e, OccurredAt: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
	}
	opened := chat.TicketOpened{Ticket: "#1", Priority: "low"}
	for name, c := range map[string]struct {
		p     projections.Projection
		pages [][]domain.Recorded
		want  projections.GapError
	}{
		"a gap between pages": {projections.Conversations{},
			[][]domain.Recorded{{record(1, opened)}, {record(3, opened)}},
			projections.GapError{Table: "conversations", Stream: "chat-demo:1", Has: 1, Next: 3}},
		"a gap within a page": {projections.Conversations{},
			[][]domain.Recorded{{record(1, opened), record(2, opened), record(4, opened)}},
			projections.GapError{Table: "conversations", Stream: "chat-demo:1", Has: 2, Next: 4}},
		"a missing first event": {projections.Conversations{}, [][]domain.Recorded{{record(2, opened)}},
			projections.GapError{Table: "conversations", Stream: "chat-demo:1", Has: 0, Next: 2}},
		"a repeat": {projections.Conversations{}, [][]domain.Recorded{{record(1, opened)}, {record(1, opened)}},
			projections.GapError{Table: "conversations", Stream: "chat-demo:1", Has: 1, Next: 1}},
		"a repeat of a ticket's event": {projections.Tickets{},
			[][]domain.Recorded{
				{record(1, opened), record(4, chat.TicketResolved{Ticket: "#1"})},
				{record(4, chat.TicketResolved{Ticket: "#1"})},
			},
			projections.GapError{Table: "tickets", Stream: "chat-demo:1", Has: 4, Next: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := projectionstest.New(t)
			for i, page := range c.pages {
				err := pgx.BeginFunc(t.Context(), l.Conn, func(tx pgx.Tx) error {
					pgtest.Exec(t, tx, `set local search_path = readmodel`)
					return c.p.Apply(t.Context(), tx, page)
				})
				var gap projections.GapError
				switch {
				case i < len(c.pages)-1 && err != nil:
					t.Fatal(err)
				case i == len(c.pages)-1 && (!errors.As(err, &gap) || gap != c.want):
					t.Errorf("got %v, want %v", err, c.want)
				}
			}
			if _, err := projections.Fold(c.p, append(c.pages[0], c.pages[len(c.pages)-1]...)); err == nil {
				t.Error("the same events can be folded in memory, want an error")
			}
		})
	}
}

func TestConversations_Deliveries_Counted(t *testing.T) {
	t.Parallel()
	id := uuid.Must(uuid.NewV7())
	queued := chat.ReplyQueued{Text: "hello", Author: chat.Author{Kind: chat.Bot}}
	succeeded := chat.DeliverySucceeded{Delivery: id, Kind: domain.KindSendMessage, MessageID: 7}
	failed := chat.DeliveryFailed{Delivery: id, Kind: domain.KindSendMessage, Outcome: "dead", Reason: "away"}
	retried := func(was domain.DeliveryState) chat.DeliveryRetried {
		return chat.DeliveryRetried{Delivery: id, Kind: domain.KindSendMessage, Was: was}
	}
	skipped := func(was domain.DeliveryState) chat.DeliverySkipped {
		return chat.DeliverySkipped{Delivery: id, Kind: domain.KindSendMessage, Was: was}
	}
	for name, test := range map[string]struct {
		history []domain.Event
		want    string // replies, awaiting, failed
	}{
		"waiting":                    {[]domain.Event{queued}, "0 1 0"},
		"sent":                       {[]domain.Event{queued, succeeded}, "1 0 0"},
		"failed":                     {[]domain.Event{queued, failed}, "0 0 1"},
		"failed, then sent":          {[]domain.Event{queued, failed, retried("dead"), succeeded}, "1 0 0"},
		"failed twice":               {[]domain.Event{queued, failed, retried("dead"), failed}, "0 0 1"},
		"failed, then skipped":       {[]domain.Event{queued, failed, skipped("dead")}, "0 0 1"},
		"skipped before it was sent": {[]domain.Event{queued, skipped("waiting")}, "0 0 1"},
		"skipped, then sent": {
			[]domain.Event{queued, skipped("waiting"), retried("skipped"), succeeded}, "1 0 0",
		},
		"sent, and sent again": {[]domain.Event{queued, succeeded, retried("done"), succeeded}, "2 0 0"},
		"the answer to a button failed": {
			[]domain.Event{
				queued, chat.DeliveryFailed{Kind: domain.KindAnswerButton, Outcome: "dead"},
				chat.DeliveryRetried{Kind: domain.KindAnswerButton, Was: "dead"},
			}, "0 1 0",
		},
	} {
		var history []domain.Recorded
		for i, event := range test.history {
			history = append(history,
				domain.Recorded{Stream: "chat-demo:1", Version: domain.Version(i + 1), Event: event})
		}
		rows, err := projections.Fold(projections.Conversations{}, history)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]any{}
		for _, column := range rows["chat-demo:1"] {
			counts[column.Name] = column.Value
		}
		if got := fmt.Sprint(counts["replies"], counts["awaiting_delivery"],
			counts["failed_deliveries"]); got != test.want {
			t.Errorf("%s: replies, awaiting and failed are %s, want %s", name, got, test.want)
		}
	}
}

// The view shows the tickets that wait for an operator, the most urgent first.
func TestTicketQueue_Waiting_MostUrgentFirst(t *testing.T) {
	t.Parallel()
	l := projectionstest.New(t)
	at := time.Now().Add(-30 * time.Minute)
	ticket := func(id int64, commands ...chat.Command) projectionstest.History {
		h := projectionstest.History{Stream: domain.ChatStream("demo", id)}
		g := projectionstest.Generator{History: &h, Rand: rand.New(rand.NewPCG(uint64(id), 2)), Now: at}
		for _, c := range commands {
			g.Ask("operator:bo", c)
		}
		return h
	}
	open := chat.OpenTicket{Reason: "asked", Priority: "normal", At: at}
	l.AppendAll(t, []projectionstest.History{
		ticket(1, open),
		ticket(2, open, chat.EscalateTicket{Priority: "urgent", At: at}),
		ticket(3, open, chat.ResolveTicket{At: at}),
		ticket(4, open, chat.EscalateTicket{Priority: "urgent", At: at}, chat.AssignTicket{Assignee: "bo"},
			chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "bo"}, Text: "hello"}),
		ticket(5, open, chat.HandBack{}),
	}, func(left int) int { return left })
	l.Follow(t, projections.Tickets{}, func() int { return 100 })
	got := projectionstest.Rows(t, l.Conn,
		`select ticket_id, priority, status, assignee, overdue from readmodel.ticket_queue`)
	want := "(demo:2#1,urgent,open,,t)\n(demo:4#1,urgent,assigned,bo,f)\n(demo:1#1,normal,open,,f)"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A ticket has the time of the first missed response, and of the first missed resolution, since it was
// opened or reopened.
func TestTickets_Overdue_ShowsMissedAndWhen(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	after := func(hours int) time.Time { return at.Add(time.Duration(hours) * time.Hour) }
	late := func(what chat.DueWhat, hours int) domain.Event {
		return chat.DueBreached{Ticket: "#1", What: what, Due: after(hours), At: after(hours)}
	}
	opened := chat.TicketOpened{Ticket: "#1", Priority: "high", At: at, Due: after(1), Resolve: after(8)}
	escalated := chat.TicketEscalated{Ticket: "#1", Priority: "urgent", At: after(2), Due: after(3), Resolve: after(6)}
	for name, c := range map[string]struct {
		events []domain.Event
		want   string // resolve_by, first_response_breached_at, resolution_breached_at, as hours
	}{
		"opened":   {[]domain.Event{opened}, "20 - -"},
		"no reply": {[]domain.Event{opened, late(chat.DueResponse, 1)}, "20 13 -"},
		"not closed": {
			[]domain.Event{opened, late(chat.DueResponse, 1), late(chat.DueResolution, 8)}, "20 13 20",
		},
		"escalated": {
			[]domain.Event{opened, late(chat.DueResponse, 1), escalated, late(chat.DueResponse, 3)}, "18 13 -",
		},
		"closed": {
			[]domain.Event{opened, late(chat.DueResponse, 1), chat.TicketResolved{Ticket: "#1", At: after(2)}},
			"20 13 -",
		},
		"reopened": {
			[]domain.Event{
				opened, late(chat.DueResponse, 1), chat.TicketResolved{Ticket: "#1", At: after(2)},
				chat.TicketReopened{Ticket: "#1", At: after(3), Due: after(4), Resolve: after(11)},
			}, "23 - -",
		},
		"without a resolution time": {
			[]domain.Event{chat.TicketOpened{Ticket: "#1", Priority: "high", At: at, Due: after(1)}}, "- - -",
		},
		"a second ticket opened": {
			[]domain.Event{
				opened, late(chat.DueResponse, 1), chat.HandedBack{Ticket: "#1"},
				chat.TicketOpened{Ticket: "#2", Priority: "high", At: after(2), Due: after(3), Resolve: after(10)},
			}, "20 13 -",
		},
	} {
		var history []domain.Recorded
		for i, e := range c.events {
			history = append(history,
				domain.Recorded{
					Position: domain.Position{Transaction: 9, Number: int64(i + 1)}, Stream: "chat-demo:1",
					Version: domain.Version(i + 1), Event: e,
				})
		}
		rows, err := projections.Fold(projections.Tickets{}, history)
		if err != nil {
			t.Fatal(err)
		}
		columns := map[string]string{}
		for _, column := range rows["demo:1#1"] {
			columns[column.Name] = "-"
			if text, ok := column.Value.(string); ok && len(text) > 13 {
				columns[column.Name] = text[11:13]
			}
		}
		if got := columns["resolve_by"] + " " + columns["first_response_breached_at"] + " " +
			columns["resolution_breached_at"]; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// The outcome of a delivery that creates a ticket in Zendesk changes that ticket, even if the chat has
// a newer one. Outcomes of other deliveries do not.
func TestTickets_Zendesk_ShowsRemoteState(t *testing.T) {
	t.Parallel()
	var history []domain.Recorded
	first, second := uuid.New(), uuid.New()
	happened := func(id uuid.UUID, events ...domain.Event) {
		for _, e := range events {
			n := domain.Version(len(history) + 1)
			history = append(history,
				domain.Recorded{
					Position: domain.Position{Transaction: 9, Number: int64(n)}, Stream: "chat-demo:1", Version: n,
					ID: id, Event: e,
				})
		}
	}
	wantState := func(want string) {
		t.Helper()
		rows, err := projections.Fold(projections.Tickets{}, history)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, key := range []string{"demo:1#1", "demo:1#2"} {
			for _, c := range rows[key] {
				if c.Name == "external_state" || c.Name == "external_id" {
					got += fmt.Sprint(c.Value, " ")
				}
			}
		}
		if got != want {
			t.Errorf("after %T: %q, want %q", history[len(history)-1].Event, got, want)
		}
	}
	happened(uuid.New(), chat.TicketOpened{Ticket: "#1"})
	wantState("<nil> <nil> ")
	happened(first, chat.TicketReferred{Ticket: "#1", Desk: "zendesk"})
	wantState("pending <nil> ")
	happened(uuid.New(), chat.TicketResolved{Ticket: "#1"}, chat.TicketOpened{Ticket: "#2"})
	happened(second, chat.TicketReferred{Ticket: "#2", Desk: "zendesk"})
	happened(uuid.New(), chat.DeliveryFailed{Delivery: first, Kind: domain.KindCreateTicket, Outcome: "dead"})
	wantState("failed <nil> pending <nil> ")
	happened(uuid.New(), chat.TicketFiled{Delivery: second, Ticket: "#2", Number: "36"},
		chat.DeliveryFailed{Delivery: uuid.New(), Kind: domain.KindAddComment, Outcome: "dead"})
	wantState("failed <nil> filed 36 ")
	happened(uuid.New(), chat.DeliveryRetried{Delivery: first, Kind: domain.KindCreateTicket})
	wantState("pending <nil> filed 36 ")
	happened(uuid.New(), chat.TicketFiled{Delivery: first, Ticket: "#1", Number: "37"})
	wantState("filed 37 filed 36 ")
}
