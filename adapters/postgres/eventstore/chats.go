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

// Chats lists up to limit chats after the given one, in the order of their ids: of one bot, or of all
// bots if bot is empty. If since is not zero, it lists only chats with an event since then.
func (l Ledger) Chats(
	ctx context.Context, tx pgx.Tx, bot string, since time.Time, after domain.StreamID, limit int,
) ([]domain.StreamID, error) {
	first, end := "chat-", "chat." // the range of names with this prefix; "." follows "-"
	if bot != "" {
		first, end = first+bot+":", first+bot+";"
	}
	// The last event of a stream takes one look-up in the primary key.
	return postgres.Collect(ctx, tx, "list chats", pgx.RowTo[domain.StreamID], `
		select stream_id from eventstore.streams s
		where stream_id > $1 and stream_id >= $2 and stream_id < $3
		  and ($4::timestamptz = '0001-01-01 00:00Z'
		       or $4 <= (select recorded_at from eventstore.events e
		                 where e.stream_id = s.stream_id order by version desc limit 1))
		order by stream_id limit $5`, string(after), first, end, since, limit)
}

// Updates reads the received updates of these streams, as they were sent, or as JSONB stores them. It
// leaves out updates that retention has removed.
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

// Reached returns the checkpoint of a consumer group, or zero if it has none.
func (l Ledger) Reached(ctx context.Context, group string) (at domain.Position, err error) {
	err = l.Pool().QueryRow(ctx,
		`select transaction_id, position from eventstore.checkpoints where consumer_group = $1`,
		group).Scan(&at.Transaction, &at.Number)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return at, fmt.Errorf("read the checkpoint of %s: %w", group, err)
	}
	return at, nil
}
