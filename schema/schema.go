// Package schema holds the schema of the database as numbered migrations and brings a database up
// to date.
//
// migrations/00001_baseline.sql is the whole schema. Later changes are added as the next number:
// migrations go forward only, and a file that a database may have run is never changed. Each
// file runs in one transaction unless it says otherwise, so a migration that fails leaves the
// database at the version before it.
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
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var files embed.FS

const (
	// table records the migrations that have run. It is in public because it must exist before
	// the first migration creates the other schemas.
	table = "public.schema_migrations"

	// lockID is the advisory lock that a migrating process holds: "chatledg" in ASCII, to be
	// recognized in pg_locks.
	lockID int64 = 0x636861746c656467

	// lockInterval is the pause between two attempts to get the lock. lockAttempts limits the wait
	// to an hour: a migration may build an index on a large table.
	lockInterval = 200 * time.Millisecond
	lockAttempts = int(time.Hour / lockInterval)
)

// Migrate runs the migrations that the database lacks. It returns the version before and after.
// Any number of processes may call it at once: one does the work, the others wait for it. A
// database that is newer than this program is an error.
func Migrate(ctx context.Context, dsn string) (from, to int64, err error) {
	return migrate(ctx, dsn, embedded())
}

// Latest returns the version that Migrate brings a database to.
func Latest() int64 {
	names, err := fs.Glob(embedded(), "*.sql") // in lexical order
	if err != nil {
		panic(err) // the files are part of the program
	}
	version, err := goose.NumericComponent(names[len(names)-1])
	if err != nil {
		panic(err)
	}
	return version
}

// Version returns the version of the database, 0 for one that was never migrated. It only reads.
func Version(ctx context.Context, dsn string) (int64, error) {
	cfg, err := config(dsn)
	if err != nil {
		return 0, err
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	store, err := database.NewStore(goose.DialectPostgres, table)
	if err != nil {
		return 0, err
	}
	version, err := store.GetLatestVersion(ctx, db)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "42P01" { // undefined_table
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	return version, nil
}

// Fingerprint returns a hash of all migrations. Tests use it as the name of a migrated database
// that they keep.
func Fingerprint() string {
	h := sha256.New()
	fmt.Fprintln(h, table)
	names, err := fs.Glob(embedded(), "*.sql")
	if err != nil {
		panic(err)
	}
	for _, name := range names {
		b, err := fs.ReadFile(embedded(), name)
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
	cfg, err := config(dsn)
	if err != nil {
		return 0, 0, err
	}
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	p, err := provider(db, fsys)
	if err != nil {
		return 0, 0, err
	}
	from, target, err := p.GetVersions(ctx)
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("read schema version: %w", err)
	case from > target:
		const newer = "database schema is at version %d, this program knows up to %d: run a newer chatledger"
		return from, from, fmt.Errorf(newer, from, target)
	}
	// A migration may run what it finds in the schemas.
	if err := refuseForeign(ctx, db); err != nil {
		return from, from, err
	}
	if from == target {
		return from, from, nil
	}
	applied, err := p.Up(ctx)
	var partial *goose.PartialError
	if errors.As(err, &partial) {
		applied = partial.Applied
		if partial.Failed != nil && partial.Failed.Source != nil {
			err = fmt.Errorf("migration %s: %w", path.Base(partial.Failed.Source.Path), partial.Err)
		}
	} else if err != nil {
		return from, from, fmt.Errorf("migrate database schema: %w", err)
	}
	switch {
	case len(applied) > 0:
		// Another process may have run some of the migrations while this one waited for the lock.
		return applied[0].Source.Version - 1, applied[len(applied)-1].Source.Version, err
	case err != nil:
		return from, from, err
	}
	return target, target, nil // another process ran all of them
}

// provider makes goose's migrator.
func provider(db *sql.DB, fsys fs.FS) (*goose.Provider, error) {
	p, err := goose.NewProvider(goose.DialectPostgres, db, fsys,
		goose.WithTableName(table),
		goose.WithSessionLocker(locker{}),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}

// locker is the lock that lets one process at a time migrate. It is an advisory lock, because before
// the first migration nothing exists that only the owner can lock.
type locker struct{}

var _ lock.SessionLocker = locker{}

// SessionLock implements lock.SessionLocker. It tries again and again, as pg_advisory_lock would not do:
// a session that waits inside the server keeps a snapshot open, and "create index concurrently" waits for
// that snapshot, so each would wait for the other. It does not wait for a session that cannot migrate.
func (locker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for range lockAttempts {
		var locked bool
		err := conn.QueryRowContext(ctx, `select pg_try_advisory_lock($1)`, lockID).Scan(&locked)
		if err == nil && !locked {
			err = refuseStranger(ctx, conn)
		}
		if err != nil || locked {
			return err
		}
		select {
		case <-time.After(lockInterval):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return errors.New("another process has been migrating for an hour: wait for it, or end it")
}

// SessionUnlock implements lock.SessionLocker.
func (locker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `select pg_advisory_unlock($1)`, lockID)
	return err
}

// refuseStranger returns an error if the session that holds the lock has not the rights of the schema's
// owner.
func refuseStranger(ctx context.Context, conn *sql.Conn) error {
	var stranger string
	err := conn.QueryRowContext(ctx, `
		select format('pid %s (%s, user %s)', a.pid, coalesce(nullif(a.application_name, ''), 'without a name'), a.usename)
		from pg_locks l join pg_stat_activity a using (pid)
		where l.locktype = 'advisory' and l.granted and l.objsubid = 1
		  and l.database = (select oid from pg_database where datname = current_database())
		  and (l.classid::bigint << 32 | l.objid::bigint) = $1
		  and not pg_has_role(a.usesysid, coalesce(
			(select relowner from pg_class where oid = to_regclass('`+table+`')),
			(select datdba from pg_database where datname = current_database())), 'usage')`, lockID).Scan(&stranger)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look who holds the lock of migrations: %w", err)
	}
	return fmt.Errorf("%s holds the lock of migrations and may not migrate: end it with pg_terminate_backend", stranger)
}

func config(dsn string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("parse database URL: %w", err)
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "chatledger migrate"
	}
	return cfg, nil
}
