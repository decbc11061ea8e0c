// Package retention removes received updates, quarantined bodies and inbox rows that have
// been kept for long enough.
package retention

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/wait"
)

// Period is how long what a bot received is kept as it came; 0 is for ever. What the
// events say of it stays.
type Period struct {
	Updates    time.Duration // on the events that received them; a day at least
	Quarantine time.Duration
}

// Removed is how many rows of a bot were removed: updates, quarantine or inbox, which is
// of all bots and has no name.
type Removed func(what, bot string, rows int64)

const (
	// inboxFor is how long received updates are recognised by their number: longer than the
	// 24 hours for which Telegram repeats one, and shorter than the week without updates
	// after which it draws a new number, which might be an old one.
	inboxFor = 6 * 24 * time.Hour
	// usageFor is how long it is known what models used in a day: for a comparison with the year before.
	usageFor = 400 * 24 * time.Hour
	// retentionBatch is how many rows are looked at in one transaction. It is open for some
	// 10 ms, during which no consumer can read what is stored after it.
	retentionBatch = 1000
	// inboxBlocks is how much of the inbox is looked at in one: some 6,000 rows, of which
	// few are old.
	inboxBlocks = 64
)

// Remove removes what has been kept for long enough, batch by batch, resting as long as it
// works. One process does so at a time; for the others there is nothing to do. Stopped in
// the middle, it goes on from there the next time. bots is asked before each batch: who keeps
// something for longer from now on loses no more than the batch under way.
func Remove(ctx context.Context, db *postgres.DB, bots func() map[string]Period, removed Removed) error {
	conn, err := db.Session(ctx, "retention")
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), postgres.CloseTimeout)
		defer cancel()
		// the server may notice only later that the session ends
		_, _ = conn.Exec(ctx, `select eventstore.unlock('retention')`)
		_ = conn.Close(ctx)
	}()
	// Rows that a crash restores are removed by the next run.
	var alone bool
	err = conn.QueryRow(ctx,
		`select eventstore.try_lock('retention') from set_config('synchronous_commit', 'off', false)`).Scan(&alone)
	if err == nil && alone {
		err = removeAll(ctx, conn, bots, removed)
	}
	if err != nil {
		return fmt.Errorf("remove expired updates: %w", err)
	}
	return nil
}

func removeAll(ctx context.Context, conn *pgx.Conn, bots func() map[string]Period, removed Removed) error {
	for _, bot := range slices.Sorted(maps.Keys(bots())) {
		err := inBatches(ctx, func() (more bool, err error) {
			keep := bots()[bot].Updates
			if keep == 0 {
				return false, nil
			}
			var looked, gone int64
			err = conn.QueryRow(ctx,
				`select looked_at, removed from eventstore.remove_updates($1, now() - $2::interval, $3)`,
				bot, keep, retentionBatch).Scan(&looked, &gone)
			removed("updates", bot, gone)
			return looked == retentionBatch, err
		})
		if err != nil {
			return fmt.Errorf("updates of bot %s: %w", bot, err)
		}
		err = inBatches(ctx, func() (more bool, err error) {
			keep := bots()[bot].Quarantine
			if keep == 0 {
				return false, nil
			}
			tag, err := conn.Exec(ctx, `
				delete from eventstore.quarantine where id in (
					select id from eventstore.quarantine
					where bot in ($1, 'zendesk:' || $1) and received_at < now() - $2::interval limit $3)`, bot, keep,
				retentionBatch)
			removed("quarantine", bot, tag.RowsAffected())
			return tag.RowsAffected() == retentionBatch, err
		})
		if err != nil {
			return fmt.Errorf("quarantine of bot %s: %w", bot, err)
		}
	}
	if err := pruneInbox(ctx, conn, removed); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	if _, err := conn.Exec(ctx, `delete from eventstore.model_usage where day < now() - $1::interval`, usageFor); err != nil {
		return fmt.Errorf("usage of models: %w", err)
	}
	return nil
}

// pruneInbox walks the table itself, block by block: an index by time would cost every
// update a little, and in the order of their numbers old rows may stand behind new ones.
func pruneInbox(ctx context.Context, conn *pgx.Conn, removed Removed) error {
	var blocks int64
	err := conn.QueryRow(ctx,
		`select pg_relation_size('eventstore.inbox') / current_setting('block_size')::bigint`).Scan(&blocks)
	if err != nil {
		return err
	}
	from := int64(0)
	return inBatches(ctx, func() (more bool, err error) {
		tag, err := conn.Exec(ctx, `
			delete from eventstore.inbox
			where ctid >= format('(%s,0)', $1::bigint)::tid and ctid < format('(%s,0)', $1 + $2::bigint)::tid and received_at < now() - $3::interval`,
			from, inboxBlocks, inboxFor)
		removed("inbox", "", tag.RowsAffected())
		from += inboxBlocks
		return from < blocks, err
	})
}

// inBatches does something again and again while there is more of it.
func inBatches(ctx context.Context, batch func() (more bool, err error)) error {
	for {
		begun := time.Now()
		more, err := batch()
		if err != nil || !more {
			return err
		}
		if err := wait.For(ctx, time.Since(begun)); err != nil {
			return err
		}
	}
}
