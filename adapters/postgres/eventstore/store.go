// Package eventstore appends events to streams, loads streams, and hands the feed of all
// events to consumer groups. Every statement stands whole beside the Go that runs it.
package eventstore

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/signal"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Store is the event store of one database. It is safe for concurrent use.
type Store struct {
	*postgres.DB
	codec    *domain.Codec
	outbox   Outbox
	groups   groups
	pages    pages
	leads    leads
	Log      *slog.Logger   // nil means slog.Default()
	feed     *signal.Signal // there are new events, from this process or another
	appended *signal.Signal // there are new events from this process

	contendedUntil atomic.Int64 // Unix nanoseconds; see contendedFor
	lastWrite      atomic.Pointer[lastWrite]
	pageLimit      atomic.Int64 // lowered limit of events while pages reach maxPageBytes; 0 means none
}

// Outbox is notified when an append has settled deliveries: the next delivery with the
// same ordering key may be claimed.
type Outbox interface{ Notify(bot string) }

// New returns the event store of a database. outbox may be nil in a program that sends
// no deliveries.
func New(db *postgres.DB, codec *domain.Codec, outbox Outbox) *Store {
	return &Store{DB: db, codec: codec, outbox: outbox, feed: signal.New(), appended: signal.New()}
}

// Open connects to a database and returns its event store, for a program that sends no
// deliveries.
func Open(ctx context.Context, dsn, name string, codec *domain.Codec) (*Store, error) {
	db, err := postgres.Open(ctx, dsn, name)
	if err != nil {
		return nil, err
	}
	return New(db, codec, nil), nil
}

// loadChats reads chats without snapshots, as most loads do. Its plan is smaller than that of load,
// which the first message of each chat would wait for.
const loadChats = `
	select c.ord - 1, e.version, e.name, e.event_version, e.payload, null::bytea
	from unnest($1::text[], $2::bigint[], $3::bigint[]) with ordinality as c(stream_id, after, most, ord), lateral (
		select version, name, event_version, payload from eventstore.events s
		where s.stream_id = c.stream_id and s.version > c.after
		order by s.version limit c.most
	) e
	order by c.ord, e.version`

// load reads each stream by one scan of the primary key. It begins after a snapshot, if there is one
// of the wanted format whose event exists. Of a bot's own stream, which is never folded, it reads only
// the last version.
const load = `
	with c as materialized (
		select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) with ordinality
			as c(stream_id, after, most, format, ord)
	), snapshot as materialized (
		select c.ord, s.version, s.state
		from c join eventstore.snapshots s
			on s.stream_id = c.stream_id and s.format = c.format and s.version > c.after
		where exists (select from eventstore.events e where e.stream_id = c.stream_id and e.version = s.version)
	)
	select ord - 1, version, '', 0, null::jsonb, state from snapshot
	union all
	select c.ord - 1, e.version, e.name, e.event_version, e.payload, null
	from c, lateral (
		select version, name, event_version, payload from eventstore.events s
		where s.stream_id = c.stream_id
		  and s.version > coalesce((select snapshot.version from snapshot where snapshot.ord = c.ord), c.after)
		order by s.version limit c.most
	) e
	where c.stream_id like 'chat-%'
	union all
	select c.ord - 1, e.version, '', 0, null, null
	from c, lateral (
		select version from eventstore.events s where s.stream_id = c.stream_id order by s.version desc limit 1
	) e
	where c.stream_id not like 'chat-%'
	order by 1, 2`

