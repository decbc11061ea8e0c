// Package outbox stores deliveries: the messages and calls that events lead to. It enqueues them,
// leases them to workers, returns those that must be retried, and has the rate limits of the calls.
// Deliveries with the same ordering key are sent one after the other.
package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/signal"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Store is the outbox of one database. It is safe for concurrent use.
type Store struct {
	db       *postgres.DB
	ready    *signal.Keyed // by bot: there are new deliveries, or an ordering key became free
	claiming chan struct{} // has one element for each running claim; see ClaimsAtOnce

	heads   sync.Mutex
	lastKey string // the ordering key that findDeferredHeads checked last; guarded by heads
}

// New returns the outbox of a database.
func New(db *postgres.DB) *Store {
	return &Store{db: db, ready: signal.NewKeyed(), claiming: make(chan struct{}, ClaimsAtOnce)}
}

// Enqueue writes deliveries into the outbox, in the transaction that moves the checkpoint of the
// consumer group that enqueues them. If a page is handled again, Enqueue adds nothing.
func (s *Store) Enqueue(ctx context.Context, tx pgx.Tx, deliveries []commands.Delivery) error {
	n := len(deliveries)
	ids, chains := make([]pgtype.UUID, n), make([]pgtype.UUID, n)
	streams, kinds, destinations := make([]string, n), make([]string, n), make([]string, n)
	keys, payloads := make([]string, n), make([]string, n)
	versions, priorities := make([]int64, n), make([]int16, n)
	for i, d := range deliveries {
		payload, err := json.Marshal(d.Payload)
		if err != nil {
			return fmt.Errorf("delivery %s of %s: %w", d.ID, d.Stream, err)
		}
		ids[i], chains[i] = postgres.UUID(d.ID), postgres.UUID(d.Correlation)
		streams[i], versions[i] = string(d.Stream), int64(d.Version)
		kinds[i], destinations[i], keys[i] = string(d.Kind), d.Destination, d.OrderingKey
		payloads[i], priorities[i] = *postgres.Escape(payload, false), int16(d.Priority)
	}
	// seq follows the feed order, which keeps the deliveries of each chat in order.
	_, err := tx.Exec(ctx, `
		insert into eventstore.deliveries
			(delivery_id, stream_id, version, kind, destination, ordering_key, payload, priority, correlation_id)
		select delivery_id, stream_id, version, kind, destination, ordering_key, payload::jsonb, priority, correlation_id
		from unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
				$8::smallint[], $9::uuid[])
			with ordinality as d(delivery_id, stream_id, version, kind, destination, ordering_key, payload,
				priority, correlation_id, ord)
		order by ord
		on conflict (delivery_id) do nothing`,
		ids, streams, versions, kinds, destinations, keys, payloads, priorities, chains)
	if err != nil {
		return fmt.Errorf("write %d deliveries: %w", n, err)
	}
	return nil
}

// MoveOrderingKey is RateLimiter.MoveOrderingKey in the transaction that moves the checkpoint of the
// consumer group that enqueues: deliveries that it enqueues later come after the moved ones.
func (s *Store) MoveOrderingKey(ctx context.Context, tx pgx.Tx, from, to domain.StreamID) error {
	if _, err := tx.Exec(ctx, moveOrderingKey, from, to, domain.KindSendMessage); err != nil {
		return fmt.Errorf("move messages from ordering key %s to %s: %w", from, to, err)
	}
	return nil
}

// Notify wakes this process's workers for a bot: deliveries of the bot were committed, or
// an ordering key became free.
func (s *Store) Notify(bot string) { s.ready.Of(bot).Notify() }

// ClaimSQL leases only the head of an ordering key, which is its first unfinished delivery. It skips
// an ordering key whose head is being sent, postponed or a dead letter. SKIP LOCKED leaves rows that
// another claim holds; the deliveries behind them are not heads yet. The head is looked up by
// ordering key for each row: an anti join that was planned while the table was empty would read all
// ordering keys for every claim, and its plan would stay. A delivery that
// is not postponed waits for hideAfter, 2 s, at most: where it seems to wait for longer, the server's
// clock was set back, and it is due.
const ClaimSQL = `
with heads as (
    select d.delivery_id from eventstore.deliveries d
    where d.state = 'waiting' and not d.deferred and not d.postponed and d.destination = $1
      and (d.next_attempt <= now() or d.next_attempt > now() + interval '2 seconds')
      and d.seq = (select first.seq from eventstore.deliveries first
                   where first.ordering_key = d.ordering_key and first.finished_at is null order by first.seq limit 1)
    order by d.priority desc, d.seq
    limit $3
    for update skip locked
)
update eventstore.deliveries d
set state = 'sending', attempts = attempts + 1, fence = fence + 1, lease_owner = $2, lease_until = now() + $4
from heads where d.delivery_id = heads.delivery_id
returning d.delivery_id, d.stream_id, d.version, d.kind, d.ordering_key, d.payload, d.priority, d.correlation_id,
    d.attempts, d.unsure, d.waived, d.fence, now() - coalesce(d.retried_at, d.created_at),
    exists (select from eventstore.rate_limits f
            where f.name in (d.ordering_key, 'bot-' || split_part(d.destination, ':', 2)) and f.cause is not null),
    coalesce((select e.trace from eventstore.events e where e.stream_id = d.stream_id and e.version = d.version), '')`

