package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
)

// The commands of the guide restore what it says a backup contains. Other objects in the old database are
// not restored: a superuser who restores would run them.
func TestBackup_GuidesCommands_RestoreLedgerOnly(t *testing.T) {
	t.Parallel()
	home, abroad := pgtest.Cluster(t), pgtest.AnotherCluster(t)
	for _, program := range []string{"pg_dump", "pg_restore", "psql"} {
		if _, err := os.Stat(filepath.Join(home.BinDir(), program)); err != nil {
			t.Skipf("there is no %s beside the server's programs", program)
		}
	}
	text, err := os.ReadFile("../../docs/operations/backup.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := blocksOf("backup.md", string(text))
	if len(blocks) != 3 {
		t.Fatalf("the guide has %d blocks, want backup, schema and restore", len(blocks))
	}

	r := newRanks(t, "kept")
	old := newTown(t, r.admin)
	old.running = old.start(r.app)
	old.register()
	old.Say(42, "I want to talk to a person")
	old.settle()
	old.stop()
	// Objects that a role could leave behind in earlier versions.
	pgtest.Exec(t, pgtest.Connect(t, r.admin), `
		create function readmodel.grow() returns boolean language plpgsql as $$
		begin alter role chatledger_app superuser; return true; end $$;
		set check_function_bodies = off;
		create table readmodel.bait (n integer);
		insert into readmodel.bait values (1);
		alter table readmodel.bait add constraint c
			check (case when current_user like '%\_owner' or n > 1 then readmodel.grow() else true end)`,
		pgx.QueryExecModeSimpleProtocol)

	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", beTheProgram, os.Args[0])
	if err := os.WriteFile(filepath.Join(dir, "chatledger"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	login := func(dsn, database, role string) string {
		address, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		address.Path = "/" + database
		if role != "" {
			address.User = url.UserPassword(role, "open sesame")
		}
		return address.String()
	}
	admin := login(abroad.DSN(), "postgres", "")
	pgtest.Exec(t, pgtest.Connect(t, admin), `drop database if exists chatledger`)
	next := login(admin, "chatledger", "")
	run := func(b block, env ...string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), "bash", "-c", "set -e\n"+b.commands)
		c.Dir = dir
		c.Env = append(os.Environ(), "PATH="+dir+":"+home.BinDir()+":"+os.Getenv("PATH"))
		c.Env = append(c.Env, env...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s:%d: %v\n%s\nprints\n%s", b.guide, b.line, err, b.commands, out)
		}
	}
	run(blocks[0], "OWNER_URL="+r.owner)
	run(blocks[1], "ADMIN_URL="+admin, "NEW_URL="+next)
	root := pgtest.Connect(t, next)
	pgtest.Exec(t, root, `alter role chatledger_owner password 'open sesame'`)
	pgtest.Exec(t, root, `alter role chatledger_app password 'open sesame'`)
	run(blocks[2], "OWNER_URL="+login(admin, "chatledger", "chatledger_owner"),
		"APP_URL="+login(admin, "chatledger", "chatledger_app"))

	const all = `
		select (select string_agg(format('%s %s %s', stream_id, version, payload), e'\n' order by stream_id, version)
				from eventstore.events),
			(select string_agg(ticket_id || ' ' || status, ', ') from readmodel.tickets),
			(select count(*) from eventstore.deliveries)`
	describe := func(conn *pgx.Conn) string {
		var events, tickets string
		var deliveries int
		if err := conn.QueryRow(t.Context(), all).Scan(&events, &tickets, &deliveries); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%s\n%s\n%d deliveries", events, tickets, deliveries)
	}
	got, want := describe(root), describe(pgtest.Connect(t, r.admin))
	if got != want || !strings.Contains(got, "demo:42#1") {
		t.Errorf("restored\n%s\nwant\n%s", got, want)
	}
	if pgtest.Ask[bool](t, root, `select rolsuper from pg_roles where rolname = 'chatledger_app'`) ||
		pgtest.Ask[bool](t, root, `select to_regproc('readmodel.grow') is not null`) {
		t.Error("what was left in the old database came along")
	}
}
