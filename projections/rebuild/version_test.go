//go:build unix

package rebuild_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/projectionstest"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// loud is a later version of conversations, which shouts what customers say.
type loud struct{ projections.Conversations }

func (p loud) Version() int { return p.Conversations.Version() + 1 }

func shouted(r domain.Recorded) domain.Recorded {
	if m, ok := r.Event.(chat.MessageReceived); ok {
		m.Text = strings.ToUpper(m.Text)
		r.Event = m
	}
	return r
}

func (p loud) Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	page = slices.Clone(page)
	for i, r := range page {
		page[i] = shouted(r)
	}
	return p.Conversations.Apply(ctx, tx, page)
}

func (p loud) Start() projections.Folding { return loudly{p.Conversations.Start()} }

type loudly struct{ projections.Folding }

func (f loudly) Take(r domain.Recorded) error { return f.Folding.Take(shouted(r)) }

// process keeps a projection's table as one process of serve does, until stop. It
// tells how many events it has folded.
func (l *ledger) process(
	t testing.TB, p projections.Projection, log *waittest.Log,
) (folded *atomic.Int64, stop func()) {
	t.Helper()
	router, err := bus.NewRouter(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	folded = &atomic.Int64{}
	lead := func(ctx context.Context, table string) (bus.Reader, error) {
		return l.SubscribeTable(ctx, table, p.Version(), slog.New(slog.NewTextHandler(log, nil)))
	}
	count := func(_ string, page []domain.Recorded, _ time.Duration) { folded.Add(int64(len(page))) }
	router.Follow(bus.NewLog(p.Name(), lead, slog.New(slog.NewTextHandler(log, nil)), count), p.Apply)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := router.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	<-router.Running()
	return folded, stop
}

const waits = "the table has another version than this program"

// A program with a newer version of a projection starts while an older program runs and customers
// write all the time.
func TestVersion_Newer_BuiltBesideOld(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	older, newer := projections.Conversations{}, loud{}
	histories := projectionstest.Generate(rand.New(rand.NewPCG(50, 4)), 80, 60)
	l.AppendAll(t, histories[:40], func(left int) int { return left })
	var olderLog, newerLog waittest.Log
	byOlder, stopOlder := l.process(t, older, &olderLog)
	l.caughtUpWith(t, older)
	byNewer, _ := l.process(t, newer, &newerLog)
	waittest.Until(t, "the newer program says that it waits",
		func() bool { return strings.Count(newerLog.String(), waits) > 0 })

	var writing sync.WaitGroup
	defer writing.Wait()
	writing.Go(func() { l.AppendAll(t, histories[40:], func(int) int { return 1 }) })
	// While the new table is built, the older program folds what comes.
	once, before := sync.Once{}, byOlder.Load()
	done, renewed, err := rebuild.IfOutdated(waittest.Context(t), l.Session(t), l, newer, func(rebuild.Progress) {
		once.Do(func() {
			waittest.Until(t, "the older program folds on", func() bool { return byOlder.Load() > before })
		})
	})
	if err != nil || !renewed || done.Comparison != nil {
		t.Fatalf("renewed %t: %v", renewed, err)
	}
	writing.Wait()
	l.oneMore(t, "chat-demo:77")
	l.caughtUpWith(t, newer)
	l.Verify(t, newer)
	if byNewer.Load() == 0 {
		t.Error("the newer program folded nothing")
	}
	total := pgtest.Ask[int64](t, l.Conn, `select count(*) from eventstore.events`)
	if got := pgtest.Ask[int64](t, l.Conn,
		`select events from eventstore.checkpoints where consumer_group = 'conversations' and version = $1`,
		loud{}.Version()); got != total {
		t.Errorf("the checkpoint counts %d events, there are %d", got, total)
	}
	if n := pgtest.Ask[int](t, l.Conn,
		`select count(*) from readmodel.conversations where last_message ~ '[A-Z]'
			and last_message = upper(last_message)`); n == 0 {
		t.Error("nobody shouts")
	}
	waittest.Until(t, "the older program says that it waits",
		func() bool { return strings.Count(olderLog.String(), waits) == 1 })
	if strings.Count(newerLog.String(), waits) != 1 {
		t.Errorf("the newer program said %d times that it waits, want once", strings.Count(newerLog.String(), waits))
	}

	// A process of the older version still finds its table, and a newer process does not use it.
	_, err = rebuild.Verify(t.Context(), l.Conn, l, older)
	var other rebuild.VersionError
	if !errors.As(err, &other) ||
		other != (rebuild.VersionError{Table: "conversations", Stored: loud{}.Version(), Ours: older.Version()}) ||
		!strings.Contains(err.Error(), "chatledger rebuild conversations") {
		t.Errorf("the older program verifies a table of the newer: %v", err)
	}
	kept := byNewer.Load()
	l.rollback(t, older)
	l.caughtUpWith(t, older)
	l.Verify(t, older)
	if byNewer.Load() != kept {
		t.Error("the newer program folded the older one's table")
	}
	stopOlder()
}

// caughtUpWith waits until the table of this version has folded every event there is.
func (l *ledger) caughtUpWith(t testing.TB, p projections.Projection) {
	t.Helper()
	total := pgtest.Ask[int64](t, l.Conn, `select count(*) from eventstore.events`)
	waittest.Until(t, "the table has come to the end", func() bool {
		return pgtest.Ask[bool](t, l.Conn,
			`select exists (select from eventstore.checkpoints
			where consumer_group = $1 and version = $2 and events = $3)`, p.Name(), p.Version(), total)
	})
}

// An older program leaves a newer table alone.
func TestVersion_OlderProgram_TableUntouched(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	older, newer := projections.Conversations{}, loud{}
	_, stop := l.process(t, newer, &waittest.Log{})
	l.oneMore(t, "chat-demo:1")
	l.caughtUpWith(t, newer)
	stop() // nobody leads the group now
	var log waittest.Log
	byOlder, _ := l.process(t, older, &log)
	waittest.Until(t, "it says why it waits",
		func() bool { return strings.Count(log.String(), waits+"; run `chatledger rebuild`") == 1 })
	l.oneMore(t, "chat-demo:2")
	if _, renewed, err := rebuild.IfOutdated(waittest.Context(t), l.Conn, l, older, nil); renewed || err != nil {
		t.Errorf("it builds the older table: %v", err)
	}
	l.process(t, newer, &waittest.Log{})
	l.caughtUpWith(t, newer)
	l.Verify(t, newer)
	if byOlder.Load() != 0 || strings.Count(log.String(), waits) != 1 {
		t.Errorf("the older program folded %d events and said %d times why it waits", byOlder.Load(),
			strings.Count(log.String(), waits))
	}
}

// An empty database gets the version of the program that starts first.
func TestVersion_EmptyDatabase_FirstProgramsVersion(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	p := loud{}
	number := l.number(t, p)
	l.process(t, p, &waittest.Log{})
	for range 2 { // before somebody leads, perhaps, and certainly afterwards
		if _, renewed, err := rebuild.IfOutdated(waittest.Context(t), l.Conn, l, p, nil); renewed || err != nil {
			t.Errorf("an empty table is built: %v", err)
		}
		l.caughtUpWith(t, p)
	}
	l.oneMore(t, "chat-demo:1")
	l.caughtUpWith(t, p)
	l.Verify(t, p)
	if l.number(t, p) != number {
		t.Error("the table was built anew")
	}
}

// Two processes of the newer program that start at the same time rebuild the table once.
func TestVersion_Concurrent_BuiltOnce(t *testing.T) {
	t.Parallel()
	l, _ := folded(t, 51, 30)
	number := l.number(t, loud{})
	var built, busy atomic.Int64
	var both sync.WaitGroup
	for range 2 {
		conn := l.Session(t)
		both.Go(func() {
			for {
				_, renewed, err := rebuild.IfOutdated(waittest.Context(t), conn, l, loud{}, func(rebuild.Progress) {
					waittest.Until(t, "the other one came too", func() bool { return busy.Load() > 0 })
				})
				switch {
				case errors.Is(err, rebuild.ErrBusy):
					busy.Add(1)
					continue
				case err != nil:
					t.Error(err)
				case renewed:
					built.Add(1)
				}
				return
			}
		})
	}
	both.Wait()
	if built.Load() != 1 {
		t.Errorf("it was built %d times", built.Load())
	}
	l.Verify(t, loud{})
	l.rollback(t, loud{})
	if l.number(t, loud{}) != number {
		t.Error("the previous table is not the one before")
	}
	l.Verify(t, projections.Conversations{})
}
