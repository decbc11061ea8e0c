//go:build unix

package sandbox_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/projectionstest"
	"github.com/chatledger/chatledger/projections/sandbox"
)

func openSandbox(t *testing.T, l *projectionstest.Ledger) *sandbox.Sandbox {
	t.Helper()
	s, err := sandbox.Open(waittest.Context(t), l.Conn)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSandbox_Fold_EqualsLiveTables(t *testing.T) {
	t.Parallel()
	l := projectionstest.New(t)
	rng := rand.New(rand.NewPCG(3, 1))
	histories := projectionstest.Generate(rng, 150, 120) // more than one page
	l.AppendAll(t, histories, func(left int) int { return 1 + rng.IntN(5) })
	for _, p := range projections.All() {
		l.Follow(t, p, func() int { return 1000 })
	}
	s := openSandbox(t, l)
	for _, h := range histories {
		events, err := l.ReadStream(waittest.Context(t), l.Pool(), h.Stream, 0, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Fold(waittest.Context(t), events); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := s.Keep(waittest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(waittest.Context(t)); err != nil {
		t.Fatal(err)
	}
	for _, p := range projections.All() {
		live, folded := "readmodel."+p.Name(), schema+"."+p.Name()
		if pgtest.Ask[int](t, l.Conn, `select count(*) from `+live) == 0 {
			t.Errorf("%s has no rows", live)
		}
		if differ := projectionstest.Rows(t, l.Conn,
			`(table `+live+` except table `+folded+`) union all (table `+folded+` except table `+live+
				`)`); differ != "" {
			t.Errorf("%s differs from %s:\n%s", live, folded, differ)
		}
		l.Verify(t, p)
	}
}

// A sandbox is dropped unless it is kept.
func TestSandbox_Close_DroppedUnlessKept(t *testing.T) {
	t.Parallel()
	l := projectionstest.New(t)
	schemas := func() string {
		return projectionstest.Rows(t, l.Conn,
			`select nspname from pg_namespace where nspname like 'readmodel\_sandbox%' order by 1`)
	}
	if err := openSandbox(t, l).Close(waittest.Context(t)); err != nil || schemas() != "" {
		t.Errorf("%v, there is still %s", err, schemas())
	}
	var kept []string
	for range 2 {
		s := openSandbox(t, l)
		schema, err := s.Keep(waittest.Context(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(waittest.Context(t)); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, "("+schema+")")
	}
	if want := strings.Join(kept, "\n"); schemas() != want {
		t.Errorf("there is %s, want %s", schemas(), want)
	}
}

// Stopping a replay interrupts a statement and closes its connection.
func TestSandbox_ConnectionLost_Dropped(t *testing.T) {
	t.Parallel()
	l := projectionstest.New(t)
	lost := l.Session(t)
	s, err := sandbox.Open(waittest.Context(t), lost)
	if err != nil {
		t.Fatal(err)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	defer cancel()
	pid, ended := lost.PgConn().PID(), make(chan error)
	go func() {
		_, err := lost.Exec(interrupted, `select pg_sleep(60)`)
		ended <- err
	}()
	// Before it has begun, the server takes no notice of being asked to cancel it.
	waittest.Until(t, "the statement runs", func() bool {
		return pgtest.Ask[bool](t, l.Conn,
			`select exists (select from pg_stat_activity where pid = $1 and wait_event = 'PgSleep')`, pid)
	})
	cancel()
	if err := <-ended; err == nil {
		t.Fatal("nothing was interrupted")
	}
	if err := s.Close(waittest.Context(t)); err != nil {
		t.Error(err)
	}
	if pgtest.Ask[bool](t, l.Conn, `select to_regnamespace('readmodel_sandbox') is not null`) {
		t.Error("it is still there")
	}
}

func TestSandbox_ProcessKilled_DroppedByNext(t *testing.T) {
	t.Parallel()
	l := projectionstest.New(t)
	killed := l.Session(t)
	if _, err := sandbox.Open(waittest.Context(t), killed); err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, killed, `create table readmodel_sandbox.left ()`)
	if _, err := sandbox.Open(waittest.Context(t), l.Conn); err == nil || !strings.Contains(err.Error(),
		"another process uses it") {
		t.Errorf("a second sandbox beside the first: %v", err)
	}
	if err := killed.PgConn().Conn().Close(); err != nil { // without a farewell
		t.Fatal(err)
	}
	waittest.Until(t, "the server has noticed", func() bool {
		return pgtest.Ask[bool](t, l.Conn,
			`select not exists (select from eventstore.locks l where eventstore.session_exists(l.pid, l.backend_start))`)
	})
	if s := openSandbox(t, l); pgtest.Ask[bool](t, l.Conn,
		`select to_regclass('readmodel_sandbox.left') is not null`) {
		t.Error("the next sandbox has what was left")
	} else if err := s.Close(waittest.Context(t)); err != nil {
		t.Error(err)
	}
}
