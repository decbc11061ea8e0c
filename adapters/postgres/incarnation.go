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
	mu     sync.Mutex
	server string
	number atomic.Int64 // grows with each change
}

// readServer reads what identifies a server and its history. A promotion begins a new
// timeline; pg_control_checkpoint shows it only after the next checkpoint. A restore of files
// keeps the timeline, but not the start of the server.
const readServer = `
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
	var server string
	if err := conn.QueryRow(ctx, readServer).Scan(&server); err != nil {
		return fmt.Errorf("read which server this is: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.server != "" && i.server != server {
		i.number.Add(1)
	}
	i.server = server
	return nil
}

// Incarnation returns a number that changes when a new connection leads to another server, or
// to one with another history: what was read under an earlier number must be read anew.
func (db *DB) Incarnation() int64 { return db.server.number.Load() }

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
