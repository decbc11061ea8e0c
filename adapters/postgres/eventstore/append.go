package eventstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// contendedFor is how long, after a rejected batch, further batches use the careful statement first.
// Another process is writing to the same chats, and each rejected batch costs a round trip and its
// work.
const contendedFor = 50 * time.Millisecond

// Append implements commands.Store. In most batches nothing is rejected, so a batch is first
// appended by plain inserts. When a unique index rejects it, the batch is appended again by the
// careful statement, and finally in parts. If events were decided on states of another server, or of
// another history of it, they are a conflict: the stream may have the expected version with other
// events.
func (s *Store) Append(ctx context.Context, batch []commands.Append) ([]error, error) {
	server, present := s.Server(batch[0].Incarnation)
	other := func(a commands.Append) bool { return a.Incarnation != batch[0].Incarnation }
	if !present || slices.ContainsFunc(batch, other) {
		return conflicts(batch), nil
	}
	errs, err := s.appendPlainOrCareful(ctx, server, batch)
	if errors.Is(err, errAnotherServer) {
		if err = s.LookAtServer(ctx); err == nil {
			return conflicts(batch), nil
		}
	}
	s.noteWrite(err)
	if err != nil {
		return nil, fmt.Errorf("append to %d streams: %w", len(batch), err)
	}
	s.feed.Notify()
	s.appended.Notify()
	for _, a := range batch {
		if len(a.Settled) > 0 && s.outbox != nil {
			s.outbox.Notify(a.Stream.Bot()) // the next delivery with the same ordering key may be claimed
		}
	}
	return errs, nil
}

// errAnotherServer ends an append that reached another server, or another history of it, than the one
// that its decisions are based on.
var errAnotherServer = errors.New("the database server is another one, or has another history")

// conflicts returns ErrConflict for every Append: all are decided again on fresh states.
func conflicts(batch []commands.Append) []error {
	errs := make([]error, len(batch))
	for i := range errs {
		errs[i] = commands.ErrConflict
	}
	return errs
}

func (s *Store) appendPlainOrCareful(ctx context.Context, server string, batch []commands.Append) ([]error, error) {
	if time.Now().UnixNano() > s.contendedUntil.Load() {
		err := s.appendPlain(ctx, server, batch)
		if err == nil {
			return make([]error, len(batch)), nil
		}
		if !ofContent(err) {
			return nil, err
		}
		s.contendedUntil.Store(time.Now().Add(contendedFor).UnixNano())
	}
	return s.appendInParts(ctx, server, batch)
}

// rows has a batch as parameters, column by column.
type rows struct {
	streams                      []string
	expected, appendOrd          []int64  // ord is the place in the batch, from 1
	begun                        []string // streams that the batch begins
	updateOrd, updateID, updateV []int64
	bots, updateStreams          []string
	settleOrd, fences            []int64
	deliveries                   []pgtype.UUID
	were, states, reasons        []string
	over, unsure                 []bool // over: the delivery is finished; unsure: the attempt may have arrived
	outcomes                     []*string
	ords, versions               []int64
	eventStreams                 []string
	ids, causes, chains          []pgtype.UUID
	names, payloads, actors      []string
	eventVersions                []int16
	raws                         []*string
	traces                       []*string // may be shorter than the others: unnest adds nulls
	times                        []time.Time
	timedOrd                     []int64
	timed                        []string
	due                          []*time.Time // nil deletes the timer
}

