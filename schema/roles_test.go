//go:build unix

package schema_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/schema"
)

// roles makes the roles of a new database, and returns a function that connects as one of them.
// Their names begin with a prefix, since the server is shared.
func roles(t *testing.T, prefix string) (admin *pgx.Conn, as func(role string) *pgx.Conn) {
	t.Helper()
	dsn := pgtest.Database(t)
	admin = pgtest.Connect(t, dsn)
	for range 2 { // the second run changes nothing
		if _, err := schema.MakeRoles(t.Context(), dsn, prefix, func(notice string) { t.Error(notice) }); err != nil {
			t.Fatal(err)
		}
	}
	return admin, func(role string) *pgx.Conn {
		t.Helper()
		pgtest.Exec(t, admin, `alter role `+prefix+"_"+role+` password 'open sesame'`)
		address, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		address.User = url.UserPassword(prefix+"_"+role, "open sesame")
		return pgtest.Connect(t, address.String())
	}
}

// denied fails unless the role of a session is denied each of these statements.
func denied(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `set transaction read write`)
			if err == nil {
				_, err = tx.Exec(t.Context(), sql)
			}
			return errors.Join(err, tx.Rollback(context.WithoutCancel(t.Context())))
		})
		var said *pgconn.PgError
		if !errors.As(err, &said) || said.Code != "42501" { // insufficient privilege
			t.Errorf("%s was not refused: %v", sql, err)
		}
	}
}

// What the app's role leaves behind is run by others later: by the owner in a migration, by a
// superuser in a restore. So it can leave rows, and nothing that runs.
func TestRoles_App_CannotLeaveCode(t *testing.T) {
	t.Parallel()
	_, as := roles(t, "leaves")
	app := as("app")
	for _, in := range []string{"readmodel", "readmodel_rebuild", "readmodel_previous", "eventstore", "public"} {
		denied(t, app,
			`create function `+in+`.f() returns void language sql security definer as 'delete from eventstore.events'`,
			`create table `+in+`.mine ()`,
			`create view `+in+`.mine as select 1`,
			`create domain `+in+`.mine as text check (value <> '')`)
	}
	denied(t, app,
		`alter table readmodel.tickets add check (query_to_xml('select 1', true, true, '') is not null)`,
		`create trigger t before update on readmodel.tickets
			for each row execute function suppress_redundant_updates_trigger()`,
		`create rule r as on update to readmodel.tickets do also select 1`,
		`create policy p on readmodel.tickets using (true)`,
		`alter table readmodel.tickets alter subject set default pg_read_file('/etc/passwd')`,
		`create or replace view readmodel.ticket_queue as select 1`,
		`create index on readmodel.tickets (lower(subject))`,
		`alter function eventstore.remove_updates owner to current_user`)
}

// An event that the app's role adds is the newest: it cannot be put where the feed has been read, nor
// be given a time of storage.
func TestRoles_App_AppendsOnly(t *testing.T) {
	t.Parallel()
	_, as := roles(t, "appends")
	app := as("app")
	const insert = `
		insert into eventstore.events (
			%sstream_id, version, event_id, name, event_version, payload, correlation_id, actor, occurred_at)
		%s select %s'chat-demo:1', 1, gen_random_uuid(), 'greeted', 1, '{}', gen_random_uuid(), 'bot', now()`
	denied(t, app,
		fmt.Sprintf(insert, "transaction_id, ", "", "'1', "),
		fmt.Sprintf(insert, "position, ", "overriding system value", "1, "),
		fmt.Sprintf(insert, "recorded_at, ", "", "'2020-01-01', "),
		`select setval('eventstore.events_position_seq', 1)`,
		`alter sequence eventstore.events_position_seq restart`,
		`update eventstore.events set payload = '{}'`,
		`delete from eventstore.events`)
	pgtest.Exec(t, app, fmt.Sprintf(insert, "", "", ""))
}

// The functions by which tables are rebuilt lead to nothing but the tables of readmodel.
func TestRoles_RebuildFunctions_OnlyReadModel(t *testing.T) {
	t.Parallel()
	_, as := roles(t, "rebuilds")
	app := as("app")
	for _, function := range []string{
		"prepare_rebuild", "analyze_rebuild", "drop_rebuild", "lock_for_swap", "swap_tables", "recall_previous",
	} {
		for _, name := range []string{"events", "no such table", "tickets; drop table eventstore.events", "ticket_queue"} {
			_, err := app.Exec(t.Context(), `select eventstore.`+function+`($1)`, name)
			if said := new(pgconn.PgError); !errors.As(err, &said) || said.Code != "42P01" { // undefined table
				t.Errorf("%s(%s): %v", function, name, err)
			}
		}
	}
	denied(t, as("analyst"), `select eventstore.prepare_rebuild('tickets')`)
}

