// Package retention removes received updates, quarantined bodies and inbox rows that are older than
// their retention period.
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

// Period is how long the bodies that a bot received are kept; 0 means for ever. The events that were
// made from them stay.
type Period struct {
	Updates    time.Duration // the received updates of events; a day at least
	Quarantine time.Duration
}

// Removed is called with the number of rows that were removed. what is updates, quarantine or inbox;
// the inbox has rows of all bots, and bot is empty.
type Removed func(what, bot string, rows int64)

const (
	// inboxFor is how long received updates are recognised by their update_id: longer than the 24
	// hours for which Telegram repeats one, and shorter than a week, because after a week without
	// updates Telegram chooses a random update_id, which may be an old one.
	inboxFor = 6 * 24 * time.Hour
	// usageFor is how long the daily usage of models is kept: a year can be compared with the previous.
	usageFor = 400 * 24 * time.Hour
	// retentionBatch is how many rows one transaction checks. It is open for some 10 ms, during which
	// no consumer can read events that are stored after it began.
	retentionBatch = 1000
	// inboxBlocks is how many blocks of the inbox one transaction checks: some 6,000 rows, of which
	// few are old.
	inboxBlocks = 64
)

// Remove removes what is older than its period, in batches. After each batch it pauses for as long as
// the batch took. One process does so at a time; in the others Remove returns at once. If it is stopped,
// the next call continues. It calls bots before each batch, so that a longer period counts from the
// next batch on.
func Remove(ctx context.Context, db *postgres.DB, bots func() map[string]Period, removed Removed) error {
	conn, err := db.Session(ctx, "retention")
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), postgres.CloseTimeout)
		defer cancel()
		// Unlocked here, because the server may detect the end of the session only later.
		_, _ = conn.Exec(ctx, `select eventstore.unlock('retention')`)
		_ = conn.Close(ctx)
	}()
	// The commits need not be durable: if a crash loses them, the next run removes the rows again.
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
	_, err := conn.Exec(ctx, `delete from eventstore.model_usage where day < now() - $1::interval`, usageFor)
	if err != nil {
		return fmt.Errorf("usage of models: %w", err)
	}
	return nil
}

// pruneInbox scans the table block by block. An index by time would make every update slower, and the
// order of update_ids is not the order of time.
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
			where ctid >= format('(%s,0)', $1::bigint)::tid and ctid < format('(%s,0)', $1 + $2::bigint)::tid
			  and received_at < now() - $3::interval`,
			from, inboxBlocks, inboxFor)
		removed("inbox", "", tag.RowsAffected())
		from += inboxBlocks
		return from < blocks, err
	})
}

// inBatches calls batch until it returns no more. It pauses after each for as long as the batch took.
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
