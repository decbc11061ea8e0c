// Package rebuild folds a projection's events into a new table beside the live one, compares the two,
// swaps them, rolls a swap back, and verifies a table against the events. The live table can be read
// and written all the time.
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
	// DryRun ends the rebuild after the comparison, and drops the new table.
	DryRun bool
	// Progress, if not nil, is called after each page.
	Progress func(Progress)
}

// Progress counts the events folded, of the total, or, while Comparing, the rows compared; their total
// is not known, and 0.
type Progress struct {
	Comparing   bool
	Done, Total int64
}

// Result reports what a rebuild did.
type Result struct {
	Events     int64
	Rows       int64
	At         domain.Position // the checkpoint of the new table
	Took       time.Duration
	Comparison *Comparison // nil if the rebuild ended before the comparison, or made none
	Parked     []Stopped   // the streams that the new table leaves out from an event on, ordered by id

	parked map[domain.StreamID]Stopped
}

// rebuildPage is how many events are folded in one transaction. It is open for tens of milliseconds,
// so it does not hold the live consumers back.
const rebuildPage = 5000

// Table folds the feed from its beginning into a new table beside the live one, compares the two at
// the live table's checkpoint, catches up, and swaps them in one short transaction. It keeps the
// replaced table for Rollback. If it is interrupted, the live table stays as it was, and the next run
// drops the unfinished one.
//
// A stream with an event that cannot be folded is left out from that event on, and is parked in the
// new table's consumer group.
//
// The new table takes over the live one's columns, indexes, constraints, storage options, comments,
// owner and rights, and the views on it. It does not take over triggers, policies and publications.
// If something else depends on the live table, such as a materialized view, Table fails and changes
// nothing.
func Table(
	ctx context.Context, conn *pgx.Conn, ledger Ledger, p projections.Projection, options Options,
) (Result, error) {
	b := newRebuild(conn, ledger, p, options)
	err := alone(ctx, conn, p, func() error { return b.run(ctx) })
	return b.outcome(err)
}

// IfOutdated rebuilds a table that an older version of the projection made, without comparing the
// two. It reports whether it rebuilt the table.
func IfOutdated(
	ctx context.Context, conn *pgx.Conn, ledger Ledger, p projections.Projection, progress func(Progress),
) (done Result, renewed bool, err error) {
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
		return alone(ctx, conn, p, func() error { // another process may have rebuilt it before the lock was free
			return ifOlder(func() error { return b.run(ctx) })
		})
	})
	done, err = b.outcome(err)
	return done, renewed, err
}

// rebuild is one run of Table or IfOutdated.
type rebuild struct {
	names
	conn       *pgx.Conn
	side       *pgx.Conn // reads the live table, and the next page while conn writes
	ledger     Ledger
	p          projections.Projection
	options    Options
	uncompared bool
	begun      time.Time
	total      int64 // events in the feed at the start
	done       Result
	limit      int // of the next page; 0 is rebuildPage
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
	defer func() { // a lost connection has released the lock already
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
	err = pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error { return define(ctx, tx, "prepare_rebuild", b.p) })
	if err != nil {
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
	// Queries need the new table's statistics right after the swap.
	if err := define(ctx, b.conn, "analyze_rebuild", b.p); err != nil {
		return err
	}
	if err := insist(ctx, b.swap, b.catchUp); err != nil {
		return err
	}
	// Rows are counted outside the swap, because counting a large table takes a while.
	return b.conn.QueryRow(ctx, `select count(*) from `+b.live).Scan(&b.done.Rows)
}

// count counts the events in the feed, if progress is reported: those that the live table's checkpoint
// has counted, and those after it.
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

// bulk folds up to a position in the past, so it need not check for a leader. The other session reads
// the next page while this one writes.
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

// past returns the checkpoint if the group has a leader, and otherwise the position of the last event.
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
		err = tx.QueryRow(ctx, `
			select transaction_id, position from eventstore.events
			order by transaction_id desc, position desc limit 1`).Scan(&at.Transaction, &at.Number)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return at, err
}

// read reads the page after a position, up to end.
func (b *rebuild) read(ctx context.Context, after, end domain.Position) (page []domain.Recorded, err error) {
	err = pgx.BeginFunc(ctx, b.side, func(tx pgx.Tx) error {
		page, _, err = b.feed(ctx, tx, after)
		return err
	})
	return until(page, &end), err
}

// feed reads the next page. After a page that ended by its bytes, the next one is read with a lower
// limit, because the server sends what is behind the end of a page, too. The limit doubles again.
func (b *rebuild) feed(
	ctx context.Context, tx pgx.Tx, after domain.Position,
) (page []domain.Recorded, more bool, err error) {
	limit := rebuildPage
	if b.limit > 0 {
		limit = min(limit, b.limit)
	}
	if page, more, err = b.ledger.Feed(ctx, tx, after, limit, b.p.Concerned()...); err != nil {
		return nil, false, err
	}
	if b.limit = 2 * limit; len(page) < limit {
		b.limit = max(1, len(page))
	}
	return page, more, nil
}

// until removes the events after end from a page; a nil end removes none.
func until(page []domain.Recorded, end *domain.Position) []domain.Recorded {
	after := func(r domain.Recorded) bool { return end != nil && end.Before(r.Position) }
	if i := slices.IndexFunc(page, after); i >= 0 {
		return page[:i]
	}
	return page
}

// catchUp folds page by page until a page is not full.
func (b *rebuild) catchUp(ctx context.Context) error {
	return b.foldPages(ctx, func(tx pgx.Tx) (*domain.Position, error) { return b.end(ctx, tx) })
}

// foldPages folds page by page until there is nothing after a page. It calls end before each page.
func (b *rebuild) foldPages(ctx context.Context, end func(pgx.Tx) (*domain.Position, error)) error {
	for more := true; more; b.tell() {
		reached := b.done
		err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
			end, err := end(tx)
			if err == nil {
				more, err = b.fold(ctx, tx, end)
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

// end returns the position at which folding must stop. If the group has a leader, that is the group's
// checkpoint, so that the leader's next page fits the new table as it fits the live one. If the group
// has no leader, end returns nil, and no process can become leader until the transaction ends.
func (b *rebuild) end(ctx context.Context, tx pgx.Tx) (*domain.Position, error) {
	// The row of a group without a leader is locked, so that no process becomes leader before the
	// transaction ends. A leader's row is not locked, since that would stop its heartbeats.
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

// fold folds the next page of the feed, up to end, into the new table. It reports whether there may be
// more events before end.
func (b *rebuild) fold(ctx context.Context, tx pgx.Tx, end *domain.Position) (more bool, err error) {
	if err := b.enter(ctx, tx); err != nil {
		return false, err
	}
	page, more, err := b.feed(ctx, tx, b.done.At)
	if err != nil {
		return false, err
	}
	before := until(page, end)
	if len(before) == 0 {
		return false, nil
	}
	return more && len(before) == len(page), b.apply(ctx, tx, before)
}

// enter sets the search path, so that the projection's statements use the new table.
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
