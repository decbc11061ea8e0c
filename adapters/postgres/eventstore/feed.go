package eventstore

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Columns lists the columns of an event, without raw, which no consumer of the feed needs, and without
// payload, which a query selects before them if it needs it.
const Columns = `position, transaction_id, stream_id, version, event_id, name, event_version,
	causation_id, correlation_id, actor, occurred_at, recorded_at, coalesce(trace, '')`

// Final is the condition of events before which no other event can be inserted any more: their
// transaction is older than the oldest running one.
const Final = `transaction_id < eventstore.rebased(pg_snapshot_xmin(pg_current_snapshot()))`

// readFeed reads the feed in index order from after a position up to the oldest running transaction:
// events that are committed later come after that. The position is given as two plain values. If it
// came from a joined row, the server would sort the table for every page.
const readFeed = `
select case when $4::text[] is null or name = any($4) then payload end, ` + Columns + `
from eventstore.events
where (transaction_id, position) > ($1, $2)
  and ` + Final + `
order by transaction_id, position
limit $3`

// ReadFeed reads up to limit events after a position, in feed order. An event that cannot be decoded
// comes as Unreadable.
func (s *Store) ReadFeed(
	ctx context.Context, q postgres.Querier, after domain.Position, limit int,
) (events []domain.Recorded, err error) {
	rows, err := q.Query(ctx, readFeed, after.Transaction, after.Number, limit, nil)
	if err == nil {
		events, err = s.collectReadable(rows)
	}
	if err != nil {
		return nil, fmt.Errorf("read feed after %v: %w", after, err)
	}
	return events, nil
}

// ReadStream reads up to limit events of one stream after a version, oldest first. An event that cannot be
// decoded is Unreadable.
func (s *Store) ReadStream(
	ctx context.Context, q postgres.Querier, stream domain.StreamID, after domain.Version, limit int,
) ([]domain.Recorded, error) {
	rows, err := q.Query(ctx, `
		select payload, `+Columns+`
		from eventstore.events
		where stream_id = $1 and version > $2
		order by version
		limit $3`, string(stream), int64(after), limit)
	if err != nil {
		return nil, fmt.Errorf("read %s after version %d: %w", stream, after, err)
	}
	events, err := s.collectReadable(rows)
	if err != nil {
		return nil, fmt.Errorf("read %s after version %d: %w", stream, after, err)
	}
	return events, nil
}

// Collect decodes rows of payload and Columns. It fails at an event that cannot be decoded.
func (s *Store) Collect(rows pgx.Rows) (events []domain.Recorded, err error) {
	err = s.each(rows, func(r domain.Recorded) error {
		events = append(events, r)
		return nil
	})
	return events, err
}

// each calls take for each decoded row. It fails at the first that cannot be decoded.
func (s *Store) each(rows pgx.Rows, take func(domain.Recorded) error) error {
	return s.eachReadable(rows, func(r domain.Recorded) error {
		if err := commands.CheckReadable(r); err != nil {
			return err
		}
		return take(r)
	})
}

func (s *Store) collectReadable(rows pgx.Rows) (events []domain.Recorded, err error) {
	err = s.eachReadable(rows, func(r domain.Recorded) error {
		events = append(events, r)
		return nil
	})
	return events, err
}

