// Package postgres opens the database for the packages below it. It has the connection pool with the
// session settings that their statements need, the check that the ledger belongs to this cluster, and
// the encoding of values that JSONB cannot hold.
package postgres

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DB is one process's connections to a database. It is safe for concurrent use.
type DB struct {
	pool     *pgxpool.Pool
	process  string // identifies this process to others
	server   incarnation
	renew    atomic.Pointer[func() (dsn string, err error)]
	Presence *Presence
}

// CloseTimeout limits the orderly end of a session whose server may be gone.
const CloseTimeout = time.Second

// connections limits the pool: a batch of each committer, the claims of the outbox, and a few other
// queries. More than a few for each core would only wait inside the server.
func connections() int32 { return int32(8 + 2*runtime.NumCPU()) }

// Open connects to a migrated database. The server shows name as the application_name
// of the sessions.
func Open(ctx context.Context, dsn, name string) (*DB, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("parse database address: %w", err)
	}
	config.MaxConns = connections()
	db := &DB{process: uuid.NewString()}
	config.AfterConnect = db.server.admit
	server := &reach{}
	config.ConnConfig.Tracer = server
	config.BeforeConnect = func(ctx context.Context, config *pgx.ConnConfig) error {
		db.credentials(config)
		return server.beforeConnect(ctx, config)
	}
	tune(config.ConnConfig, name)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to database: %w", err)
	}
	db.pool = pool
	db.Presence = &Presence{db: db}
	return db, nil
}

// tune sets the settings of every session of this program. Its statements join small arrays with large
// tables by index. The planner knows neither the sizes of the arrays nor how large the tables will
// become, so the settings allow only such plans, which are made once.
func tune(config *pgx.ConnConfig, name string) {
	set := config.RuntimeParams
	set["application_name"] = name
	set["timezone"] = "UTC"
	set["plan_cache_mode"] = "force_generic_plan"
	set["enable_seqscan"] = "off"
	set["enable_hashjoin"] = "off"
	set["enable_mergejoin"] = "off"
	set["jit"] = "off"
	// A session that hangs in a transaction holds every consumer back.
	set["idle_in_transaction_session_timeout"] = "60s"
	// If this machine stops without closing its connections, the server detects it in 4 s, also while
	// it waits for the rest of a batch, or for the client to receive an answer.
	set["tcp_keepalives_idle"] = "2"
	set["tcp_keepalives_interval"] = "1"
	set["tcp_keepalives_count"] = "2"
	set["tcp_user_timeout"] = "4000" // ms
}

// Close closes the connections.
func (db *DB) Close() { db.pool.Close() }

// Pool returns the connection pool.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// Process returns an id that is unique to this process.
func (db *DB) Process() string { return db.process }

// Config returns a copy of the settings of the pool's sessions.
func (db *DB) Config() *pgx.ConnConfig { return db.pool.Config().ConnConfig }

// Session opens a connection outside the pool, for long reads or for a lock. The server shows purpose
// in its application_name.
func (db *DB) Session(ctx context.Context, purpose string) (*pgx.Conn, error) {
	config := db.Config()
	config.RuntimeParams["application_name"] += " " + purpose
	conn, err := db.Connect(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect for %s: %w", purpose, err)
	}
	return conn, nil
}

// CloseSession closes a session. If the server does not answer within CloseTimeout, it drops the
// connection.
func CloseSession(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), CloseTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}
