// Package timers stores the next deadline of each stream that has one (see
// commands.Timekeeper).
package timers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
)

// A stream with a deadline has a row in eventstore.timers. The append that changes the deadline changes
// the row, in the same transaction. A row only says when to check the stream; the domain decides from
// its events whether something is due. So a timer may fire twice, or too early, without a second effect.

// timerLease is how long a claimed timer is reserved for its process. A decision and its commit are
// much faster. If the process is killed, its timers fire late by this time.
const timerLease = 10 * time.Second

// Store has the timers of one database. It is safe for concurrent use.
type Store struct {
	db *postgres.DB
	// Bots returns the bots whose timers this process claims; nil means all bots.
	Bots func() []string
}

// New returns the timers of a database.
func New(db *postgres.DB) *Store { return &Store{db: db} }

// ofBots is the condition of timers of the bots in $1; null means all bots. A process that serves the
// other bots claims their timers.
const ofBots = `($1::text[] is null or regexp_replace(stream_id, '^chat-(.*):[^:]*$', '\1') = any($1))`

func (s *Store) bots() []string {
	if s.Bots == nil {
		return nil
	}
	return append([]string{}, s.Bots()...) // not nil, which means all bots
}

var _ commands.TimerStore = (*Store)(nil)

// Take leases due timers, the earliest first.
func (s *Store) Take(ctx context.Context, now time.Time) ([]commands.Timer, error) {
	// A lease that ends later than any does was taken before the server's clock was set back.
	// SKIP LOCKED leaves timers that another process holds.
	return postgres.Collect(ctx, s.db.Pool(), "take timers", pgx.RowToStructByPos[commands.Timer], `
		with due as materialized (
			select stream_id from eventstore.timers
			where `+ofBots+` and due_at <= $2
				and (taken_until is null or taken_until <= now() or taken_until > now() + 2 * $4::interval)
			order by due_at limit $3 for update skip locked
		)
		update eventstore.timers t set taken_until = now() + $4::interval from due where t.stream_id = due.stream_id
		returning t.stream_id, t.due_at, t.quiet`, s.bots(), now, commands.MaxTimers, timerLease)
}

// Next returns the time of the first timer that is not leased, or zero if there is none.
func (s *Store) Next(ctx context.Context) (at time.Time, err error) {
	err = s.db.Pool().QueryRow(ctx, `
		select due_at from eventstore.timers
		where `+ofBots+`
			and (taken_until is null or taken_until <= now() or taken_until > now() + 2 * $2::interval)
		order by due_at limit 1`, s.bots(), timerLease).Scan(&at)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return at, fmt.Errorf("read the next timer: %w", err)
	}
	return at, nil
}

// Set sets fired timers to their next time, or deletes them if that is zero, unless an append has set
// them since.
func (s *Store) Set(ctx context.Context, done []commands.Timer, next []time.Time) error {
	if len(done) == 0 {
		return nil
	}
	streams, were, dues := make([]string, len(done)), make([]time.Time, len(done)), make([]*time.Time, len(done))
	for i, t := range done {
		streams[i], were[i], dues[i] = string(t.Stream), t.Due, postgres.NullTime(next[i])
	}
	_, err := s.db.Pool().Exec(ctx, `
		with t as (
			select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) as t(stream_id, was, due_at)
		), unset as (
			delete from eventstore.timers x using t where x.stream_id = t.stream_id and x.due_at = t.was and t.due_at is null
		)
		update eventstore.timers x set due_at = t.due_at, taken_until = null, quiet = false
		from t where x.stream_id = t.stream_id and x.due_at = t.was and t.due_at is not null`, streams, were, dues)
	if err != nil {
		return fmt.Errorf("set %d fired timers: %w", len(done), err)
	}
	return nil
}
