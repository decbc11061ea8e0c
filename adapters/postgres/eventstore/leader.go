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

// The group's row of eventstore.leaders names the process that leads the consumer group, its session
// at the server, and the number of its heartbeats. A group is free when it has no leader, or the
// leader's session has ended. A leader that has sent no heartbeat for leaseTime hangs: another process
// ends its session, which rolls back the open transaction, and becomes leader with the next term. Only
// the app's role can write the row, so no other role can block a group.
//
// Clocks of processes may differ, so the observer measures the time without a heartbeat by its own.

const (
	// beatEvery is the time between heartbeats. One statement sends those of all groups of a process.
	beatEvery = time.Second
	// leaseTime is how long a leader may send no heartbeat. It is three intervals, so that a leader
	// with one late heartbeat keeps its group, and short enough to replace a hung leader within 5 s.
	leaseTime = 3 * beatEvery
)

// free is the condition of a row l without a leader, or whose leader's session no longer exists.
const free = `(l.pid is null or not eventstore.session_exists(l.pid, l.backend_start))`

// sighting is the term and heartbeat that an observer last saw, and since when they have not changed.
type sighting struct {
	term, beat int64
	since      time.Time
	holder     string
	pid        int32
}

// hangs records what the observer sees now, and reports whether the leader has sent no heartbeat for
// leaseTime.
func (s *sighting) hangs(term, beat int64, now time.Time) bool {
	if s.since.IsZero() || s.term != term || s.beat != beat {
		*s = sighting{term: term, beat: beat, since: now}
	}
	return now.Sub(s.since) >= leaseTime
}

// acquire makes this process the leader of a group, in a session, if the group is free or its leader
// hangs, and returns the term. It returns 0 while another process leads the group.
func (s *Store) acquire(ctx context.Context, conn *pgx.Conn, group string, seen *sighting) (term int64, err error) {
	_, err = conn.Exec(ctx, `
		insert into eventstore.leaders (consumer_group)
		select $1 where not exists (select from eventstore.leaders where consumer_group = $1)
		on conflict do nothing`, group)
	if err != nil {
		return 0, fmt.Errorf("insert group %s into the table of leaders: %w", group, err)
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
		where l.consumer_group = $1 and l.term = $2 and l.beat = $3 and a.backend_start = l.backend_start`,
		group, term, beat)
	if err != nil {
		return fmt.Errorf("end the session of the hung leader of group %s: %w", group, err)
	}
	return nil
}

// take writes this process into the group's row as the leader of the next term. It returns 0 if another
// process was faster, or the leader has sent a heartbeat.
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
		return 0, fmt.Errorf("become leader of group %s: %w", group, err)
	}
	s.leads.add(group, taken, s.beat)
	return taken, nil
}

// release gives up the leadership of a group.
func (s *Store) release(ctx context.Context, conn *pgx.Conn, group string, term int64) error {
	s.leads.remove(group, term)
	_, err := conn.Exec(ctx, `
		update eventstore.leaders set pid = null, backend_start = null where consumer_group = $1 and term = $2`,
		group, term)
	if err != nil {
		return fmt.Errorf("give up the leadership of group %s: %w", group, err)
	}
	return nil
}

// Lead makes this process the leader of a group, in a session, without waiting. It reports false
// while another process leads the group. The returned function gives the leadership up.
func (s *Store) Lead(
	ctx context.Context, conn *pgx.Conn, group string,
) (giveUp func(context.Context), led bool, err error) {
	term, err := s.acquire(ctx, conn, group, new(sighting))
	if err != nil || term == 0 {
		return nil, false, err
	}
	return func(ctx context.Context) { _ = s.release(ctx, conn, group, term) }, true, nil
}

// leads has the groups that this process leads, with their terms. While there are any, one goroutine
// sends their heartbeats.
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

// remove removes a group. If it was the last one, remove waits until the heartbeats have ended.
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

// beat sends a heartbeat for the groups that this process leads. It does not wait for a row that
// another session has locked: that group gets its heartbeat the next time.
func (s *Store) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	groups, terms := s.leads.held()
	var b pgx.Batch // one transaction, in which the setting is valid
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
