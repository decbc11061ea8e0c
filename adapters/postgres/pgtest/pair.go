//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgdev"
	"github.com/chatledger/chatledger/adapters/waittest"
)

// Pair is a primary server with an asynchronous replica of it.
type Pair struct {
	primary, replica *pgdev.Server
}

// NewPair starts a primary and its replica, until the test is over. It takes about a second.
func NewPair(t testing.TB) *Pair {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	// A replica needs more in the log than tests do. What the primary commits, it sends at once.
	settings := map[string]string{"wal_level": "replica", "max_wal_senders": "2", "synchronous_commit": "on"}
	image, err := findImage(ctx)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	p := &Pair{primary: startCopy(t, image, settings, "")}
	if err := p.primary.Stop(ctx); err != nil { // its log says now that it is enough for a replica
		t.Fatalf("pgtest: %v", err)
	}
	stopped := p.primary.Dir()
	p.primary = startCopy(t, stopped, settings, "")
	p.replica = startCopy(t, stopped, settings, p.primary.DSN())
	return p
}

// startCopy starts a server on a copy of a stopped one, as a replica when of is the address of a
// primary.
func startCopy(t testing.TB, from string, settings map[string]string, of string) *pgdev.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	server, reaper, err := startOn(ctx, from, settings, func(data string) error {
		if of == "" {
			return nil
		}
		// The last line of a name counts. Statements may change the file, but not the command line.
		conf, err := os.OpenFile(filepath.Join(data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(conf, "primary_conninfo = '%s'\n", of)
		return errors.Join(err, conf.Close(), os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o600))
	})
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

// Database makes a migrated database on the primary, and returns its address there.
func (p *Pair) Database(t testing.TB, name string) (dsn string) {
	t.Helper()
	Exec(t, Connect(t, p.primary.DSN()), "create database "+name+" template "+template)
	return dsnFor(p.primary, name)
}

// LoseTail waits until the replica has what the primary has, and lets it receive nothing more.
func (p *Pair) LoseTail(t testing.TB) {
	t.Helper()
	primary, replica := Connect(t, p.primary.DSN()), Connect(t, p.replica.DSN())
	end := Ask[string](t, primary, `select pg_current_wal_lsn()::text`)
	waittest.Until(t, "the replica has what the primary has", func() bool {
		return Ask[bool](t, replica, `select pg_last_wal_replay_lsn() >= $1::text::pg_lsn`, end)
	})
	Exec(t, replica, `alter system set primary_conninfo = ''`)
	Exec(t, replica, `select pg_reload_conf()`)
	waittest.Until(t, "the replica receives nothing", func() bool {
		return Ask[bool](t, primary, `select count(*) = 0 from pg_stat_replication`)
	})
}

// FailOver ends the primary and promotes the replica. It returns the host and port of the replica.
func (p *Pair) FailOver(t testing.TB) (host string) {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = p.primary.Stop(ended) // at once, which is an error
	Exec(t, Connect(t, p.replica.DSN()), `select pg_promote()`)
	u, err := url.Parse(p.replica.DSN())
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
