//go:build unix

package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/domain"
)

// A schedule interleaves transactions that append, step by step, with readers of
// the feed. Each transaction is held open where it hurts: when it has its
// transaction id, between its inserts, before its commit. A seed gives a schedule,
// and the checker below knows what a reader must have seen in the end.

// item is an event as a reader sees it.
type item struct {
	at      domain.Position
	stream  string
	version int64
}

// check compares what a reader kept with what was committed. The error names
// the first promise that was broken.
func check(committed, kept []item) error {
	stored, got := map[item]bool{}, map[item]bool{}
	for _, k := range kept {
		got[k] = true
	}
	for _, c := range committed {
		if stored[c] = true; !got[c] {
			return fmt.Errorf("%v was skipped", c)
		}
	}
	versions := map[string]int64{}
	clear(got)
	for i, k := range kept {
		switch {
		case !stored[k]:
			return fmt.Errorf("%v was read and never committed", k)
		case got[k]:
			return fmt.Errorf("%v was read twice", k)
		case k.version != versions[k.stream]+1:
			return fmt.Errorf("%v was read at version %d of its stream", k, versions[k.stream])
		case i > 0 && !kept[i-1].at.Before(k.at):
			return fmt.Errorf("%v was read after %v", k, kept[i-1])
		}
		got[k], versions[k.stream] = true, k.version
	}
	return nil
}

// reader reads a page behind its own checkpoint, which it moves only with keep.
type reader interface {
	page(ctx context.Context, conn *pgx.Conn, limit int) ([]item, error)
	keep(page []item)
}

// storeReader is the real one.
type storeReader struct {
	store *process
	after domain.Position
}

func (r *storeReader) page(ctx context.Context, conn *pgx.Conn, limit int) ([]item, error) {
	events, err := r.store.ReadFeed(ctx, conn, r.after, limit)
	var page []item
	for _, e := range events {
		page = append(page, item{e.Position, string(e.Stream), int64(e.Version)})
	}
	return page, err
}

func (r *storeReader) keep(page []item) { r.after = page[len(page)-1].at }

// sqlReader is one of the tempting wrong ones.
type sqlReader struct {
	sql   string // $1 transaction, $2 position, $3 limit
	move  func(after domain.Position, page []item) domain.Position
	after domain.Position
}

func (r *sqlReader) page(ctx context.Context, conn *pgx.Conn, limit int) ([]item, error) {
	rows, err := conn.Query(ctx, r.sql, fmt.Sprint(r.after.Transaction), r.after.Number, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (i item, err error) {
		return i, row.Scan(&i.at.Transaction, &i.at.Number, &i.stream, &i.version)
	})
}

func (r *sqlReader) keep(page []item) { r.after = r.move(r.after, page) }

// last is the right place to stand after a page.
func last(_ domain.Position, page []item) domain.Position { return page[len(page)-1].at }

// farthest is the wrong one: either half at its highest.
func farthest(after domain.Position, page []item) domain.Position {
	for _, i := range page {
		after.Transaction, after.Number = max(after.Transaction, i.at.Transaction), max(after.Number, i.at.Number)
	}
	return after
}

// fault is a reader that loses or repeats something, and what the checker says.
type fault struct {
	name, verdict string
	reader        reader
}

func faults() []fault {
	const (
		row     = `select transaction_id, position, stream_id, version from eventstore.events where `
		behind  = `(transaction_id, position) > ($1::text::xid8, $2) `
		settled = `and transaction_id < pg_snapshot_xmin(pg_current_snapshot()) `
		order   = `order by transaction_id, position limit $3`
	)
	first := func(_ domain.Position, page []item) domain.Position { return page[0].at }
	return []fault{
		{
			"a checkpoint of the highest position", "skipped", &sqlReader{
				sql: row + `position > $2 and $1::text is not null order by position limit $3`, move: farthest,
			},
		},
		{
			"a page's end of two separate maxima", "skipped", &sqlReader{
				sql: row + behind + settled + order, move: farthest,
			},
		},
		{"no regard to running transactions", "skipped", &sqlReader{sql: row + behind + order, move: last}},
		{
			"a bound of the newest transaction", "skipped", &sqlReader{
				sql:  row + behind + `and transaction_id < pg_snapshot_xmax(pg_current_snapshot()) ` + order,
				move: last,
			},
		},
		{
			"no transaction in the checkpoint", "skipped", &sqlReader{
				sql: row + `position > $2 and $1::text is not null ` + settled + order, move: last,
			},
		},
		{"a place at the page's first event", "twice", &sqlReader{sql: row + behind + settled + order, move: first}},
		{"pages in order of positions", "was read after",
			&sqlReader{sql: `select * from (` + row + behind + settled + order + `) page order by position`,
				move: func(after domain.Position, page []item) domain.Position {
					for _, i := range page {
						if after.Before(i.at) {
							after = i.at
						}
					}
					return after
				}}},
	}
}

