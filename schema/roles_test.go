//go:build unix

package schema_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/schema"
)

// A table that an earlier program kept for a rollback, in a schema of its own, is there for
// this one's; what it left of an interrupted rebuild is gone.
func TestTablesOfEarlierRebuildsMoveToTheirSchema(t *testing.T) {
	t.Parallel()
	dsn := pgtest.EmptyDatabase(t)
	names, err := fs.Glob(schema.Files(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	earlier := fstest.MapFS{}
	for _, name := range names {
		if name < "00014" {
			text, err := fs.ReadFile(schema.Files(), name)
			if err != nil {
				t.Fatal(err)
			}
			earlier[name] = &fstest.MapFile{Data: text}
		}
	}
	if _, _, err := schema.MigrateFS(t.Context(), dsn, earlier); err != nil {
		t.Fatal(err)
	}
	conn := pgtest.Connect(t, dsn)
	pgtest.Exec(t, conn, `
		create schema readmodel_previous_tickets; create table readmodel_previous_tickets.tickets (kept text);
		create schema readmodel_rebuild_conversations; create table readmodel_rebuild_conversations.conversations ()`)
	if _, _, err := schema.Migrate(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	if got := pgtest.Ask[string](t, conn, `select string_agg(nspname || coalesce('.' || relname, ''), ' ' order by nspname) from pg_namespace n left join pg_class c on c.relnamespace = n.oid where nspname like 'readmodel\_%'`); got != "readmodel_previous.tickets readmodel_rebuild" {
		t.Errorf("there are %s", got)
	}
}
