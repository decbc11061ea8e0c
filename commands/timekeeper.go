package commands

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

const (
	// MaxTimers bounds the timers that are leased at once: enough to amortise the commits,
	// and decided well within the lease.
	MaxTimers = 128
	// timerInterval is how often timers are polled when none is known to be due sooner. No
	// timer is set for so near a time, so that setting one needs no notification.
	timerInterval = time.Second
	// minTimerPause is the shortest time between two polls, for due timers that another
	// process has leased.
	minTimerPause = 10 * time.Millisecond
	// idleTimerPause delays a timer that was due by its chat's state and still led to no
	// event. There should be none.
	idleTimerPause = time.Minute
)

// Timer is a leased timer of one stream.
type Timer struct {
	Stream domain.StreamID
	Due    time.Time
	Quiet  bool // it was imported, and has not gone off since
}

// TimerStore keeps the next deadline of each stream that has one.
type TimerStore interface {
	// Take leases up to MaxTimers due timers, the longest due first.
	Take(ctx context.Context, now time.Time) ([]Timer, error)
	// Next returns the earliest deadline that is not leased; zero when there is none.
	Next(context.Context) (time.Time, error)
	// Set moves timers that went off to their next deadlines, or deletes them when that is
	// zero. A timer that an append has set meanwhile stays as it is.
	Set(ctx context.Context, done []Timer, next []time.Time) error
}

// Timekeeper handles chat.Elapse for streams whose deadline has passed. Any number of them,
// in any number of processes, may share the work.
type Timekeeper struct {
	Store   TimerStore
	Handler BatchHandler
	Now     func() time.Time // in the store's resolution
	Every   time.Duration    // polling interval; 0 is timerInterval
	Log     *slog.Logger
}

// BatchHandler handles requests of several streams: Handler.
type BatchHandler interface {
	HandleAll(context.Context, []Request) ([]Result, error)
}

// Run handles due timers until ctx ends. A timer that could not be handled is retried when
// its lease has expired.
func (k *Timekeeper) Run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		next, err := k.poll(ctx)
		if err != nil && ctx.Err() == nil {
			k.Log.Error("cannot handle timers; retrying", "error", err)
			next = timerInterval
		}
		pause.Reset(next)
	}
}

// poll handles the timers that are due and returns the pause until the next poll.
func (k *Timekeeper) poll(ctx context.Context) (pause time.Duration, err error) {
	now := k.Now()
	due, err := k.Store.Take(ctx, now)
	if err != nil {
		return 0, err
	}
	if len(due) > 0 {
		if err := k.elapse(ctx, due, now); err != nil || len(due) == MaxTimers {
			return 0, err
		}
	}
	every := cmp.Or(k.Every, timerInterval)
	next, err := k.Store.Next(ctx)
	if err != nil || next.IsZero() {
		return every, err
	}
	return min(max(next.Sub(k.Now()), minTimerPause), every), nil
}

// elapse handles chat.Elapse for the timers' streams and sets their next deadlines.
func (k *Timekeeper) elapse(ctx context.Context, due []Timer, now time.Time) error {
	requests := make([]Request, len(due))
	for i, t := range due {
		requests[i] = Request{
			Stream: t.Stream, Command: chat.Elapse{At: now, Quiet: t.Quiet}, Actor: domain.ActorTimer, At: now,
		}
		if t.Quiet {
			requests[i].Actor = domain.ActorImport
		}
	}
	results, failed := k.Handler.HandleAll(ctx, requests)
	var done []Timer
	var next []time.Time
	for i, r := range results {
		if r.First == 0 { // it failed
			continue
		}
		if len(r.Events) == 0 && !r.Wake.IsZero() && !r.Wake.After(now) {
			r.Wake = now.Add(idleTimerPause)
		}
		done, next = append(done, due[i]), append(next, r.Wake)
	}
	return errors.Join(failed, k.Store.Set(ctx, done, next))
}
