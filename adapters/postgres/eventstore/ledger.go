package eventstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// Ledger reads the event store for rebuilds, verifications and replays.
type Ledger struct{ *Store }

// Feed implements rebuild.Ledger. It does not decode events of other types, which would be most of the
// work.
func (l Ledger) Feed(
	ctx context.Context, tx pgx.Tx, after domain.Position, limit int, only ...domain.Event,
) (page []domain.Recorded, more bool, err error) {
	var names []string
	for _, event := range only {
		names = append(names, l.codec.NamesOf(event)...)
	}
	rows, err := tx.Query(ctx, readFeed, after.Transaction, after.Number, limit, names)
	if err == nil {
		page, err = l.collectPage(rows)
	}
	if full := errors.Is(err, errPageFull); full || err == nil {
		return page, full || len(page) == limit, nil
	}
	return nil, false, fmt.Errorf("read feed after %v: %w", after, err)
}

// Streams implements rebuild.Ledger.
func (l Ledger) Streams(ctx context.Context, tx pgx.Tx, after domain.StreamID, limit int) ([]domain.StreamID, error) {
	return postgres.Collect(ctx, tx, "list streams", pgx.RowTo[domain.StreamID],
		`select stream_id from eventstore.streams where stream_id > $1 order by stream_id limit $2`, string(after),
		limit)
}

const (
	// wholeBelow is the size of a streams table, in pages of 8 KiB, below which Sample reads all of it:
	// some 1,500 streams.
	wholeBelow = 10
	// rowsInPage is the most rows that fit into a page of 8 KiB.
	rowsInPage = 291
	// drawsEach is how many places are drawn for each stream wanted. Many places have no row: a page
	// holds about half of rowsInPage.
	drawsEach = 6
)

// Sample implements rebuild.Ledger. In a large table it draws places, each a page and a row number,
// and returns the streams at these places. Each stream has the same probability, and the work depends
// only on the number of draws. There may be fewer than n.
func (l Ledger) Sample(ctx context.Context, tx pgx.Tx, n int) ([]domain.StreamID, error) {
	return postgres.Collect(ctx, tx, fmt.Sprintf("draw %d streams", n), pgx.RowTo[domain.StreamID], `
		with size as materialized (
			select pg_relation_size('eventstore.streams') / current_setting('block_size')::int as pages
		), drawn as (
			select stream_id from eventstore.streams where (select pages < $2 from size)
			union all
			select stream_id from eventstore.streams
			where ctid = any (array(
				select format('(%s,%s)', floor(random() * pages)::bigint, 1 + floor(random() * $3)::int)::tid
				from size, generate_series(1, $4) where pages >= $2)))
		select stream_id from drawn order by random() limit $1`, n, wholeBelow, rowsInPage, n*drawsEach)
}

// Name implements rebuild.Ledger.
func (l Ledger) Name(event domain.Event) string { return l.codec.Name(event) }

// Replay implements rebuild.Ledger.
func (l Ledger) Replay(
	ctx context.Context, tx pgx.Tx, streams []domain.StreamID, upTo domain.Position, take func(domain.Recorded) error,
) error {
	names := make([]string, len(streams))
	for i, s := range streams {
		names[i] = string(s)
	}
	rows, err := tx.Query(ctx, `
		select payload, `+Columns+`
		from eventstore.events
		where stream_id = any($1) and (transaction_id, position) <= ($2, $3)
		order by stream_id, version`, names, upTo.Transaction, upTo.Number)
	if err == nil {
		err = l.eachReadable(rows, take)
	}
	if err != nil {
		return fmt.Errorf("replay %d streams: %w", len(streams), err)
	}
	return nil
}

// Histories reads all events of these streams up to a position, by stream, oldest first. It fails at
// an event that cannot be decoded.
func (l Ledger) Histories(
	ctx context.Context, tx pgx.Tx, streams []domain.StreamID, upTo domain.Position,
) (map[domain.StreamID][]domain.Recorded, error) {
	histories := make(map[domain.StreamID][]domain.Recorded, len(streams))
	err := l.Replay(ctx, tx, streams, upTo, func(r domain.Recorded) error {
		if err := commands.CheckReadable(r); err != nil {
			return err
		}
		histories[r.Stream] = append(histories[r.Stream], r)
		return nil
	})
	return histories, err
}

var _ rebuild.Ledger = Ledger{}
