// Package schema holds the database's schema as numbered migrations and brings
// a database up to them.
//
// Migrations go forward only: a mistake is corrected by the next number, never
// by a change to a file that some database has already run. Each file runs in
// one transaction unless it says otherwise, so a migration that fails leaves
// the database at the version before it.
package schema

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var files embed.FS

const (
	// table records the migrations that have run. It is in public because it
	// must exist before the first migration makes the schemas of its own.
	table = "public.schema_migrations"

	// lockKey is the advisory lock of whoever migrates a database: "chatledg"
	// in ASCII, to be recognised in pg_locks.
	lockKey int64 = 0x636861746c656467

	// lockPoll is the pause between two tries for the lock.
	lockPoll = 25 * time.Millisecond
)

// Migrate runs the migrations that the database lacks and returns the versions
// it found and left. Any number of processes may call it at once: one does the
// work, the others wait for it. A database that lacks nothing costs one
// connection and one query. A database newer than this program is an error.
func Migrate(ctx context.Context, dsn string) (from, to int64, err error) {
	return migrate(ctx, dsn, embedded())
}

// Latest is the version that this program brings a database to.
func Latest() int64 {
	n, err := latest(embedded())
	if err != nil {
		panic(err) // the files are part of the program
	}
	return n
}

// Version is the version of the database, 0 when nothing has been migrated.
func Version(ctx context.Context, dsn string) (int64, error) {
	conn, err := connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	return version(ctx, conn)
}

// Fingerprint changes whenever a migration does. Tests keep a migrated
// database under it.
func Fingerprint() string {
	h := sha256.New()
	fmt.Fprintln(h, table)
	fsys := embedded()
	names, err := fs.Glob(fsys, "*.sql") // in lexical order
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(h, "%s %d\n%s", name, len(b), b)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:16])
}

func embedded() fs.FS {
	fsys, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err)
	}
	return fsys
}

func migrate(ctx context.Context, dsn string, fsys fs.FS) (from, to int64, err error) {
	target, err := latest(fsys)
	if err != nil {
		return 0, 0, err
	}
	conn, err := connect(ctx, dsn)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // ends the session, and with it the lock
	if from, err = version(ctx, conn); err != nil {
		return 0, 0, err
	}
	if from < target {
		if err := lock(ctx, conn); err != nil {
			return from, from, err
		}
		// Another process may have done the work while this one waited.
		if from, err = version(ctx, conn); err != nil {
			return 0, 0, err
		}
	}
	switch {
	case from > target:
		return from, from, fmt.Errorf("database schema is at version %d, this program knows up to %d: run a newer chatledger", from, target)
	case from == target:
		return from, from, nil
	}
	to, err = up(ctx, conn.Config(), fsys, from)
	return from, to, err
}

// up runs the missing migrations. The caller holds the lock, on another
// connection: a session that only waits holds back no migration that must wait
// for every older transaction, as "create index concurrently" does.
func up(ctx context.Context, cfg *pgx.ConnConfig, fsys fs.FS, from int64) (to int64, err error) {
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	p, err := provider(db, fsys)
	if err != nil {
		return from, err
	}
	done, err := p.Up(ctx)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		done = partial.Applied
		err = partial.Err
		if partial.Failed != nil && partial.Failed.Source != nil {
			err = fmt.Errorf("migration %s: %w", path.Base(partial.Failed.Source.Path), partial.Err)
		}
	} else if err != nil {
		err = fmt.Errorf("migrate database schema: %w", err)
	}
	to = from
	for _, r := range done {
		to = max(to, r.Source.Version)
	}
	return to, err
}

func provider(db *sql.DB, fsys fs.FS) (*goose.Provider, error) {
	p, err := goose.NewProvider(goose.DialectPostgres, db, fsys,
		goose.WithTableName(table),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}

func latest(fsys fs.FS) (int64, error) {
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return 0, err
	}
	var n int64
	for _, name := range names {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return 0, fmt.Errorf("name of migration %s: %w", name, err)
		}
		n = max(n, v)
	}
	return n, nil
}

func connect(ctx context.Context, dsn string, options ...func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("the database's address: %w", err)
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "chatledger migrate"
	}
	for _, option := range options {
		option(cfg)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err // pgx names host, user and database, and no password
	}
	return conn, nil
}

func version(ctx context.Context, conn *pgx.Conn) (int64, error) {
	var v int64
	err := conn.QueryRow(ctx, "select coalesce(max(version_id), 0) from "+table+" where is_applied").Scan(&v)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "42P01" { // undefined_table: never migrated
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	return v, nil
}

// lock waits for the advisory lock by asking again and again. Waiting inside
// the server would keep a snapshot open, and a migration that builds an index
// concurrently waits for those: each would wait for the other.
func lock(ctx context.Context, conn *pgx.Conn) error {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		var got bool
		if err := conn.QueryRow(ctx, "select pg_try_advisory_lock($1)", lockKey).Scan(&got); err != nil {
			return fmt.Errorf("lock database for migration: %w", err)
		}
		if got {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another process to migrate the database: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}
