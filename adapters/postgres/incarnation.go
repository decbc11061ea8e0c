package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// incarnation detects that the server at the address is another one, or has another history: after a
// failover to a replica without the last commits, a restore, or a restart. Events that were read before
// may no longer exist.
type incarnation struct {
	mu  sync.Mutex
	now atomic.Pointer[server] // nil before the first connection
}

// server identifies a server and its history.
type server struct {
	number   int64 // how many others this process was connected to before
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

// admit checks a new connection, and records whether it leads to another server or history than the
// previous one.
func (i *incarnation) admit(ctx context.Context, conn *pgx.Conn) error {
	if err := checkCluster(ctx, conn); err != nil {
		return err
	}
	return i.look(ctx, conn)
}

// look reads the identity of the server of a session.
func (i *incarnation) look(ctx context.Context, q Querier) error {
	rows, err := q.Query(ctx, ServerIdentity)
	if err != nil {
		return fmt.Errorf("read the server's identity: %w", err)
	}
	identity, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read the server's identity: %w", err)
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

// Incarnation returns a number that changes when a new connection leads to another server, or to one
// with another history. Data that was read under an earlier number must be read again.
func (db *DB) Incarnation() int64 { return db.server.now.Load().number }

// Server returns the identity of the server with this incarnation, or false if that is not the present
// one.
func (db *DB) Server(incarnation int64) (identity string, present bool) {
	now := db.server.now.Load()
	return now.identity, now.number == incarnation
}

// LookAtServer reads the identity of the server that the pool is connected to. New connections are
// checked anyway, but a connection to a pooler may stay open while the server behind it changes.
func (db *DB) LookAtServer(ctx context.Context) error { return db.server.look(ctx, db.pool) }

// Connect opens a connection outside the pool.
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