// An analyst shares the server with the bots, and must have no means to stop them.
func TestRoles_Analyst_CannotStopBots(t *testing.T) {
	t.Parallel()
	admin, as := roles(t, "stops")
	denied(t, as("analyst"),
		`select pg_current_xact_id()`,
		`select txid_current()`,
		`select pg_logical_emit_message(true, 'x', 'x')`,
		`select pg_advisory_lock(1)`,
		`select pg_try_advisory_lock_shared(1, 2)`,
		`select lo_from_bytea(0, 'x')`,
		`select lo_create(0)`,
		`select lo_creat(0)`,
		`select lowrite(0, 'x')`,
		`select eventstore.try_lock('retention')`,
		`create temporary table mine ()`,
		`set temp_file_limit = -1`,
		`alter role current_user set temp_file_limit = -1`,
		`alter role current_user connection limit -1`)
	analyst := as("analyst")
	pgtest.Exec(t, analyst, `set default_transaction_read_only = off`)
	pgtest.Exec(t, analyst, `alter role current_user reset all`)
	if limit := pgtest.Ask[string](t, as("analyst"), `select current_setting('temp_file_limit')`); limit == "-1" {
		t.Error("the role has shed its limit of temporary files")
	}
	if n := pgtest.Ask[int](t, admin, `select rolconnlimit from pg_roles where rolname = 'stops_analyst'`); n <= 0 {
		t.Errorf("the analyst may open %d connections", n)
	}
}

// Other databases on the server have roles of their own. They have no business in this one.
func TestRoles_OtherRoles_CannotConnect(t *testing.T) {
	t.Parallel()
	admin, as := roles(t, "connects")
	for _, role := range []string{"owner", "app", "analyst"} {
		as(role)
	}
	if pgtest.Ask[bool](t, admin, `select has_database_privilege('public', current_database(), 'connect')`) {
		t.Error("every role of the server may connect")
	}
}

// Roles that were to adopt an object would make it run with their rights: what no migration made is
// refused, and named.
func TestMigrate_ForeignObject_Refused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ sql, want string }{
		"a function": {
			`create function readmodel.wait() returns void language sql security definer as 'delete from eventstore.events'`,
			"function readmodel.wait()",
		},
		"a trigger": {
			`create trigger t before update on readmodel.tickets
				for each row execute function suppress_redundant_updates_trigger()`,
			"trigger t on readmodel.tickets",
		},
		"a rule": {
			`create rule r as on update to readmodel.tickets do also select 1`,
			"rule r on readmodel.tickets",
		},
		"a constraint": {
			`alter table readmodel.tickets add constraint c check (reopened >= 0)`,
			"constraint c on readmodel.tickets",
		},
		"a default": {
			`alter table readmodel.tickets alter subject set default lower('X')`,
			"default readmodel.tickets.subject",
		},
		"a view":   {`create view readmodel.mine as select 1 as one`, "view readmodel.mine"},
		"a policy": {`create policy p on readmodel.tickets using (true)`, "policy p on readmodel.tickets"},
		"an index": {`create index mine on readmodel.tickets (lower(subject))`, "index readmodel.mine"},
		"a domain": {`create domain readmodel.mine as text check (value <> '')`, "type readmodel.mine"},
		"a foreign owner": {
			`create table readmodel.mine (); alter table readmodel.mine owner to pg_monitor`,
			"readmodel.mine belongs to pg_monitor",
		},
		"a rebuilt copy": {
			`select eventstore.prepare_rebuild('tickets');
			alter table readmodel_rebuild.tickets add constraint c check (reopened >= 0)`,
			"constraint c on readmodel_rebuild.tickets",
		},
		"a materialization": {`create materialized view readmodel.mine as select 1 as one`, "view readmodel.mine"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.Database(t)
			conn := pgtest.Connect(t, dsn)
			pgtest.Exec(t, conn, c.sql, pgx.QueryExecModeSimpleProtocol)
			_, _, err := schema.Migrate(t.Context(), dsn)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("migrate: %v, want it to name %s", err, c.want)
			}
			_, err = schema.MakeRoles(t.Context(), dsn, "foreign", func(string) {})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("roles: %v, want it to name %s", err, c.want)
			}
			if found, err := schema.Foreign(t.Context(), dsn); err != nil || len(found) != 1 || found[0] != c.want {
				t.Errorf("found %q (%v), want %s", found, err, c.want)
			}
		})
	}
}

