// Package health reads how the database and what is stored in it are doing: rights, size,
// clock, consumer lag, unfinished deliveries and the oldest open write.
package health

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
)

// Health reads the health of one database. It is safe for concurrent use.
type Health struct{ db *postgres.DB }

// Of returns the health of a database.
func Of(db *postgres.DB) Health { return Health{db} }

// Rights has the rights of the role of this program, and the other roles that may change events.
type Rights struct {
	Role      string
	Superuser bool
	Missing   []string // rights that the program needs and does not have
	Changes   bool     // the role may change or delete events
	Makes     bool     // the role may create tables
	Others    []string // other roles that may change or delete events, by name
}

// Rights reads the rights of the role of this program.
func (h Health) Rights(ctx context.Context) (r Rights, err error) {
	err = h.db.Pool().QueryRow(ctx, `
		with needed (name, privilege) as (values
			('eventstore.events', 'select'), ('eventstore.events', 'insert'), ('eventstore.streams', 'insert'),
			('eventstore.deliveries', 'update'), ('eventstore.checkpoints', 'update'), ('eventstore.webhooks', 'update'),
			('readmodel.conversations', 'update'), ('readmodel.tickets', 'update'))
		select current_user, (select rolsuper from pg_roles where rolname = current_user),
			coalesce((select array_agg(privilege || ' on ' || name order by name, privilege) from needed
				where not has_any_column_privilege(name, privilege)), '{}'),
			has_table_privilege('eventstore.events', 'update, delete, truncate'),
			has_schema_privilege('eventstore', 'create'),
			coalesce((select array_agg(rolname::text order by rolname) from pg_roles
				where rolcanlogin and not rolsuper and rolname <> current_user
				  and has_table_privilege(oid, 'eventstore.events', 'update, delete, truncate')
				  and oid <> (select relowner from pg_class where oid = 'eventstore.events'::regclass)), '{}')`,
	).Scan(&r.Role, &r.Superuser, &r.Missing, &r.Changes, &r.Makes, &r.Others)
	if err != nil {
		return r, fmt.Errorf("read the role's rights: %w", err)
	}
	return r, nil
}

// Clock returns the time of the database's clock.
func (h Health) Clock(ctx context.Context) (at time.Time, err error) {
	if err := h.db.Pool().QueryRow(ctx, `select clock_timestamp()`).Scan(&at); err != nil {
		return at, fmt.Errorf("read the database's clock: %w", err)
	}
	return at, nil
}

// Lag is how far a consumer group is behind.
type Lag struct {
	Group  string
	Events int64
	Age    time.Duration // of the first event that it has not handled
}

// Lags are those of all groups, by name. Counting ends at maxLag.
func (h Health) Lags(ctx context.Context) ([]Lag, error) {
	return postgres.Collect(ctx, h.db.Pool(), "look how far consumers are behind", pgx.RowToStructByPos[Lag], `
		select c.consumer_group, count(e.position), coalesce(now() - min(e.recorded_at), interval '0')
		from eventstore.checkpoints c
		left join lateral (
			select position, recorded_at from eventstore.events
			where (transaction_id, position) > (c.transaction_id, c.position)
			order by transaction_id, position limit $1
		) e on true
		group by c.consumer_group order by c.consumer_group`, maxLag)
}

// maxLag is where the counting of a lag ends: a higher number would not change what to do.
const maxLag = 100_000

// Unfinished is how many deliveries of a destination are in a state, and how old the oldest is.
type Unfinished struct {
	Destination string
	State       string
	Count       int64
	Oldest      time.Duration
}

// Unfinished counts the deliveries that are not finished, and those whose outcome stays unknown, until an
// operator has decided about them.
func (h Health) Unfinished(ctx context.Context) ([]Unfinished, error) {
	return postgres.Collect(ctx, h.db.Pool(), "count deliveries", pgx.RowToStructByPos[Unfinished], `
		select destination, state, count(*), now() - min(created_at)
		from (
			select destination, state, created_at from eventstore.deliveries where finished_at is null
			union all -- the condition of deliveries_dead, which an "or" would not use
			select destination, state, created_at from eventstore.deliveries
			where state in ('dead', 'unknown') and state = 'unknown' and finished_at is not null
		) listed
		group by destination, state order by destination, state`)
}

// Size returns the size of the database in bytes, and the server's data folder, or "" if the role may
// not read that setting.
func (h Health) Size(ctx context.Context) (bytes int64, folder string, err error) {
	err = h.db.Pool().QueryRow(ctx, `
		select pg_database_size(current_database()),
			case when pg_has_role(current_user, 'pg_read_all_settings', 'usage')
			     then current_setting('data_directory') else '' end`).Scan(&bytes, &folder)
	if err != nil {
		return 0, "", fmt.Errorf("read the size of the database: %w", err)
	}
	return bytes, folder, nil
}
