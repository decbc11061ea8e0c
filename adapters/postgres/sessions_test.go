//go:build unix

package postgres_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/schema"
)

// ranked is a database with roles that begin with a prefix, and its address for each role.
func ranked(t *testing.T, prefix string) (admin string, as func(role string) string) {
	t.Helper()
	admin = pgtest.Database(t)
	if _, err := schema.MakeRoles(t.Context(), admin, prefix, func(notice string) { t.Error(notice) }); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, admin)
	return admin, func(role string) string {
		pgtest.Exec(t, conn, `alter role `+prefix+"_"+role+` password 'open sesame'`)
		address, err := url.Parse(admin)
		if err != nil {
			t.Fatal(err)
		}
		address.User = url.UserPassword(prefix+"_"+role, "open sesame")
		return address.String()
	}
}

// An analyst can shed the limits that its role is set to. The app ends the session that holds others
// back, and no session of anybody else.
func TestEndReaders_BeyondLimits_OnlyAnalystsEnded(t *testing.T) {
	t.Parallel()
	admin, as := ranked(t, "ends")
	app := open(t, as("app"))
	const never = 24 * time.Hour
	for what, c := range map[string]struct {
		holds  string
		limits health.ReaderLimits
	}{
		"an open write":     {`alter role current_user set work_mem = '5MB'`, health.ReaderLimits{Idle: never, Whole: never}},
		"an idle one":       {`select count(*) from readmodel.tickets`, health.ReaderLimits{Write: never, Whole: never}},
		"one open for long": {`select 1`, health.ReaderLimits{Write: never, Idle: never}},
	} {
		analyst, owner, root := pgtest.Connect(t, as("analyst")), pgtest.Connect(t, as("owner")), pgtest.Connect(t, admin)
		pgtest.Exec(t, analyst, `set idle_in_transaction_session_timeout = 0`)
		pgtest.Exec(t, analyst, `begin read write`)
		pgtest.Exec(t, owner, `begin`)
		pgtest.Exec(t, root, `begin`)
		pgtest.Exec(t, analyst, c.holds)
		within := health.ReaderLimits{Write: never, Idle: never, Whole: never}
		if ended, err := health.Of(app.DB).EndReaders(t.Context(), within); err != nil || len(ended) != 0 {
			t.Errorf("%s: ended %+v within the limits (%v)", what, ended, err)
		}
		ended, err := health.Of(app.DB).EndReaders(t.Context(), c.limits)
		if err != nil || len(ended) != 1 || ended[0].User != "ends_analyst" || ended[0].PID != int32(analyst.PgConn().PID()) {
			t.Errorf("%s: ended %+v (%v), want the analyst's session", what, ended, err)
		}
		waittest.Until(t, "the session has ended", func() bool {
			_, err := analyst.Exec(t.Context(), `select 1`)
			return err != nil
		})
		pgtest.Exec(t, owner, `commit`) // these have not ended
		pgtest.Exec(t, root, `commit`)
	}
}

// Open writes of our role are ended in every database of the server; those of others are left, and
// are no error.
func TestEndWriters_OpenForLong_EndedInAnyDatabase(t *testing.T) {
	t.Parallel()
	admin, as := ranked(t, "writes")
	address, err := url.Parse(as("app"))
	if err != nil {
		t.Fatal(err)
	}
	app := open(t, address.String())
	elsewhere, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.User = address.User
	here, there := pgtest.Connect(t, address.String()), pgtest.Connect(t, elsewhere.String())
	root, reads := pgtest.Connect(t, admin), pgtest.Connect(t, address.String())
	pgtest.Exec(t, here, `begin`)
	pgtest.Exec(t, here, `insert into eventstore.streams (stream_id) values ('chat-demo:1')`)
	pgtest.Exec(t, there, `begin`)
	pgtest.Exec(t, there, `select pg_current_xact_id()`)
	pgtest.Exec(t, root, `begin`)
	pgtest.Exec(t, root, `select pg_current_xact_id()`)
	pgtest.Exec(t, reads, `begin`)
	pgtest.Exec(t, reads, `select count(*) from eventstore.events`)
	if ended, err := health.Of(app.DB).EndWriters(t.Context(), 24*time.Hour); err != nil || len(ended) != 0 {
		t.Errorf("ended %+v (%v), want none", ended, err)
	}
	ended, err := health.Of(app.DB).EndWriters(t.Context(), 0)
	if err != nil || len(ended) != 2 || ended[0].User != "writes_app" || !ended[1].Writes {
		t.Errorf("ended %+v (%v), want both writes of the app's role", ended, err)
	}
	for _, conn := range []*pgx.Conn{here, there} {
		waittest.Until(t, "the session has ended", func() bool {
			_, err := conn.Exec(t.Context(), `select 1`)
			return err != nil
		})
	}
	pgtest.Exec(t, root, `commit`) // these have not ended
	pgtest.Exec(t, reads, `commit`)
}

// The rights of every role are listed, and the holder of a lock is named.
func TestExposed_RightsOfAll_Listed(t *testing.T) {
	t.Parallel()
	admin, as := ranked(t, "exposes")
	app := open(t, as("app"))
	look := func() string {
		t.Helper()
		open, err := health.Of(app.DB).Exposed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(open, "; ")
	}
	if open := look(); open != "" {
		t.Errorf("after the roles were made: %s", open)
	}
	root := pgtest.Connect(t, admin)
	database := pgtest.Ask[string](t, root, `select current_database()::text`)
	pgtest.Exec(t, root, `grant connect, temporary on database `+database+` to public`)
	pgtest.Exec(t, root, `grant execute on function pg_current_xact_id(), lo_create(oid) to public`)
	pgtest.Exec(t, root, `alter role exposes_analyst reset statement_timeout`)
	const want = "every role may connect; every role may create temporary tables; " +
		"every role may call lo_create, pg_current_xact_id; exposes_analyst has no statement_timeout"
	if open := look(); open != want {
		t.Errorf("got  %s\nwant %s", open, want)
	}
}

func TestHolders_LeaderAndLock_Named(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	lead(t, s, "readers")
	conn, err := s.Session(t.Context(), "webhook of demo")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	pgtest.Exec(t, conn, `select eventstore.try_lock('webhook demo')`)
	holders, err := health.Of(s.DB).Holders(t.Context())
	if err != nil || len(holders) != 2 || holders[0].Holds != "consumer groups readers" ||
		holders[1].Holds != "lock webhook demo" || holders[1].PID != int32(conn.PgConn().PID()) ||
		!strings.HasSuffix(holders[1].Application, "webhook of demo") {
		t.Errorf("got %+v (%v)", holders, err)
	}
}