// eachReadable calls take for each decoded row. An event that cannot be decoded is Unreadable.
func (s *Store) eachReadable(rows pgx.Rows, take func(domain.Recorded) error) error {
	defer rows.Close()
	for rows.Next() {
		var r domain.Recorded
		var stream, name string
		var version int64
		var eventVersion int
		var payload []byte
		var eventID, cause, chain pgtype.UUID
		err := rows.Scan(&payload, &r.Position.Number, &r.Position.Transaction, &stream, &version,
			&eventID, &name, &eventVersion, &cause, &chain, &r.Actor, &r.OccurredAt, &r.RecordedAt, &r.Trace)
		if err != nil {
			return err
		}
		r.Stream, r.Version = domain.StreamID(stream), domain.Version(version)
		r.ID, r.Causation, r.Correlation = uuid.UUID(eventID.Bytes), uuid.UUID(cause.Bytes), uuid.UUID(chain.Bytes)
		switch {
		case payload != nil:
			r.Event, err = s.Decode(name, eventVersion, payload)
		case !s.codec.Knows(name, eventVersion): // the query left the payload out, but the type is unknown
			_, err = s.codec.Decode(name, eventVersion, nil)
		}
		if err != nil {
			r.Event, r.Unreadable = nil, &domain.UnreadableError{Name: name, Err: err}
		}
		if err := take(r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Consumer reads the feed for one group that this process leads.
type Consumer struct {
	store   *Store
	conn    *pgx.Conn
	group   string
	version int   // of the projection; 0 if the group has no table
	term    int64 // of this process's leadership; 0 before it leads

	incarnation int64           // of the server when the consumer connected
	at          domain.Position // the last event of the last page handled
	asked       bool            // a page after last was returned
	last        domain.Position

	saved   domain.Position // the checkpoint: it may be before at if pages wrote nothing
	savedAt time.Time
	unsaved int // events between the two

	serves  func(bot string) bool // nil means all bots
	parked  map[domain.StreamID]commands.Parked
	changes int64 // checkpoints.parked_changes when parked was read
	checked time.Time

	SaveInterval time.Duration // how long the checkpoint may stay behind; saveEvery
	PollInterval time.Duration // between reads without a notification; pollEvery
}

const (
	// leadEvery is how often a process tries to become leader of a group: a leader that was killed is
	// replaced well within 5 s.
	leadEvery = 500 * time.Millisecond
	// pollEvery is how often the feed is read without a notification. Appends of other processes are
	// notified, so polling only matters if a notification was lost.
	pollEvery = time.Second
	// settleEvery is the first wait for events that come after a transaction that is still open. It
	// doubles up to pollEvery.
	settleEvery = 500 * time.Microsecond
	// saveEvery is how long the checkpoint may stay behind pages that wrote nothing. After a crash they
	// are read again and write nothing again. A commit for each page would delay the webhook's commits.
	saveEvery = 50 * time.Millisecond
)

// Subscribe waits until this process is the leader of the consumer group, and returns the
// group's consumer. The leader is named in the group's row in eventstore.leaders, and moves the
// checkpoint under its term: a process that is no longer the leader cannot move it.
func (s *Store) Subscribe(ctx context.Context, group string) (*Consumer, error) {
	return s.consume(ctx, &Consumer{store: s, group: group}, nil)
}

// SubscribeBots is Subscribe for a group that handles only the chats of some bots, and holds those of
// the others.
func (s *Store) SubscribeBots(ctx context.Context, group string, serves func(bot string) bool) (*Consumer, error) {
	return s.consume(ctx, &Consumer{store: s, group: group, serves: serves}, nil)
}

// SubscribeTable is Subscribe for the group of a projection's table. It also waits while the
// table has another version, and leaves the group to processes with that version. It logs
// the reason once.
func (s *Store) SubscribeTable(ctx context.Context, table string, version int, log *slog.Logger) (*Consumer, error) {
	return s.consume(ctx, &Consumer{store: s, group: table, version: version}, log)
}

func (s *Store) consume(ctx context.Context, c *Consumer, log *slog.Logger) (_ *Consumer, err error) {
	c.SaveInterval, c.PollInterval = saveEvery, pollEvery
	config := s.Config()
	config.RuntimeParams["application_name"] += " " + c.group
	config.RuntimeParams["search_path"] = "readmodel" // where projections find their table
	// A crash loses a page's effects and its checkpoint together, or neither; if it loses them, the
	// page is read again. So their commit need not wait for the disk, where it would delay the commits
	// that must. A delivery is only sent after it was claimed by a commit that does wait, and that
	// commit makes all earlier ones durable.
	config.RuntimeParams["synchronous_commit"] = "off"
	c.incarnation = s.Incarnation() // read before connecting: a change after that ends the subscription
	if c.conn, err = s.Connect(ctx, config); err != nil {
		return nil, fmt.Errorf("subscribe to group %s: %w", c.group, err)
	}
	if err := c.lead(ctx, log); err != nil {
		c.Close()
		return nil, fmt.Errorf("subscribe to group %s: %w", c.group, err)
	}
	return c, nil
}

func (c *Consumer) lead(ctx context.Context, log *slog.Logger) error {
	defer c.store.groups.waits(c.group)()
	// The first process to subscribe sets the version of an empty table.
	_, err := c.conn.Exec(ctx, `
		insert into eventstore.checkpoints (consumer_group, version) values ($1, $2)
		on conflict do nothing`, c.group, max(c.version, 1))
	if err != nil {
		return err
	}
	const waiting = "waiting: the table has another version than this program; " +
		"run `chatledger rebuild`, or let programs of that version update it"
	for logged, seen := false, new(sighting); ; {
		stored, led, err := c.try(ctx, seen)
		if err != nil || led {
			return err
		}
		if !logged && c.version != 0 && stored != c.version {
			logged = true
			log.Warn(waiting, "table", c.group, "version", stored, "ours", c.version)
		}
		if err := wait.For(ctx, leadEvery); err != nil {
			return err
		}
	}
}

// try makes this process the leader if the group is free and the table has the version of this
// program. It returns the version of the table.
func (c *Consumer) try(ctx context.Context, seen *sighting) (stored int, led bool, err error) {
	err = c.conn.QueryRow(ctx,
		`select version from eventstore.checkpoints where consumer_group = $1`, c.group).Scan(&stored)
	if err != nil || c.version != 0 && stored != c.version {
		return stored, false, err
	}
	before := seen.term
	if c.term, err = c.store.acquire(ctx, c.conn, c.group, seen); err != nil || c.term == 0 {
		if err == nil && seen.term != before {
			c.store.logger().Info("another process leads the consumer group",
				"group", c.group, "leader", seen.holder, "pid", seen.pid)
		}
		return stored, false, err
	}
	c.at, stored, err = c.fence(ctx)
	c.saved, c.savedAt, c.checked = c.at, time.Now(), time.Now()
	if err == nil {
		err = c.readParked(ctx)
	}
	if err != nil || c.version == 0 || stored == c.version {
		return stored, err == nil, err
	}
	return stored, false, c.store.release(ctx, c.conn, c.group, c.term)
}

// fence writes the term of this leader into the checkpoint, so that an earlier leader can no longer
// move it, and reads the checkpoint: another leader may have moved it before.
func (c *Consumer) fence(ctx context.Context) (at domain.Position, version int, err error) {
	err = c.conn.QueryRow(ctx, `
		update eventstore.checkpoints set term = $2 where consumer_group = $1 and term < $2
		returning transaction_id, position, version, parked_changes`, c.group, c.term).
		Scan(&at.Transaction, &at.Number, &version, &c.changes)
	if err != nil {
		return at, version, fmt.Errorf("write term %d into the checkpoint: %w", c.term, err)
	}
	return at, version, nil
}

// ours reads the checkpoint. It reports whether it is what this leader saved, and returns the number
// of changes that others have made to the parked streams.
func (c *Consumer) ours(ctx context.Context) (ours bool, changes int64, err error) {
	var at domain.Position
	var version int
	var term int64
	err = c.conn.QueryRow(ctx, `
		select transaction_id, position, version, term, parked_changes
		from eventstore.checkpoints where consumer_group = $1`, c.group).
		Scan(&at.Transaction, &at.Number, &version, &term, &changes)
	return err == nil && at == c.saved && (c.version == 0 || version == c.version) && term == c.term, changes, err
}

// moved is the error for a table that was swapped or a checkpoint that was set by hand.
func (c *Consumer) moved() error {
	return fmt.Errorf("the checkpoint is no longer at %v in term %d, or its table has another version: "+
		"another process moved it", c.saved, c.term)
}

// Next waits for events after the checkpoint and returns a page of at most limit events. It fails
// within pollEvery if the checkpoint is no longer what this leader saved. It returns no events if
// there is a request for a parked stream, and commands.ErrGroupGivenUp if another process should lead
// the group.
func (c *Consumer) Next(ctx context.Context, limit int) ([]domain.Recorded, error) {
	wait := settleEvery
	for {
		c.store.leads.ask(c.group)
		if c.store.Incarnation() != c.incarnation {
			return nil, fmt.Errorf("group %s: connected to another database server, or to another history of it",
				c.group)
		}
		woken := c.store.feed.Next()
		if time.Since(c.checked) >= c.PollInterval {
			if err := c.compare(ctx); err != nil {
				return nil, fmt.Errorf("group %s: %w", c.group, err)
			}
		}
		if err := c.giveUp(ctx); err != nil {
			return nil, fmt.Errorf("group %s: %w", c.group, err)
		}
		events, err := c.read(ctx, limit)
		if err != nil || len(events) > 0 || len(c.Requested()) > 0 {
			return events, err
		}
		if err := c.settle(ctx); err != nil {
			return nil, fmt.Errorf("group %s: %w", c.group, err)
		}
		held, err := c.held(ctx)
		if err != nil {
			return nil, fmt.Errorf("group %s: %w", c.group, err)
		}
		pause := c.PollInterval
		if held {
			pause = min(pause, wait)
		}
		if c.unsaved > 0 {
			pause = min(pause, c.SaveInterval)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-woken:
			wait = settleEvery
		case <-time.After(pause):
			wait = min(2*wait, c.PollInterval)
		}
	}
}

// held reports whether there are events that wait for the end of an open transaction. They were
// notified when they were appended; the end of that transaction sends no notification.
func (c *Consumer) held(ctx context.Context) (held bool, err error) {
	// The order by makes the server use the index. With a plain exists it scans the whole table,
	// because it expects a third of the rows to match, when usually none does.
	err = c.conn.QueryRow(ctx, `
		select count(*) > 0 from (
			select from eventstore.events
			where (transaction_id, position) > ($1, $2)
			order by transaction_id, position
			limit 1
		) next`, c.at.Transaction, c.at.Number).Scan(&held)
	return held, err
}

// settle saves the checkpoint if it has been behind for SaveInterval.
func (c *Consumer) settle(ctx context.Context) error {
	if c.unsaved == 0 || time.Since(c.savedAt) < c.SaveInterval {
		return nil
	}
	return c.save(ctx, c.conn, c.at, c.unsaved)
}

// compare fails if the checkpoint is not the one that this leader saved. It reads the parked streams
// again if another process or an operator changed them.
func (c *Consumer) compare(ctx context.Context) error {
	ours, changes, err := c.ours(ctx)
	if err != nil {
		return err
	}
	if !ours {
		return c.moved()
	}
	if changes != c.changes {
		if c.at != c.saved { // an event left out since then may be of a stream that is no longer parked
			return commands.ErrParkedChanged
		}
		c.changes = changes
		err = c.readParked(ctx)
	}
	c.checked = time.Now()
	return err
}

// read returns the page after the checkpoint: the one that another consumer has read, or one that it
// reads from the server. If the consumer asks for the same position again, it always reads.
func (c *Consumer) read(ctx context.Context, limit int) ([]domain.Recorded, error) {
	fresh := func() ([]domain.Recorded, error) { return c.store.readPage(ctx, c.conn, c.at, limit) }
	if c.asked && c.last == c.at {
		return fresh()
	}
	events, err := c.store.pages.get(c.incarnation, c.at, limit, fresh)
	if len(events) > 0 {
		c.asked, c.last = true, c.at
	}
	return events, err
}

// Begin returns the transaction in which a page's effects and its checkpoint are committed together.
// It begins with its first statement, and takes a transaction id only if something is written.
func (c *Consumer) Begin(context.Context) (pgx.Tx, error) { return &lateTx{conn: c.conn}, nil }

// Advance moves to the last event of a page, and commits what was written for the page together with
// the checkpoint. If nothing was written, it may save the checkpoint later.
func (c *Consumer) Advance(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	last, events := page[len(page)-1].Position, c.unsaved+len(page)
	late, ok := tx.(*lateTx)
	wroteNothing := ok && late.Tx == nil
	if wroteNothing && time.Since(c.savedAt) < c.SaveInterval && len(c.parked) == 0 {
		c.at, c.unsaved = last, events
		return nil
	}
	err := c.save(ctx, tx, last, events)
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("group %s: move checkpoint from %v to %v: %w", c.group, c.saved, last, err)
	}
	return nil
}

// save moves the checkpoint to a position, and adds the number of events to its count.
func (c *Consumer) save(ctx context.Context, on session, at domain.Position, events int) error {
	tag, err := on.Exec(ctx, `
		update eventstore.checkpoints
		set transaction_id = $2, position = $3, events = events + $4, updated_at = now()
		where consumer_group = $1 and transaction_id = $5 and position = $6 and $7 in (0, version) and term = $8
		  and parked_changes = $9`,
		c.group, at.Transaction, at.Number, events, c.saved.Transaction, c.saved.Number, c.version, c.term, c.changes)
	if err == nil && tag.RowsAffected() == 0 {
		if err = c.moved(); c.onlyParkedChanged(ctx) {
			err = commands.ErrParkedChanged
		}
	}
	if err == nil {
		c.at, c.saved, c.savedAt, c.unsaved = at, at, time.Now(), 0
	}
	return err
}

// Close gives up the leadership of the group.
func (c *Consumer) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), postgres.CloseTimeout)
	defer cancel()
	if c.unsaved > 0 {
		_ = c.save(ctx, c.conn, c.at, c.unsaved) // if it fails, the next leader reads some pages again
	}
	if c.term > 0 {
		_ = c.store.release(ctx, c.conn, c.group, c.term) // if it fails, the end of the session frees the group
	}
	if err := c.conn.Close(ctx); err != nil {
		return // the server ends the session when it detects the lost connection
	}
}
