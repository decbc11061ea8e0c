package eventstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/wait"
)

// The leader of a consumer group is the process that is named in the group's row of
// eventstore.leaders. The row says in which session of the server the leader works, and how
// often the leader has sent a heartbeat. A group is free when nobody holds it, or the
// session has ended. When the heartbeat stands still for leaseTime, the leader hangs: another
// process ends its session, which rolls back what was under way there, and takes the group
// with the next term. Only the app's role can write the row, so no other can block a group.
//
// Both clocks may be wrong: how long a heartbeat has stood still is measured by the observer.

const (
	// beatEvery is how far apart heartbeats are. One statement serves all groups of a process.
	beatEvery = time.Second
	// leaseTime is how long a heartbeat may stand still: three beats, so that one that is
	// late takes no group away, and short enough to replace a hung leader within 5 s.
	leaseTime = 3 * beatEvery
)

// free is the condition of a row l whose leader is gone: its session does not exist any more.
const free = `(l.pid is null or not eventstore.session_exists(l.pid, l.backend_start))`

// sighting is what an observer last saw of a leader, and since when that has not changed.
type sighting struct {
	term, beat int64
	since      time.Time
	holder     string
	pid        int32
}

// hangs takes a look, and reports whether the leader has sent no heartbeat for leaseTime.
func (s *sighting) hangs(term, beat int64, now time.Time) bool {
	if s.since.IsZero() || s.term != term || s.beat != beat {
		*s = sighting{term: term, beat: beat, since: now}
	}
	return now.Sub(s.since) >= leaseTime
}

// acquire takes the lead of a group for a session, if the group is free or its leader hangs,
// and returns the term. It returns 0 while another process leads the group.
func (s *Store) acquire(ctx context.Context, conn *pgx.Conn, group string, seen *sighting) (term int64, err error) {
	_, err = conn.Exec(ctx, `
		insert into eventstore.leaders (consumer_group)
		select $1 where not exists (select from eventstore.leaders where consumer_group = $1) on conflict do nothing`, group)
	if err != nil {
		return 0, fmt.Errorf("enter group %s among the led ones: %w", group, err)
	}
	var beat int64
	var holder string
	var pid *int32
	var isFree bool
	err = conn.QueryRow(ctx, `
		select term, beat, holder, pid, `+free+` from eventstore.leaders l where consumer_group = $1`, group).
		Scan(&term, &beat, &holder, &pid, &isFree)
	if err != nil {
		return 0, fmt.Errorf("read the leader of group %s: %w", group, err)
	}
	hangs := seen.hangs(term, beat, time.Now()) && !isFree
	if !isFree {
		seen.holder, seen.pid = holder, *pid
	}
	if !isFree && !hangs {
		return 0, nil
	}
	if hangs {
		s.logger().Warn("the leader of a consumer group hangs; its session is ended and the group is taken over",
			"group", group, "leader", holder, "pid", *pid, "silent", time.Since(seen.since).Round(time.Millisecond))
		if err := s.end(ctx, conn, group, term, beat); err != nil {
			return 0, err
		}
	}
	return s.take(ctx, conn, group, term, beat)
}

// end ends the session of a leader that hangs, unless it has sent a heartbeat meanwhile.
func (s *Store) end(ctx context.Context, conn *pgx.Conn, group string, term, beat int64) error {
	_, err := conn.Exec(ctx, `
		select pg_terminate_backend(a.pid)
		from eventstore.leaders l, pg_stat_get_activity(l.pid) a
		where l.consumer_group = $1 and l.term = $2 and l.beat = $3 and a.backend_start = l.backend_start`, group, term, beat)
	if err != nil {
		return fmt.Errorf("end the session of the hung leader of group %s: %w", group, err)
	}
	return nil
}

// take writes us into the group's row as the leader of the next term, unless another was
// faster or the leader has sent a heartbeat.
func (s *Store) take(ctx context.Context, conn *pgx.Conn, group string, term, beat int64) (taken int64, err error) {
	err = conn.QueryRow(ctx, `
		update eventstore.leaders set term = term + 1, beat = 0, beat_at = now(), holder = $4, pid = pg_backend_pid(),
			backend_start = (select backend_start from pg_stat_get_activity(pg_backend_pid()))
		where consumer_group = (
			select consumer_group from eventstore.leaders where consumer_group = $1 and term = $2 and beat = $3
			for update skip locked)
		returning term`, group, term, beat, s.Process()).Scan(&taken)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("take the lead of group %s: %w", group, err)
	}
	s.leads.add(group, taken, s.beat)
	return taken, nil
}

