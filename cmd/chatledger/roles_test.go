package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
)

// ranks is a database with roles, and its address for each of them.
type ranks struct{ admin, owner, app, analyst string }

// newRanks makes roles with a prefix: other tests use the same server.
func newRanks(t *testing.T, prefix string) ranks {
	t.Helper()
	r := ranks{admin: pgtest.Database(t)}
	r.migrate(t, r.admin, prefix)
	admin := pgtest.Connect(t, r.admin)
	as := func(role string) string {
		address, err := url.Parse(r.admin)
		if err != nil {
			t.Fatal(err)
		}
		address.User = url.UserPassword(prefix+"_"+role, "open sesame")
		if conn, err := pgx.Connect(t.Context(), address.String()); err == nil {
			_ = conn.Close(t.Context())
			t.Errorf("%s could log in before it had a password", role)
		}
		pgtest.Exec(t, admin, `alter role `+prefix+"_"+role+` password 'open sesame'`)
		return address.String()
	}
	r.owner, r.app, r.analyst = as("owner"), as("app"), as("analyst")
	return r
}

func (r ranks) migrate(t *testing.T, dsn, prefix string) {
	t.Helper()
	code, stdout, stderr := command(t.Context(), "migrate", "--roles", "--role-prefix", prefix, "--database-url", dsn)
	if code != 0 || stderr != "" || !strings.Contains(stdout, prefix+"_app") {
		t.Fatalf("migrate --roles: %d %s%s", code, stdout, stderr)
	}
}

// denied fails unless a role is denied each of these statements, and nothing else is wrong with them.
func denied(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	conn := pgtest.Connect(t, dsn)
	for _, sql := range statements {
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `set transaction read write`); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), sql)
			return errors.Join(err, tx.Rollback(context.WithoutCancel(t.Context())))
		})
		var said *pgconn.PgError
		if !errors.As(err, &said) || said.Code != "42501" { // insufficient privilege
			t.Errorf("%s was not refused: %v", sql, err)
		}
	}
}

func TestRoles_AppRole_EnoughForServe(t *testing.T) {
	t.Parallel()
	r := newRanks(t, "serves")
	w := newTown(t, r.admin)
	w.dsn = r.app // for the commands, too
	w.running = w.start(r.app)
	w.register()

	w.Say(42, "Where is my order 1001?")
	w.settle()
	w.Say(42, "I want to talk to a person")
	w.settle()
	if code, _, stderr := w.cli("ticket", "reply", "--as", "ann", "demo:42", "Here I am."); code != 0 {
		t.Errorf("ticket: %s", stderr)
	}
	w.mustPost(`{"no": "update"}`)
	w.settle()
	if said := w.texts(42, "bot"); len(said) != 3 || said[2] != "Here I am." {
		t.Errorf("the customer was told %q", said)
	}
	for _, table := range []string{"conversations", "tickets"} {
		for _, args := range [][]string{{"rebuild", table}, {"rebuild", table, "--rollback"}} {
			if code, stdout, stderr := w.cli(args...); code != 0 {
				t.Errorf("%v: %s%s", args, stdout, stderr)
			}
		}
	}
	w.clean()
	w.wantRows("1", `select count(*) from eventstore.quarantine`)
	archive := filepath.Join(t.TempDir(), "archive")
	if code, _, stderr := w.cli("export", "--to", archive); code != 0 {
		t.Errorf("export: %s", stderr)
	}
	// The owner has the privileges that the app does not need.
	other := newRanks(t, "imports")
	for _, args := range [][]string{
		{"replay", "--sandbox", "--database-url", r.owner}, {"rebase", "--database-url", r.owner},
		{"import", "--from", archive, "--database-url", other.owner},
	} {
		if code, stdout, stderr := command(t.Context(), args...); code != 0 {
			t.Errorf("%v: %s%s", args, stdout, stderr)
		}
	}

	denied(t, r.app,
		`update eventstore.events set payload = '{}'`,
		`update eventstore.events set raw = null`,
		`delete from eventstore.events`,
		`truncate eventstore.events`,
		`delete from eventstore.streams`,
		`update eventstore.streams set created_at = now()`,
		`alter table eventstore.events disable trigger all`,
		`drop table eventstore.events`,
		`drop schema eventstore cascade`,
		`create table eventstore.more ()`,
		`create function eventstore.rebased() returns integer language sql as 'select 1'`,
		`create or replace function eventstore.rebased(id xid8) returns xid8 language sql as 'select id'`,
		`create trigger t before insert on eventstore.events execute function suppress_redundant_updates_trigger()`,
		`create rule r as on insert to eventstore.events do instead nothing`,
		`create schema more`,
		`create table public.more ()`,
		`create temporary table more ()`,
		`drop schema readmodel cascade`,
		`delete from public.schema_migrations`,
		`set role serves_owner`,
	)
}

