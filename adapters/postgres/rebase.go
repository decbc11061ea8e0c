package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Transaction ids are a cluster's own. A ledger that was restored from another
// cluster's dump may hold ids that this cluster has yet to come to: they stand above
// everything that can be read, and new events would stand below what consumers have
// read already. Rebase lets this cluster's ids go on above those stored, by a
// distance that eventstore.rebased adds to each; history stays as it is.

// ids are where the ledger and the cluster stand.
type ids struct {
	newest  uint64 // stored, as the ledger counts; 0 when nothing is
	next    uint64 // the least that will be stored, as the ledger counts
	running uint64 // of the oldest open write, or the next one's, as the cluster counts
}

// foreign reports whether there are ids that cannot be this cluster's. What a statement
// sees was stored below the end of its snapshot.
func (i ids) foreign() bool { return i.newest >= i.next }

func readIDs(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (i ids, err error) {
	err = q.QueryRow(ctx, `
		select coalesce((select transaction_id from eventstore.events order by transaction_id desc, position desc limit 1), '0'),
			eventstore.rebased(pg_snapshot_xmax(pg_current_snapshot())), pg_snapshot_xmin(pg_current_snapshot())`).
		Scan(&i.newest, &i.next, &i.running)
	if HasCode(err, "42P01", "42883") { // undefined table, undefined function
		return i, fmt.Errorf("the schema is older than this program: run `chatledger migrate` (%w)", err)
	}
	if err != nil {
		return i, fmt.Errorf("compare transaction ids: %w", err)
	}
	return i, nil
}

// checkCluster keeps a store away from a ledger that must be rebased first. It looks
// every new connection, since a running process may reconnect to a restored database.
func checkCluster(ctx context.Context, conn *pgx.Conn) error {
	i, err := readIDs(ctx, conn)
	if err == nil && i.foreign() {
		err = fmt.Errorf("the newest event has transaction id %d and this cluster has only come to %d, so it was "+
			"restored from a dump of another: run `chatledger rebase`", i.newest, i.next)
	}
	return err
}

// rebaseLock is how long Rebase waits for open writes; meanwhile it keeps others
// from writing.
const rebaseLock = "5s"

// Rebase makes the ids of all events to come greater than those of all that are
// stored. It returns the newest of these (0 without events) and whether there was
// anything to do. It changes no event, so it is as quick for many as for few.
func Rebase(ctx context.Context, dsn string) (newest uint64, done bool, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, false, fmt.Errorf("rebase: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	i, err := readIDs(ctx, conn)
	if err == nil && i.foreign() {
		i, done, err = rebase(ctx, conn)
	}
	if err != nil {
		return 0, false, fmt.Errorf("rebase: %w", err)
	}
	return i.newest, done, nil
}

func rebase(ctx context.Context, conn *pgx.Conn) (i ids, done bool, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Waits for whoever has stored an event by the old distance, and for another
		// rebase. A transaction that stores an event after it uses the new distance.
		_, err := tx.Exec(ctx,
			`set local lock_timeout = '`+rebaseLock+`'; lock table eventstore.events in share row exclusive mode`)
		if err != nil {
			return fmt.Errorf("wait for open writes: %w", err)
		}
		if i, err = readIDs(ctx, tx); err != nil || !i.foreign() {
			return err
		}
		done = true
		// From the oldest open write: it may yet store its first event. The type has no
		// arithmetic of its own.
		_, err = tx.Exec(ctx, fmt.Sprintf(`
			create or replace function eventstore.rebased(id xid8) returns xid8 language sql stable parallel safe
			as 'select (id::text::bigint + %d)::text::xid8'`, i.newest-i.running+1))
		return err
	})
	return i, done, err
}