// A rebuild and a rebase change objects of ours; they stay ours.
func TestForeign_RebuiltTables_None(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	for _, table := range []string{"tickets", "messages", "conversations", "chat_days"} {
		pgtest.Exec(t, conn, `select eventstore.prepare_rebuild($1)`, table)
		pgtest.Exec(t, conn, `select eventstore.swap_tables($1)`, table)
		pgtest.Exec(t, conn, `select eventstore.prepare_rebuild($1)`, table)
	}
	if found, err := schema.Foreign(t.Context(), dsn); err != nil || len(found) != 0 {
		t.Errorf("found %q (%v) in a database that only we have changed", found, err)
	}
}

// A migration that makes an object which runs code adds it to the list, for databases to be compared with.
func TestObjects_List_MatchesMigrations(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("pgx", pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	made, err := schema.ForeignTo(t.Context(), db, []string{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(schema.Objects(), made); diff != "" {
		t.Errorf("objects.txt must list what the migrations make (-listed +made):\n%s", diff)
	}
}

// Where PostgreSQL is rented, every role may take an advisory lock. A migration does not wait for one
// that cannot migrate, and names it.
func TestMigrate_LockOfStranger_Named(t *testing.T) {
	t.Parallel()
	admin, as := roles(t, "strange")
	pgtest.Exec(t, admin, `grant execute on function pg_advisory_lock(bigint) to strange_analyst`)
	analyst := as("analyst")
	pgtest.Exec(t, analyst, `select pg_advisory_lock($1)`, schema.LockID)
	_, err := schema.MakeRoles(t.Context(), admin.Config().ConnString(), "strange", func(string) {})
	want := fmt.Sprintf("pid %d (", analyst.PgConn().PID())
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "user strange_analyst") {
		t.Errorf("got %v, want it to name %s", err, want)
	}
}

// In a database of an earlier release the app's role owned the read model. Once an administrator has
// looked at it and given it to the owner, the roles are made as in a new one.
func TestRoles_EarlierRelease_ReassignedThenMade(t *testing.T) {
	t.Parallel()
	admin, as := roles(t, "earlier")
	for _, name := range []string{"tickets", "conversations", "messages", "chat_days", "ticket_queue", "daily"} {
		pgtest.Exec(t, admin, `alter table readmodel.`+name+` owner to earlier_app`)
	}
	pgtest.Exec(t, admin, `grant create on schema readmodel, readmodel_rebuild, readmodel_previous to earlier_app`)
	dsn := admin.Config().ConnString()
	make := func() error {
		_, err := schema.MakeRoles(t.Context(), dsn, "earlier", func(string) {})
		return err
	}
	if err := make(); err == nil || !strings.Contains(err.Error(), "readmodel.tickets belongs to earlier_app") ||
		!strings.Contains(err.Error(), "reassign owned by") {
		t.Errorf("made with objects of the app's role: %v", err)
	}
	pgtest.Exec(t, admin, `reassign owned by earlier_app to earlier_owner`)
	if err := make(); err != nil {
		t.Fatal(err)
	}
	app := as("app")
	denied(t, app,
		`create table readmodel.mine ()`,
		`drop table readmodel.tickets`,
		`alter table readmodel.tickets add column x text`)
	pgtest.Exec(t, app, `delete from readmodel.tickets`)
	pgtest.Exec(t, app, `select eventstore.prepare_rebuild('tickets')`)
	pgtest.Exec(t, app, `select eventstore.swap_tables('tickets')`)
	pgtest.Exec(t, as("analyst"), `select count(*) from readmodel.ticket_queue`)
}

// The app removes expired updates by a function of the owner, who says how young they may be. The app
// cannot say otherwise.
func TestRoles_LeastAge_OwnerDecides(t *testing.T) {
	t.Parallel()
	admin, as := roles(t, "keeps")
	pgtest.Exec(t, admin, `
		insert into eventstore.events (
			stream_id, version, event_id, name, event_version, payload, raw, correlation_id, actor, occurred_at, recorded_at)
		select 'chat-demo:1', 1, gen_random_uuid(), 'greeted', 1, '{}', '{"text": "hello"}', gen_random_uuid(), 'bot',
			now(), now() - interval '2 days'`)
	owner := as("owner")
	pgtest.Exec(t, owner, `insert into eventstore.retention_limit (least_age) values ('30 days')`)
	app := as("app")
	removed := func() int {
		t.Helper()
		return pgtest.Ask[int](t, app, `select removed from eventstore.remove_updates('demo', now(), 10)`)
	}
	if n := removed(); n != 0 {
		t.Errorf("the app removed %d updates that the owner keeps", n)
	}
	denied(t, app,
		`update eventstore.retention_limit set least_age = '1 day'`,
		`delete from eventstore.retention_limit`,
		`insert into eventstore.retention_limit (least_age) values ('1 day')`)
	pgtest.Exec(t, owner, `update eventstore.retention_limit set least_age = '1 day'`)
	// The feed ends at the oldest open write of the server, which other tests share.
	waittest.Until(t, "the update has expired", func() bool { return removed() == 1 })
}
