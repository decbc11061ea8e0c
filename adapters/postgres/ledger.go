package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
)

// Ledger is the store as it is read by whoever folds history anew.
type Ledger struct{ *Store }

// Feed implements projections.Ledger.
func (l Ledger) Feed(ctx context.Context, tx pgx.Tx, after domain.Position, limit int, only ...domain.Event) ([]domain.Recorded, error) {
	return l.ReadFeed(ctx, tx, after, limit, only...)
}

// Streams implements projections.Ledger.
func (l Ledger) Streams(ctx context.Context, tx pgx.Tx, after domain.StreamID, limit int) ([]domain.StreamID, error) {
	rows, err := tx.Query(ctx, `select stream_id from eventstore.streams where stream_id > $1 order by stream_id limit $2`, string(after), limit)
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	streams, err := pgx.CollectRows(rows, pgx.RowTo[domain.StreamID])
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	return streams, nil
}

// Histories implements projections.Ledger.
func (l Ledger) Histories(ctx context.Context, tx pgx.Tx, streams []domain.StreamID, upTo domain.Position) (map[domain.StreamID][]domain.Recorded, error) {
	names := make([]string, len(streams))
	for i, s := range streams {
		names[i] = string(s)
	}
	rows, err := tx.Query(ctx, `
		select payload, `+columns+`
		from eventstore.events
		where stream_id = any($1) and (transaction_id, position) <= ($2, $3)
		order by stream_id, version`, names, upTo.Transaction, upTo.Number)
	if err != nil {
		return nil, fmt.Errorf("read %d streams: %w", len(streams), err)
	}
	events, err := l.collect(rows)
	if err != nil {
		return nil, fmt.Errorf("read %d streams: %w", len(streams), err)
	}
	histories := make(map[domain.StreamID][]domain.Recorded, len(streams))
	for _, r := range events {
		histories[r.Stream] = append(histories[r.Stream], r)
	}
	return histories, nil
}

var _ projections.Ledger = Ledger{}
