package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Presence lets processes detect that another one has ended. Each process holds a lock with its name in
// eventstore.locks, which becomes free when the session that holds it ends.
type Presence struct {
	db   *DB
	held atomic.Bool // a session of this process holds the lock

	mu      sync.Mutex
	missing map[string]time.Time // owners whose lock is free, and since when
}

// goneAfter is how long a process's lock must be free before the process counts as gone: three times
// the pause before a lost session is opened again. So a process that loses its connection for a moment,
// as in a restart of the database, keeps its leases.
const goneAfter = 3 * ReconnectEvery

// ReconnectEvery is the pause before a lost session is opened again.
const ReconnectEvery = time.Second

// Hold takes this process's lock in a session. Until Release, claimed deliveries name the process as
// their owner.
func (p *Presence) Hold(ctx context.Context, conn *pgx.Conn) error {
	// Only this process has the name, so it can take the lock even if its lost session has not ended.
	_, err := conn.Exec(ctx, `
		with ended as (
			delete from eventstore.locks l
			where name like 'process %' and name <> 'process ' || $1
			  and not eventstore.session_exists(l.pid, l.backend_start)
			  and not exists ( -- while it has leases, its row is needed to end them early
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

// Held reports whether a session of this process holds the lock.
func (p *Presence) Held() bool { return p.held.Load() }

// Owner returns the owner of a lease as it is stored. It names the process only while the lock is held;
// otherwise other processes would believe that this one is gone.
func (p *Presence) Owner(owner string) string {
	if p.held.Load() {
		return owner + " " + p.db.process
	}
	return owner
}

// Gone returns those of the owners whose process has been gone for goneAfter. Each call must pass all
// present owners of leases.
func (p *Presence) Gone(ctx context.Context, owners []string) (gone []string, err error) {
	// A process is gone when the session that held its lock has ended. Owners without a process are
	// left out.
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
			where name = 'process ' || split_part(lease_owner, ' ', 2)
			  and not eventstore.session_exists(l.pid, l.backend_start))`, owners)
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
