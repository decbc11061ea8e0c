package health

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
)

// Work reports whether the consumer groups and the outbox make progress.
type Work struct {
	Stalled     []Stall
	Parked      int64 // streams that groups have parked, over all groups
	DeadLetters int64 // deliveries that an operator must decide about
}

// Stall is a consumer group whose checkpoint does not move although there are events.
type Stall struct {
	Group  string
	Behind time.Duration // the age of the first event that the group has not handled
	Holder string        // the process that leads the group, or led it last; "" if none has
}

// Work reads whether these groups make progress. A group is stalled if its first waiting event is older
// than patience, and its checkpoint has not moved for as long. A group that is behind but makes
// progress is not stalled. Each group takes one look-up in the index of the feed.
func (h Health) Work(ctx context.Context, groups []string, patience time.Duration) (w Work, err error) {
	ctx, cancel := context.WithTimeout(ctx, readingsTimeout)
	defer cancel()
	err = h.db.Pool().QueryRow(ctx, `
		select (select count(*) from eventstore.parked where consumer_group = any($1)),
			(select count(*) from eventstore.deliveries where state in ('dead', 'unknown') and finished_at is null)`,
		groups).Scan(&w.Parked, &w.DeadLetters)
	if err != nil {
		return w, fmt.Errorf("count parked streams and dead letters: %w", err)
	}
	w.Stalled, err = postgres.Collect(ctx, h.db.Pool(), "look for stalled consumer groups", pgx.RowToStructByPos[Stall], `
		select c.consumer_group, clock_timestamp() - next.recorded_at, coalesce(l.holder, '')
		from eventstore.checkpoints c
		left join eventstore.leaders l using (consumer_group)
		cross join lateral (
			select e.recorded_at from eventstore.events e
			where (e.transaction_id, e.position) > (c.transaction_id, c.position)
			order by e.transaction_id, e.position limit 1) next
		where c.consumer_group = any($1)
		  and next.recorded_at < clock_timestamp() - $2::interval and c.updated_at < clock_timestamp() - $2::interval
		order by c.consumer_group`, groups, patience)
	return w, err
}
