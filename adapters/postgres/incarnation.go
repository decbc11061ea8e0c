package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// incarnation notices that the server behind the address is another one, or has another
// history: after a failover to a replica that lost the last commits, a restore, or a restart.
// Whatever was read before may be of events that do not exist any more.
type incarnation struct {
	mu  sync.Mutex
	now atomic.Pointer[server] // nil before the first connection
}

// server is a server with its history, and how many others there were before it.
type server struct {
	number   int64
	identity string
}

// ServerIdentity is a query of one value that identifies a server and its history. A promotion begins a
// new timeline; pg_control_checkpoint shows it only after the next checkpoint. A restore of files
// keeps the timeline, but not the start of the server. The query costs some 10 µs.
const ServerIdentity = `
	select s.system_identifier || '/' || pg_postmaster_start_time() || '/'
		|| case when pg_is_in_recovery() then 'recovery' else left(pg_walfile_name(pg_current_wal_lsn()), 8) end || '/'
		|| eventstore.rebased('0')
	from pg_control_system() s`

// admit checks a new connection, and notes when it leads to another server or history than
// the last one did.
func (i *incarnation) admit(ctx context.Context, conn *pgx.Conn) error {
	if err := checkCluster(ctx, conn); err != nil {
		return err
	}
	return i.look(ctx, conn)
}

// look asks which server a session is on.
func (i *incarnation) look(ctx context.Context, q Querier) error {
	rows, err := q.Query(ctx, ServerIdentity)
	if err != nil {
		return fmt.Errorf("read which server this is: %w", err)
	}
	identity, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read which server this is: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch known := i.now.Load(); {
	case known == nil:
		i.now.Store(&server{identity: identity})
	case known.identity != identity:
		i.now.Store(&server{known.number + 1, identity})
	}
	return nil
}

// Incarnation returns a number that changes when a new connection leads to another server, or
// to one with another history: what was read under an earlier number must be read anew.
func (db *DB) Incarnation() int64 { return db.server.now.Load().number }

// Server returns the identity of the server that is known under an incarnation, or false when
// that is not the present one.
func (db *DB) Server(incarnation int64) (identity string, present bool) {
	now := db.server.now.Load()
	return now.identity, now.number == incarnation
}

// LookAtServer asks which server the pool leads to. A connection shows that when it is opened, but
// a connection to a pooler may stay open while the server behind it becomes another one.
func (db *DB) LookAtServer(ctx context.Context) error { return db.server.look(ctx, db.pool) }

// Connect opens a connection beside the pool.
func (db *DB) Connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	db.credentials(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := db.server.admit(ctx, conn); err != nil {
		CloseSession(conn)
		return nil, err
	}
	return conn, nil
}
