// Package rebuild folds a projection's table anew beside the live one, compares the two, swaps them,
// rolls a swap back, and verifies a table against the events. Reading and writing go on meanwhile.
package rebuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
)

// Options say how a table is rebuilt.
type Options struct {
	// DryRun ends it after the comparison, and drops the new table.
	DryRun bool
	// Progress, if any, is told after each page.
	Progress func(Progress)
}

// Progress is how far a rebuild has come: events folded and all there are, or, while
// it compares, rows compared; of these the total is not known, and 0.
type Progress struct {
	Comparing   bool
	Done, Total int64
}

// Result is what a rebuild did.
type Result struct {
	Events     int64
	Rows       int64
	At         domain.Position // where the new table stands
	Took       time.Duration
	Comparison *Comparison // nil when it did not come so far
	Parked     []Stopped   // the streams that the new table leaves out from an event on, by their ids

	parked map[domain.StreamID]Stopped
}

// rebuildPage is how many events are folded in one transaction: it is open for
// tens of milliseconds, so it does not hold the live consumers back.
const rebuildPage = 5000

// Table folds the feed from its beginning into a new table beside the live one,
// which is read and written meanwhile; compares the two, both as of the live one's
// checkpoint; catches up; and puts the new one in the live one's place in one short
// transaction. The table replaced is kept for Rollback. Interrupted, it leaves the live
// table as it was; the next run clears away what is left.
//
// A stream with an event that cannot be folded is left out from there on, and is parked in the new
// table's consumer group.
//
// The new table takes over the live one's columns, indexes, constraints, storage
// options, comments, owner and rights, and the views on it. Triggers, policies and
// publications it does not know. Where something else depends on the live table,
// such as a materialized view, it fails and changes nothing.
func Table(ctx context.Context, conn *pgx.Conn, ledger Ledger, p projections.Projection, options Options) (Result, error) {
	b := newRebuild(conn, ledger, p, options)
	err := alone(ctx, conn, p, func() error { return b.run(ctx) })
	return b.outcome(err)
}

// IfOutdated rebuilds a table that an older version of the projection made, without
// comparing the two. It tells whether there was anything to do.
func IfOutdated(ctx context.Context, conn *pgx.Conn, ledger Ledger, p projections.Projection, progress func(Progress)) (done Result, renewed bool, err error) {
	b := newRebuild(conn, ledger, p, Options{Progress: progress})
	b.uncompared = true
	ifOlder := func(do func() error) error {
		live, err := markOf(ctx, conn, p, p.Name(), "")
		if renewed = err == nil && live.Version < p.Version(); !renewed {
			return err
		}
		return do()
	}
	err = ifOlder(func() error {
		return alone(ctx, conn, p, func() error { // by now another process may have renewed it
			return ifOlder(func() error { return b.run(ctx) })
		})
	})
	done, err = b.outcome(err)
	return done, renewed, err
}

// rebuild is one run.
type rebuild struct {
	names
	conn       *pgx.Conn
	side       *pgx.Conn // reads pages while conn writes, and the live table
	ledger     Ledger
	p          projections.Projection
	options    Options
	uncompared bool
	begun      time.Time
	total      int64 // events there were at first
	done       Result
}

func newRebuild(conn *pgx.Conn, ledger Ledger, p projections.Projection, options Options) *rebuild {
	return &rebuild{names: namesOf(p), conn: conn, ledger: ledger, p: p, options: options, begun: time.Now()}
}

func (b *rebuild) outcome(err error) (Result, error) {
	for _, stream := range slices.Sorted(maps.Keys(b.done.parked)) {
		s := b.done.parked[stream]
		s.Parked = err == nil && !b.options.DryRun
		b.done.Parked = append(b.done.Parked, s)
	}
	if b.done.Took = time.Since(b.begun); err != nil {
		return b.done, fmt.Errorf("rebuild %s: %w", b.p.Name(), explained(err))
	}
	return b.done, nil
}