// rowsOf converts a batch into columns. With escaped, every JSON value is stored as bytes, for values
// that JSONB cannot hold.
func (s *Store) rowsOf(batch []commands.Append, escaped bool) (*rows, error) {
	r := &rows{}
	// All processes append streams in the same order, so that there is no deadlock.
	order := make([]int, len(batch))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(batch[i].Stream, batch[j].Stream) })
	for _, i := range order {
		a := batch[i]
		ord, stream := int64(i+1), string(a.Stream)
		r.streams, r.appendOrd = append(r.streams, stream), append(r.appendOrd, ord)
		r.expected = append(r.expected, int64(a.Expected))
		if a.Expected == 0 {
			r.begun = append(r.begun, stream)
		}
		if a.Wake != nil {
			r.timedOrd, r.timed = append(r.timedOrd, ord), append(r.timed, stream)
			r.due = append(r.due, postgres.NullTime(*a.Wake))
		}
		for _, u := range a.Updates {
			r.updateOrd, r.updateStreams = append(r.updateOrd, ord), append(r.updateStreams, stream)
			r.bots, r.updateID = append(r.bots, u.Bot), append(r.updateID, u.ID)
			r.updateV = append(r.updateV, int64(u.Version))
		}
		for _, d := range a.Settled {
			r.settleOrd, r.fences = append(r.settleOrd, ord), append(r.fences, d.Fence)
			r.deliveries = append(r.deliveries, postgres.UUID(d.Delivery))
			r.were = append(r.were, string(cmp.Or(d.Was, domain.DeliverySending)))
			r.states = append(r.states, string(d.State))
			r.over = append(r.over, !d.BlocksKey && d.State != domain.DeliveryWaiting)
			r.unsure = append(r.unsure, d.Unsure)
			r.outcomes = append(r.outcomes, postgres.Escape(d.Outcome, escaped))
			r.reasons = append(r.reasons, postgres.CleanText(d.Reason))
		}
		for j, e := range a.Events {
			name, version, payload, err := s.codec.Encode(e.Event)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", a.Stream, err)
			}
			r.ords, r.eventStreams = append(r.ords, ord), append(r.eventStreams, stream)
			r.versions = append(r.versions, int64(a.Expected)+int64(j)+1)
			r.ids, r.causes = append(r.ids, postgres.UUID(e.ID)), append(r.causes, postgres.UUID(e.Causation))
			r.chains = append(r.chains, postgres.UUID(e.Correlation))
			r.names, r.eventVersions = append(r.names, name), append(r.eventVersions, int16(version))
			r.payloads = append(r.payloads, *postgres.Escape(payload, escaped))
			r.raws = append(r.raws, postgres.Escape(e.Raw, escaped))
			r.actors, r.times = append(r.actors, postgres.CleanText(string(e.Actor))), append(r.times, e.OccurredAt)
			if e.Trace != "" {
				r.traces = append(r.traces, make([]*string, len(r.ids)-len(r.traces))...)
				r.traces[len(r.ids)-1] = &e.Trace
			}
		}
	}
	return r, nil
}

