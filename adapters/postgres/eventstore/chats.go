package eventstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/domain"
)

// Chats lists up to limit chats after one, in order of their ids: of one bot, or of
// all when bot is empty, and with since not zero only those in which something was
// recorded since.
func (l Ledger) Chats(
	ctx context.Context, tx pgx.Tx, bot string, since time.Time, after domain.StreamID, limit int,
) ([]domain.StreamID, error) {
	first, end := "chat-", "chat." // what a name begins with, and the same with the next character
	if bot != "" {
		first, end = first+bot+":", first+bot+";"
	}
	// A stream's last event is one probe of the primary key.
	return postgres.Collect(ctx, tx, "list chats", pgx.RowTo[domain.StreamID], `
		select stream_id from eventstore.streams s
		where stream_id > $1 and stream_id >= $2 and stream_id < $3
		  and ($4::timestamptz = '0001-01-01 00:00Z'
		       or $4 <= (select recorded_at from eventstore.events e where e.stream_id = s.stream_id order by version desc limit 1))
		order by stream_id limit $5`, string(after), first, end, since, limit)
}

// Updates reads the updates that events of these streams received, as they were
// sent, or as JSONB keeps them. Those that were removed since are left out.
func (l Ledger) Updates(
	ctx context.Context, tx pgx.Tx, streams []domain.StreamID,
) (map[domain.StreamID]map[domain.Version][]byte, error) {
	rows, err := tx.Query(ctx, `
		select stream_id, version, raw from eventstore.events
		where stream_id = any($1) and raw <> '{"$removed": true}'`, streams)
	if err != nil {
		return nil, fmt.Errorf("read the updates of %d streams: %w", len(streams), err)
	}
	updates := make(map[domain.StreamID]map[domain.Version][]byte, len(streams))
	var stream domain.StreamID
	var version domain.Version
	var stored []byte
	_, err = pgx.ForEachRow(rows, []any{&stream, &version, &stored}, func() error {
		update, err := postgres.Unescape(stored)
		if err != nil {
			return fmt.Errorf("%s version %d: %w", stream, version, err)
		}
		if updates[stream] == nil {
			updates[stream] = map[domain.Version][]byte{}
		}
		updates[stream][version] = update
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the updates of %d streams: %w", len(streams), err)
	}
	return updates, nil
}

// Reached is the last event whose effects a consumer group has committed; zero
// before its first.
func (l Ledger) Reached(ctx context.Context, group string) (at domain.Position, err error) {
	err = l.Pool().QueryRow(ctx,
		`select transaction_id, position from eventstore.checkpoints where consumer_group = $1`,
		group).Scan(&at.Transaction, &at.Number)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return at, fmt.Errorf("read the checkpoint of %s: %w", group, err)
	}
	return at, nil
}
