//go:build unix

package schema_test

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/schema"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// migrations returns a folder with one file per statement, numbered from 1.
func migrations(statements ...string) fs.FS {
	fsys := fstest.MapFS{}
	for i, sql := range statements {
		name := fmt.Sprintf("%05d_step.sql", i+1)
		fsys[name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql + ";\n")}
	}
	return fsys
}

func version(t *testing.T, dsn string) int64 {
	t.Helper()
	v, err := schema.Version(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestMigrate_EmptyDatabase_ReachesLatest(t *testing.T) {
	t.Parallel()
	dsn := pgtest.EmptyDatabase(t)
	if got := version(t, dsn); got != 0 {
		t.Errorf("an empty database is at version %d, want 0", got)
	}
	from, to, err := schema.Migrate(t.Context(), dsn)
	if err != nil || from != 0 || to != schema.Latest() || to == 0 {
		t.Fatalf("migrated from %d to %d (%v), want from 0 to %d", from, to, err, schema.Latest())
	}
	from, to, err = schema.Migrate(t.Context(), dsn)
	if err != nil || from != schema.Latest() || to != from {
		t.Errorf("again: from %d to %d (%v), want nothing done", from, to, err)
	}
	if got := version(t, dsn); got != schema.Latest() {
		t.Errorf("version %d, want %d", got, schema.Latest())
	}
}

func TestMigrate_Concurrent_OneDoesTheWork(t *testing.T) {
	t.Parallel()
	dsn := pgtest.EmptyDatabase(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	worked := 0
	for range 6 {
		wg.Go(func() {
			from, to, err := schema.Migrate(t.Context(), dsn)
			if err != nil || to != schema.Latest() {
				t.Errorf("migrated from %d to %d: %v", from, to, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if from < to {
				worked++
			}
		})
	}
	wg.Wait()
	if worked != 1 {
		t.Errorf("%d did the work, want 1", worked)
	}
}

// "create index concurrently" waits for every older snapshot. Processes that wait for the lock must
// not hold one.
func TestMigrate_ConcurrentIndex_DoesNotDeadlock(t *testing.T) {
	t.Parallel()
	dsn := pgtest.EmptyDatabase(t)
	fsys := fstest.MapFS{
		"00001_table.sql": &fstest.MapFile{Data: []byte(`-- +goose Up
create table t as select generate_series(1, 1000) as i;
`)},
		"00002_index.sql": &fstest.MapFile{Data: []byte(`-- +goose NO TRANSACTION
-- +goose Up
create index concurrently t_i on t (i);
`)},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, to, err := schema.MigrateFS(ctx, dsn, fsys); err != nil || to != 2 {
				t.Errorf("migrated to %d: %v", to, err)
			}
		})
	}
	wg.Wait()
}

func TestMigrate_NewerDatabase_IsRejected(t *testing.T) {
	t.Parallel()
	dsn := pgtest.EmptyDatabase(t)
	if _, _, err := schema.MigrateFS(t.Context(), dsn, migrations("select 1", "select 1", "select 1")); err != nil {
		t.Fatal(err)
	}
	from, to, err := schema.MigrateFS(t.Context(), dsn, migrations("select 1", "select 1"))
	want := "database schema is at version 3, this program knows up to 2: run a newer chatledger"
	if err == nil || err.Error() != want || from != 3 || to != 3 {
		t.Errorf("from %d to %d: %v; want %s", from, to, err, want)
	}
}

func TestMigrate_Failure_IsNamedAndRolledBack(t *testing.T) {
	t.Parallel()
	dsn := pgtest.EmptyDatabase(t)
	fsys := migrations("create table kept (i int)", "create table undone (i int);\nselect 1/0")
	from, to, err := schema.MigrateFS(t.Context(), dsn, fsys)
	if err == nil || !strings.Contains(err.Error(), "00002_step.sql") || !strings.Contains(err.Error(),
		"division by zero") {
		t.Errorf("the error names neither file nor cause: %v", err)
	}
	if from != 0 || to != 1 || version(t, dsn) != 1 {
		t.Errorf("from %d to %d, want from 0 to 1", from, to)
	}
	conn := pgtest.Connect(t, dsn)
	var kept, undone bool
	const exist = "select to_regclass('kept') is not null, to_regclass('undone') is not null"
	if err := conn.QueryRow(t.Context(), exist).Scan(&kept, &undone); err != nil {
		t.Fatal(err)
	}
	if !kept || undone {
		t.Errorf("kept: %t, undone: %t; want the first migration whole and nothing of the second", kept, undone)
	}
}

func TestMigrate_Unreachable_HidesPassword(t *testing.T) {
	t.Parallel()
	_, _, err := schema.Migrate(t.Context(), "postgres://someone:secret@127.0.0.1:1/nowhere?sslmode=disable")
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v", err)
	}
}

func TestMigrations_Numbers_HaveNoGaps(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(schema.Files(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if want := fmt.Sprintf("%05d_", i+1); !strings.HasPrefix(path.Base(name), want) {
			t.Errorf("%s stands where %s... belongs", name, want)
		}
		b, err := fs.ReadFile(schema.Files(), name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "+goose Down") {
			t.Errorf("%s has a down migration; migrations go forward only", name)
		}
	}
}

// BenchmarkMigrateNothing measures what migrating costs a database that is up to date.
func BenchmarkMigrateNothing(b *testing.B) {
	dsn := pgtest.Database(b)
	for b.Loop() {
		if _, _, err := schema.Migrate(b.Context(), dsn); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMigrate measures the first start.
func BenchmarkMigrate(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dsn := pgtest.EmptyDatabase(b)
		b.StartTimer()
		if _, _, err := schema.Migrate(b.Context(), dsn); err != nil {
			b.Fatal(err)
		}
	}
}