// ClaimsAtOnce is how many claims may have a connection at once. Each destination claims by itself,
// and the claims of fifty bots would take the whole pool, so that appends wait. A bot has five
// destinations, so its claims do not wait for each other. At least half of the smallest pool is left
// for everything else.
const ClaimsAtOnce = 5

// Claim leases up to limit deliveries to a destination: the head of each ordering key
// that is due, by priority and then by age.
func (s *Store) Claim(
	ctx context.Context, destination, owner string, limit int, lease time.Duration,
) ([]commands.Claimed, error) {
	select {
	case s.claiming <- struct{}{}:
		defer func() { <-s.claiming }()
	case <-ctx.Done():
		return nil, fmt.Errorf("claim deliveries to %s: waiting for other claims: %w", destination, context.Cause(ctx))
	}
	deadline := time.Now().Add(lease) // computed before the server does, so that it is never later than the lease
	claimed := func(row pgx.CollectableRow) (commands.Claimed, error) {
		c := commands.Claimed{Deadline: deadline}
		c.Destination = destination
		var deliveryID, chain pgtype.UUID
		var stream string
		var version int64
		var payload []byte
		err := row.Scan(&deliveryID, &stream, &version, &c.Kind, &c.OrderingKey, &payload, &c.Priority, &chain,
			&c.Attempt, &c.Unsure, &c.Waived, &c.Fence, &c.Age, &c.Closed, &c.Trace)
		if err != nil {
			return c, err
		}
		c.ID, c.Correlation = uuid.UUID(deliveryID.Bytes), uuid.UUID(chain.Bytes)
		c.Stream, c.Version = domain.StreamID(stream), domain.Version(version)
		c.Body, err = postgres.Unescape(payload)
		return c, err
	}
	return postgres.Collect(ctx, s.db.Pool(), "claim deliveries to "+destination, claimed, ClaimSQL, destination,
		s.db.Presence.Owner(owner), limit, lease)
}

const (
	// hideAfter is how long a delivery must be postponed to be hidden from claims. A shorter wait ends
	// before it slows claims down.
	hideAfter = 2 * time.Second
	// resumeBatch is how many deliveries become visible in one transaction of some 10 ms.
	resumeBatch = 1000
)

// ResumeDue makes postponed deliveries that are due visible to claims again.
func (s *Store) ResumeDue(ctx context.Context) error {
	return s.inBatches(ctx, "resume postponed deliveries", resumeBatch, true, `
		with due as (
			select delivery_id from eventstore.deliveries
			where state = 'waiting' and postponed and next_attempt <= now()
			order by next_attempt
			limit $1
			for update skip locked
		)
		update eventstore.deliveries d set postponed = false from due where d.delivery_id = due.delivery_id`)
}

// inBatches repeats a statement that changes at most $1 deliveries until it changes fewer. With ready,
// it wakes the workers, because the changed deliveries may be claimed.
func (s *Store) inBatches(
	ctx context.Context, what string, batch int64, ready bool, statement string, args ...any,
) error {
	for changed := batch; changed == batch; {
		tag, err := s.db.Pool().Exec(ctx, statement, append([]any{batch}, args...)...)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if changed = tag.RowsAffected(); ready && changed > 0 {
			s.ready.NotifyAll()
		}
	}
	return nil
}

// Postpone returns a claimed delivery to the outbox, to be retried after o.After. An unknown outcome
// counts as an unsure attempt, which is waived if it most likely did not arrive. Postpone reports false
// if another worker has the lease now.
func (s *Store) Postpone(ctx context.Context, delivery uuid.UUID, fence int64, o commands.Outcome) (bool, error) {
	tag, err := s.db.Pool().Exec(ctx, `
		update eventstore.deliveries
		set state = 'waiting', next_attempt = now() + $3, postponed = $3 > $8::interval,
			unsure = unsure + $4::bool::int, waived = waived + $7::bool::int,
			attempts = attempts - $5::bool::int, reason = $6,
			lease_owner = null, lease_until = null
		where delivery_id = $1 and fence = $2 and state = 'sending'`,
		postgres.UUID(delivery), fence, o.After, o.State == domain.DeliveryUnknown, o.Untried,
		postgres.CleanText(o.Reason), o.State == domain.DeliveryUnknown && o.Unlikely, hideAfter)
	if err != nil {
		return false, fmt.Errorf("postpone delivery %s: %w", delivery, err)
	}
	return tag.RowsAffected() == 1, nil
}

