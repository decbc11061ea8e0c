package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Presence lets processes notice that another one is gone: each holds a lock named after
// it in eventstore.locks, which is free as soon as its session has ended.
type Presence struct {
	db   *DB
	held atomic.Bool // a session of ours holds the lock

	mu      sync.Mutex
	missing map[string]time.Time // owners whose lock nobody holds, and since when
}

// goneAfter is how long nobody must have held a process's lock before the process counts as
// gone: three times the pause after which a lost session is opened again. So a
// process that is cut off for a moment, as when the database restarts, keeps its leases.
const goneAfter = 3 * ReconnectEvery

// ReconnectEvery is the pause before a lost session is opened again.
const ReconnectEvery = time.Second

// Hold takes this process's lock on a session. What is claimed from now on names the
// process as its owner, until Release.
func (p *Presence) Hold(ctx context.Context, conn *pgx.Conn) error {
	// The name is this process's alone: a session of ours that was lost need not have ended.
	_, err := conn.Exec(ctx, `
		with ended as (
			delete from eventstore.locks l
			where name like 'process %' and name <> 'process ' || $1
			  and not eventstore.session_exists(l.pid, l.backend_start)
			  and not exists ( -- its leases end early as long as it is known
				select from eventstore.deliveries
				where state = 'sending' and 'process ' || split_part(lease_owner, ' ', 2) = l.name)
		)
		insert into eventstore.locks (name, holder, pid, backend_start)
		select 'process ' || $1, current_setting('application_name'), pg_backend_pid(), a.backend_start
		from pg_stat_get_activity(pg_backend_pid()) a
		on conflict (name) do update
			set holder = excluded.holder, pid = excluded.pid, backend_start = excluded.backend_start, taken_at = now()`,
		p.db.process)
	if err != nil {
		return fmt.Errorf("lock the name of this process: %w", err)
	}
	p.held.Store(true)
	return nil
}

// Release records that the session which held the lock has ended.
func (p *Presence) Release() { p.held.Store(false) }

// Held reports whether a session of ours holds the lock.
func (p *Presence) Held() bool { return p.held.Load() }

// Owner returns the owner of a lease as it is stored. It names the process only while
// the lock is held; otherwise others would take the process for gone.
func (p *Presence) Owner(owner string) string {
	if p.held.Load() {
		return owner + " " + p.db.process
	}
	return owner
}

// Gone returns those of the owners whose process has been gone for goneAfter. It must be
// given all current owners of leases each time.
func (p *Presence) Gone(ctx context.Context, owners []string) (gone []string, err error) {
	// A process is gone when the session that held its lock has ended. Owners without a process, or of a
	// release without such locks, are left out.
	if len(owners) == 0 {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.missing = nil
		return nil, nil
	}
	missing, err := Collect(ctx, p.db.pool, "look for processes that are gone", pgx.RowTo[string], `
		select lease_owner from unnest($1::text[]) lease_owner
		where strpos(lease_owner, ' ') > 0
		  and exists (
			select from eventstore.locks l
			where name = 'process ' || split_part(lease_owner, ' ', 2) and not eventstore.session_exists(l.pid, l.backend_start))`,
		owners)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	since := make(map[string]time.Time, len(missing))
	for _, owner := range missing {
		if since[owner] = p.missing[owner]; since[owner].IsZero() {
			since[owner] = time.Now()
		}
		if time.Since(since[owner]) >= goneAfter {
			gone = append(gone, owner)
		}
	}
	p.missing = since
	return gone, nil
}
