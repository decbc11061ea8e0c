// Package tickets reads the queue of tickets from the read model.
package tickets

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
)

// Reader reads the tickets of one database. It is safe for concurrent use.
type Reader struct{ db *postgres.DB }

// NewReader returns a reader of a database.
func NewReader(db *postgres.DB) Reader { return Reader{db} }

// TicketQueue returns the tickets that wait for an operator, as of q.At: overdue tickets first, then
// the most urgent ones. Sorting them is cheap: there are few open tickets, and the index tickets_open
// has only those.
func (r Reader) TicketQueue(ctx context.Context, q commands.TicketQuery) ([]commands.QueuedTicket, error) {
	after := commands.Place{}
	if q.After != nil {
		after = *q.After
	}
	queued := func(row pgx.CollectableRow) (t commands.QueuedTicket, err error) {
		t.At = q.At
		err = row.Scan(&t.Ticket, &t.Place.Overdue, &t.Rank, &t.Due, &t.Chat, &t.Bot, &t.Status, &t.Priority,
			&t.Reason, &t.Subject, &t.Assignee, &t.Tags,
			&t.Opened, &t.Resolve, &t.FirstReply, &t.ClaimedBy, &t.ClaimedUntil)
		for _, at := range []*time.Time{&t.Due, &t.Opened, &t.Resolve, &t.FirstReply, &t.ClaimedUntil} {
			*at = at.UTC()
		}
		return t, err
	}
	return postgres.Collect(ctx, r.db.Pool(), "read the queue", queued, `
		with waiting as (
			select *, first_reply_at is null and due_at < $1 or coalesce(resolve_by < $1, false) as overdue,
			       array_position(array['urgent', 'high', 'normal', 'low'], priority) as rank
			from readmodel.tickets
			where status in ('open', 'assigned'))
		select ticket_id, overdue, rank, due_at, bot || ':' || chat_id, bot, status, priority, reason, subject,
		       coalesce(assignee, ''), tags, opened_at,
		       coalesce(resolve_by, '0001-01-01 00:00:00Z'), coalesce(first_reply_at, '0001-01-01 00:00:00Z'),
		       case when claimed_until > $1 then coalesce(claimed_by, '') else '' end,
		       case when claimed_until > $1 then claimed_until else '0001-01-01 00:00:00Z' end
		from waiting
		where ($2 = '' or bot = $2) and (coalesce(cardinality($14::text[]), 0) = 0 or bot = any($14))
		  and ($3 = '' or status = $3) and ($4 = '' or priority = $4) and ($5 = '' or assignee = $5)
		  and ($6 = '' or tags @> array[$6]) and (not $7 or overdue)
		  and (not $8 or (not overdue, rank, due_at, ticket_id) > (not $9, $10, $11, $12))
		order by not overdue, rank, due_at, ticket_id
		limit $13`,
		q.At, q.Bot, q.Status, string(q.Priority), q.Assignee, q.Tag, q.Overdue,
		q.After != nil, after.Overdue, after.Rank, after.Due, after.Ticket, q.Limit, q.Bots)
}