func TestRoles_Analyst_ReadsReadModelOnly(t *testing.T) {
	t.Parallel()
	r := newRanks(t, "reads")
	w := newTown(t, r.admin)
	w.running = w.start(r.app)
	w.register()
	w.Say(42, "I want to talk to a person")
	w.settle()

	analyst := pgtest.Connect(t, r.analyst)
	read := func() {
		t.Helper()
		for _, table := range []string{"conversations", "tickets", "ticket_queue"} {
			if n := pgtest.Ask[int](t, analyst, `select count(*) from readmodel.`+table); n != 1 {
				t.Errorf("%d rows in %s", n, table)
			}
		}
	}
	read()
	for _, args := range [][]string{{"rebuild", "tickets"}, {"rebuild", "conversations"}} {
		if code, stdout, stderr := w.cli(append(args, "--database-url", r.app)...); code != 0 {
			t.Fatalf("%v: %s%s", args, stdout, stderr)
		}
	}
	read() // of the tables that took their places

	var statements []string
	for _, table := range strings.Split(w.rows(`select c.oid::regclass::text from pg_class c
		where relnamespace = 'eventstore'::regnamespace and relkind = 'r'`), "; ") {
		statements = append(statements, `select from `+table)
	}
	denied(t, r.analyst, append(statements,
		`select from readmodel_previous.tickets`,
		`select from public.schema_migrations`,
		`select eventstore.remove_updates('demo', now(), 1)`,
		`update readmodel.tickets set assignee = 'me'`,
		`select from readmodel.tickets for update`,
		`create table readmodel.mine ()`,
		`create table public.mine ()`,
		`create temporary table mine ()`,
		`set role reads_app`)...)

	for setting, want := range map[string]string{"statement_timeout": "1min", "idle_in_transaction_session_timeout": "30s",
		"idle_session_timeout": "1h", "default_transaction_read_only": "on"} {
		if got := pgtest.Ask[string](t, analyst, `select current_setting($1)`, setting); got != want {
			t.Errorf("%s is %s, want %s", setting, got, want)
		}
	}
}