// writer is a session with at most one transaction open.
type writer struct {
	conn  *pgx.Conn
	tx    pgx.Tx
	steps []func() error
	wrote []item
	holds []string // streams nobody else may write to meanwhile
}

// schedule is one seeded interleaving on a database.
type schedule struct {
	ctx       context.Context
	rng       *rand.Rand
	writers   []*writer
	readers   map[string]reader
	conn      *pgx.Conn         // the readers'
	logs      map[string][]item // what each reader kept; pages lost in a crash are not
	prefix    string
	versions  map[string]int64
	busy      map[string]bool
	committed []item
	blind     bool // writers read the version behind their first write: a fault
}

const (
	scheduleWriters = 4
	scheduleStreams = 5
	scheduleSteps   = 90
)

// run plays the schedule, lets everything end, and lets the readers finish.
func (s *schedule) run() error {
	for range scheduleSteps {
		if s.rng.IntN(4) == 0 {
			if err := s.read(); err != nil {
				return err
			}
			continue
		}
		if err := s.write(s.writers[s.rng.IntN(len(s.writers))]); err != nil {
			return err
		}
	}
	for _, w := range s.writers {
		for w.tx != nil {
			if err := s.write(w); err != nil {
				return err
			}
		}
	}
	return s.drain()
}

// write takes a writer one step further.
func (s *schedule) write(w *writer) error {
	if w.tx == nil {
		return s.begin(w)
	}
	step := w.steps[0]
	w.steps = w.steps[1:]
	return step()
}

// begin opens a transaction on one or two streams that nobody writes to, and
// plans its steps.
func (s *schedule) begin(w *writer) error {
	var free []string
	for i := range scheduleStreams {
		if id := fmt.Sprintf("%s-%d", s.prefix, i); !s.busy[id] {
			free = append(free, id)
		}
	}
	if len(free) == 0 {
		return nil
	}
	tx, err := w.conn.Begin(s.ctx)
	if err != nil {
		return err
	}
	w.tx, w.steps, w.wrote, w.holds = tx, nil, nil, nil
	s.rng.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	w.holds = free[:1+s.rng.IntN(min(2, len(free)))]
	if s.rng.IntN(2) == 0 || s.blind { // a transaction id now, events later
		w.steps = append(w.steps, func() error {
			_, err := tx.Exec(s.ctx, `select pg_current_xact_id()`)
			return err
		})
	}
	if s.blind {
		w.holds = free[:1]
		w.steps = append(w.steps, func() error {
			if s.busy[w.holds[0]] {
				w.holds = nil // somebody else writes there now
				return s.end(w, false)
			}
			s.busy[w.holds[0]] = true
			return nil
		})
	} else {
		for _, id := range w.holds {
			s.busy[id] = true
		}
	}
	for _, id := range w.holds {
		for range 1 + s.rng.IntN(3) {
			w.steps = append(w.steps, func() error { return s.insert(w, id) })
		}
	}
	commit := s.rng.IntN(5) > 0
	w.steps = append(w.steps, func() error { return s.end(w, commit) })
	return nil
}

func (s *schedule) insert(w *writer, stream string) error {
	version := s.versions[stream] + 1
	for _, i := range w.wrote {
		if i.stream == stream {
			version = i.version + 1
		}
	}
	i := item{stream: stream, version: version}
	err := w.tx.QueryRow(s.ctx, `
		insert into eventstore.events (stream_id, version, event_id, name, event_version, payload,
		correlation_id, actor, occurred_at)
		values ($1, $2, $3, 'update_kept', 1, '{}', $3, 'test', now()) returning transaction_id, position`,
		stream, version, uuid.New()).Scan(&i.at.Transaction, &i.at.Number)
	w.wrote = append(w.wrote, i)
	return err
}

func (s *schedule) end(w *writer, commit bool) error {
	end := w.tx.Rollback
	if commit {
		end = w.tx.Commit
		for _, i := range w.wrote {
			s.versions[i.stream] = i.version
		}
		s.committed = append(s.committed, w.wrote...)
	}
	for _, id := range w.holds {
		delete(s.busy, id)
	}
	w.tx = nil
	return end(s.ctx)
}

