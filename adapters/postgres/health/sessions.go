package health

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
)

// Session is a session of the database with an open transaction.
type Session struct {
	PID         int32
	Application string
	User        string
	State       string
	Writes      bool          // it has a transaction id, which holds every consumer back
	Age         time.Duration // of the transaction
}

// ReaderLimits limits how long a transaction of a role that reads only the read model may be open. A
// role can change limits that are its settings; it cannot change these.
type ReaderLimits struct {
	Write time.Duration // with a transaction id
	Idle  time.Duration // without a statement
	Whole time.Duration // any transaction
}

// EndReaders ends the sessions beyond the limits, and returns them. It ends only sessions of roles that
// may not read the events: not those of the program, of administrators or of a backup. The program's
// role must be a member of these roles, or of pg_signal_backend.
func (h Health) EndReaders(ctx context.Context, l ReaderLimits) ([]Session, error) {
	return postgres.Collect(ctx, h.db.Pool(), "end sessions of analysts", pgx.RowToStructByPos[Session], `
		with beyond as materialized ( -- all conditions hold before anything is ended
			select pid, application_name, usename::text, coalesce(state, ''), backend_xid is not null,
				clock_timestamp() - xact_start
			from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid() and usesysid is not null
			  and not has_table_privilege(usesysid, 'eventstore.events', 'select')
			  and (pg_has_role(current_user, usesysid, 'usage') or pg_has_role(current_user, 'pg_signal_backend', 'usage'))
			  and (backend_xid is not null and xact_start < clock_timestamp() - $1::interval
			    or state like 'idle in transaction%' and state_change < clock_timestamp() - $2::interval
			    or xact_start < clock_timestamp() - $3::interval)
		)
		select * from beyond where pg_terminate_backend(pid)`, l.Write, l.Idle, l.Whole)
}

// EndWriters ends the sessions, in any database of the server, whose transaction has written and has
// been open for longer than after, and returns them. It leaves out sessions that the
// program's role may not end: those of superusers, and of roles of which it is not a member, unless it
// is a member of pg_signal_backend.
func (h Health) EndWriters(ctx context.Context, after time.Duration) ([]Session, error) {
	return postgres.Collect(ctx, h.db.Pool(), "end open writes", pgx.RowToStructByPos[Session], `
		with beyond as materialized ( -- all conditions hold before anything is ended
			select pid, application_name, usename::text, coalesce(state, ''), true, clock_timestamp() - xact_start
			from pg_stat_activity join pg_roles r on r.oid = usesysid
			where backend_xid is not null and pid <> pg_backend_pid() and xact_start < clock_timestamp() - $1::interval
			  and (not r.rolsuper or current_setting('is_superuser') = 'on')
			  and (pg_has_role(current_user, usesysid, 'usage') or pg_has_role(current_user, 'pg_signal_backend', 'usage'))
		)
		select * from beyond where pg_terminate_backend(pid)`, after)
}

// Exposed returns rights of every role of the server, and missing limits of analysts, that could hold
// the program back or fill the disk.
func (h Health) Exposed(ctx context.Context) ([]string, error) {
	return postgres.Collect(ctx, h.db.Pool(), "read the rights of every role", pgx.RowTo[string], `
		select 'every role may connect' where has_database_privilege('public', current_database(), 'connect')
		union all
		select 'every role may create temporary tables'
		where has_database_privilege('public', current_database(), 'temporary')
		union all
		select 'every role may call ' || string_agg(distinct proname, ', ' order by proname)
		from pg_proc
		where pronamespace = 'pg_catalog'::regnamespace and has_function_privilege('public', oid, 'execute')
		  and proname in ('pg_advisory_lock', 'pg_current_xact_id', 'txid_current', 'pg_logical_emit_message',
			'lo_from_bytea', 'lo_create', 'lo_creat')
		having count(*) > 0
		union all
		select rolname || ' has no ' || setting
		from pg_roles, unnest(array['idle_in_transaction_session_timeout', 'statement_timeout', 'temp_file_limit']) setting
		where rolcanlogin and has_table_privilege(oid, 'readmodel.conversations', 'select')
		  and not has_table_privilege(oid, 'eventstore.events', 'select') and not rolname like 'pg\_%'
		  and not exists (select from pg_db_role_setting s, unnest(s.setconfig) c
			where s.setrole = pg_roles.oid and starts_with(c, setting || '='))`)
}

// Holder is a session that leads consumer groups, or holds a lock of the program.
type Holder struct {
	Holds       string // the groups' names, or the lock's
	Application string
	PID         int32
	Address     string // of its client
	Since       time.Duration
}

// Holders returns the leaders of the consumer groups and the holders of locks whose sessions exist.
func (h Health) Holders(ctx context.Context) ([]Holder, error) {
	return postgres.Collect(ctx, h.db.Pool(), "read the leaders of the consumer groups", pgx.RowToStructByPos[Holder], `
		with held as (
			select 'consumer groups ' || string_agg(consumer_group, ', ' order by consumer_group) as name, pid, backend_start
			from eventstore.leaders where pid is not null group by pid, backend_start
			union all
			select 'lock ' || name, pid, backend_start from eventstore.locks
		)
		select held.name, coalesce(a.application_name, ''), held.pid, coalesce(host(a.client_addr), 'local'),
			clock_timestamp() - held.backend_start
		from held join pg_stat_activity a using (pid, backend_start) order by 1`)
}
