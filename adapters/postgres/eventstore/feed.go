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

// Columns lists the columns of an event, without raw, which no consumer of the feed needs. The
// payload is selected before them, so that a query can leave it out.
const Columns = `position, transaction_id, stream_id, version, event_id, name, event_version,
	causation_id, correlation_id, actor, occurred_at, recorded_at, coalesce(trace, '')`

// Final is the condition of events that nothing can come before any more: below the
// oldest running transaction.
const Final = `transaction_id < eventstore.rebased(pg_snapshot_xmin(pg_current_snapshot()))`

// The feed is read in index order from behind the last event, up to the oldest
// running transaction: whatever is to commit later will stand after it. The place is
// given as two plain values; taken from a joined row instead, it makes the server
// sort the table for every page.
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
// decoded comes as Unreadable.
func (s *Store) ReadStream(ctx context.Context, q postgres.Querier, stream domain.StreamID, after domain.Version, limit int) ([]domain.Recorded, error) {
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

func (s *Store) Collect(rows pgx.Rows) (events []domain.Recorded, err error) {
	err = s.each(rows, func(r domain.Recorded) error {
		events = append(events, r)
		return nil
	})
	return events, err
}

// each decodes rows and fails at the first that it cannot decode.
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

// eachReadable decodes rows. What it cannot decode it hands out as Unreadable.
func (s *Store) eachReadable(rows pgx.Rows, take func(domain.Recorded) error) error {
	defer rows.Close()
	for rows.Next() {
		var r domain.Recorded
		var stream, name string
		var version int64
		var eventVersion int
		var payload []byte
		var eventID, cause, chain pgtype.UUID
		err := rows.Scan(&payload, &r.Position.Number, &r.Position.Transaction, &stream, &version, &eventID, &name, &eventVersion,
			&cause, &chain, &r.Actor, &r.OccurredAt, &r.RecordedAt, &r.Trace)
		if err != nil {
			return err
		}
		r.Stream, r.Version = domain.StreamID(stream), domain.Version(version)
		r.ID, r.Causation, r.Correlation = uuid.UUID(eventID.Bytes), uuid.UUID(cause.Bytes), uuid.UUID(chain.Bytes)
		switch {
		case payload != nil:
			r.Event, err = s.Decode(name, eventVersion, payload)
		case !s.codec.Knows(name, eventVersion): // left out as a type that is not asked for, which nobody can know
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
	version int   // of the projection; 0 when the group keeps no table
	term    int64 // of our leadership; 0 before

	incarnation int64           // of the server, as of the connection
	at          domain.Position // behind the last page handled
	asked       bool            // a page behind last was handed out
	last        domain.Position

	saved   domain.Position // the checkpoint: behind at while pages wrote nothing
	savedAt time.Time
	unsaved int // events between the two

	serves  func(bot string) bool // nil serves all bots
	parked  map[domain.StreamID]commands.Parked
	changes int64 // checkpoints.parked_changes, as of reading parked
	checked time.Time

	SaveInterval time.Duration // how long the checkpoint may stay behind; saveEvery
	PollInterval time.Duration // between reads without a notification; pollEvery
}

const (
	// leadEvery is how often a process that does not lead a group tries to: a
	// leader that was killed is replaced well within 5 s.
	leadEvery = 500 * time.Millisecond
	// pollEvery is how often the feed is read without having been woken: other
	// processes' appends come with a notification, so this only covers a lost one.
	pollEvery = time.Second
	// settleEvery is the first wait for events that are there but stand behind a
	// transaction that still runs; it doubles up to pollEvery.
	settleEvery = 500 * time.Microsecond
	// saveEvery is how long the checkpoint may stay behind pages that wrote nothing. After a
	// crash they are read again and write nothing again. A commit for each would delay the
	// webhook's commits.
	saveEvery = 50 * time.Millisecond
)

// Subscribe waits until this process is the leader of the consumer group, and returns the
// group's consumer. The leader holds the group's row in eventstore.leaders, and moves the
// checkpoint under its term: a process that is no longer the leader cannot move it.
func (s *Store) Subscribe(ctx context.Context, group string) (*Consumer, error) {
	return s.consume(ctx, &Consumer{store: s, group: group}, nil)
}

// SubscribeBots is Subscribe for a group that handles the chats of some bots only, and holds those of
// others.
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
	// A page's effects and its checkpoint are lost together or not at all, and then the
	// page comes again. So their commit need not wait for the disk, where it would be in
	// the way of those that must. What is sent was claimed before, by a commit that does
	// wait, and with it all that was written earlier.
	config.RuntimeParams["synchronous_commit"] = "off"
	c.incarnation = s.Incarnation() // before connecting: a change during it ends the subscription
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
	_, err := c.conn.Exec(ctx, `insert into eventstore.checkpoints (consumer_group, version) values ($1, $2) on conflict do nothing`,
		c.group, max(c.version, 1))
	if err != nil {
		return err
	}
	for told, seen := false, new(sighting); ; {
		stored, led, err := c.try(ctx, seen)
		if err != nil || led {
			return err
		}
		if !told && c.version != 0 && stored != c.version {
			told = true
			log.Warn("waiting: the table has another version than this program; run `chatledger rebuild`, or let programs of that version update it",
				"table", c.group, "version", stored, "ours", c.version)
		}
		if err := wait.For(ctx, leadEvery); err != nil {
			return err
		}
	}
}

// try takes the lead of the group if it is free and the table has our version. It returns the
// version of the table.
func (c *Consumer) try(ctx context.Context, seen *sighting) (stored int, led bool, err error) {
	err = c.conn.QueryRow(ctx, `select version from eventstore.checkpoints where consumer_group = $1`, c.group).Scan(&stored)
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

// fence puts our term on the checkpoint, which an earlier leader can no longer move then, and
// reads it anew: before the group was ours, another may have moved it.
func (c *Consumer) fence(ctx context.Context) (at domain.Position, version int, err error) {
	err = c.conn.QueryRow(ctx, `
		update eventstore.checkpoints set term = $2 where consumer_group = $1 and term < $2
		returning transaction_id, position, version, parked_changes`, c.group, c.term).
		Scan(&at.Transaction, &at.Number, &version, &c.changes)
	if err != nil {
		return at, version, fmt.Errorf("put term %d on the checkpoint: %w", c.term, err)
	}
	return at, version, nil
}

// ours reads the checkpoint. It reports whether it is where this leader left it, and how often
// others have changed the parked streams.
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
	return fmt.Errorf("the checkpoint is no longer at %v in term %d, or its table of another version: another process moved it",
		c.saved, c.term)
}

// Next waits for events after the checkpoint and returns a page of at most limit. It
// fails within pollEvery when the checkpoint is no longer where this leader left it. It returns
// no events when there is a request for a parked stream, and commands.ErrGroupGivenUp when another
// process is to lead the group.
func (c *Consumer) Next(ctx context.Context, limit int) ([]domain.Recorded, error) {
	wait := settleEvery
	for {
		c.store.leads.ask(c.group)
		if c.store.Incarnation() != c.incarnation {
			return nil, fmt.Errorf("group %s: the database server is another one, or has another history, than before", c.group)
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

// held reports whether there are events behind a transaction that is still open. Their
// notification came when they were appended; the end of that transaction sends none.
func (c *Consumer) held(ctx context.Context) (held bool, err error) {
	// The order is there for the plan: for a mere exists, where there is mostly nothing,
	// the server reads the whole table in the belief that a third of it would do.
	err = c.conn.QueryRow(ctx, `
		select count(*) > 0 from (
			select from eventstore.events
			where (transaction_id, position) > ($1, $2)
			order by transaction_id, position
			limit 1
		) next`, c.at.Transaction, c.at.Number).Scan(&held)
	return held, err
}

// settle saves a checkpoint that has been behind for long enough.
func (c *Consumer) settle(ctx context.Context) error {
	if c.unsaved == 0 || time.Since(c.savedAt) < c.SaveInterval {
		return nil
	}
	return c.save(ctx, c.conn, c.at, c.unsaved)
}

// compare fails when the checkpoint is not the one that this leader saved. It reads the parked
// streams again when somebody else changed them.
func (c *Consumer) compare(ctx context.Context) error {
	ours, changes, err := c.ours(ctx)
	if err != nil {
		return err
	}
	if !ours {
		return c.moved()
	}
	if changes != c.changes {
		if c.at != c.saved { // what was left out since may belong to a stream that is no longer parked
			return commands.ErrParkedChanged
		}
		c.changes = changes
		err = c.readParked(ctx)
	}
	c.checked = time.Now()
	return err
}

// read reads the page behind the checkpoint, or takes the one another consumer has
// read. When the consumer asks for the same position again, it reads anew.
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

// Begin returns the transaction in which a page's effects and its checkpoint are
// committed together. It begins with the first statement, and takes a transaction id
// only when something is written.
func (c *Consumer) Begin(context.Context) (pgx.Tx, error) { return &lateTx{conn: c.conn}, nil }

// Advance moves to the last event of a page, and commits what was written for the page
// together with the checkpoint. When nothing was written, the checkpoint may follow later.
func (c *Consumer) Advance(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	last, events := page[len(page)-1].Position, c.unsaved+len(page)
	if late, ok := tx.(*lateTx); ok && late.Tx == nil && time.Since(c.savedAt) < c.SaveInterval && len(c.parked) == 0 {
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

// save moves the checkpoint by so many events.
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
		_ = c.save(ctx, c.conn, c.at, c.unsaved) // or the next leader reads some pages again
	}
	if c.term > 0 {
		_ = c.store.release(ctx, c.conn, c.group, c.term) // or the end of the session shows that the group is free
	}
	if err := c.conn.Close(ctx); err != nil {
		return // the server ends the session when it notices
	}
}
