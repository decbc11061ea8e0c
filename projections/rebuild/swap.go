package rebuild

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
)

const (
	// swapLock is how long the swap waits for queries on the live table to end. Later queries wait
	// behind it. It is shorter than the server's deadlock_timeout of 1 s: if a query and the swap wait
	// for each other, the swap gives up first.
	swapLock = "500ms"
	// swapPause is the pause between two attempts, in which waiting queries run. There are at most
	// swapTries attempts: about a minute in all.
	swapPause = 500 * time.Millisecond
	swapTries = 60
)

// insist retries try, after calling between, while its error is temporary.
func insist(ctx context.Context, try, between func(context.Context) error) error {
	for n := 1; ; n++ {
		err := try(ctx)
		if err == nil || !passing(err) || n == swapTries {
			return err
		}
		select {
		case <-time.After(swapPause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := between(ctx); err != nil {
			return err
		}
	}
}

// errAhead is returned when a consumer became leader of the group behind the position of the new table.
var errAhead = errors.New("the live table's consumer is behind the new table; let it catch up, or stop it")

// passing reports whether an error is temporary: a lock timeout, a deadlock, or a live consumer that is
// still behind the new table.
func passing(err error) bool {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return refused.Code == "55P03" || refused.Code == "40P01"
	}
	return errors.Is(err, errAhead)
}

// swap folds the remaining events and puts the new table in the place of the live one, which becomes
// the previous table.
func (b *rebuild) swap(ctx context.Context) error {
	reached := b.done
	err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		live, err := lock(ctx, tx, b.p)
		if err != nil {
			return err
		}
		end, err := b.end(ctx, tx)
		if err != nil {
			return err
		}
		for more := true; more; {
			if more, err = b.fold(ctx, tx, end); err != nil {
				return err
			}
		}
		switch {
		case b.done.At.Before(live.At):
			return fmt.Errorf("the new table is at %v, behind the live table at %v: events are missing from the feed",
				b.done.At, live.At)
		case end != nil && live.At.Before(b.done.At):
			return errAhead
		}
		// The swap below exchanges the parked streams, too: until then those of the new table are
		// stored under the previous table's group.
		_, err = tx.Exec(ctx, `delete from eventstore.parked where consumer_group = $1`, previousGroup(b.p))
		if err != nil {
			return err
		}
		for _, s := range b.done.parked {
			if err := b.ledger.ParkFor(ctx, tx, previousGroup(b.p), s); err != nil {
				return err
			}
		}
		return swapTables(ctx, tx, b.p, mark{b.done.At, b.done.Events, b.p.Version()}, live)
	})
	if err != nil {
		b.done = reached
	}
	return err
}

// Rollback puts the table that the last rebuild replaced, and its checkpoint, back in the place of the
// live one. It keeps the live one as the previous table: a second rollback undoes the first. The
// group's leader continues from that checkpoint. Rollback returns the checkpoint, and the version of
// the projection that made the table.
func Rollback(
	ctx context.Context, conn *pgx.Conn, p projections.Projection,
) (at domain.Position, version int, err error) {
	try := func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			live, err := lock(ctx, tx, p)
			if err != nil {
				return err
			}
			var kept bool // whether there is a previous table; an unfinished rebuild is dropped for it
			if err := tx.QueryRow(ctx, `select eventstore.recall_previous($1)`, p.Name()).Scan(&kept); err != nil {
				return err
			}
			if !kept {
				return errors.New("no table is kept from an earlier rebuild")
			}
			previous, err := markOf(ctx, tx, p, previousGroup(p), "for update")
			if err != nil {
				return err
			}
			at, version = previous.At, previous.Version
			return swapTables(ctx, tx, p, previous, live)
		})
	}
	err = alone(ctx, conn, p, func() error { return insist(ctx, try, func(context.Context) error { return nil }) })
	if err != nil {
		return at, version, fmt.Errorf("roll %s back: %w", p.Name(), explained(err))
	}
	return at, version, nil
}

// mark is the checkpoint of a table.
type mark struct {
	At      domain.Position
	Events  int64 // the number of events up to At
	Version int   // the version of the projection that made the table
}

// previousGroup names the checkpoint of the previous table.
func previousGroup(p projections.Projection) string { return p.Name() + " (previous)" }

// markOf reads a checkpoint. If the group never had a leader, the table is empty, and markOf returns
// the present version.
func markOf(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, p projections.Projection, group, lock string) (m mark, err error) {
	err = q.QueryRow(ctx, `
		select transaction_id, position, events, version from eventstore.checkpoints
		where consumer_group = $1 `+lock, group).Scan(&m.At.Transaction, &m.At.Number, &m.Events, &m.Version)
	if errors.Is(err, pgx.ErrNoRows) {
		return mark{Version: p.Version()}, nil
	}
	return m, err
}

// lock locks the live table and its checkpoint until the transaction ends. It takes the locks in the
// order that all other code uses: views before the table, as queries do, and the table before the
// checkpoint, as the consumer does. The checkpoint needs a lock of its own because a consumer also
// moves it for a page that changes no row.
func lock(ctx context.Context, tx pgx.Tx, p projections.Projection) (live mark, err error) {
	if _, err := tx.Exec(ctx, `set local lock_timeout = '`+swapLock+`'`); err != nil {
		return live, err
	}
	if err := define(ctx, tx, "lock_for_swap", p); err != nil {
		return live, err
	}
	return markOf(ctx, tx, p, p.Name(), "for update")
}

// swapTables puts the shadow in the live table's place and makes the live table the previous one. It
// swaps their checkpoints, too.
func swapTables(ctx context.Context, tx pgx.Tx, p projections.Projection, shadow, live mark) error {
	if err := define(ctx, tx, "swap_tables", p); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `
		insert into eventstore.checkpoints (consumer_group, transaction_id, position, events, version)
		values ($1, $2, $3, $4, $5), ($6, $7, $8, $9, $10)
		on conflict (consumer_group) do update
			set transaction_id = excluded.transaction_id, position = excluded.position,
			events = excluded.events, version = excluded.version, updated_at = now()`,
		p.Name(), shadow.At.Transaction, shadow.At.Number, shadow.Events, shadow.Version,
		previousGroup(p), live.At.Transaction, live.At.Number, live.Events, live.Version)
	if err != nil {
		return err
	}
	return swapParked(ctx, tx, p)
}

// swapParked swaps the parked streams of both tables. If there are any, it makes the group's leader
// read its list again.
func swapParked(ctx context.Context, tx pgx.Tx, p projections.Projection) error {
	for _, statement := range []string{
		`update eventstore.parked set consumer_group = $1 || ' (swap)' where consumer_group = $1 and $2 <> ''`,
		`update eventstore.parked set consumer_group = $1 where consumer_group = $2`,
		`update eventstore.parked set consumer_group = $2 where consumer_group = $1 || ' (swap)'`,
		`update eventstore.checkpoints set parked_changes = parked_changes + 1
		where consumer_group = $1 and exists (select from eventstore.parked where consumer_group in ($1, $2))`,
	} {
		if _, err := tx.Exec(ctx, statement, p.Name(), previousGroup(p)); err != nil {
			return err
		}
	}
	return nil
}
