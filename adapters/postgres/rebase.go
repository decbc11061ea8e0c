package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Each cluster counts its own transaction ids. A ledger that was restored from another cluster's dump
// may have ids that are greater than this cluster's present one. Consumers could not read these events,
// and new events would come before events that consumers have read already. Rebase defines a distance
// that eventstore.rebased adds to each id of this cluster, so that new ids are greater than all stored
// ones. It changes no stored event.

// ids has the transaction ids of the ledger and of the cluster.
type ids struct {
	newest  uint64 // the greatest stored id, with the distance; 0 without events
	next    uint64 // the least id that will be stored, with the distance
	running uint64 // of the oldest open write, or of the next one, without the distance
}

// foreign reports whether there are ids that cannot be this cluster's: all ids of its own that a
// statement can see are below the end of its snapshot.
func (i ids) foreign() bool { return i.newest >= i.next }

func readIDs(ctx context.Context, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (i ids, err error) {
	err = q.QueryRow(ctx, `
		select coalesce((
				select transaction_id from eventstore.events order by transaction_id desc, position desc limit 1
			), '0'),
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

// checkCluster returns an error for a ledger that must be rebased first. It checks every new
// connection, since a running process may reconnect to a restored database.
func checkCluster(ctx context.Context, conn *pgx.Conn) error {
	i, err := readIDs(ctx, conn)
	if err == nil && i.foreign() {
		err = fmt.Errorf("the newest event has transaction id %d and this cluster has only come to %d, "+
			"so it was restored from a dump of another: run `chatledger rebase`", i.newest, i.next)
	}
	return err
}

// rebaseLock is how long Rebase waits for open writes. Other writers wait during this time.
const rebaseLock = "5s"

// Rebase makes the transaction ids of all later events greater than those of all stored events. It
// returns the greatest stored id (0 without events) and whether a rebase was needed. It changes no
// event, so its duration does not depend on their number.
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
		// The lock waits for transactions that have stored an event with the old distance, and for
		// another rebase. Transactions that store an event later use the new distance.
		_, err := tx.Exec(ctx,
			`set local lock_timeout = '`+rebaseLock+`'; lock table eventstore.events in share row exclusive mode`)
		if err != nil {
			return fmt.Errorf("wait for open writes: %w", err)
		}
		if i, err = readIDs(ctx, tx); err != nil || !i.foreign() {
			return err
		}
		done = true
		// The distance begins at the oldest open write, which may still store its first event. xid8 has
		// no arithmetic, so the function converts the id to bigint.
		_, err = tx.Exec(ctx, fmt.Sprintf(`
			create or replace function eventstore.rebased(id xid8) returns xid8 language sql stable parallel safe
			as 'select (id::text::bigint + %d)::text::xid8'`, i.newest-i.running+1))
		return err
	})
	return i, done, err
}
