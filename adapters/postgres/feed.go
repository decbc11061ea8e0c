package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chatledger/chatledger/domain"
)

// columns of an event, without raw: nobody who follows the feed needs it. The
// payload stands before, so that it can be left out.
const columns = `position, transaction_id, stream_id, version, event_id, name, event_version,
	causation_id, correlation_id, actor, occurred_at, recorded_at`

// The feed is read in index order from behind the last event, up to the oldest
// running transaction: whatever is to commit later will stand after it. The place is
// given as two plain values; taken from a joined row instead, it makes the server
// sort the table for every page.
const readFeed = `
select case when $4::text[] is null or name = any($4) then payload end, ` + columns + `
from eventstore.events
where (transaction_id, position) > ($1, $2)
  and transaction_id < pg_snapshot_xmin(pg_current_snapshot())
order by transaction_id, position
limit $3`

// querier is a connection, a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// ReadFeed reads up to limit events after a position, in feed order. With only,
// events of other types come without their Event, which spares most of the work.
func (s *Store) ReadFeed(ctx context.Context, q querier, after domain.Position, limit int, only ...domain.Event) ([]domain.Recorded, error) {
	var names []string
	for _, event := range only {
		names = append(names, s.codec.Name(event))
	}
	rows, err := q.Query(ctx, readFeed, after.Transaction, after.Number, limit, names)
	if err != nil {
		return nil, fmt.Errorf("read feed after %v: %w", after, err)
	}
	events, err := s.collect(rows)
	if err != nil {
		return nil, fmt.Errorf("read feed after %v: %w", after, err)
	}
	return events, nil
}

// ReadStream reads up to limit events of one stream after a version, oldest first.
func (s *Store) ReadStream(ctx context.Context, q querier, stream domain.StreamID, after domain.Version, limit int) ([]domain.Recorded, error) {
	rows, err := q.Query(ctx, `
		select payload, `+columns+`
		from eventstore.events
		where stream_id = $1 and version > $2
		order by version
		limit $3`, string(stream), int64(after), limit)
	if err != nil {
		return nil, fmt.Errorf("read %s after version %d: %w", stream, after, err)
	}
	events, err := s.collect(rows)
	if err != nil {
		return nil, fmt.Errorf("read %s after version %d: %w", stream, after, err)
	}
	return events, nil
}

func (s *Store) collect(rows pgx.Rows) ([]domain.Recorded, error) {
	defer rows.Close()
	var events []domain.Recorded
	for rows.Next() {
		var r domain.Recorded
		var stream, name string
		var version int64
		var eventVersion int
		var payload []byte
		var eventID, cause, chain pgtype.UUID
		err := rows.Scan(&payload, &r.Position.Number, &r.Position.Transaction, &stream, &version, &eventID, &name, &eventVersion,
			&cause, &chain, &r.Actor, &r.OccurredAt, &r.RecordedAt)
		if err != nil {
			return nil, err
		}
		r.Stream, r.Version = domain.StreamID(stream), domain.Version(version)
		r.ID, r.Causation, r.Correlation = uuid.UUID(eventID.Bytes), uuid.UUID(cause.Bytes), uuid.UUID(chain.Bytes)
		if payload != nil {
			if r.Event, err = s.decode(name, eventVersion, payload); err != nil {
				return nil, fmt.Errorf("%s version %d: %w", stream, version, err)
			}
		}
		events = append(events, r)
	}
	return events, rows.Err()
}

// Consumer reads the feed for one group that this process leads.
type Consumer struct {
	store *Store
	conn  *pgx.Conn
	group string
	at    domain.Position
	asked bool // a page behind last was handed out
	last  domain.Position
}

const (
	// leadEvery is how often a process that does not lead a group tries to: a
	// leader that was killed is followed well within 5 s.
	leadEvery = 500 * time.Millisecond
	// pollEvery is how often the feed is read without having been woken: other
	// processes' appends are announced, so this only covers a lost announcement.
	pollEvery = time.Second
	// settleEvery is the first wait for events that were announced but stand
	// behind a transaction that still runs; it doubles up to pollEvery.
	settleEvery = 500 * time.Microsecond
)

