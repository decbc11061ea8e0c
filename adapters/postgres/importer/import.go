// Package importer copies the events of another ledger into this one, in the same order.
package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

const (
	// importLock is how long a batch waits for open writes to the store. There should be none.
	importLock = "5s"
	// groupLock is how long the import waits to lead a group: a process that has just ended may lead
	// it until the server ends its session.
	groupLock = 2 * time.Second
	// groupEvery is the pause between two attempts to lead a group.
	groupEvery = 100 * time.Millisecond
	// comparedPage is how many stored events are compared with an archive at once.
	comparedPage = 5000
	// NotSent is the reason of imported deliveries without an outcome.
	NotSent = "imported without an outcome; not sent by this store"
)

// Import copies the events of another store into this one, in the same order. While it runs, it leads
// the groups that answer and send, and moves their checkpoints with the imported events. So imported
// messages are not answered or sent again.
type Import struct {
	store  *eventstore.Store
	outbox *outbox.Store
	conn   *pgx.Conn
	groups []string
	leads  []func(context.Context) // give up the leadership of the groups
	at     domain.Position         // of the last event that was compared
	last   uuid.UUID               // the id of the last event that was compared or imported
}

// Misfit is the error for an event that cannot be imported. Its whole batch was not imported.
type Misfit struct {
	Event int // the index of the event in the batch
	Err   error
}

func (m *Misfit) Error() string { return m.Err.Error() }
func (m *Misfit) Unwrap() error { return m.Err }

// Start begins an import: it becomes leader of the groups that answer and send. Close ends it.
func Start(ctx context.Context, store *eventstore.Store, groups []string) (*Import, error) {
	conn, err := store.Session(ctx, "import")
	if err != nil {
		return nil, err
	}
	i := &Import{store: store, outbox: outbox.New(store.DB), conn: conn, groups: groups}
	if err := i.start(ctx); err != nil {
		i.Close()
		return nil, fmt.Errorf("import: %w", err)
	}
	return i, nil
}

func (i *Import) start(ctx context.Context) error {
	for _, group := range i.groups {
		if err := i.lead(ctx, group); err != nil {
			return err
		}
	}
	// The ledger has no index of event ids. This table detects an id that occurs twice, without all
	// ids in the memory of the program.
	_, err := i.conn.Exec(ctx, `create temporary table imported (event_id uuid primary key)`)
	return err
}

// lead waits up to groupLock to become leader of a group.
func (i *Import) lead(ctx context.Context, group string) error {
	for begun := time.Now(); ; {
		giveUp, led, err := i.store.Lead(ctx, i.conn, group)
		switch {
		case err != nil:
			return err
		case led:
			i.leads = append(i.leads, giveUp)
			return nil
		case time.Since(begun) > groupLock:
			return fmt.Errorf("another process leads %s: stop `chatledger serve`, or wait for the other import", group)
		}
		if err := wait.For(ctx, groupEvery); err != nil {
			return err
		}
	}
}

// Close gives up the leadership of the groups.
func (i *Import) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), postgres.CloseTimeout)
	defer cancel()
	for _, giveUp := range i.leads {
		giveUp(ctx)
	}
	postgres.CloseSession(i.conn)
}

// Stored reads the next page of the events that the store already has: position, stream, version and
// id. The page is empty at the end. Imported events come after these.
func (i *Import) Stored(ctx context.Context) ([]domain.Stored, error) {
	page, err := postgres.Collect(ctx, i.conn, "import: read the stored events", stored, `
		with page as (
			select transaction_id, position, stream_id, version, event_id
			from eventstore.events where (transaction_id, position) > ($1, $2)
			order by transaction_id, position limit $3
		), known as (
			insert into imported select event_id from page
		)
		select * from page order by transaction_id, position`, i.at.Transaction, i.at.Number, comparedPage)
	if n := len(page); n > 0 {
		i.at, i.last = page[n-1].Position, page[n-1].ID
	}
	return page, err
}

func stored(row pgx.CollectableRow) (e domain.Stored, err error) {
	var event pgtype.UUID
	err = row.Scan(&e.Position.Transaction, &e.Position.Number, (*string)(&e.Stream), (*int64)(&e.Version), &event)
	e.ID = event.Bytes
	return e, err
}

// Left has what is unfinished at the end of an archive.
type Left struct {
	Effects []commands.OpenEffect
	Timed   []domain.StreamID // chats with a deadline
	At      time.Time         // the time of their timers
}

// Add imports the next events, all or none. left is nil except for the last batch. An error that is
// caused by one of the events is a Misfit.
func (i *Import) Add(ctx context.Context, batch []domain.Stored, left *Left) error {
	err := pgx.BeginFunc(ctx, i.conn, func(tx pgx.Tx) error {
		for _, step := range []func(context.Context, pgx.Tx, []domain.Stored) error{
			i.alone, i.contiguous, i.copyIDs, i.copyEvents, i.addStreams, i.addUpdates, i.moveCheckpoints,
		} {
			if err := step(ctx, tx, batch); err != nil {
				return err
			}
		}
		if left == nil {
			return nil
		}
		if err := i.addTimers(ctx, tx, left); err != nil {
			return err
		}
		return i.addDeadLetters(ctx, tx, left.Effects)
	})
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	i.last = batch[len(batch)-1].ID
	return nil
}

