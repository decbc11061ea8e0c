//go:build unix

package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/postgres/tickets"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/dialog"
)

// queueStore holds tickets of every kind in the read model.
func queueStore(t *testing.T) (tickets.Reader, time.Time) {
	t.Helper()
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	_, err := conn.Exec(t.Context(), `
		insert into readmodel.tickets (ticket_id, stream_id, bot, chat_id, status, priority, reason, subject, assignee,
		opened_at, due_at, first_reply_at, resolve_by,
			reopened, escalations, updated_at, version, transaction_id, position, tags, claimed_by, claimed_until)
		select 'b' || n % 2 || ':' || n || '#1', 's' || n, 'b' || n % 2, n,
			(array['open', 'assigned', 'resolved', 'handed_back'])[1 + n % 4],
			(array['urgent', 'high', 'normal', 'low'])[1 + n % 4], 'asked', 'x',
			case when n % 4 = 1 then 'maria' end,
			$1::timestamptz, $1::timestamptz + (n % 7 - 3) * interval '1 minute',
			case when n % 5 = 0 then $1::timestamptz end,
			case when n % 3 > 0 then $1::timestamptz + (n % 11 - 2) * interval '1 minute' end,
			0, 0, $1::timestamptz, 1, '1', n, case when n % 3 = 0 then array['vip', 'x'] else '{}' end,
			case when n % 6 = 0 then 'jo' end,
			case when n % 6 = 0 then $1::timestamptz + (n % 8 - 3) * interval '1 minute' end
		from generate_series(1, 400) n`, at)
	if err != nil {
		t.Fatal(err)
	}
	return tickets.NewReader(open(t, dsn).DB), at
}

// The queue has the late and the urgent first and each once over its pages.
func TestTicketQueue_Pages_UrgentFirstEachOnce(t *testing.T) {
	t.Parallel()
	s, now := queueStore(t)
	var all []commands.QueuedTicket
	for q := (commands.TicketQuery{At: now, Limit: 17}); ; {
		page, err := s.TicketQueue(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, page...); len(page) < q.Limit {
			break
		}
		q.After = &page[len(page)-1].Place
	}
	seen, late, claimed := map[string]bool{}, 0, 0
	for i, q := range all {
		if seen[q.Ticket] {
			t.Errorf("%s comes twice", q.Ticket)
		}
		seen[q.Ticket] = true
		if q.Place.Overdue != (q.FirstReply.IsZero() && q.Due.Before(now) || !q.Resolve.IsZero() &&
			q.Resolve.Before(now)) {
			t.Errorf("%+v", q)
		}
		if q.Place.Overdue {
			late++
		}
		if q.ClaimedBy != "" {
			claimed++
		}
		if (q.ClaimedBy != "") != q.ClaimedUntil.After(now) {
			t.Errorf("a claim that has run out is shown: %+v", q)
		}
		if i == 0 {
			continue
		}
		before := all[i-1]
		key := func(q commands.QueuedTicket) string {
			return fmt.Sprint(!q.Place.Overdue, q.Rank, q.Due.Format(time.RFC3339), q.Ticket)
		}
		if key(before) >= key(q) {
			t.Errorf("%s stands before %s", key(before), key(q))
		}
	}
	if len(all) != 200 || late == 0 || late == 200 || claimed == 0 {
		t.Errorf("%d tickets, %d late, %d claimed", len(all), late, claimed)
	}
}

// The queue is filtered by each of its parameters.
func TestTicketQueue_Parameters_Filtered(t *testing.T) {
	t.Parallel()
	s, now := queueStore(t)
	all, err := s.TicketQueue(t.Context(), commands.TicketQuery{Bots: []string{}, At: now, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		q  commands.TicketQuery
		is func(commands.QueuedTicket) bool
	}{
		"bot": {commands.TicketQuery{Bot: "b1"}, func(q commands.QueuedTicket) bool { return q.Bot == "b1" }},
		"status": {
			commands.TicketQuery{Status: "assigned"}, func(q commands.QueuedTicket) bool {
				return q.Status == "assigned"
			},
		},
		"priority": {
			commands.TicketQuery{Priority: dialog.Urgent}, func(q commands.QueuedTicket) bool {
				return q.Priority == dialog.Urgent
			},
		},
		"assignee": {
			commands.TicketQuery{Assignee: "maria"}, func(q commands.QueuedTicket) bool {
				return q.Assignee == "maria"
			},
		},
		"tag": {
			commands.TicketQuery{Tag: "vip"}, func(q commands.QueuedTicket) bool {
				return slices.Contains(q.Tags, "vip")
			},
		},
		"of": {
			commands.TicketQuery{Bots: []string{"b1", "b7"}}, func(q commands.QueuedTicket) bool {
				return q.Bot == "b1"
			},
		},
		"overdue": {
			commands.TicketQuery{Overdue: true}, func(q commands.QueuedTicket) bool { return q.Place.Overdue },
		},
	} {
		c.q.At, c.q.Limit = now, 1000
		got, err := s.TicketQueue(t.Context(), c.q)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, q := range all {
			if c.is(q) {
				want = append(want, q.Ticket)
			}
		}
		var found []string
		for _, q := range got {
			found = append(found, q.Ticket)
		}
		if !slices.Equal(found, want) || len(want) == 0 || len(want) == len(all) {
			t.Errorf("%s: %d tickets, want %d of %d", name, len(found), len(want), len(all))
		}
	}
}