// Lead waits until this process leads the group, and returns its reader. The
// group is held by an advisory lock of the very session that moves its checkpoint,
// so that who has lost the lock cannot move it any more.
func (s *Store) Lead(ctx context.Context, group string) (*Consumer, error) {
	config := s.pool.Config().ConnConfig
	config.RuntimeParams["application_name"] += " " + group
	config.RuntimeParams["search_path"] = "readmodel" // where projections find their table
	// A page's effects and its checkpoint are lost together or not at all, and then the
	// page comes again. So their commit need not wait for the disk, where it would be in
	// the way of those that must. What is sent was claimed before, by a commit that does
	// wait, and with it all that was written earlier.
	config.RuntimeParams["synchronous_commit"] = "off"
	// When a leader's machine vanishes without a word, the server notices in 4 s.
	config.RuntimeParams["tcp_keepalives_idle"] = "2"
	config.RuntimeParams["tcp_keepalives_interval"] = "1"
	config.RuntimeParams["tcp_keepalives_count"] = "2"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("lead %s: %w", group, err)
	}
	c := &Consumer{store: s, conn: conn, group: group}
	if err := c.lead(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("lead %s: %w", group, err)
	}
	return c, nil
}

func (c *Consumer) lead(ctx context.Context) error {
	defer c.store.announcer.waits(c.group)()
	for {
		var led bool
		err := c.conn.QueryRow(ctx, `select pg_try_advisory_lock(hashtextextended('chatledger group ' || $1, 0))`, c.group).Scan(&led)
		if err != nil {
			return err
		}
		if led {
			break
		}
		if err := sleep(ctx, leadEvery); err != nil {
			return err
		}
	}
	if _, err := c.conn.Exec(ctx, `insert into eventstore.checkpoints (consumer_group) values ($1) on conflict do nothing`, c.group); err != nil {
		return err
	}
	return c.conn.QueryRow(ctx, `select transaction_id, position from eventstore.checkpoints where consumer_group = $1`, c.group).
		Scan(&c.at.Transaction, &c.at.Number)
}

// Next waits for events after the checkpoint and returns a page of at most limit.
func (c *Consumer) Next(ctx context.Context, limit int) ([]domain.Recorded, error) {
	wait := pollEvery
	for {
		woken := c.store.feed.next()
		events, err := c.read(ctx, limit)
		if err != nil || len(events) > 0 {
			return events, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		case <-woken:
			timer.Stop()
			wait = settleEvery
		case <-timer.C:
			wait = min(2*wait, pollEvery)
		}
	}
}

// read reads the page behind the checkpoint, or takes the one another consumer has
// read. Who asks for the same place again wants to know what is there now.
func (c *Consumer) read(ctx context.Context, limit int) ([]domain.Recorded, error) {
	fresh := func() ([]domain.Recorded, error) { return c.store.ReadFeed(ctx, c.conn, c.at, limit) }
	if c.asked && c.last == c.at {
		return fresh()
	}
	events, err := c.store.pages.get(c.at, limit, fresh)
	if len(events) > 0 {
		c.asked, c.last = true, c.at
	}
	return events, err
}

// Begin opens the transaction in which a page's effects and its checkpoint are
// committed together. It takes a transaction id only when something is written.
func (c *Consumer) Begin(ctx context.Context) (pgx.Tx, error) {
	tx, err := c.conn.Begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("group %s: begin: %w", c.group, err)
	}
	return tx, nil
}

// Advance moves the checkpoint to the last event of a page and commits.
func (c *Consumer) Advance(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	last := page[len(page)-1].Position
	tag, err := tx.Exec(ctx, `
		update eventstore.checkpoints
		set transaction_id = $2, position = $3, events = events + $4, updated_at = now()
		where consumer_group = $1 and transaction_id = $5 and position = $6`,
		c.group, last.Transaction, last.Number, len(page), c.at.Transaction, c.at.Number)
	if err == nil && tag.RowsAffected() == 0 {
		err = fmt.Errorf("the checkpoint is no longer at %v: another process moved it", c.at)
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("group %s: move checkpoint from %v to %v: %w", c.group, c.at, last, err)
	}
	c.at = last
	return nil
}

// closeTimeout bounds the farewell to a server that may be gone.
const closeTimeout = time.Second

// Close gives the group up.
func (c *Consumer) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := c.conn.Close(ctx); err != nil {
		return // the server ends the session when it notices
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
