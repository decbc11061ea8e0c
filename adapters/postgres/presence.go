package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// goneAfter is how long nobody must have vouched for a process before the leases it holds
// are taken over: three times what it takes to open a lost session anew, so that who is
// only cut off for a moment, as when the database restarts, keeps what it is sending.
const goneAfter = 3 * reconnectEvery

// attend vouches for this process, for as long as the session lives: by a lock that the
// server gives up when the process is gone. What is claimed meanwhile bears its name.
func (s *Store) attend(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(hashtextextended('chatledger process ' || $1, 0))`, s.process); err != nil {
		return fmt.Errorf("vouch for this process: %w", err)
	}
	s.present.Store(true)
	return nil
}

// holder is the owner of a lease as it is written. Without a session that vouches for
// this process, none may tell from it that the process is gone.
func (s *Store) holder(owner string) string {
	if s.present.Load() {
		return owner + " " + s.process
	}
	return owner
}

// gone lists the holders of leases for whom nobody has vouched for goneAfter. A process is
// asked for by trying to share its lock.
func (s *Store) gone(ctx context.Context) (holders []string, err error) {
	missing, err := collect(ctx, s.pool, "look for processes that are gone", pgx.RowTo[string], `
		with holders as materialized (
			select distinct lease_owner from eventstore.deliveries where state = 'sending' and strpos(lease_owner, ' ') > 0
		)
		select lease_owner from holders
		where pg_try_advisory_xact_lock_shared(hashtextextended('chatledger process ' || split_part(lease_owner, ' ', 2), 0))`)
	if err != nil {
		return nil, err
	}
	s.missingMu.Lock()
	defer s.missingMu.Unlock()
	since := make(map[string]time.Time, len(missing))
	for _, holder := range missing {
		if since[holder] = s.missing[holder]; since[holder].IsZero() {
			since[holder] = time.Now()
		}
		if time.Since(since[holder]) >= goneAfter {
			holders = append(holders, holder)
		}
	}
	s.missing = since
	return holders, nil
}