// read lets every reader read a page, and some of them lose it before their
// checkpoint moves.
func (s *schedule) read() error {
	limit, crash := 1+s.rng.IntN(4), s.rng.IntN(4) == 0
	for name, r := range s.readers {
		if _, err := s.readOne(name, r, limit, crash); err != nil {
			return err
		}
	}
	return nil
}

func (s *schedule) readOne(name string, r reader, limit int, crash bool) (int, error) {
	page, err := r.page(s.ctx, s.conn, limit)
	if err != nil {
		return 0, fmt.Errorf("reader with %s: %w", name, err)
	}
	if len(page) > 0 && !crash {
		r.keep(page)
		s.logs[name] = append(s.logs[name], page...)
	}
	return len(page), nil
}

// drain reads on until every committed event can be seen and nobody gets more.
func (s *schedule) drain() error {
	for final := false; !final; {
		var newest uint64
		for _, c := range s.committed {
			newest = max(newest, c.at.Transaction)
		}
		// Other tests' transactions hold the feed back as well.
		if err := s.conn.QueryRow(s.ctx,
			`select $1::text::xid8 < eventstore.rebased(pg_snapshot_xmin(pg_current_snapshot()))`,
			fmt.Sprint(newest)).Scan(&final); err != nil {
			return err
		}
		for name, r := range s.readers {
			for range 3 * scheduleSteps { // a faulty one may go round in circles
				n, err := s.readOne(name, r, 1+s.rng.IntN(4), false)
				if err != nil {
					return err
				}
				if n == 0 {
					break
				}
			}
		}
	}
	return nil
}

// stage is a database with sessions for schedules, one after the other.
type stage struct {
	store   *process
	reading *pgx.Conn
	writing []*writer
}

func newStage(t *testing.T) *stage { return newStageOn(t, pgtest.Database(t)) }

func newStageOn(t *testing.T, dsn string) *stage {
	st := &stage{store: open(t, dsn), reading: pgtest.Connect(t, dsn)}
	for range scheduleWriters {
		st.writing = append(st.writing, &writer{conn: pgtest.Connect(t, dsn)})
	}
	return st
}

// play runs one seed on an empty ledger and checks every reader's log.
func (st *stage) play(t *testing.T, seed uint64, blind bool, readers map[string]reader) map[string]error {
	t.Helper()
	pgtest.Exec(t, st.reading, `truncate eventstore.events`)
	s := &schedule{ctx: waittest.Context(t), rng: rand.New(rand.NewPCG(seed, 5)), writers: st.writing,
		readers: readers, conn: st.reading,
		logs: map[string][]item{}, prefix: fmt.Sprint("stream", seed), versions: map[string]int64{},
		busy: map[string]bool{}, blind: blind}
	if err := s.run(); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	found := map[string]error{}
	for name := range readers {
		found[name] = check(s.committed, s.logs[name])
	}
	return found
}

const right = "the order of the store"

// However transactions overlap, the feed shows each event once and in order.
func TestFeed_InterleavedCommits_EveryEventOnce(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	for seed := range uint64(60) {
		if err := st.play(t, seed, false, map[string]reader{right: &storeReader{store: st.store}})[right]; err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// The test above would notice: the checker finds each known way to do it wrong.
func TestChecker_KnownFaults_Found(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	left := map[string]bool{}
	for _, f := range faults() {
		left[f.name] = true
	}
	for seed := uint64(0); seed < 60 && len(left) > 0; seed++ {
		readers := map[string]reader{}
		for _, f := range faults() {
			readers[f.name] = f.reader
		}
		found := st.play(t, seed, false, readers)
		for _, f := range faults() {
			if err := found[f.name]; left[f.name] && err != nil && strings.Contains(err.Error(), f.verdict) {
				t.Logf("seed %d finds %s: %v", seed, f.name, err)
				delete(left, f.name)
			}
		}
	}
	for name := range left {
		t.Errorf("no schedule finds what is wrong with %s", name)
	}
}

// A writer that looks at the version only when it has its transaction id puts
// streams out of order; that is why Append does not.
func TestChecker_LateVersionRead_Found(t *testing.T) {
	t.Parallel()
	st := newStage(t)
	for seed := range uint64(60) {
		if err := st.play(t, seed, true, map[string]reader{right: &storeReader{store: st.store}})[right]; err != nil {
			t.Logf("seed %d: %v", seed, err)
			return
		}
	}
	t.Error("no schedule finds it")
}
