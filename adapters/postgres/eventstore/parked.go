package eventstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// reasonLength limits the stored error, in characters: an operator reads it in a list.
const reasonLength = 1000

const parkedColumns = `consumer_group, stream_id, version, transaction_id, position, event, reason, tries,
	parked_at, last_try_at, request`

func scanParked(row pgx.CollectableRow) (p commands.Parked, err error) {
	err = row.Scan(&p.Group, &p.Stream, &p.Version, &p.Position.Transaction, &p.Position.Number, &p.Event, &p.Reason,
		&p.Tries, &p.ParkedAt, &p.LastTry, &p.Request)
	return p, err
}

// Parked lists the parked streams of a group, or of all groups when group is empty, in order of
// group and stream. Those of tables that a rebuild replaced are left out.
func (s *Store) Parked(ctx context.Context, group string) ([]commands.Parked, error) {
	return postgres.Collect(ctx, s.Pool(), "list parked streams", scanParked, `
		select `+parkedColumns+` from eventstore.parked
		where $1 in ('', consumer_group) and consumer_group not like '% (previous)'
		order by consumer_group, stream_id`, group)
}

// RequestParked asks the leader of a group to retry a parked stream, or to skip the event that it
// could not handle. The leader does so within pollEvery. found is false when the stream is not parked.
func (s *Store) RequestParked(
	ctx context.Context, group string, stream domain.StreamID, request commands.ParkedRequest,
) (found bool, err error) {
	err = pgx.BeginFunc(ctx, s.Pool(), func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update eventstore.parked set request = $3 where consumer_group = $1 and stream_id = $2`,
			group, string(stream), string(request))
		if found = tag.RowsAffected() > 0; err != nil || !found {
			return err
		}
		_, err = tx.Exec(ctx, `
			update eventstore.checkpoints set parked_changes = parked_changes + 1 where consumer_group = $1`, group)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("request %s of %s in group %s: %w", request, stream, group, err)
	}
	return found, nil
}

func (c *Consumer) readParked(ctx context.Context) error {
	list, err := postgres.Collect(ctx, c.conn, "read the parked streams of group "+c.group, scanParked,
		`select `+parkedColumns+` from eventstore.parked where consumer_group = $1`, c.group)
	if err != nil {
		return err
	}
	c.parked = make(map[domain.StreamID]commands.Parked, len(list))
	for _, p := range list {
		c.parked[p.Stream] = p
	}
	return nil
}

// onlyParkedChanged reports whether the checkpoint is where this leader left it.
func (c *Consumer) onlyParkedChanged(ctx context.Context) bool {
	ours, changes, err := c.ours(ctx)
	return err == nil && ours && changes != c.changes
}

// LeftOut reports whether the group leaves an event out, because its stream is parked or its bot is
// held.
func (c *Consumer) LeftOut(r domain.Recorded) bool {
	if len(c.parked) == 0 {
		return false
	}
	_, held := c.parked[domain.AllChats(r.Stream.Bot())]
	return held || c.parkedAt(r)
}

// parkedAt reports whether the event's own stream is parked, at the event or before it.
func (c *Consumer) parkedAt(r domain.Recorded) bool {
	p, parked := c.parked[r.Stream]
	return parked && r.Version >= p.Version
}

func (c *Consumer) servesBot(bot string) bool { return c.serves == nil || c.serves(bot) }

// Hold records, in the transaction that moves the checkpoint, that the group leaves out all chats of a
// bot after its last page. A group holds a bot that its leader does not serve. When a leader serves the
// bot, it handles the events that were left out.
func (c *Consumer) Hold(ctx context.Context, tx pgx.Tx, bot string, cause error) error {
	return c.add(ctx, tx, commands.Parked{Stream: domain.AllChats(bot), Position: c.at, Reason: cause.Error()})
}

// giveUp returns ErrGroupGivenUp if another process has asked for the chats of a bot that this process
// does not serve.
func (c *Consumer) giveUp(ctx context.Context) error {
	for stream, p := range c.parked {
		if !stream.IsAllChats() || p.Request != commands.ParkedRetry || c.servesBot(stream.Bot()) {
			continue
		}
		_, err := c.conn.Exec(ctx, `
			update eventstore.parked set request = ''
			where consumer_group = $1 and stream_id = $2 and request = 'retry'`, c.group, string(stream))
		if err != nil {
			return fmt.Errorf("answer the request for the chats of bot %s: %w", stream.Bot(), err)
		}
		return commands.ErrGroupGivenUp
	}
	return nil
}

// ParkedOf implements rebuild.Ledger.
func (l Ledger) ParkedOf(
	ctx context.Context, tx pgx.Tx, group string, streams []domain.StreamID,
) (list []rebuild.Stopped, err error) {
	parked, err := postgres.Collect(ctx, tx, "list parked streams", scanParked, `
		select `+parkedColumns+` from eventstore.parked where consumer_group = $1 and stream_id = any($2)`,
		group, streams)
	for _, p := range parked {
		list = append(list, rebuild.Stopped{
			Stream: p.Stream, Version: p.Version, Position: p.Position, Event: p.Event, Reason: p.Reason, Parked: true,
		})
	}
	return list, err
}

// ParkFor implements rebuild.Ledger.
func (l Ledger) ParkFor(ctx context.Context, tx pgx.Tx, group string, s rebuild.Stopped) error {
	return park(ctx, tx, &commands.Parked{
		Group: group, Stream: s.Stream, Version: s.Version, Position: s.Position, Event: s.Event, Reason: s.Reason,
		Tries: 1,
	})
}

// OfContent implements rebuild.Ledger.
func (l Ledger) OfContent(err error) bool { return errorOfContent(err) }

// Park records, in the transaction that moves the checkpoint, that the group leaves a stream out from
// an event on.
func (c *Consumer) Park(ctx context.Context, tx pgx.Tx, r domain.Recorded, cause error, tries int) error {
	return c.add(ctx, tx, commands.Parked{
		Stream: r.Stream, Version: r.Version, Position: r.Position,
		Event: c.EventName(r), Reason: cause.Error(), Tries: tries,
	})
}

func (c *Consumer) add(ctx context.Context, tx pgx.Tx, p commands.Parked) error {
	p.Group = c.group
	if _, again := c.parked[p.Stream]; !again && len(c.parked) >= domain.MaxParked {
		return fmt.Errorf("group %s: %d streams are parked already: the group is at fault, not the content: %s",
			c.group, len(c.parked), p.Reason)
	}
	if err := park(ctx, tx, &p); err != nil {
		return err
	}
	c.parked[p.Stream] = p
	return nil
}

// park inserts or updates the row of a parked stream.
func park(ctx context.Context, tx pgx.Tx, p *commands.Parked) error {
	p.Event = strings.ToValidUTF8(p.Event, "\uFFFD")
	p.Reason = domain.Shorten(postgres.CleanText(p.Reason), reasonLength)
	err := tx.QueryRow(ctx, `
		insert into eventstore.parked as p (`+parkedColumns+`)
		values ($1, $2, $3, $4, $5, $6, $7, $8, now(), now(), '')
		on conflict (consumer_group, stream_id) do update set version = excluded.version,
			transaction_id = excluded.transaction_id, position = excluded.position, event = excluded.event,
			reason = excluded.reason, last_try_at = excluded.last_try_at, request = '',
			tries = case when p.version = excluded.version then p.tries else 0 end + excluded.tries
		returning tries, parked_at, last_try_at`,
		p.Group, string(p.Stream), int64(p.Version), p.Position.Transaction, p.Position.Number, p.Event,
		p.Reason, p.Tries).Scan(&p.Tries, &p.ParkedAt, &p.LastTry)
	if err != nil {
		return fmt.Errorf("group %s: park %s at version %d: %w", p.Group, p.Stream, p.Version, err)
	}
	return nil
}

// EventName returns the stored name of an event.
func (c *Consumer) EventName(r domain.Recorded) string {
	if r.Unreadable != nil {
		return r.Unreadable.Name
	}
	return c.store.codec.Name(r.Event)
}

// Requested returns the parked streams with a request to retry or skip them, and the held bots that
// this process serves now, in the order of their ids.
func (c *Consumer) Requested() (requested []commands.Parked) {
	for _, stream := range slices.Sorted(maps.Keys(c.parked)) {
		p, serves := c.parked[stream], c.servesBot(stream.Bot())
		wanted := p.Request != commands.ParkedWaits && serves
		if stream.IsAllChats() {
			wanted = p.Request == commands.ParkedSkip || serves
		}
		if wanted {
			requested = append(requested, p)
		}
	}
	return requested
}

// LeftOutEvents reads at most limit of the events that the group left out of a parked stream, oldest
// first. It leaves out the event that failed if the request is to skip it.
func (c *Consumer) LeftOutEvents(ctx context.Context, p commands.Parked, limit int) (left commands.LeftOut, err error) {
	if p.Stream.IsAllChats() {
		return c.heldEvents(ctx, p, limit)
	}
	from := p.Version
	if p.Request == commands.ParkedSkip {
		from++
	}
	rows, err := c.conn.Query(ctx, `
		select payload, `+Columns+`
		from eventstore.events
		where stream_id = $1 and version >= $2 and (transaction_id, position) <= ($3, $4)
		order by version limit $5`, string(p.Stream), int64(from), c.at.Transaction, c.at.Number, limit)
	if err == nil {
		left.Events, err = c.store.collectReadable(rows)
	}
	if err != nil {
		return left, fmt.Errorf("group %s: read %s from version %d: %w", c.group, p.Stream, from, err)
	}
	if left.Last = len(left.Events) < limit; !left.Last {
		left.Through = left.Events[limit-1].Position
	}
	return left, nil
}

// heldEvents is LeftOutEvents for the chats of a held bot. It reads at most limit events of the feed,
// so that each step is short, and leaves out events of chats that are parked themselves.
func (c *Consumer) heldEvents(ctx context.Context, p commands.Parked, limit int) (left commands.LeftOut, err error) {
	if p.Request == commands.ParkedSkip {
		return commands.LeftOut{Last: true}, nil
	}
	page, err := c.store.readPage(ctx, c.conn, p.Position, limit)
	if err != nil {
		return left, fmt.Errorf("group %s: %w", c.group, err)
	}
	left.Last = len(page) == 0
	for _, r := range page {
		if left.Last = !r.Position.Before(c.at); c.at.Before(r.Position) {
			break
		}
		if left.Through = r.Position; r.Stream.Bot() == p.Stream.Bot() && !c.parkedAt(r) {
			left.Events = append(left.Events, r)
		}
	}
	return left, nil
}

// Release commits what was written for some of the events that the group had left out of a stream.
// After the last of them, the stream is no longer parked.
func (c *Consumer) Release(ctx context.Context, tx pgx.Tx, p commands.Parked, left commands.LeftOut) error {
	var err error
	switch now := c.parked[p.Stream]; {
	case now.Request == commands.ParkedWaits && !p.Stream.IsAllChats(): // parked again, at the same event or a later one
	case left.Last:
		_, err = tx.Exec(ctx,
			`delete from eventstore.parked where consumer_group = $1 and stream_id = $2`, c.group, string(p.Stream))
		delete(c.parked, p.Stream)
	default:
		if now.Position, now.Request = left.Through, commands.ParkedRetry; !p.Stream.IsAllChats() {
			now.Version = left.Events[len(left.Events)-1].Version + 1
		}
		_, err = tx.Exec(ctx, `
			update eventstore.parked set version = $3, transaction_id = $4, position = $5, request = 'retry'
			where consumer_group = $1 and stream_id = $2`,
			c.group, string(p.Stream), int64(now.Version), now.Position.Transaction, now.Position.Number)
		c.parked[p.Stream] = now
	}
	// The checkpoint is saved, too: the events up to it were handled and must not be read again.
	if err == nil {
		err = c.save(ctx, tx, c.at, c.unsaved)
	}
	if err == nil {
		err = tx.Commit(ctx)
	}
	if err != nil {
		return fmt.Errorf("group %s: release %s: %w", c.group, p.Stream, err)
	}
	return nil
}

// OfContent reports whether an error is caused by what an event contains, so that each retry fails,
// too. Errors of the database, the network or a stopping program are not.
func (c *Consumer) OfContent(err error) bool { return !c.conn.IsClosed() && errorOfContent(err) }

func errorOfContent(err error) bool {
	switch e := err.(type) {
	case nil:
		return true
	case *pgconn.PgError:
		return postgres.HasCode(e, "22", "23", "54", "P0001")
	case *pgconn.ConnectError, net.Error:
		return false
	case interface{ Unwrap() []error }:
		for _, part := range e.Unwrap() {
			if !errorOfContent(part) {
				return false
			}
		}
		return true
	case interface{ Unwrap() error }:
		return errorOfContent(e.Unwrap())
	}
	return !slices.ContainsFunc(passing, func(one error) bool { return errors.Is(err, one) }) &&
		!strings.Contains(err.Error(), "conn closed")
}

// passing lists errors that are not caused by content.
var passing = []error{
	context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
	pgx.ErrTxClosed, commands.ErrBusy, commands.ErrClosed, commands.ErrConflict, commands.ErrNotServed,
}
