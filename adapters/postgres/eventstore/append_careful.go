package eventstore

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
)

// appendCareful appends to many streams in one statement. It leaves out the streams that cannot be
// appended to, and returns the reason for each.
//
// All parts of the statement see one snapshot, which is taken before its first write. This keeps each
// stream in version order in the feed: an expected version in the snapshot was committed by a
// transaction with a lower id. If another transaction commits after the snapshot, the unique indexes
// reject the statement, and the batch is appended in parts.
const appendCareful = `
with a as materialized (
    select * from unnest($1::text[], $2::bigint[], $24::bigint[]) as a(stream_id, expected, ord)
), u as materialized (
    select * from unnest($3::bigint[], $4::text[], $5::bigint[], $6::bigint[]) as u(ord, bot, update_id, version)
), d as materialized (
    select * from unnest($7::bigint[], $8::uuid[], $9::bigint[], $10::text[], $11::text[], $12::text[], $25::text[],
        $26::boolean[], $27::boolean[]) as d(ord, delivery_id, fence, state, outcome, reason, was, over, unsure)
), held as materialized ( -- locked, so that no other worker gets the lease between the check and the commit
    select x.delivery_id from d join eventstore.deliveries x
        on x.delivery_id = d.delivery_id and x.fence = d.fence and x.state = d.was
    for update of x
), refused as materialized (
    select a.ord, 'conflict' as why, null::bigint as update_id, null::uuid as delivery_id
    from a where a.expected <> coalesce((select e.version from eventstore.events e
        where e.stream_id = a.stream_id order by e.version desc limit 1), 0)
    union all
    select 0, 'another server', null, null where $31 <> (` + postgres.ServerIdentity + `)
    union all
    select u.ord, 'repeated', u.update_id, null
    from u join eventstore.inbox i on i.bot = u.bot and i.update_id = u.update_id
    union all
    select d.ord, 'fenced', null, d.delivery_id
    from d where not exists (select from held where held.delivery_id = d.delivery_id)
), accepted as materialized (
    select * from a where not exists (select from refused r where r.ord in (0, a.ord))
), begun as (
    insert into eventstore.streams (stream_id) select stream_id from accepted where expected = 0
), received as (
    insert into eventstore.inbox (bot, update_id, stream_id, version)
    select u.bot, u.update_id, a.stream_id, u.version from u join accepted a on a.ord = u.ord
), settled as (
    update eventstore.deliveries x set ` + settle + `
    from d join accepted a on a.ord = d.ord where x.delivery_id = d.delivery_id
    returning x.ordering_key, x.seq, x.finished_at
), moved_up as (` + moveUp + `), stored as (
    insert into eventstore.events (stream_id, version, event_id, name, event_version, payload, raw,
        causation_id, correlation_id, actor, occurred_at, trace)
    select a.stream_id, e.version, e.event_id, e.name, e.event_version, e.payload::jsonb, e.raw::jsonb,
        e.causation_id, e.correlation_id, e.actor, e.occurred_at, e.trace
    from unnest($13::bigint[], $14::bigint[], $15::uuid[], $16::text[], $17::smallint[], $18::text[], $19::text[],
        $20::uuid[], $21::uuid[], $22::text[], $23::timestamptz[], $28::text[])
        as e(ord, version, event_id, name, event_version, payload, raw,
            causation_id, correlation_id, actor, occurred_at, trace)
    join accepted a on a.ord = e.ord
), t as (
    select a.stream_id, t.due_at
    from unnest($29::bigint[], $30::timestamptz[]) as t(ord, due_at) join accepted a on a.ord = t.ord
), ` + setTimers + `
select ord, why, update_id, delivery_id from refused`

// appendCarefully runs appendCareful. It returns an error for each Append that was left out. It appends
// nothing if the events were decided on states of another server.
func (s *Store) appendCarefully(
	ctx context.Context, server string, batch []commands.Append, escaped bool,
) ([]error, error) {
	r, err := s.rowsOf(batch, escaped)
	if err != nil {
		return nil, err
	}
	found, err := s.Pool().Query(ctx, appendCareful, r.streams, r.expected, r.updateOrd, r.bots, r.updateID, r.updateV,
		r.settleOrd, r.deliveries, r.fences, r.states, r.outcomes, r.reasons,
		r.ords, r.versions, r.ids, r.names, r.eventVersions, r.payloads, r.raws, r.causes, r.chains, r.actors, r.times,
		r.appendOrd,
		r.were, r.over, r.unsure, r.traces, r.timedOrd, r.due, server)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(batch))
	var ord int
	var why string
	var update *int64
	var delivery pgtype.UUID
	_, err = pgx.ForEachRow(found, []any{&ord, &why, &update, &delivery}, func() error {
		if ord == 0 {
			return errAnotherServer
		}
		errs[ord-1] = refusal(errs[ord-1], why, update, uuid.UUID(delivery.Bytes))
		return nil
	})
	return errs, err
}

// refusal adds one reason to the error of a rejected Append. A conflict replaces all others: they are
// checked again after the stream was loaded again.
func refusal(sofar error, why string, update *int64, delivery uuid.UUID) error {
	if sofar == commands.ErrConflict || why == "conflict" {
		return commands.ErrConflict
	}
	if why == "repeated" {
		repeated, _ := sofar.(commands.Repeated)
		return append(repeated, *update)
	}
	if _, other := sofar.(commands.Repeated); other {
		return sofar
	}
	fenced, _ := sofar.(commands.Fenced)
	return append(fenced, delivery)
}

// appendInParts appends a batch by appendCareful. If the whole statement is rejected, it appends each
// half by itself, down to single Appends. Usually another process was faster with one chat; the next
// statement sees that, and leaves out only that chat.
func (s *Store) appendInParts(ctx context.Context, server string, batch []commands.Append) ([]error, error) {
	errs, err := s.appendCarefully(ctx, server, batch, false)
	if half := len(batch) / 2; half > 0 && ofContent(err) {
		if errs, err = s.appendInParts(ctx, server, batch[:half]); err != nil {
			return nil, err
		}
		others, err := s.appendInParts(ctx, server, batch[half:])
		return append(errs, others...), err
	}
	if postgres.HasCode(err, "22", "54") {
		errs, err = s.appendCarefully(ctx, server, batch, true) // JSONB cannot hold a value
	}
	switch {
	case postgres.HasCode(err, "23505", "40"):
		return []error{commands.ErrConflict}, nil // the next attempt sees what the other transaction appended
	case ofContent(err):
		return []error{err}, nil // this Append can never be stored; the others are not affected
	default:
		return errs, err
	}
}

// ofContent reports whether the server rejected a batch because of its content: a row that another
// transaction inserted first (class 23), a deadlock (class 40), a value that JSONB cannot hold (classes
// 22 and 54), or a condition of eventstore.require (class CL, of chatledger).
func ofContent(err error) bool { return postgres.HasCode(err, "22", "23", "40", "54", "CL") }
