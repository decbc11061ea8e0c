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

// A stream in which time is to bring something about has a row in eventstore.timers,
// which changes with the events that change the time, in their transaction. A row says
// only when to look: whether anything is due is decided by the events, so that a timer
// may go off twice, or for nothing, and what it brings about still happens once.

// timerLease is how long other processes leave a timer alone that one has taken. A decision
// and its commit are far quicker; the timers of a killed process are late by this time.
const timerLease = 10 * time.Second

// Store keeps the timers of one database. It is safe for concurrent use.
type Store struct {
	db *postgres.DB
	// Bots returns the bots whose timers are taken; nil takes those of all bots.
	Bots func() []string
}

// New returns the timers of a database.
func New(db *postgres.DB) *Store { return &Store{db: db} }

// ofBots is the condition of timers of the bots that are served here; $1 is null for all of them.
// Those of other bots are passed by: a process that has the bot takes them.
const ofBots = `($1::text[] is null or regexp_replace(stream_id, '^chat-(.*):[^:]*$', '\1') = any($1))`

func (s *Store) bots() []string {
	if s.Bots == nil {
		return nil
	}
	return append([]string{}, s.Bots()...) // none is not all
}

var _ commands.TimerStore = (*Store)(nil)

// Take leases the timers that are longest due.
func (s *Store) Take(ctx context.Context, now time.Time) ([]commands.Timer, error) {
	// SKIP LOCKED leaves timers that another process holds.
	return postgres.Collect(ctx, s.db.Pool(), "take timers", pgx.RowToStructByPos[commands.Timer], `
		with due as materialized (
			select stream_id from eventstore.timers
			where `+ofBots+` and due_at <= $2 and (taken_until is null or taken_until <= now())
			order by due_at limit $3 for update skip locked
		)
		update eventstore.timers t set taken_until = now() + $4 from due where t.stream_id = due.stream_id
		returning t.stream_id, t.due_at, t.quiet`, s.bots(), now, commands.MaxTimers, timerLease)
}

// Next is when the first timer goes off that nobody has taken; zero when there is none.
func (s *Store) Next(ctx context.Context) (at time.Time, err error) {
	err = s.db.Pool().QueryRow(ctx, `
		select due_at from eventstore.timers where `+ofBots+` and (taken_until is null or taken_until <= now())
		order by due_at limit 1`, s.bots()).Scan(&at)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return at, fmt.Errorf("look for the next timer: %w", err)
	}
	return at, nil
}

// Set sets timers that went off to the next time, or takes them away, unless an
// append has set them meanwhile.
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
		return fmt.Errorf("set %d timers that went off: %w", len(done), err)
	}
	return nil
}
