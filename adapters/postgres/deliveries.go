package postgres

import (
	"context"
	"encoding/json"
	"fmt"
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
		ids[i], chains[i], streams[i], versions[i] = id(d.ID), id(d.Correlation), string(d.Stream), int64(d.Version)
		kinds[i], destinations[i], lanes[i] = d.Kind, d.Destination, d.Lane
		payloads[i], priorities[i] = *seal(payload, false), int16(d.Priority)
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

// Owed wakes the claimers of this process: deliveries were committed.
func (s *Store) Owed() { s.owed.all() }

// Claim leases up to limit deliveries to a destination: the head of each lane
// that is due, the most urgent and the oldest first.
func (s *Store) Claim(ctx context.Context, destination, owner string, limit int, lease time.Duration) ([]commands.Claimed, error) {
	begun := time.Now() // before the server reads its clock: the lease must not seem longer here
	// Only heads are looked at: a lane whose head is being sent or put off is
	// passed over. Rows that another claims this moment are skipped, and what
	// stands behind them is not a head yet in this statement's eyes.
	rows, err := s.pool.Query(ctx, `
		with heads as (
			select d.delivery_id from eventstore.deliveries d
			where d.state = 'waiting' and d.destination = $1 and d.next_attempt <= now()
			  and not exists (select from eventstore.deliveries ahead
			                  where ahead.lane = d.lane and ahead.seq < d.seq and ahead.state in ('waiting', 'sending'))
			order by d.priority desc, d.seq
			limit $3
			for update skip locked
		)
		update eventstore.deliveries d
		set state = 'sending', attempts = attempts + 1, fence = fence + 1, lease_owner = $2, lease_until = now() + $4
		from heads where d.delivery_id = heads.delivery_id
		returning d.delivery_id, d.stream_id, d.version, d.kind, d.lane, d.payload, d.priority, d.correlation_id,
			d.attempts, d.unsure, d.fence, now() - d.created_at`,
		destination, owner, limit, lease)
	if err != nil {
		return nil, fmt.Errorf("claim deliveries to %s: %w", destination, err)
	}
	deadline := begun.Add(lease)
	claimed, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (commands.Claimed, error) {
		c := commands.Claimed{Deadline: deadline}
		c.Destination = destination
		var deliveryID, chain pgtype.UUID
		var stream string
		var version int64
		var payload []byte
		err := row.Scan(&deliveryID, &stream, &version, &c.Kind, &c.Lane, &payload, &c.Priority, &chain, &c.Attempt, &c.Unsure, &c.Fence, &c.Age)
		if err != nil {
			return c, err
		}
		c.ID, c.Correlation, c.Stream, c.Version = uuid.UUID(deliveryID.Bytes), uuid.UUID(chain.Bytes), domain.StreamID(stream), domain.Version(version)
		c.Body, err = unseal(payload)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("claim deliveries to %s: %w", destination, err)
	}
	return claimed, nil
}

// PutOff gives a claimed delivery back, to be tried again after a while. unsure
// says that this attempt may have arrived. It is false when the lease is another's now.
func (s *Store) PutOff(ctx context.Context, delivery uuid.UUID, fence int64, after time.Duration, unsure bool, reason string) (bool, error) {
	tag, err := s.pool.Exec(ctx, `
		update eventstore.deliveries
		set state = 'waiting', next_attempt = now() + $3, unsure = unsure + $4::int, reason = $5, lease_owner = null, lease_until = null
		where delivery_id = $1 and fence = $2 and state = 'sending'`,
		id(delivery), fence, after, map[bool]int{true: 1}[unsure], clean(reason))
	if err != nil {
		return false, fmt.Errorf("put delivery %s off: %w", delivery, err)
	}
	return tag.RowsAffected() == 1, nil
}

// TakeOver frees deliveries whose lease ran out: their worker is gone, and
// whether it had sent them nobody knows. It returns how many.
func (s *Store) TakeOver(ctx context.Context) (int64, error) {
	tag, err := s.pool.Exec(ctx, `
		update eventstore.deliveries
		set state = 'waiting', unsure = unsure + 1, fence = fence + 1, reason = 'the process that was sending it is gone',
			lease_owner = null, lease_until = null
		where state = 'sending' and lease_until < now()`)
	if err != nil {
		return 0, fmt.Errorf("take over deliveries: %w", err)
	}
	if tag.RowsAffected() > 0 {
		s.owed.all()
	}
	return tag.RowsAffected(), nil
}

// Waiting is a channel that is closed when there may be something to claim.
func (s *Store) Waiting() <-chan struct{} { return s.owed.next() }
