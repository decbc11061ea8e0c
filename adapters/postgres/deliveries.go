package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Owe writes deliveries into the ledger, in the transaction that moves the
// checkpoint of the group that decided them. A repeat of the page adds nothing.
func (s *Store) Owe(ctx context.Context, tx pgx.Tx, deliveries []commands.Delivery) error {
	n := len(deliveries)
	ids, chains := make([]pgtype.UUID, n), make([]pgtype.UUID, n)
	streams, kinds, destinations := make([]string, n), make([]string, n), make([]string, n)
	lanes, payloads := make([]string, n), make([]string, n)
	versions, priorities := make([]int64, n), make([]int16, n)
	for i, d := range deliveries {
		payload, err := json.Marshal(d.Payload)
		if err != nil {
			return fmt.Errorf("delivery %s of %s: %w", d.ID, d.Stream, err)
		}
		ids[i], chains[i], streams[i], versions[i] = UUID(d.ID), UUID(d.Correlation), string(d.Stream), int64(d.Version)
		kinds[i], destinations[i], lanes[i] = string(d.Kind), d.Destination, d.Lane
		payloads[i], priorities[i] = *Escape(payload, false), int16(d.Priority)
	}
	// Numbered in feed order, which keeps each chat's effects in line.
	_, err := tx.Exec(ctx, `
		insert into eventstore.deliveries (delivery_id, stream_id, version, kind, destination, lane, payload, priority, correlation_id)
		select delivery_id, stream_id, version, kind, destination, lane, payload::jsonb, priority, correlation_id
		from unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::smallint[], $9::uuid[])
			with ordinality as d(delivery_id, stream_id, version, kind, destination, lane, payload, priority, correlation_id, ord)
		order by ord
		on conflict (delivery_id) do nothing`,
		ids, streams, versions, kinds, destinations, lanes, payloads, priorities, chains)
	if err != nil {
		return fmt.Errorf("write %d deliveries: %w", n, err)
	}
	return nil
}

// MoveLane is Flow.Move in the transaction that moves the checkpoint of the group which
// owes deliveries: what it owes later is behind.
func (s *Store) MoveLane(ctx context.Context, tx pgx.Tx, from, to domain.StreamID) error {
	if _, err := tx.Exec(ctx, moveLane, from, to, domain.KindSendMessage); err != nil {
		return fmt.Errorf("move the messages to %s on to %s: %w", from, to, err)
	}
	return nil
}

// Owed wakes the claimers of a bot's deliveries in this process: some were committed.
func (s *Store) Owed(bot string) { s.owed.of(bot).all() }

// claim looks at heads only: a lane whose head is being sent, put off or a dead letter
// is passed over. Rows that another claims this moment are skipped, and what stands
// behind them is not a head yet in this statement's eyes. The head is looked up by lane
// for each row: an anti join that was planned while the table was empty reads all lanes
// for every claim, and stays so planned.
const claim = `
with heads as (
    select d.delivery_id from eventstore.deliveries d
    where d.state = 'waiting' and not d.parked and d.destination = $1 and d.next_attempt <= now()
      and d.seq = (select first.seq from eventstore.deliveries first
                   where first.lane = d.lane and first.finished_at is null order by first.seq limit 1)
    order by d.priority desc, d.seq
    limit $3
    for update skip locked
)
update eventstore.deliveries d
set state = 'sending', attempts = attempts + 1, fence = fence + 1, lease_owner = $2, lease_until = now() + $4
from heads where d.delivery_id = heads.delivery_id
returning d.delivery_id, d.stream_id, d.version, d.kind, d.lane, d.payload, d.priority, d.correlation_id,
    d.attempts, d.unsure, d.waived, d.fence, now() - coalesce(d.retried_at, d.created_at),
    exists (select from eventstore.flow f where f.name in (d.lane, 'bot-' || split_part(d.destination, ':', 2)) and f.cause is not null),
    coalesce((select e.trace from eventstore.events e where e.stream_id = d.stream_id and e.version = d.version), '')`

// settle ends an attempt at a delivery x as d says. When an operator retries it, it
// begins anew, and what is known to be unsure no longer stands in the way.
const settle = `
    state = d.state, outcome = d.outcome::jsonb, reason = nullif(d.reason, ''), finished_at = case when d.over then now() end,
    parked = false, lease_owner = null, lease_until = null,
    attempts = case d.state when 'waiting' then 0 else x.attempts end,
    unsure = x.unsure + d.unsure::int,
    waived = case d.state when 'waiting' then x.unsure else x.waived end,
    next_attempt = case d.state when 'waiting' then now() else x.next_attempt end,
    retried_at = case d.state when 'waiting' then now() else x.retried_at end`

// moveUp lets claims see the next of each lane whose head has been settled, and is over.
const moveUp = `
    update eventstore.deliveries n set parked = false
    from settled s, lateral (
        select p.delivery_id from eventstore.deliveries p where p.parked and p.lane = s.lane and p.seq > s.seq order by p.seq limit 1
    ) next
    where s.finished_at is not null and n.delivery_id = next.delivery_id`

// claimsAtOnce is how many claims may have a connection. Each destination claims for
// itself, and those of fifty bots would take the whole pool, for which appends wait. A
// bot has five destinations, so it does not wait for itself; the other half of the
// smallest pool, or more, is left to the rest.
const claimsAtOnce = 5