// alone locks the events against other writers until the commit, and checks that no other process
// has stored an event since the last batch.
func (i *Import) alone(ctx context.Context, tx pgx.Tx, _ []domain.Stored) error {
	_, err := tx.Exec(ctx, `
		set local lock_timeout = '`+importLock+`';
		lock table eventstore.events in share row exclusive mode`)
	if err != nil {
		return fmt.Errorf("wait for open writes: %w", err)
	}
	var newest pgtype.UUID
	err = tx.QueryRow(ctx, `
		select event_id from eventstore.events order by transaction_id desc, position desc limit 1`).Scan(&newest)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	if newest.Bytes != i.last {
		return fmt.Errorf("another process has stored event %s: imported events would come after it; "+
			"stop `chatledger serve`, and import into an empty database", uuid.UUID(newest.Bytes))
	}
	return nil
}

// contiguous checks that the versions of each stream continue those in the store without a gap.
func (i *Import) contiguous(ctx context.Context, tx pgx.Tx, batch []domain.Stored) error {
	ends := map[domain.StreamID]domain.Version{}
	for _, e := range batch {
		ends[e.Stream] = 0
	}
	streams := make([]string, 0, len(ends))
	for stream := range ends {
		streams = append(streams, string(stream))
	}
	rows, err := tx.Query(ctx, `
		select s.stream_id, e.version from unnest($1::text[]) s(stream_id),
			lateral (
				select version from eventstore.events where stream_id = s.stream_id order by version desc limit 1
			) e`, streams)
	if err != nil {
		return err
	}
	var stream domain.StreamID
	var version domain.Version
	if _, err := pgx.ForEachRow(rows, []any{(*string)(&stream), (*int64)(&version)}, func() error {
		ends[stream] = version
		return nil
	}); err != nil {
		return err
	}
	for n, e := range batch {
		if end := ends[e.Stream]; e.Version != end+1 {
			return &Misfit{n,
				fmt.Errorf("the stream ends at version %d, so that version %d cannot follow", end, e.Version)}
		}
		ends[e.Stream] = e.Version
	}
	return nil
}

func (i *Import) copyIDs(ctx context.Context, tx pgx.Tx, batch []domain.Stored) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"imported"}, []string{"event_id"},
		pgx.CopyFromSlice(len(batch), func(n int) ([]any, error) { return []any{postgres.UUID(batch[n].ID)}, nil }))
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "23505" {
		return misfit(refused, errors.New("an earlier event has the same id"))
	}
	return err
}

// copyEvents stores the events. They get new positions and transaction ids, in the same order;
// recorded_at stays as in the other store.
func (i *Import) copyEvents(ctx context.Context, tx pgx.Tx, batch []domain.Stored) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"eventstore", "events"},
		[]string{"stream_id", "version", "event_id", "name", "event_version", "payload", "raw",
			"causation_id", "correlation_id", "actor", "occurred_at", "recorded_at"},
		pgx.CopyFromSlice(len(batch), func(n int) ([]any, error) {
			e := batch[n]
			return []any{
				string(e.Stream), int64(e.Version), postgres.UUID(e.ID), e.Name, int16(e.EventVersion), e.Payload, e.Raw,
				postgres.UUID(e.Causation), postgres.UUID(e.Correlation), e.Actor, e.OccurredAt, e.RecordedAt,
			}, nil
		}))
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return misfit(refused, err)
	}
	return err
}

var copiedLine = regexp.MustCompile(`COPY \w+, line (\d+)`)

// misfit returns a Misfit for the event that the server rejected.
func misfit(refused *pgconn.PgError, err error) error {
	found := copiedLine.FindStringSubmatch(refused.Where)
	if found == nil {
		return err
	}
	line, convErr := strconv.Atoi(found[1])
	if convErr != nil {
		return err
	}
	return &Misfit{line - 1, err}
}

func (i *Import) addStreams(ctx context.Context, tx pgx.Tx, batch []domain.Stored) error {
	var streams []string
	var begun []time.Time
	for _, e := range batch {
		if e.Version == 1 {
			streams, begun = append(streams, string(e.Stream)), append(begun, e.RecordedAt)
		}
	}
	_, err := tx.Exec(ctx, `
		insert into eventstore.streams (stream_id, created_at)
		select * from unnest($1::text[], $2::timestamptz[])`, streams, begun)
	return err
}

