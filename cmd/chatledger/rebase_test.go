package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
)

// Everything moves: chatledger is stopped with its consumers behind, the database is dumped and restored
// in a cluster with far fewer transactions, and the same chats continue there.
func TestRebase_OtherCluster_ChatsContinue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// More transactions than restoring and testing use in the other cluster.
	if _, err := w.db.Exec(t.Context(),
		`do $$ begin for i in 1..5000 loop perform pg_current_xact_id(); commit; end loop; end $$`); err != nil {
		t.Fatal(err)
	}
	w.Say(7, "change billing address")
	w.Say(8, "I want to talk to a person")
	w.settle()
	const nothing = "nothing to do: new events get greater transaction ids than those stored\n"
	if code, stdout, stderr := w.cli("rebase"); code != 0 || stdout != nothing {
		t.Errorf("rebase of a ledger in use: exit %d, %q %q", code, stdout, stderr)
	}
	w.stop()
	if code, _, stderr := w.cli("ticket", "reply", "demo:8", "A person is here."); code != 0 {
		t.Fatalf("reply: exit %d, %s", code, stderr)
	}

	w.dsn = pgtest.Restore(t, pgtest.AnotherCluster(t), "moved", pgtest.Dump(t, pgtest.Cluster(t), w.dsn))
	var err error
	if w.db, err = pgxpool.New(t.Context(), w.dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	bots := filepath.Join(t.TempDir(), "bots.yaml")
	if err := os.WriteFile(bots, []byte("bots: {demo: {token: '1:x', secret: s}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve", "--bots", bots, "--listen", "127.0.0.1:0"}, {"ticket", "resolve", "demo:8"},
		{"events"}, {"rebuild", "tickets"}} {
		refused(t, "it was restored from a dump of another: run `chatledger rebase`",
			append(args, "--database-url", w.dsn)...)
	}
	if code, stdout, stderr := w.cli("rebase"); code != 0 || !strings.HasPrefix(stdout, "rebased: ") {
		t.Fatalf("rebase: exit %d, %q %q", code, stdout, stderr)
	}
	if code, stdout, stderr := w.cli("rebase"); code != 0 || stdout != nothing {
		t.Errorf("rebase again: exit %d, %q %q", code, stdout, stderr)
	}

	w.running = w.start(w.dsn)
	w.register()
	w.Say(7, "12 Baker Street, London NW1 6XE")
	w.settle()
	w.Say(7, "yes")
	w.settle()
	if said := w.texts(7, "bot"); len(said) != 3 {
		t.Errorf("the bot says %q, want its two questions and its thanks", said)
	}
	if said := w.texts(8, "bot"); len(said) != 2 || !slices.Contains(said, "A person is here.") {
		t.Errorf("in the other chat: %q", said)
	}
	// Each group has counted every event once.
	w.wantRows("true",
		`select bool_and(events = (select count(*) from eventstore.events)) from eventstore.checkpoints`)
	w.gapless()
	w.clean()
	for _, projection := range []string{"conversations", "tickets"} {
		if code, _, stderr := w.cli("rebuild", projection); code != 0 {
			t.Errorf("rebuild %s: exit %d, %s", projection, code, stderr)
		}
	}
	w.clean()
}
