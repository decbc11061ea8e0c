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
	// storedPage is how many events are read at once for an archive. storedBytes limits their JSON,
	// since a page is in memory at once.
	storedPage  = 2000
	storedBytes = 8 << 20
)

// Exporter reads the stored events of the feed without decoding them.
type Exporter struct{ store *Store }

// NewExporter returns an exporter of an event store.
func NewExporter(store *Store) Exporter { return Exporter{store} }

// Extent is the part of the feed that an export contains.
type Extent struct {
	End        domain.Position // of the newest event; zero if there is none
	AnsweredTo domain.Position // the checkpoint of the group that answers customers
}

// Extent returns the end of the feed. responder is the consumer group that answers customers.
func (x Exporter) Extent(ctx context.Context, responder string) (e Extent, err error) {
	// Both are read in one snapshot: all events up to the group's checkpoint are before the end.
	err = x.store.Pool().QueryRow(ctx, `
		select coalesce(e.transaction_id, '0'), coalesce(e.position, 0),
			coalesce(c.transaction_id, '0'), coalesce(c.position, 0)
		from (select) one
		left join (
			select transaction_id, position from eventstore.events
			order by transaction_id desc, position desc limit 1
		) e on true
		left join eventstore.checkpoints c on c.consumer_group = $1`, responder).
		Scan(&e.End.Transaction, &e.End.Number, &e.AnsweredTo.Transaction, &e.AnsweredTo.Number)
	if err != nil {
		return e, fmt.Errorf("read the end of the feed: %w", err)
	}
	return e, nil
}

// EventAt returns the id of the event at a position, or uuid.Nil if there is none.
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

// Read reads a page of stored events after one position, up to and including another. The page is empty
// if the next events are not final yet. No transaction stays open between two pages.
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

// Update returns the update that a stored event was made from, as received, or nil if there is none.
func Update(e domain.Stored) ([]byte, error) { return postgres.Unescape(e.Raw) }

// LockArchive locks an archive, so that no other process exports from this database into the directory
// until release is called.
func (x Exporter) LockArchive(ctx context.Context, dir string) (release func(), err error) {
	conn, err := x.store.Session(ctx, "export")
	if err != nil {
		return nil, err
	}
	release = func() { postgres.CloseSession(conn) }
	var free bool
	err = conn.QueryRow(ctx, `select eventstore.try_lock('archive ' || $1)`, dir).Scan(&free)
	if err == nil && !free {
		err = errors.New("another export into it is running; wait for it, or end its process")
	}
	if err != nil {
		release()
		return nil, fmt.Errorf("archive %s: %w", dir, err)
	}
	return release, nil
}