// ReclaimExpired returns deliveries to the outbox whose lease expired or whose process has ended, and
// returns their number. Their attempts may have arrived, so they count as unsure.
func (s *Store) ReclaimExpired(ctx context.Context) (int64, error) {
	owners, err := postgres.Collect(ctx, s.db.Pool(), "list owners of leases", pgx.RowTo[string],
		`select distinct lease_owner from eventstore.deliveries where state = 'sending'`)
	if err != nil {
		return 0, err
	}
	gone, err := s.db.Presence.Gone(ctx, owners)
	if err != nil {
		return 0, err
	}
	tag, err := s.db.Pool().Exec(ctx, `
		update eventstore.deliveries
		set state = 'waiting', unsure = unsure + 1, fence = fence + 1,
			reason = 'the process that was sending it is gone', lease_owner = null, lease_until = null
		where state = 'sending' and (lease_until < now() or lease_owner = any($1))`, gone)
	if err != nil {
		return 0, fmt.Errorf("reclaim expired deliveries: %w", err)
	}
	if tag.RowsAffected() > 0 {
		s.ready.NotifyAll()
	}
	return tag.RowsAffected(), nil
}

const (
	// deferAfter is how long a delivery waits before it is deferred: an ordering key that makes
	// progress is never changed.
	deferAfter = 5 * time.Second
	// deferBatch is how many deliveries are deferred in one transaction of some 10 ms.
	deferBatch = 1000
)

// DeferFollowers hides from claims the deliveries that have waited for deferAfter behind others of
// their ordering key. So a claim reads one row of an ordering key, however many deliveries it has. It
// only affects speed: whether a delivery may be claimed does not depend on it.
func (s *Store) DeferFollowers(ctx context.Context) error {
	err := s.inBatches(ctx, "defer deliveries", deferBatch, false, `
		with behind as (
			select d.delivery_id from eventstore.deliveries d
			where d.state = 'waiting' and not d.deferred and not d.postponed and d.created_at < now() - $2::interval
			  and exists (select from eventstore.deliveries ahead
			              where ahead.ordering_key = d.ordering_key and ahead.seq < d.seq and ahead.finished_at is null)
			limit $1
			for update skip locked
		)
		update eventstore.deliveries d set deferred = true from behind where d.delivery_id = behind.delivery_id`,
		deferAfter)
	if err != nil {
		return err
	}
	return s.findDeferredHeads(ctx)
}

// headsBatch is how many ordering keys findDeferredHeads checks in one call, some 20 ms.
const headsBatch = 1000

// findDeferredHeads makes heads visible to claims that were deferred while the delivery before them was
// being settled. Each call checks the ordering keys after those of the previous call, so that its cost
// does not grow with the number of deferred deliveries. The recursion takes one step for each key.
func (s *Store) findDeferredHeads(ctx context.Context) error {
	s.heads.Lock()
	defer s.heads.Unlock()
	var found, looked int
	var last string
	err := s.db.Pool().QueryRow(ctx, `
		with recursive keys as (
			select min(ordering_key) as ordering_key, 1 as n
			from eventstore.deliveries where deferred and ordering_key > $1
			union all
			select (select min(ordering_key) from eventstore.deliveries
			        where deferred and ordering_key > l.ordering_key), n + 1
			from keys l where l.ordering_key is not null and n < $2
		), shown as (
			update eventstore.deliveries d set deferred = false
			from keys l, lateral (
				select p.delivery_id, p.seq from eventstore.deliveries p
				where p.deferred and p.ordering_key = l.ordering_key order by p.seq limit 1
			) first
			where d.delivery_id = first.delivery_id
			  and not exists (select from eventstore.deliveries ahead
			                  where ahead.ordering_key = l.ordering_key and ahead.seq < first.seq
			                    and ahead.finished_at is null)
			returning 1
		)
		select (select count(*) from shown), count(ordering_key), coalesce(max(ordering_key), '') from keys`,
		s.lastKey, headsBatch).Scan(&found, &looked, &last)
	if err != nil {
		return fmt.Errorf("find deferred heads: %w", err)
	}
	if s.lastKey = last; looked < headsBatch {
		s.lastKey = "" // from the beginning again
	}
	if found > 0 {
		s.ready.NotifyAll()
	}
	return nil
}

// Ready returns a channel that is closed when there may be a delivery to claim for a destination,
// <system>:<bot>. Deliveries of other bots do not close it: with ten bots, nine of ten claims would
// find nothing, and take connections that appends need.
func (s *Store) Ready(destination string) <-chan struct{} {
	_, bot, _ := strings.Cut(destination, ":")
	return s.ready.Of(bot).Next()
}