// explained adds the detail of a PostgreSQL error, such as the objects that depend on a table.
func explained(err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Detail != "" {
		return fmt.Errorf("%w: %s", err, refused.Detail)
	}
	return err
}

// ErrBusy means that another process is rebuilding the table or rolling it back.
var ErrBusy = errors.New("another rebuild of it is running; wait for it, or end its process")

// alone runs do under the lock that lets one session at a time rebuild or roll back a table.
func alone(ctx context.Context, conn *pgx.Conn, p projections.Projection, do func() error) error {
	var free bool
	err := conn.QueryRow(ctx, `select eventstore.try_lock('rebuild ' || $1)`, p.Name()).Scan(&free)
	if err != nil {
		return err
	}
	if !free {
		return ErrBusy
	}
	defer func() { // a connection that is lost has let go already
		_, _ = conn.Exec(context.WithoutCancel(ctx), `select eventstore.unlock('rebuild ' || $1)`, p.Name())
	}()
	return do()
}

func (b *rebuild) run(ctx context.Context) (err error) {
	if b.side, err = pgx.ConnectConfig(ctx, b.conn.Config()); err != nil {
		return err
	}
	defer b.side.Close(context.WithoutCancel(ctx))
	if err := b.count(ctx); err != nil {
		return err
	}
	if err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error { return define(ctx, tx, "prepare_rebuild", b.p) }); err != nil {
		return err
	}
	if !b.uncompared {
		if err := b.compare(ctx); err != nil {
			return err
		}
	}
	if b.options.DryRun {
		return define(ctx, b.conn, "drop_rebuild", b.p)
	}
	end, err := b.past(ctx)
	if err != nil {
		return err
	}
	if err := b.bulk(ctx, end); err != nil {
		return err
	}
	if err := b.catchUp(ctx); err != nil {
		return err
	}
	// The queries that come after the swap need its statistics at once.
	if err := define(ctx, b.conn, "analyze_rebuild", b.p); err != nil {
		return err
	}
	if err := insist(ctx, b.swap, b.catchUp); err != nil {
		return err
	}
	// Counted outside the swap: on a large table it takes a while.
	return b.conn.QueryRow(ctx, `select count(*) from `+b.live).Scan(&b.done.Rows)
}

// count finds out how many events there are, if anybody is to be told: those that the
// live table's checkpoint has counted, and those behind it.
func (b *rebuild) count(ctx context.Context) error {
	if b.options.Progress == nil {
		return nil
	}
	live, err := markOf(ctx, b.conn, b.p, b.p.Name(), "")
	if err != nil {
		return err
	}
	err = b.conn.QueryRow(ctx, `select count(*) from eventstore.events where (transaction_id, position) > ($1, $2)`,
		live.At.Transaction, live.At.Number).Scan(&b.total)
	b.total += live.Events
	return err
}

// tell reports progress.
func (b *rebuild) tell() {
	if b.options.Progress != nil {
		b.options.Progress(Progress{Done: b.done.Events, Total: max(b.total, b.done.Events)})
	}
}

