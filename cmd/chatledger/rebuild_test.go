package main

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/load"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/projections"
)

func TestRebuild_Mistakes_AreOneLine(t *testing.T) {
	t.Parallel()
	const nowhere = "--database-url=postgres://nobody@127.0.0.1:1/none?connect_timeout=1"
	for _, c := range []struct {
		says string
		args []string
	}{
		{"give a <projection> or several, or --all", []string{"rebuild", nowhere}},
		{"give a <projection> or several, or --all", []string{"rebuild", "--all", "tickets", nowhere}},
		{`projection "orders" does not exist: choose one of conversations tickets`,
			[]string{"rebuild", "tickets", "orders", nowhere}},
		{"tickets is given twice", []string{"rebuild", "tickets", "tickets", nowhere}},
		{"--dry-run", []string{"rebuild", "tickets", "--dry-run", "--rollback", nowhere}},
		{`projection "orders" does not exist`, []string{"verify", "tickets", "orders", nowhere}},
		{"--sample", []string{"verify", "--sample", "-3", nowhere}},
		{
			"roll tickets back: no table is kept from an earlier rebuild",
			[]string{"rebuild", "--rollback", "tickets", "--database-url", pgtest.Database(t)},
		},
	} {
		refused(t, c.says, c.args...)
	}
}

// tamper changes one row outside the program.
func (w *world) tamper(sql string) {
	w.t.Helper()
	if tag, err := w.db.Exec(w.t.Context(), sql); err != nil || tag.RowsAffected() != 1 {
		w.t.Fatalf("%s: %v %v", sql, tag, err)
	}
}

