//go:build unix

package postgres_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/postgres/quarantine"
)

func containsAll(s string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// The quarantine keeps every byte and counts repeats.
func TestQuarantine_AnyBody_BytesKeptRepeatsCounted(t *testing.T) {
	t.Parallel()
	db := newStore(t).DB
	s := quarantine.New(db)
	body := []byte("{\x00\xff\xfe not JSON")
	for _, bot := range []string{"demo", "demo", "other", "demo"} {
		if err := s.Add(t.Context(), bot, body, "it holds \x00 and \xff"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add(t.Context(), "demo", []byte{}, "empty"); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Ask[int](t, db.Pool(), `select count(*) from eventstore.quarantine`); n != 3 {
		t.Errorf("%d rows, want one per bot and body", n)
	}
	if n := pgtest.Ask[int](t, db.Pool(), `select times from eventstore.quarantine where bot = 'demo' and body = $1`,
		body); n != 3 {
		t.Errorf("it came %d times, want 3", n)
	}
	if got := pgtest.Ask[[]byte](t, db.Pool(),
		`select body from eventstore.quarantine where bot = 'other'`); !bytes.Equal(got, body) {
		t.Errorf("kept %q, came %q", got, body)
	}
	if got := pgtest.Ask[string](t, db.Pool(),
		`select reason from eventstore.quarantine where bot = 'other'`); got != "it holds ␀ and \uFFFD" {
		t.Errorf("the reason reads %q", got)
	}
}

// Analysts read the tables with SQL; the comments are their manual.
func TestSchema_TablesAndColumns_Commented(t *testing.T) {
	t.Parallel()
	conn := pgtest.Connect(t, pgtest.Database(t))
	rows, err := conn.Query(t.Context(), `
		select format('%s %s', c.oid::regclass, a.attname), col_description(c.oid, a.attnum)
		from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		where c.relnamespace in ('eventstore'::regnamespace, 'readmodel'::regnamespace) and c.relkind in ('r', 'p', 'v', 'm')
		union all
		select c.oid::regclass::text, obj_description(c.oid, 'pg_class') from pg_class c
		where c.relnamespace in ('eventstore'::regnamespace, 'readmodel'::regnamespace) and c.relkind in ('r', 'p', 'v', 'm')
		union all
		select 'function ' || p.oid::regprocedure, obj_description(p.oid, 'pg_proc') from pg_proc p
		where p.pronamespace in ('eventstore'::regnamespace, 'readmodel'::regnamespace)
		union all
		select 'schema ' || n.nspname, obj_description(n.oid, 'pg_namespace') from pg_namespace n
		where n.nspname in ('eventstore', 'readmodel')`)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for rows.Next() {
		var what string
		var comment *string
		if err := rows.Scan(&what, &comment); err != nil {
			t.Fatal(err)
		}
		seen++
		if comment == nil || !strings.HasSuffix(*comment, ".") {
			t.Errorf("%s has no comment that is a sentence", what)
		}
	}
	if rows.Err() != nil || seen < 100 {
		t.Errorf("only %d things looked at: %v", seen, rows.Err())
	}
}
