//go:build unix

package pgtest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgdev"
)

// AnotherCluster starts a server beside the shared one, with transaction ids of its
// own that begin where the shared one's began. It ends with the test.
func AnotherCluster(t testing.TB) *pgdev.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	server, reaper, err := startCluster(ctx)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := remove(ctx, server, reaper); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return server
}

// Dump writes a database to a file with pg_dump. The test is skipped where only the
// server's own programs are installed.
func Dump(t testing.TB, server *pgdev.Server, dsn string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "dump")
	client(t, server, "pg_dump", "--format=custom", "--file="+file, "--dbname="+dsn)
	return file
}

// Restore makes a database on a server of a dump with pg_restore, and returns its
// connection string.
func Restore(t testing.TB, server *pgdev.Server, name, file string) (dsn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.DSN())
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "create database "+name+" template template0"); err != nil {
		t.Fatalf("pgtest: create database %s: %v", name, err)
	}
	dsn = dsnFor(server, name)
	client(t, server, "pg_restore", "--exit-on-error", "--dbname="+dsn, file)
	return dsn
}

// client runs one of the programs that usually come with the server's.
func client(t testing.TB, server *pgdev.Server, program string, args ...string) {
	t.Helper()
	path := filepath.Join(server.BinDir(), program)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("there is no %s beside the server's programs", program)
	}
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}