func TestRebuild_DryRun_PrintsDifferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(42, "I want to talk to a person")
	w.Say(43, "hello")
	w.settle()
	code, stdout, stderr := w.cli("rebuild", "--all", "--dry-run")
	want := regexp.MustCompile(`^conversations: compared 2 rows at position \d+/\d+: all are the same\n` +
		`tickets: compared 1 rows at position \d+/\d+: all are the same\n` +
		`messages: compared 4 rows .*: all are the same\nchat_days: compared 2 rows .*: all are the same\n$`)
	if code != 0 || stderr != "" || !want.MatchString(stdout) {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	w.tamper(`update readmodel.conversations set last_message = 'forged' where chat_id = 43`)
	w.tamper(`delete from readmodel.tickets`)
	code, stdout, stderr = w.cli("rebuild", "tickets", "conversations", "--dry-run")
	if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "readmodel.tickets differs in 1 rows") ||
		!strings.Contains(stderr, "`chatledger rebuild conversations` repairs it") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	opened := w.rows(`select format('ticket_opened, version %s at %s/%s', version, transaction_id, position)
		from eventstore.events where name = 'ticket_opened'`)
	received := w.rows(`select format('message_received, version 1 at %s/%s', transaction_id, position)
		from eventstore.events where stream_id = 'chat-demo:43' and version = 1`)
	for _, says := range []string{
		"tickets: compared 1 rows at position ", ": 0 differ, 0 are only in the live table, 1 only in the new one\n",
		"  readmodel.tickets demo:42#1 (stream chat-demo:42): the row is missing; first explained by " + opened + "\n",
		": 1 differ, 0 are only in the live table, 0 only in the new one\n",
		`  readmodel.conversations chat-demo:43 (stream chat-demo:43): last_message is "forged", ` +
			`the events lead to "hello"; first explained by ` + received + "\n",
	} {
		if !strings.Contains(stdout, says) {
			t.Errorf("it does not say %q:\n%s", says, stdout)
		}
	}
	w.wantRows("forged", `select last_message from readmodel.conversations where chat_id = 43`)
	w.wantRows("0", `select count(*) from readmodel.tickets`)
	// A rebuild reports the same differences and repairs them.
	code, stdout, stderr = w.cli("rebuild", "--all")
	if code != 0 || stderr != "" || !strings.Contains(stdout, `last_message is "forged"`) ||
		!strings.Contains(stdout, "conversations: rebuilt from ") || !strings.Contains(stdout, "tickets: rebuilt from ") {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	w.clean()
	// A rollback brings the old table back.
	code, stdout, stderr = w.cli("rebuild", "--rollback", "conversations")
	if code != 0 || stderr != "" ||
		!strings.Contains(stdout, fmt.Sprintf("conversations: rolled back to the table of version %d, at position ",
			projections.Conversations{}.Version())) {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	w.wantRows("forged", `select last_message from readmodel.conversations where chat_id = 43`)
	w.Say(43, "thank you")
	w.settle()
	w.wantRows("thank you", `select last_message from readmodel.conversations where chat_id = 43`)
	w.clean()
}

func TestVerify_AllTables_AreReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(42, "I want to talk to a person")
	w.Say(43, "hello")
	w.settle()
	for _, args := range [][]string{{"verify", "tickets", "conversations"}, {"verify", "--sample", "100"}} {
		code, stdout, stderr := w.cli(args...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "conversations: clean, 2 rows of 2 streams at position ") ||
			!strings.Contains(stdout, "tickets: clean, 1 rows of 2 streams") {
			t.Errorf("%v: exit %d, %s%s", args, code, stdout, stderr)
		}
	}
	if code, stdout, _ := w.cli("verify", "conversations", "--sample", "1"); code != 0 ||
		!strings.Contains(stdout, "conversations: clean, 1 rows of 1 streams") {
		t.Errorf("one: exit %d, %s", code, stdout)
	}
	w.tamper(`update readmodel.tickets set status = 'lost'`)
	w.tamper(`update readmodel.conversations set messages = 7 where chat_id = 43`)
	for _, args := range [][]string{{"verify"}, {"verify", "--sample", "10"}} {
		code, _, stderr := w.cli(args...)
		if code != 1 || strings.Count(stderr, "\n") != 1 ||
			!strings.Contains(stderr,
				`status is "lost", the events lead to "open"; first explained by ticket_opened, version `) ||
			!strings.Contains(stderr,
				"messages is 7, the events lead to 1; first explained by message_received, version 1 at ") {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}
	w.stop() // or it would build it at once
	w.tamper(`update eventstore.checkpoints set version = 9 where consumer_group = 'tickets'`)
	code, _, stderr := w.cli("verify", "tickets")
	if want := fmt.Sprintf("readmodel.tickets was made by version 9 of the projection and this program has version %d: "+
		"run `chatledger rebuild tickets`, or the other program", projections.Tickets{}.Version()); code != 1 ||
		!strings.Contains(stderr, want) {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if code, stdout, stderr := w.cli("rebuild", "tickets"); code != 0 {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	w.running = w.start(w.dsn)
	w.register()
	w.Say(43, "thank you")
	w.settle()
	if code, stdout, stderr := w.cli("verify", "tickets"); code != 0 {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
}

// metric reads a metric of the running program; -1 when it is missing.
func (w *world) metric(name string) float64 {
	w.t.Helper()
	_, page, err := get(w.url + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(page)
	if found == nil {
		return -1
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// A row is damaged while the program runs, and no operator runs verify.
func TestServe_ForgedRow_IsNoticed(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	w.running = w.start(w.dsn, func(c *server.Config) { c.VerifyEvery = 20 * time.Millisecond })
	w.register()
	for chat := range int64(10) {
		w.Say(40+chat, "I want to talk to a person")
	}
	w.settle()
	verified := func(p string) float64 { return w.metric(`chatledger_verified_rows_total{projection="` + p + `"}`) }
	divergent := func(p string) float64 { return w.metric(`chatledger_divergent_rows_total{projection="` + p + `"}`) }
	w.eventually("rows of both tables are verified", func() string {
		return unless(
			verified("conversations") >= 10 && verified("tickets") >= 10, "%v and %v",
			verified("conversations"), verified("tickets"),
		)
	})
	if n, m := divergent("conversations"), divergent("tickets"); n != 0 || m != 0 {
		t.Errorf("of healthy tables %v and %v rows differ", n, m)
	}
	w.tamper(`update readmodel.tickets set priority = 'low' where chat_id = 43`)
	w.eventually("the damaged ticket is counted",
		func() string { return unless(divergent("tickets") > 0, "%v", divergent("tickets")) })
	if n := divergent("conversations"); n != 0 {
		t.Errorf("of the other table %v rows differ", n)
	}
	// Sampling continues during a rebuild, which repairs the row.
	if code, stdout, stderr := w.cli("rebuild", "tickets"); code != 0 {
		t.Fatalf("exit %d, %s%s", code, stdout, stderr)
	}
	w.clean()
}

// A program with a newer projection is started on an older one's database, then the other way round. The
// versions in the database tell the two apart, so the test changes these.
func TestServe_OldTable_IsRebuilt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(42, "I want to talk to a person")
	w.settle()
	w.stop()
	const number = `select 'readmodel.tickets'::regclass::oid`
	w.tamper(`update eventstore.checkpoints set version = 0 where consumer_group = 'tickets'`)
	w.tamper(`update readmodel.tickets set status = 'as it was called before'`)
	before := w.rows(number)
	w.running = w.start(w.dsn)
	w.register()
	w.Say(43, "I want to talk to a person")
	w.settle()
	ours := projections.Tickets{}.Version()
	w.wantRows(fmt.Sprint(ours), `select version from eventstore.checkpoints where consumer_group = 'tickets'`)
	w.wantRows("0", `select version from eventstore.checkpoints where consumer_group = 'tickets (previous)'`)
	if n := w.metric(`chatledger_rebuild_ratio{projection="tickets"}`); n != 1 {
		t.Errorf("the new table is said to be built to %v, want 1", n)
	}
	w.clean()
	w.stop()
	if after := w.rows(number); after == before {
		t.Error("the table is still the old one")
	}

	w.tamper(fmt.Sprintf(`update eventstore.checkpoints set version = %d where consumer_group = 'tickets'`, ours+1))
	newer := w.rows(`select oid, (select events from eventstore.checkpoints where consumer_group = 'tickets') from pg_class
		where oid = 'readmodel.tickets'::regclass`)
	w.running = w.start(w.dsn)
	w.register()
	w.Say(44, "I want to talk to a person")
	w.eventually("the customer has an answer", func() string { return unless(len(w.texts(44, "bot")) > 0, "none") })
	w.wantRows(newer, `select oid, (select events from eventstore.checkpoints where consumer_group = 'tickets')
		from pg_class where oid = 'readmodel.tickets'::regclass`)
}

// The program is killed repeatedly during rebuilds: queries always find whole tables, and the last rebuild
// leaves no temporary tables.
func TestRebuild_Killed_LosesNothing(t *testing.T) {
	t.Parallel()
	const events, chats, kills = 20_000, 1_000, 6
	dsn := pgtest.Database(t)
	if err := load.Fill(t.Context(), dsn, events, chats); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := command(t.Context(), "rebuild", "--all", "--database-url", dsn); code != 0 {
		t.Fatalf("exit %d, %s%s", code, stdout, stderr)
	}
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	done := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	defer close(done)
	reading.Go(func() {
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		for {
			select {
			case <-done:
				return
			case <-pace.C:
			}
			var n, m int
			err := pool.QueryRow(t.Context(),
				`select (select count(*) from readmodel.conversations), (select count(*) from readmodel.tickets)`).Scan(&n, &m)
			if err != nil || n != chats || m != chats/50 {
				t.Errorf("the tables show %d chats and %d tickets, want %d and %d: %v", n, m, chats, chats/50, err)
				return
			}
		}
	})
	rebuild := func() *exec.Cmd { return asProgram(dsn, "rebuild", "--all") }
	begun := time.Now()
	if out, err := rebuild().CombinedOutput(); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	took := time.Since(begun)
	for killed := 0; killed < kills; {
		c := rebuild()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		after := rand.N(took)
		time.Sleep(after)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait() // the state says more
		switch end := c.ProcessState; {
		case !end.Exited():
			killed++
		case end.Success(): // the machine has become quicker
			took = max(after, time.Millisecond)
		} // or the server has not yet noticed that the one before is gone
	}
	// The server may be about to notice that the last is gone.
	eventually(t, patience, "a rebuild succeeds", func() string {
		code, stdout, stderr := command(t.Context(), "rebuild", "--all", "--database-url", dsn)
		return unless(
			code == 0 && strings.Count(stdout, "all are the same") == len(projections.All()), "exit %d, %s%s",
			code, stdout, stderr,
		)
	})
	if code, stdout, stderr := command(t.Context(), "verify", "--database-url", dsn); code != 0 {
		t.Errorf("exit %d, %s%s", code, stdout, stderr)
	}
	var left int
	if err := pool.QueryRow(t.Context(), `select count(*) from pg_namespace
		where nspname like 'readmodel\_rebuild\_%'`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d schemas are left over (%v)", left, err)
	}
}
