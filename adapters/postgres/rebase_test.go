//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/schema"
)

// farAhead is how many transactions the first cluster has behind it that the
// next has not: more than restoring and testing take there.
const farAhead = 3000

// burn uses transaction ids up.
func burn(t testing.TB, conn *pgx.Conn, n int) {
	t.Helper()
	pgtest.Exec(t, conn,
		fmt.Sprintf(`do $$ begin for i in 1..%d loop perform pg_current_xact_id(); commit; end loop; end $$`, n))
}

// bring stores an event as if it had been brought along from a cluster that is
// this many transactions ahead.
func bring(t testing.TB, conn *pgx.Conn, stream string, version, ahead int) {
	t.Helper()
	pgtest.Exec(t, conn, `
		insert into eventstore.events (transaction_id, stream_id, version, event_id, name, event_version, payload,
		correlation_id, actor, occurred_at)
		values ((eventstore.rebased(pg_current_xact_id())::text::bigint + $1)::text::xid8, $2, $3, $4, 'update_kept', 1,
		'{}', $4, 'test', now())`,
		ahead, stream, version, uuid.New())
}

// rebase rebases and tells whether there was anything to do.
func rebase(t testing.TB, dsn string) (done bool) {
	t.Helper()
	_, done, err := postgres.Rebase(waittest.Context(t), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// refusal is what a store says to being opened.
func refusal(t testing.TB, dsn string) string {
	t.Helper()
	s, err := eventstore.Open(t.Context(), dsn, "process", codec())
	if err != nil {
		return err.Error()
	}
	s.Close()
	return ""
}

// travellers are consumer groups that a ledger takes along from cluster to cluster,
// with what each has read in all of them.
type travellers map[string][]item

// read lets a group read on, up to n events.
func (tr travellers) read(t testing.TB, s *process, group string, n int) {
	t.Helper()
	c := lead(t, s, group)
	defer c.Close()
	for n > 0 {
		page := next(t, c, min(n, 7))
		for _, r := range page {
			tr[group] = append(tr[group], item{r.Position, string(r.Stream), int64(r.Version)})
		}
		advance(t, c, page)
		n -= len(page)
	}
}

// arrive lets every group read all there is, and checks that none has missed or
// repeated anything since the beginning.
func (tr travellers) arrive(t testing.TB, s *process) {
	t.Helper()
	rows, err := s.Pool().Query(t.Context(),
		`select transaction_id, position, stream_id, version from eventstore.events`)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i item, err error) {
		return i, row.Scan(&i.at.Transaction, &i.at.Number, &i.stream, &i.version)
	})
	if err != nil {
		t.Fatal(err)
	}
	for group := range tr {
		tr.read(t, s, group, len(stored)-len(tr[group]))
		if err := check(stored, tr[group]); err != nil {
			t.Errorf("group %s: %v", group, err)
		}
	}
}

// talk appends to a few streams.
func talk(t testing.TB, s *process, rounds int) {
	t.Helper()
	for range rounds {
		for chat := range 5 {
			id := domain.ChatStream("demo", int64(chat))
			must(t, s, commands.Append{Stream: id, Expected: domain.Version(len(stream(t, s, id))), Events: said(2)})
		}
	}
}

// The whole journey, with groups that have read everything, something and nothing:
// into a young cluster, into another database there, and into a third cluster.
func TestRebase_OtherCluster_EveryEventOnce(t *testing.T) {
	t.Parallel()
	home := pgtest.Cluster(t)
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	burn(t, conn, farAhead)
	s := open(t, dsn)
	talk(t, s, 4)
	groups := travellers{"all": nil, "some": nil, "none": nil}
	groups.read(t, s, "all", 40)
	groups.read(t, s, "some", 13)
	positions := pgtest.Ask[int64](t, conn, `select max(position) from eventstore.events`)
	dump := pgtest.Dump(t, home, dsn)

	abroad := pgtest.AnotherCluster(t)
	dsn = pgtest.Restore(t, abroad, "second", dump)
	conn = pgtest.Connect(t, dsn)
	if n := pgtest.Ask[int](t, conn,
		`select count(*) from eventstore.events where transaction_id >= pg_snapshot_xmax(pg_current_snapshot())`); n != 40 {
		t.Fatalf("%d of 40 events lie ahead of the new cluster; the test shows nothing", n)
	}
	if says := refusal(t, dsn); !strings.Contains(says, "chatledger rebase") {
		t.Fatalf("opened before it is rebased: %q", says)
	}
	if !rebase(t, dsn) || rebase(t, dsn) {
		t.Error("it is to be rebased once")
	}
	s = open(t, dsn)
	groups.read(t, s, "some", 5)
	talk(t, s, 2)
	groups.arrive(t, s)
	if n := pgtest.Ask[int](t, conn, `select count(*) from eventstore.events where position > $1`,
		positions); n != 20 {
		t.Errorf("%d of 20 new events have new positions", n)
	}

	// Within one cluster the distance comes along and is right.
	burn(t, conn, farAhead)
	talk(t, s, 1)
	groups.read(t, s, "some", 3)
	dump = pgtest.Dump(t, abroad, dsn)
	dsn = pgtest.Restore(t, abroad, "beside", dump)
	if rebase(t, dsn) {
		t.Error("rebased in the cluster it comes from")
	}
	talk(t, open(t, dsn), 1)

	dump = pgtest.Dump(t, abroad, dsn)
	dsn = pgtest.Restore(t, pgtest.AnotherCluster(t), "third", dump)
	if says := refusal(t, dsn); !strings.Contains(says, "chatledger rebase") {
		t.Fatalf("opened before it is rebased again: %q", says)
	}
	if !rebase(t, dsn) {
		t.Error("not rebased again")
	}
	s = open(t, dsn)
	talk(t, s, 1)
	groups["new"] = nil
	groups.arrive(t, s)
}