// release gives the lead of a group up.
func (s *Store) release(ctx context.Context, conn *pgx.Conn, group string, term int64) error {
	s.leads.remove(group, term)
	_, err := conn.Exec(ctx, `
		update eventstore.leaders set pid = null, backend_start = null where consumer_group = $1 and term = $2`, group, term)
	if err != nil {
		return fmt.Errorf("give up the lead of group %s: %w", group, err)
	}
	return nil
}

// Lead takes the lead of a group for a session, without waiting. It reports false while
// another process leads the group. The returned function gives the lead up.
func (s *Store) Lead(ctx context.Context, conn *pgx.Conn, group string) (giveUp func(context.Context), led bool, err error) {
	term, err := s.acquire(ctx, conn, group, new(sighting))
	if err != nil || term == 0 {
		return nil, false, err
	}
	return func(ctx context.Context) { _ = s.release(ctx, conn, group, term) }, true, nil
}

// leads are the groups that this process leads, with their terms. While there are any, one
// goroutine sends their heartbeats.
type leads struct {
	mu      sync.Mutex
	terms   map[string]int64
	asked   map[string]time.Time // when a leader last asked for a page of its group
	stop    context.CancelFunc
	stopped chan struct{}
}

func (l *leads) add(group string, term int64, beat func(context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.terms == nil {
		l.terms = map[string]int64{}
	}
	if l.terms[group] = term; l.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	l.stop, l.stopped = cancel, done
	go func() {
		defer close(done)
		wait.Every(ctx, beatEvery, func() { beat(ctx) })
	}()
}

// remove returns after the last heartbeat when the group was the last one.
func (l *leads) remove(group string, term int64) {
	l.mu.Lock()
	if l.terms[group] == term {
		delete(l.terms, group)
		delete(l.asked, group)
	}
	stop, stopped := l.stop, l.stopped
	if len(l.terms) > 0 || stop == nil {
		l.mu.Unlock()
		return
	}
	l.stop = nil
	l.mu.Unlock()
	stop()
	<-stopped
}

func (l *leads) held() (groups []string, terms []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for group, term := range l.terms {
		groups, terms = append(groups, group), append(terms, term)
	}
	return groups, terms
}

// ask notes that the leader of a group asks for a page, or looks for one.
func (l *leads) ask(group string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked == nil {
		l.asked = map[string]time.Time{}
	}
	l.asked[group] = time.Now()
}

// Hung returns a consumer group whose leader, in this process, has not asked for a page for longer
// than limit: it hangs in the page that it has. Heartbeats go on, so no other process takes over.
// A leader that only waits, for events or for the end of another's transaction, asks again and again.
func (s *Store) Hung(limit time.Duration) (group string, hangs bool) {
	s.leads.mu.Lock()
	defer s.leads.mu.Unlock()
	for group, at := range s.leads.asked {
		if _, led := s.leads.terms[group]; led && time.Since(at) > limit {
			return group, true
		}
	}
	return "", false
}

// Leads reports whether this process leads a group.
func (s *Store) Leads(group string) bool {
	groups, _ := s.leads.held()
	return slices.Contains(groups, group)
}

// beat sends a heartbeat for the groups that this process leads. It waits for no row: what
// another session holds is skipped this time.
func (s *Store) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	groups, terms := s.leads.held()
	var b pgx.Batch // one transaction, and the setting ends with it
	b.Queue(`select set_config('synchronous_commit', 'off', true)`)
	b.Queue(`
		update eventstore.leaders l set beat = l.beat + 1, beat_at = clock_timestamp()
		from (select l.consumer_group from unnest($1::text[], $2::bigint[]) held (consumer_group, term)
		      join eventstore.leaders l on l.consumer_group = held.consumer_group and l.term = held.term
		      for update of l skip locked) ours
		where l.consumer_group = ours.consumer_group`, groups, terms)
	if err := s.Pool().SendBatch(ctx, &b).Close(); err != nil && ctx.Err() == nil && !postgres.HasCode(err, "57P") {
		s.logger().Warn("cannot send the heartbeat of the consumer groups that this process leads", "error", err)
	}
}

func (s *Store) logger() *slog.Logger {
	if s.Log != nil {
		return s.Log
	}
	return slog.Default()
}