// appendPlain stores a batch by plain inserts in one round trip and one transaction. If a stream has
// a later version than expected, or an update was received before, the unique indexes reject the whole
// batch. eventstore.require rejects a batch that would leave a gap, that was decided on states of
// another server, or that settles a delivery whose lease another worker holds.
func (s *Store) appendPlain(ctx context.Context, server string, batch []commands.Append) error {
	r, err := s.rowsOf(batch, false)
	if err != nil {
		return err
	}
	if len(batch) == 1 && len(r.ords) == 1 && len(r.bots) == 1 && len(r.begun)+len(r.deliveries)+len(r.timed) == 0 {
		return s.appendOne(ctx, server, r)
	}
	const insert = `
		with received as (
			insert into eventstore.inbox (bot, update_id, stream_id, version)
			select * from unnest($12::text[], $13::bigint[], $14::text[], $15::bigint[])
		)
		insert into eventstore.events (stream_id, version, event_id, name, event_version, payload, raw,
			causation_id, correlation_id, actor, occurred_at, trace)
		select stream_id, version, event_id, name, event_version, payload::jsonb, raw::jsonb,
			causation_id, correlation_id, actor, occurred_at, trace
		from unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::smallint[], $6::text[], $7::text[],
			$8::uuid[], $9::uuid[], $10::text[], $11::timestamptz[], $18::text[])
			as e(stream_id, version, event_id, name, event_version, payload, raw,
				causation_id, correlation_id, actor, occurred_at, trace)
		where (select eventstore.require($19 = (` + postgres.ServerIdentity + `), 'decided on states of another server'))
		and (select eventstore.require(not exists (
			select from unnest($16::text[], $17::bigint[]) as a(stream_id, expected)
			where a.expected > 0 and not exists (
				select from eventstore.events l where l.stream_id = a.stream_id and l.version = a.expected)),
			'a stream does not have the expected version'))`
	args := []any{
		r.eventStreams, r.versions, r.ids, r.names, r.eventVersions, r.payloads, r.raws,
		r.causes, r.chains, r.actors, r.times,
		r.bots, r.updateID, r.updateStreams, r.updateV, r.streams, r.expected, r.traces, server,
	}
	if len(r.begun)+len(r.deliveries)+len(r.timed) == 0 {
		_, err := s.Pool().Exec(ctx, insert, args...)
		return err
	}
	var b pgx.Batch
	if len(r.deliveries) > 0 {
		b.Queue(`
			with settled as (
				update eventstore.deliveries x set `+settle+`
				from unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[],
					$5::boolean[], $6::boolean[], $7::text[], $8::text[])
					as d(delivery_id, fence, was, state, over, unsure, outcome, reason)
				where x.delivery_id = d.delivery_id and x.fence = d.fence and x.state = d.was
				returning x.ordering_key, x.seq, x.finished_at
			), moved_up as (`+moveUp+`)
			select eventstore.require((select count(*) from settled) = $9, 'another worker holds a lease')`,
			r.deliveries, r.fences, r.were, r.states, r.over, r.unsure, r.outcomes, r.reasons, len(r.deliveries))
	}
	if len(r.begun) > 0 {
		b.Queue(`insert into eventstore.streams (stream_id) select unnest($1::text[])`, r.begun)
	}
	b.Queue(insert, args...)
	if len(r.timed) > 0 {
		b.Queue(`
			with t as (select * from unnest($1::text[], $2::timestamptz[]) as t(stream_id, due_at)), `+setTimers+`
			select`, r.timed, r.due)
	}
	return s.Pool().SendBatch(ctx, &b).Close()
}

// insertOne stores one event with its update, if the stream has the expected version.
const insertOne = `
	with last as materialized ( -- empty if the event would leave a gap
		select from eventstore.events
		where stream_id = $3 and version = $4::bigint - 1 and $15 = (` + postgres.ServerIdentity + `)
	), received as (
		insert into eventstore.inbox (bot, update_id, stream_id, version) select $1, $2, $3, $4 from last
	)
	insert into eventstore.events (stream_id, version, event_id, name, event_version, payload, raw,
		causation_id, correlation_id, actor, occurred_at, trace)
	select $3, $4, $5, $6, $7, $8::text::jsonb, $9::text::jsonb, $10, $11, $12, $13, $14 from last`

// appendOne stores a single update without arrays: encoding and unnesting them would cost more than
// the row itself.
func (s *Store) appendOne(ctx context.Context, server string, r *rows) error {
	tag, err := s.Pool().Exec(ctx, insertOne,
		r.bots[0], r.updateID[0], r.streams[0], r.versions[0], r.ids[0], r.names[0], r.eventVersions[0], r.payloads[0],
		r.raws[0],
		r.causes[0], r.chains[0], r.actors[0], r.times[0], r.trace(), server)
	if err == nil && tag.RowsAffected() == 0 {
		return errRefused
	}
	return err
}

// trace is the first event's; nil when it is not sampled.
func (r *rows) trace() *string {
	if len(r.traces) == 0 {
		return nil
	}
	return r.traces[0]
}

// errRefused is the error that eventstore.require would raise.
var errRefused = &pgconn.PgError{Code: "CL001", Message: "the stream is not that long"}

var _ commands.Store = (*Store)(nil)