// While the dump is taken events are stored, and one whose transaction began before
// all of these is not committed yet: no group may have read past it.
func TestRebase_DumpUnderWrites_EveryEventOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	burn(t, conn, farAhead)
	s := open(t, dsn)
	talk(t, s, 2)
	groups := travellers{"readers": nil}
	groups.read(t, s, "readers", 10)
	late, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bring(t, late.Conn(), "chat-late:1", 1, 0)

	stored := func() int { return pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.events`) }
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	defer writing.Wait()
	defer stop()
	for chat := range int64(3) {
		writing.Go(func() {
			for v := domain.Version(0); ctx.Err() == nil; v++ {
				_, err := s.Append(ctx,
					[]commands.Append{{Stream: domain.ChatStream("busy", chat), Expected: v, Events: said(1)}})
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	waittest.Until(t, "much is stored behind the late one", func() bool { return stored() > 200 })
	before := stored()
	dump := pgtest.Dump(t, pgtest.Cluster(t), dsn)
	waittest.Until(t, "storing goes on", func() bool { return stored() > before+50 })
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	writing.Wait()

	dsn = pgtest.Restore(t, pgtest.AnotherCluster(t), "restored", dump)
	if !rebase(t, dsn) {
		t.Error("not rebased")
	}
	s = open(t, dsn)
	if n := stored(); n < before || len(stream(t, s, "chat-late:1")) != 0 {
		t.Errorf("%d events were restored, the late one among them or fewer than %d", n, before)
	}
	talk(t, s, 1)
	groups["new"] = nil
	groups.arrive(t, s)
}

// Rebase leaves a ledger alone that needs nothing.
func TestRebase_NotNeeded_ChangesNothing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	body := func() string {
		return pgtest.Ask[string](t, conn, `select pg_get_functiondef('eventstore.rebased'::regproc)`)
	}
	empty := body()
	if rebase(t, dsn) {
		t.Error("an empty ledger was rebased")
	}
	s := open(t, dsn)
	talk(t, s, 1)
	writing, err := pgtest.Connect(t, dsn).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// as who writes; it must not be waited for
	pgtest.Exec(t, writing, `lock table eventstore.events in row exclusive mode`)
	pgtest.Exec(t, writing, `select pg_current_xact_id()`)
	talk(t, s, 1)
	if rebase(t, dsn) || body() != empty {
		t.Errorf("a ledger in use was rebased: %s", body())
	}
	if err := writing.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// In a cluster of its own, where nobody else draws ids.
func TestRebase_NextTransactionID_LedgerForeign(t *testing.T) {
	t.Parallel()
	dsn := pgtest.AnotherCluster(t).DSN()
	if _, _, err := schema.Migrate(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, dsn)
	if bring(t, conn, "chat-demo:1", 1, 0); rebase(t, dsn) {
		t.Error("rebased for the cluster's last id")
	}
	if bring(t, conn, "chat-demo:1", 2, 1); !rebase(t, dsn) {
		t.Error("not rebased for the cluster's next id")
	}
}

// A database that is not migrated says so.
func TestRebase_NotMigrated_NamedError(t *testing.T) {
	t.Parallel()
	dsn := pgtest.EmptyDatabase(t)
	_, _, err := postgres.Rebase(t.Context(), dsn)
	for _, says := range []string{refusal(t, dsn), fmt.Sprint(err)} {
		if !strings.Contains(says, "run `chatledger migrate`") {
			t.Errorf("it says %q", says)
		}
	}
}

// Of many rebases at once one does the work.
func TestRebase_Concurrent_OneDoesTheWork(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	bring(t, conn, "chat-demo:1", 1, 1_000_000)
	ctx := waittest.Context(t)
	var mu sync.Mutex
	var all sync.WaitGroup
	worked := 0
	for range 6 {
		all.Go(func() {
			_, done, err := postgres.Rebase(ctx, dsn)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if done {
				worked++
			}
		})
	}
	all.Wait()
	if worked != 1 {
		t.Errorf("%d did the work, want 1", worked)
	}
	open(t, dsn)
}

// Of two transactions that are open when the ledger is rebased, one has stored an event,
// the newest of all, and is waited for; the other has drawn its id, and stores its first
// event afterwards.
func TestRebase_ConcurrentWriters_Correct(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	conn := pgtest.Connect(t, dsn)
	bring(t, conn, "chat-demo:1", 1, 1_000_000)
	begin := func() pgx.Tx {
		tx, err := pgtest.Connect(t, dsn).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	drawn, stored := begin(), begin()
	pgtest.Exec(t, drawn, `select pg_current_xact_id()`)
	bring(t, stored.Conn(), "chat-demo:1", 2, 2_000_000)

	ctx, rebased := waittest.Context(t), make(chan error, 1)
	go func() {
		_, _, err := postgres.Rebase(ctx, dsn)
		rebased <- err
	}()
	waittest.Until(t, "the rebase waits for the one that has stored", func() bool {
		return pgtest.Ask[bool](t, conn,
			`select exists (select from pg_locks where relation = 'eventstore.events'::regclass
				and mode = 'ShareRowExclusiveLock' and not granted
			and database = (select oid from pg_database where datname = current_database()))`)
	})
	if err := stored.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-rebased; err != nil {
		t.Fatal(err)
	}
	bring(t, drawn.Conn(), "chat-demo:1", 3, 0)
	if err := drawn.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if order := pgtest.Ask[string](t, conn,
		`select string_agg(version::text, ' ' order by transaction_id, position) from eventstore.events`); order != "1 2 3" {
		t.Errorf("versions stand in the feed as %s", order)
	}
}

// A process need not be started anew: led to a restored database it refuses to write
// there, and when that is rebased it goes on.
func TestAppend_RestoredDatabase_WaitsForRebase(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	s, conn := open(t, dsn), pgtest.Connect(t, dsn)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(1)})
	bring(t, conn, "chat-demo:2", 1, 1_000_000)
	s.Pool().Reset() // as when the server behind the address is another
	more := commands.Append{Stream: "chat-demo:1", Expected: 1, Events: said(1)}
	if _, err := s.Append(t.Context(), []commands.Append{more}); err == nil || !strings.Contains(err.Error(),
		"chatledger rebase") {
		t.Fatalf("an append among events of another cluster: %v", err)
	}
	if !rebase(t, dsn) {
		t.Error("not rebased")
	}
	if err := appendOne(t, s, more); err != commands.ErrConflict {
		t.Errorf("an append that was decided before the rebase: %v, want a conflict", err)
	}
	more.Incarnation = s.Incarnation()
	must(t, s, more)
	wantPage(t, whole(t, lead(t, s, "readers"), 3), "chat-demo:1/1", "chat-demo:2/1", "chat-demo:1/2")
}

// However transactions overlap, now at a distance from the cluster's ids.
func TestRebase_Feed_EveryEventOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	bring(t, pgtest.Connect(t, dsn), "chat-demo:1", 1, 1_000_000)
	if !rebase(t, dsn) {
		t.Fatal("not rebased")
	}
	st := newStageOn(t, dsn)
	for seed := range uint64(20) {
		if err := st.play(t, seed, false, map[string]reader{right: &storeReader{store: st.store}})[right]; err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// The function must vanish in the plan: a page is one walk down the index between
// two places, and no more, however much is stored.
func TestFeed_Page_IndexRangeScan(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	plan := func() string {
		s := open(t, dsn)
		conn, err := s.Session(t.Context(), "plans")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := s.ReadFeed(t.Context(), conn, domain.Position{}, 10); err != nil {
			t.Fatal(err)
		}
		name := pgtest.Ask[string](t, conn, `select name from pg_prepared_statements where statement like '%limit $3'`)
		rows, err := conn.Query(t.Context(),
			`explain (costs off) execute `+pgx.Identifier{name}.Sanitize()+`('1', 1, 10, null)`,
			pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	check := func(horizon string) {
		t.Helper()
		got := plan()
		cond := `Index Cond: ((ROW(transaction_id, "position") > ROW($1, $2)) AND (transaction_id < `
		_, bound, found := strings.Cut(got, cond)
		if !found || !strings.Contains(got, "Index Scan using events_feed") || strings.Contains(got, "Sort") ||
			strings.Contains(got, "Filter") ||
			!strings.Contains(bound, "pg_snapshot_xmin(pg_current_snapshot())"+horizon) {
			t.Errorf("a page is read by\n%s", got)
		}
	}
	check("))")
	bring(t, pgtest.Connect(t, dsn), "chat-demo:1", 1, 1_000_000)
	if !rebase(t, dsn) {
		t.Fatal("not rebased")
	}
	check(")::text)::bigint + " + pgtest.Ask[string](t, pgtest.Connect(t, dsn),
		`select eventstore.rebased('0')::text`))
}
