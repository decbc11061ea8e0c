// Package timers stores when the next thing is due in a stream, and runs what is due.
package timers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// A stream in which time is to bring something about has a row in eventstore.timers,
// which changes with the events that change the time, in their transaction. A row says
// only when to look: whether anything is due is decided by the events, so that a timer
// may go off twice, or for nothing, and what it brings about still happens once.

const (
	// timerLease is for how long others leave a timer alone that somebody has taken: a
	// decision and its commit are far quicker, and so much later comes what a process
	// that was killed had taken.
	timerLease = 10 * time.Second
	// timersAtOnce bounds what is taken at once: enough to amortise the commits, and
	// decided well within the lease.
	timersAtOnce = 128
	// timersEvery is how often timers are looked at when none is known to be due sooner.
	// None is set for so near a time, so that nobody has to say when one is.
	timersEvery = time.Second
	// timersApart is how far apart looks are while somebody else has what is due in hand.
	timersApart = 10 * time.Millisecond
	// vainPause is the wait before a timer that led to nothing, though it was due by its
	// chat's own account, goes off again. There should be none such.
	vainPause = time.Minute
)

// Timer is a row that somebody has taken.
type Timer struct {
	Stream domain.StreamID
	Due    time.Time
	Quiet  bool // it was imported, and nobody has looked since
}

// Store keeps the timers of one database. It is safe for concurrent use.
type Store struct{ db *postgres.DB }

// New returns the timers of a database.
func New(db *postgres.DB) *Store { return &Store{db} }

// Timekeeper lets chats do what it is time for. Any number of them, in any number of
// processes, may share the work.
type Timekeeper struct {
	Store  *Store
	Handle func(context.Context, []commands.Request) ([]commands.Result, error)
	Now    func() time.Time // in the database's resolution
	Every  time.Duration    // how often timers are looked at; 0 is timersEvery
	Log    *slog.Logger
}

// Run keeps the time until ctx ends. What could not be decided or stored is tried again
// when its lease is over.
func (k *Timekeeper) Run(ctx context.Context) {
	pause := time.Duration(0)
	for wait.For(ctx, pause) == nil {
		var err error
		if pause, err = k.look(ctx); err != nil && ctx.Err() == nil {
			k.Log.Error("timers did not go off; they will", "error", err)
			pause = timersEvery
		}
	}
}

// look lets go off what is due, and says how long nothing will be.
func (k *Timekeeper) look(ctx context.Context) (pause time.Duration, err error) {
	now := k.Now()
	due, err := k.Store.Take(ctx, now)
	if err != nil {
		return 0, err
	}
	if len(due) > 0 {
		if err := k.elapse(ctx, due, now); err != nil || len(due) == timersAtOnce {
			return 0, err
		}
	}
	every := k.Every
	if every == 0 {
		every = timersEvery
	}
	next, err := k.Store.Next(ctx)
	if err != nil || next.IsZero() {
		return every, err
	}
	return min(max(next.Sub(k.Now()), timersApart), every), nil
}

// elapse puts the time to chats, and sets their timers to what comes next.
func (k *Timekeeper) elapse(ctx context.Context, due []Timer, now time.Time) error {
	requests := make([]commands.Request, len(due))
	for i, t := range due {
		requests[i] = commands.Request{Stream: t.Stream, Command: chat.Elapse{At: now, Quiet: t.Quiet}, Actor: domain.ActorTimer, At: now}
		if t.Quiet {
			requests[i].Actor = domain.ActorImport
		}
	}
	results, failed := k.Handle(ctx, requests)
	var done []Timer
	var next []*time.Time
	for i, r := range results {
		if r.First == 0 { // it failed
			continue
		}
		if len(r.Events) == 0 && !r.Wake.IsZero() && !r.Wake.After(now) {
			r.Wake = now.Add(vainPause)
		}
		done, next = append(done, due[i]), append(next, postgres.NullTime(r.Wake))
	}
	return errors.Join(failed, k.Store.Set(ctx, done, next))
}

// Take leases the timers that are longest due.
func (s *Store) Take(ctx context.Context, now time.Time) ([]Timer, error) {
	// SKIP LOCKED leaves timers that another process holds.
	return postgres.Collect(ctx, s.db.Pool(), "take timers", pgx.RowToStructByPos[Timer], `
		with due as materialized (
			select stream_id from eventstore.timers
			where due_at <= $1 and (taken_until is null or taken_until <= now())
			order by due_at limit $2 for update skip locked
		)
		update eventstore.timers t set taken_until = now() + $3 from due where t.stream_id = due.stream_id
		returning t.stream_id, t.due_at, t.quiet`, now, timersAtOnce, timerLease)
}

// Next is when the first timer goes off that nobody has taken; zero when there is none.
func (s *Store) Next(ctx context.Context) (at time.Time, err error) {
	err = s.db.Pool().QueryRow(ctx, `
		select due_at from eventstore.timers where taken_until is null or taken_until <= now()
		order by due_at limit 1`).Scan(&at)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return at, fmt.Errorf("look for the next timer: %w", err)
	}
	return at, nil
}

// Set sets timers that went off to the next time, or takes them away, unless an
// append has set them meanwhile.
func (s *Store) Set(ctx context.Context, done []Timer, next []*time.Time) error {
	if len(done) == 0 {
		return nil
	}
	streams, were := make([]string, len(done)), make([]time.Time, len(done))
	for i, t := range done {
		streams[i], were[i] = string(t.Stream), t.Due
	}
	_, err := s.db.Pool().Exec(ctx, `
		with t as (
			select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) as t(stream_id, was, due_at)
		), unset as (
			delete from eventstore.timers x using t where x.stream_id = t.stream_id and x.due_at = t.was and t.due_at is null
		)
		update eventstore.timers x set due_at = t.due_at, taken_until = null, quiet = false
		from t where x.stream_id = t.stream_id and x.due_at = t.was and t.due_at is not null`, streams, were, next)
	if err != nil {
		return fmt.Errorf("set %d timers that went off: %w", len(done), err)
	}
	return nil
}
