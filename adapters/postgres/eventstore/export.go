package eventstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/domain"
)

const (
	// storedPage is how many events are read at once for an archive, and storedBytes
	// how much JSON of theirs, whatever their number: they are in memory together.
	storedPage  = 2000
	storedBytes = 8 << 20
)

// Exporter reads the feed of an event store as it is stored.
type Exporter struct{ store *Store }

// NewExporter returns an exporter of an event store.
func NewExporter(store *Store) Exporter { return Exporter{store} }

// Extent is what of the feed an export is to hold.
type Extent struct {
	End        domain.Position // of the newest event; zero when there is none
	AnsweredTo domain.Position // how far the group of the bot's turns had come
}

// Extent returns the end of the feed. responder is the group that gives the bot its turn.
func (x Exporter) Extent(ctx context.Context, responder string) (e Extent, err error) {
	// One snapshot: what the bot was committed to have answered is stored below the end.
	err = x.store.Pool().QueryRow(ctx, `
		select coalesce(e.transaction_id, '0'), coalesce(e.position, 0), coalesce(c.transaction_id, '0'), coalesce(c.position, 0)
		from (select) one
		left join (select transaction_id, position from eventstore.events order by transaction_id desc, position desc limit 1) e on true
		left join eventstore.checkpoints c on c.consumer_group = $1`, responder).
		Scan(&e.End.Transaction, &e.End.Number, &e.AnsweredTo.Transaction, &e.AnsweredTo.Number)
	if err != nil {
		return e, fmt.Errorf("look for the end of the feed: %w", err)
	}
	return e, nil
}

// EventAt is the id of the event at a position; uuid.Nil when there is none.
func (x Exporter) EventAt(ctx context.Context, at domain.Position) (uuid.UUID, error) {
	var event pgtype.UUID
	err := x.store.Pool().QueryRow(ctx,
		`select event_id from eventstore.events where (transaction_id, position) = ($1, $2)`, at.Transaction,
		at.Number).Scan(&event)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, fmt.Errorf("look for the event at %v: %w", at, err)
	}
	return event.Bytes, nil
}

// Read reads a page of the feed as it is stored: behind one position, up to and
// with another. It is empty when the feed is not final so far. Between two pages
// nothing is held open.
func (x Exporter) Read(ctx context.Context, after, upTo domain.Position) ([]domain.Stored, error) {
	rows, err := x.store.Pool().Query(ctx, `
		select `+Columns+`, payload, raw
		from eventstore.events
		where (transaction_id, position) > ($1, $2) and (transaction_id, position) <= ($3, $4)
		  and `+Final+`
		order by transaction_id, position
		limit $5`, after.Transaction, after.Number, upTo.Transaction, upTo.Number, storedPage)
	if err != nil {
		return nil, fmt.Errorf("read feed after %v: %w", after, err)
	}
	defer rows.Close()
	var page []domain.Stored
	for size := 0; size < storedBytes && rows.Next(); {
		e, err := scanStored(rows)
		if err != nil {
			return nil, fmt.Errorf("read feed after %v: %w", after, err)
		}
		page = append(page, e)
		size += len(e.Payload) + len(e.Raw)
	}
	rows.Close()
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read feed after %v: %w", after, err)
	}
	return page, nil
}

func scanStored(row pgx.Row) (e domain.Stored, err error) {
	var stream string
	var version int64
	var event, cause, chain pgtype.UUID
	err = row.Scan(&e.Position.Number, &e.Position.Transaction, &stream, &version, &event, &e.Name, &e.EventVersion,
		&cause, &chain, &e.Actor, &e.OccurredAt, &e.RecordedAt, &e.Trace, &e.Payload, &e.Raw)
	e.Stream, e.Version = domain.StreamID(stream), domain.Version(version)
	e.ID, e.Causation, e.Correlation = event.Bytes, cause.Bytes, chain.Bytes
	e.OccurredAt, e.RecordedAt = e.OccurredAt.UTC(), e.RecordedAt.UTC()
	return e, err
}

// Decode decodes a stored event.
func (x Exporter) Decode(e domain.Stored) (domain.Recorded, error) {
	event, err := x.store.Decode(e.Name, e.EventVersion, e.Payload)
	return domain.Recorded{Position: e.Position, Stream: e.Stream, Version: e.Version, ID: e.ID, Event: event,
		Causation: e.Causation, Correlation: e.Correlation, Actor: e.Actor, Trace: e.Trace, OccurredAt: e.OccurredAt,
		RecordedAt: e.RecordedAt}, err
}

// Update is the received update that a stored event carries, as it came; nil when it
// carries none.
func Update(e domain.Stored) ([]byte, error) { return postgres.Unescape(e.Raw) }

// LockArchive makes this process the only one that exports from this database into a
// directory, until release is called.
func (x Exporter) LockArchive(ctx context.Context, dir string) (release func(), err error) {
	conn, err := x.store.Session(ctx, "export")
	if err != nil {
		return nil, err
	}
	release = func() { postgres.CloseSession(conn) }
	var free bool
	err = conn.QueryRow(ctx, `select eventstore.try_lock('archive ' || $1)`, dir).Scan(&free)
	if err == nil && !free {
		err = errors.New("another export into it is under way")
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("archive %s: %w", dir, err)
	}
	return release, nil
}