// Claim leases up to limit deliveries to a destination: the head of each lane
// that is due, the most urgent and the oldest first.
func (s *Store) Claim(ctx context.Context, destination, owner string, limit int, lease time.Duration) ([]commands.Claimed, error) {
	select {
	case s.claiming <- struct{}{}:
		defer func() { <-s.claiming }()
	case <-ctx.Done():
		return nil, fmt.Errorf("claim deliveries to %s: waiting for other claims: %w", destination, context.Cause(ctx))
	}
	deadline := time.Now().Add(lease) // before the server reads its clock: the lease must not seem longer here
	claimed := func(row pgx.CollectableRow) (commands.Claimed, error) {
		c := commands.Claimed{Deadline: deadline}
		c.Destination = destination
		var deliveryID, chain pgtype.UUID
		var stream string
		var version int64
		var payload []byte
		err := row.Scan(&deliveryID, &stream, &version, &c.Kind, &c.Lane, &payload, &c.Priority, &chain, &c.Attempt, &c.Unsure, &c.Waived, &c.Fence, &c.Age, &c.Closed, &c.Trace)
		if err != nil {
			return c, err
		}
		c.ID, c.Correlation, c.Stream, c.Version = uuid.UUID(deliveryID.Bytes), uuid.UUID(chain.Bytes), domain.StreamID(stream), domain.Version(version)
		c.Body, err = Unescape(payload)
		return c, err
	}
	return Collect(ctx, s.pool, "claim deliveries to "+destination, claimed, claim, destination, s.Presence.Owner(owner), limit, lease)
}

// PutOff gives a claimed delivery back, to be attempted again after o.After; Unknown
// counts as an unsure attempt. It is false when the lease is another's now.
func (s *Store) PutOff(ctx context.Context, delivery uuid.UUID, fence int64, o commands.Outcome) (bool, error) {
	tag, err := s.pool.Exec(ctx, `
		update eventstore.deliveries
		set state = 'waiting', next_attempt = now() + $3, unsure = unsure + $4::bool::int, attempts = attempts - $5::bool::int, reason = $6,
			lease_owner = null, lease_until = null
		where delivery_id = $1 and fence = $2 and state = 'sending'`,
		UUID(delivery), fence, o.After, o.State == domain.DeliveryUnknown, o.Untried, CleanText(o.Reason))
	if err != nil {
		return false, fmt.Errorf("put delivery %s off: %w", delivery, err)
	}
	return tag.RowsAffected() == 1, nil
}

// TakeOver frees deliveries whose lease ran out, or whose process is gone: whether it had
// sent them nobody knows. It returns how many.
func (s *Store) TakeOver(ctx context.Context) (int64, error) {
	owners, err := Collect(ctx, s.pool, "list owners of leases", pgx.RowTo[string],
		`select distinct lease_owner from eventstore.deliveries where state = 'sending'`)
	if err != nil {
		return 0, err
	}
	gone, err := s.Presence.Gone(ctx, owners)
	if err != nil {
		return 0, err
	}
	tag, err := s.pool.Exec(ctx, `
		update eventstore.deliveries
		set state = 'waiting', unsure = unsure + 1, fence = fence + 1, reason = 'the process that was sending it is gone',
			lease_owner = null, lease_until = null
		where state = 'sending' and (lease_until < now() or lease_owner = any($1))`, gone)
	if err != nil {
		return 0, fmt.Errorf("take over deliveries: %w", err)
	}
	if tag.RowsAffected() > 0 {
		s.owed.all()
	}
	return tag.RowsAffected(), nil
}

const (
	// parkAfter is how long a delivery stands where claims look, before it is parked:
	// a lane that moves is never touched.
	parkAfter = 5 * time.Second
	// parkAtOnce is how many are parked in one transaction, some 10 ms.
	parkAtOnce = 1000
)

// Park takes what has long waited behind others of its lane out of the way of claims,
// so that a lane costs them one row, however long it is. Only speed depends on it:
// what may be claimed is decided by the lane alone.
func (s *Store) Park(ctx context.Context) error {
	for parked := int64(parkAtOnce); parked == parkAtOnce; {
		tag, err := s.pool.Exec(ctx, `
			with behind as (
				select d.delivery_id from eventstore.deliveries d
				where d.state = 'waiting' and not d.parked and d.created_at < now() - $1::interval
				  and exists (select from eventstore.deliveries ahead
				              where ahead.lane = d.lane and ahead.seq < d.seq and ahead.finished_at is null)
				limit $2
				for update skip locked
			)
			update eventstore.deliveries d set parked = true from behind where d.delivery_id = behind.delivery_id`,
			parkAfter, parkAtOnce)
		if err != nil {
			return fmt.Errorf("park deliveries: %w", err)
		}
		parked = tag.RowsAffected()
	}
	// A head is moved up when what it waited behind is settled; but one that is parked
	// at that very moment is missed, and found here. One step of the recursion per lane.
	tag, err := s.pool.Exec(ctx, `
		with recursive lanes as (
			select min(lane) as lane from eventstore.deliveries where parked
			union all
			select (select min(lane) from eventstore.deliveries where parked and lane > l.lane) from lanes l where l.lane is not null
		)
		update eventstore.deliveries d set parked = false
		from lanes l, lateral (
			select p.delivery_id, p.seq from eventstore.deliveries p where p.parked and p.lane = l.lane order by p.seq limit 1
		) first
		where d.delivery_id = first.delivery_id
		  and not exists (select from eventstore.deliveries ahead
		                  where ahead.lane = l.lane and ahead.seq < first.seq and ahead.finished_at is null)`)
	if err != nil {
		return fmt.Errorf("find parked heads: %w", err)
	}
	if tag.RowsAffected() > 0 {
		s.owed.all()
	}
	return nil
}

// Waiting is a channel that is closed when there may be something to claim for a
// destination, <system>:<bot>. Other bots' deliveries do not close it: with ten bots,
// nine claims of ten would find nothing, and take the connections that appends wait for.
func (s *Store) Waiting(destination string) <-chan struct{} {
	_, bot, _ := strings.Cut(destination, ":")
	return s.owed.of(bot).next()
}