// The owner runs a later migration; its objects can be used at once.
func TestRoles_OwnerMigrates_PrivilegesExtended(t *testing.T) {
	t.Parallel()
	r := newRanks(t, "later")
	admin, owner := pgtest.Connect(t, r.admin), pgtest.Connect(t, r.owner)
	app, analyst := pgtest.Connect(t, r.app), pgtest.Connect(t, r.analyst)
	rights := func() string {
		return pgtest.Ask[string](t, admin, `
			select string_agg(x, e'\n' order by x) from (
				select format('%s %s %s', oid::regclass, relowner::regrole, relacl) as x from pg_class
				where relnamespace::regnamespace::text ~ '^(eventstore|readmodel)'
				union all select format('%s %s', defaclnamespace::regnamespace, defaclacl) from pg_default_acl
				union all select format('%s %s %s', nspname, nspowner::regrole, nspacl) from pg_namespace
				union all select format('%s %s %s', oid::regprocedure, proowner::regrole, proacl) from pg_proc
				where pronamespace = 'eventstore'::regnamespace
				union all select datacl::text from pg_database where datname = current_database()) all_rights`)
	}
	before := rights()
	r.migrate(t, r.owner, "later")
	r.migrate(t, r.admin, "later")
	if after := rights(); after != before {
		t.Errorf("made again, the rights are others:\n%s\nwere\n%s", after, before)
	}

	for who, by := range map[string]*pgx.Conn{"owner": owner, "admin": admin} {
		pgtest.Exec(t, by,
			fmt.Sprintf(`create table eventstore.by_%[1]s (n integer); create table readmodel.by_%[1]s (n integer)`, who))
		pgtest.Exec(t, app,
			fmt.Sprintf(`insert into eventstore.by_%[1]s values (1); update readmodel.by_%[1]s set n = 2`, who))
		pgtest.Exec(t, analyst, `select from readmodel.by_`+who)
	}
	r.migrate(t, r.admin, "later") // made by an administrator, a table is the administrator's to hand over
	for _, table := range []string{"by_owner", "by_admin"} {
		pgtest.Exec(t, app, `select eventstore.prepare_rebuild($1)`, table)
		pgtest.Exec(t, app, `select eventstore.swap_tables($1)`, table)
	}
	denied(t, r.app, `alter table readmodel.by_owner set schema readmodel_previous`)
	pgtest.Exec(t, owner, `alter table readmodel.tickets add column note text`)
}

func TestRoles_Fails_CreatesNone(t *testing.T) {
	t.Parallel()
	r := newRanks(t, "early")
	for prefix, want := range map[string]string{
		"other": "run it as a superuser", "Other": "is invalid", "x; drop": "is invalid",
	} {
		code, _, stderr := command(t.Context(), "migrate", "--roles", "--role-prefix", prefix, "--database-url",
			r.owner)
		if code != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: %d %s", prefix, code, stderr)
		}
	}
	if n := pgtest.Ask[int](t, pgtest.Connect(t, r.admin), `select count(*) from pg_roles
		where rolname like 'other%'`); n != 0 {
		t.Errorf("%d roles were made", n)
	}
}

func TestRoles_CreatedAtOnce_Succeeds(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if code, _, stderr := command(t.Context(), "migrate", "--roles", "--role-prefix", "many",
				"--database-url", dsn); code != 0 {
				t.Error(stderr)
			}
		})
	}
	all.Wait()
}

// At a hosted PostgreSQL there is no superuser.
func TestRoles_CreateRoleOwner_NoSuperuser(t *testing.T) {
	t.Parallel()
	dsn := pgtest.EmptyDatabase(t)
	address, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, pgtest.Connect(t, dsn), `create role tenant login createrole password 'open sesame'; alter database `+
		strings.TrimPrefix(address.Path, "/")+` owner to tenant`, pgx.QueryExecModeSimpleProtocol)
	address.User = url.UserPassword("tenant", "open sesame")
	for _, said := range []string{"schema migrated from version 0", "schema is up to date"} {
		code, stdout, stderr := command(t.Context(), "migrate", "--roles", "--role-prefix", "rented",
			"--database-url", address.String())
		if code != 0 || !strings.Contains(stdout, said) {
			t.Errorf("migrate --roles: %d %s%s", code, stdout, stderr)
		}
	}
}

// The watch names the session that holds the consumers back, also when it has another role.
func TestRoles_App_SeesOldestWriter(t *testing.T) {
	t.Parallel()
	r := newRanks(t, "watches")
	w := newTown(t, r.admin)
	w.running = w.start(r.app)
	open, err := pgtest.Connect(t, r.admin).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer open.Rollback(t.Context())
	pgtest.Exec(t, open, `select pg_current_xact_id()`)
	if age := pgtest.Ask[float64](t, pgtest.Connect(t, r.app),
		`select coalesce(max(extract(epoch from clock_timestamp() - xact_start))::float8, -1)
		from pg_stat_activity where backend_xid is not null and datname = current_database()
		and usename <> current_user`); age < 0 {
		t.Error("it does not see it")
	}
	if status, _, err := get(w.url + "/readyz"); err != nil || status != http.StatusOK {
		t.Errorf("readyz answers %d (%v)", status, err)
	}
}