// addUpdates adds the received updates to the inbox, so that a redelivery is recognised. Telegram
// chooses a random update_id after a week without updates: of two updates with the same update_id the
// later one counts.
func (i *Import) addUpdates(ctx context.Context, tx pgx.Tx, batch []domain.Stored) error {
	var bots, streams []string
	var updates, versions []int64
	var received []time.Time
	for n, e := range batch {
		update, err := updateID(e)
		if err != nil {
			return &Misfit{n, err}
		}
		if update == nil {
			continue
		}
		bots, streams = append(bots, e.Stream.Bot()), append(streams, string(e.Stream))
		updates, versions = append(updates, *update), append(versions, int64(e.Version))
		received = append(received, e.RecordedAt)
	}
	_, err := tx.Exec(ctx, `
		insert into eventstore.inbox (bot, update_id, stream_id, version, received_at)
		select distinct on (bot, update_id) bot, update_id, stream_id, version, received_at
		from unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::timestamptz[])
			with ordinality as u(bot, update_id, stream_id, version, received_at, ord)
		order by bot, update_id, ord desc
		on conflict (bot, update_id) do update
		set stream_id = excluded.stream_id, version = excluded.version, received_at = excluded.received_at`,
		bots, updates, streams, versions, received)
	return err
}

// updateID returns the update_id of the update that an event was made from, or nil if there is none.
func updateID(e domain.Stored) (*int64, error) {
	if e.Raw == nil {
		return nil, nil
	}
	payload, err := postgres.Unescape(e.Payload)
	if err != nil {
		return nil, err
	}
	var received struct {
		UpdateID *int64 `json:"update_id"`
	}
	err = json.Unmarshal(payload, &received)
	return received.UpdateID, err
}

// moveCheckpoints moves the checkpoints of the groups to the end of the batch.
func (i *Import) moveCheckpoints(ctx context.Context, tx pgx.Tx, batch []domain.Stored) error {
	_, err := tx.Exec(ctx, `
		insert into eventstore.checkpoints (consumer_group, transaction_id, position, events)
		select g, last.transaction_id, last.position, $2
		from unnest($1::text[]) g,
			(select transaction_id, position from eventstore.events order by transaction_id desc, position desc limit 1) last
		on conflict (consumer_group) do update
		set transaction_id = excluded.transaction_id, position = excluded.position,
			events = checkpoints.events + excluded.events, updated_at = now()`, i.groups, len(batch))
	return err
}

// addTimers sets timers for the chats with a deadline, for the first process that serves this store.
// Deadlines that are over by then have their effect without messages. Timers of an earlier import are
// replaced: the store has no events that were not imported.
func (i *Import) addTimers(ctx context.Context, tx pgx.Tx, left *Left) error {
	streams := make([]string, len(left.Timed))
	for n, stream := range left.Timed {
		streams[n] = string(stream)
	}
	_, err := tx.Exec(ctx, `
		with former as (
			delete from eventstore.timers where stream_id <> all ($1::text[])
		)
		insert into eventstore.timers (stream_id, due_at, quiet)
		select stream_id, $2, true from unnest($1::text[]) as t(stream_id)
		on conflict (stream_id) do update
		set due_at = excluded.due_at, taken_until = null, quiet = true`, streams, left.At)
	return err
}

// addDeadLetters makes dead letters of the deliveries that are unfinished in the archive: they are not
// sent, and an operator decides about each. Those of an earlier import are replaced.
func (i *Import) addDeadLetters(ctx context.Context, tx pgx.Tx, open []commands.OpenEffect) error {
	if _, err := tx.Exec(ctx, `delete from eventstore.deliveries where state = 'dead' and attempts = 0`); err != nil {
		return err
	}
	n := len(open)
	ids, streams, unsure, reasons := make([]pgtype.UUID, n), make([]string, n), make([]int32, n), make([]string, n)
	for k, o := range open {
		ids[k], streams[k], unsure[k], reasons[k] = postgres.UUID(o.ID), string(o.Stream), int32(o.Unsure), o.Reason
	}
	rows, err := tx.Query(ctx, `
		select payload, `+eventstore.Columns+`
		from unnest($1::text[], $2::uuid[]) as o(stream_id, event_id) join eventstore.events using (stream_id, event_id)
		order by transaction_id, position`, streams, ids)
	if err != nil {
		return err
	}
	asked, err := i.store.Collect(rows)
	if err != nil {
		return err
	}
	var deliveries []commands.Delivery
	for _, r := range asked {
		if d, ok := commands.Enqueue(r); ok {
			deliveries = append(deliveries, d)
		}
	}
	if err := i.outbox.Enqueue(ctx, tx, deliveries); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		update eventstore.deliveries d set state = 'dead', unsure = o.unsure,
			reason = coalesce(nullif(o.reason, ''), $4), created_at = e.occurred_at
		from unnest($1::uuid[], $2::integer[], $3::text[]) as o(delivery_id, unsure, reason), eventstore.events e
		where d.delivery_id = o.delivery_id and e.stream_id = d.stream_id and e.version = d.version`,
		ids, unsure, reasons, NotSent)
	return err
}