// bulk folds up to a position in the past, so it need not look out for a leader, and
// the other session reads the next page while this one writes.
func (b *rebuild) bulk(ctx context.Context, end domain.Position) error {
	reading, ctx := errgroup.WithContext(ctx)
	pages := make(chan []domain.Recorded, 1)
	at := b.done.At
	reading.Go(func() error {
		defer close(pages)
		for at.Before(end) {
			page, err := b.read(ctx, at, end)
			if err != nil || len(page) == 0 {
				return err
			}
			at = page[len(page)-1].Position
			select {
			case pages <- page:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	reading.Go(func() error {
		for page := range pages {
			if err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
				if err := b.enter(ctx, tx); err != nil {
					return err
				}
				return b.apply(ctx, tx, page)
			}); err != nil {
				return err
			}
			b.tell()
		}
		return nil
	})
	return reading.Wait()
}

// past is the checkpoint while somebody leads the group, and the last event there
// is while nobody does.
func (b *rebuild) past(ctx context.Context) (at domain.Position, err error) {
	err = pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		end, err := b.end(ctx, tx)
		if err != nil {
			return err
		}
		if end != nil {
			at = *end
			return nil
		}
		err = tx.QueryRow(ctx, `select transaction_id, position from eventstore.events order by transaction_id desc, position desc limit 1`).
			Scan(&at.Transaction, &at.Number)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return at, err
}

// read reads the page behind a position, up to the end.
func (b *rebuild) read(ctx context.Context, after, end domain.Position) (page []domain.Recorded, err error) {
	err = pgx.BeginFunc(ctx, b.side, func(tx pgx.Tx) error {
		page, err = b.ledger.Feed(ctx, tx, after, rebuildPage, b.p.Concerned()...)
		return err
	})
	return until(page, &end), err
}

// until cuts a page off behind the end, if there is one.
func until(page []domain.Recorded, end *domain.Position) []domain.Recorded {
	if behind := slices.IndexFunc(page, func(r domain.Recorded) bool { return end != nil && end.Before(r.Position) }); behind >= 0 {
		return page[:behind]
	}
	return page
}

// catchUp folds page by page until there is no full page left.
func (b *rebuild) catchUp(ctx context.Context) error {
	return b.foldPages(ctx, func(tx pgx.Tx) (*domain.Position, error) { return b.end(ctx, tx) })
}

// foldPages folds page by page, up to an end that is asked for anew each time, until
// a page is not full.
func (b *rebuild) foldPages(ctx context.Context, end func(pgx.Tx) (*domain.Position, error)) error {
	for n := rebuildPage; n == rebuildPage; b.tell() {
		reached := b.done
		err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
			end, err := end(tx)
			if err == nil {
				n, err = b.fold(ctx, tx, end)
			}
			return err
		})
		if err != nil {
			b.done = reached
			return err
		}
	}
	return nil
}

// end is where folding must stop. While somebody leads the group it is the group's
// checkpoint: the page in the leader's hands then follows on the new table just as
// it does on the live one. While nobody does there is no end, and until the end
// of the transaction nobody can.
func (b *rebuild) end(ctx context.Context, tx pgx.Tx) (*domain.Position, error) {
	// A free group's row is locked, so that nobody takes the group before the transaction's end;
	// a leader's is not, since that would stop its heartbeats.
	var locked int
	err := tx.QueryRow(ctx, `
		with made as (
			insert into eventstore.leaders (consumer_group) values ($1) on conflict do nothing returning 1
		), held as (
			select 1 from eventstore.leaders l
			where consumer_group = $1 and (pid is null or not eventstore.session_exists(l.pid, l.backend_start))
			for update skip locked
		)
		select (select count(*) from made) + (select count(*) from held)`, b.p.Name()).Scan(&locked)
	if err != nil || locked > 0 {
		return nil, err
	}
	live, err := markOf(ctx, tx, b.p, b.p.Name(), "")
	return &live.At, err
}

// fold takes the next page of the feed into the new table, up to the end.
func (b *rebuild) fold(ctx context.Context, tx pgx.Tx, end *domain.Position) (int, error) {
	if err := b.enter(ctx, tx); err != nil {
		return 0, err
	}
	page, err := b.ledger.Feed(ctx, tx, b.done.At, rebuildPage, b.p.Concerned()...)
	if err != nil {
		return 0, err
	}
	if page = until(page, end); len(page) == 0 {
		return 0, nil
	}
	return len(page), b.apply(ctx, tx, page)
}

// enter makes the new table the one that the projection's statements name.
func (b *rebuild) enter(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `set local search_path = `+shadowSchema)
	return err
}

// apply folds a page into the new table.
func (b *rebuild) apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	if err := b.applyReadable(ctx, tx, page); err != nil {
		return err
	}
	b.done.Events += int64(len(page))
	b.done.At = page[len(page)-1].Position
	return nil
}