// Load implements commands.Store.
func (s *Store) Load(ctx context.Context, cursors []commands.Cursor) ([]commands.History, error) {
	histories := make([]commands.History, len(cursors))
	streams, after := make([]string, len(cursors)), make([]int64, len(cursors))
	most, formats := make([]*int64, len(cursors)), make([]string, len(cursors))
	for i, c := range cursors {
		streams[i], after[i], formats[i], histories[i].Version = string(c.Stream), int64(c.After), c.Format, c.After
		if c.Limit > 0 {
			limit := int64(c.Limit)
			most[i] = &limit
		}
	}
	needsLoad := func(c commands.Cursor) bool {
		_, chat := c.Stream.Chat()
		return !chat || c.Format != ""
	}
	statement := load
	if !slices.ContainsFunc(cursors, needsLoad) {
		statement, formats = loadChats, nil
	}
	args := []any{streams, after, most}
	if formats != nil {
		args = append(args, formats)
	}
	rows, err := s.Pool().Query(ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("load %d streams: %w", len(cursors), err)
	}
	var ord, eventVersion int
	var version int64
	var name string
	var payload, state []byte
	_, err = pgx.ForEachRow(rows, []any{&ord, &version, &name, &eventVersion, &payload, &state}, func() error {
		h := &histories[ord]
		if h.Err != nil {
			return nil
		}
		if state != nil {
			h.From = &commands.Snapshot{Version: domain.Version(version), Format: cursors[ord].Format, State: state}
		}
		if payload == nil {
			h.Version = domain.Version(version)
			return nil
		}
		if domain.Version(version) != h.Version+1 {
			h.Err = fmt.Errorf("version %d follows %d: the stream has a gap", version, h.Version)
			return nil
		}
		event, err := s.Decode(name, eventVersion, payload)
		if err != nil {
			h.Err = fmt.Errorf("version %d: %w", version, err)
			return nil
		}
		h.Events, h.Version = append(h.Events, event), domain.Version(version)
		h.More = len(h.Events) == cursors[ord].Limit
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return histories, nil
}

// searchBack is how many of a chat's last events are searched for an update or an operator's act that
// its state no longer has: some 5 ms. Repeats come within minutes, and Telegram does not resend an
// update after a day.
const searchBack = 2000

// HasUpdate implements commands.Store. The handler calls it only for messages that are older than
// those in the chat's state.
func (s *Store) HasUpdate(ctx context.Context, stream domain.StreamID, key uint64) (held bool, err error) {
	err = s.Pool().QueryRow(ctx, `
		select exists (
			select from eventstore.events
			where stream_id = $1 and raw is not null
			  and version > (select max(version) from eventstore.events where stream_id = $1) - $3
			  and (payload ->> 'key' = $2
			       or payload ? '$base64' -- escaped: see Escape
			          and strpos(convert_from(decode(payload ->> '$base64', 'base64'), 'UTF8'),
			                     '"key":"' || $2 || '"') > 0))`,
		string(stream), fmt.Sprint(key), searchBack).Scan(&held)
	if err != nil {
		return false, fmt.Errorf("look for an update in %s: %w", stream, err)
	}
	return held, nil
}

// Decode decodes the stored payload of an event.
func (s *Store) Decode(name string, version int, payload []byte) (domain.Event, error) {
	plain, err := postgres.Unescape(payload)
	if err != nil {
		return nil, fmt.Errorf("event %s@%d: %w", name, version, err)
	}
	return s.codec.Decode(name, version, plain)
}

// SaveSnapshot implements commands.Store. A state that was folded on another server is dropped.
func (s *Store) SaveSnapshot(ctx context.Context, stream domain.StreamID, snapshot commands.Snapshot) error {
	server, present := s.Server(snapshot.Incarnation)
	if !present {
		return nil
	}
	_, err := s.Pool().Exec(ctx, `
		insert into eventstore.snapshots as stored (stream_id, version, format, state)
		select $1, $2, $3, $4 where $5 = (`+postgres.ServerIdentity+`)
		on conflict (stream_id) do update set
			version = excluded.version, format = excluded.format, state = excluded.state, written_at = now()
		where stored.version < excluded.version or stored.format <> excluded.format`,
		string(stream), int64(snapshot.Version), snapshot.Format, snapshot.State, server)
	if err != nil {
		return fmt.Errorf("save a snapshot of %s: %w", stream, err)
	}
	return nil
}
