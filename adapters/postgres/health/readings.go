package health

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
)

// Reading is one value of a metric.
type Reading struct {
	Name   string
	Labels []string
	Value  float64
}

// readingsTimeout limits Readings: a longer query would slow other work down.
const readingsTimeout = 2 * time.Second

// Readings reads the lag of these consumer groups in events and in seconds, the unfinished deliveries
// by destination and state, and the waiting tickets by priority. The names are those of metrics.
// Positions come from a sequence with gaps, so that a lag in events may be a little too high; the
// seconds are exact.
func (h Health) Readings(ctx context.Context, groups []string) ([]Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, readingsTimeout)
	defer cancel()
	// Each group takes one look-up in the index of the feed, whatever its lag.
	return postgres.Collect(ctx, h.db.Pool(), "read lags, deliveries and tickets", pgx.RowToStructByPos[Reading], `
		with newest as materialized (
			select position from eventstore.events order by transaction_id desc, position desc limit 1
		), lag as materialized (
			select c.consumer_group, c.position, next.recorded_at
			from eventstore.checkpoints c left join lateral (
				select e.recorded_at from eventstore.events e
				where (e.transaction_id, e.position) > (c.transaction_id, c.position)
				order by e.transaction_id, e.position limit 1) next on true
			where c.consumer_group = any($1)
		), unfinished as materialized (
			select destination, state, count(*) as n, extract(epoch from now() - min(created_at)) as age
			from eventstore.deliveries where finished_at is null group by destination, state
		), queue as materialized (
			select p.priority, count(t.ticket_id) as n, coalesce(extract(epoch from now() - min(t.opened_at)), 0) as age,
				count(*) filter (where t.first_reply_at is null and t.due_at < now()) as overdue,
				greatest(coalesce(extract(epoch from now() - min(t.due_at) filter (where t.first_reply_at is null)), 0), 0) as late
			from (values ('urgent'), ('high'), ('normal'), ('low')) as p(priority)
			left join readmodel.tickets t on t.priority = p.priority and t.status in ('open', 'assigned')
			group by p.priority
		)
		select 'chatledger_consumer_lag_events', array[consumer_group], case when recorded_at is null then 0
			else greatest((select position from newest) - position, 1) end::float8 from lag
		union all
		select 'chatledger_consumer_lag_seconds', array[consumer_group],
			greatest(coalesce(extract(epoch from clock_timestamp() - recorded_at), 0), 0)::float8 from lag
		union all
		select 'chatledger_deliveries_open', array[destination, state], n::float8 from unfinished
		union all
		select 'chatledger_delivery_oldest_seconds', array[destination, state], age::float8 from unfinished
		union all
		select 'chatledger_dead_letters', array[destination], sum(n)::float8 from unfinished
		where state in ('dead', 'unknown') group by destination
		union all
		select 'chatledger_tickets_waiting', array[priority], n::float8 from queue
		union all
		select 'chatledger_ticket_oldest_seconds', array[priority], age::float8 from queue
		union all
		select 'chatledger_tickets_overdue', array[priority], overdue::float8 from queue
		union all
		select 'chatledger_ticket_overdue_seconds', array[priority], late::float8 from queue
		union all
		select 'chatledger_parked_streams', array[g],
			(select count(*) from eventstore.parked where consumer_group = g)::float8
		from unnest($1::text[]) g
		union all
		select 'chatledger_database_bytes', '{}', pg_database_size(current_database())::float8`, groups)
}
