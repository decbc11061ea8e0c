package main

import (
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/clock"
)

// instruction is a command or a query of the run-book.
type instruction struct{ entry, text string }

var (
	bookEntry  = regexp.MustCompile(`(?m)^#{2,3} (.+)$`)
	bookInline = regexp.MustCompile("`((?:chatledger|select|rollback) [^`]+)`")
	bookShell  = regexp.MustCompile("(?s)```sh\n(.*?)```")
	bookQuery  = regexp.MustCompile(`^psql "\$DATABASE_URL" -c "(.+)"$`)
	shellWord  = regexp.MustCompile(`"[^"]*"|[^\s"]+`)
)

// instructions returns all chatledger commands and all SQL of the run-book, in order.
func instructions(t *testing.T) (all []instruction) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	book := bookShell.ReplaceAllStringFunc(string(text), func(block string) string {
		var inline strings.Builder
		for line := range strings.Lines(bookShell.FindStringSubmatch(block)[1]) {
			line, _, _ = strings.Cut(line, " #")
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "psql ") {
				line = bookQuery.FindStringSubmatch(line)[1]
			}
			inline.WriteString("`" + line + "`\n")
		}
		return inline.String()
	})
	heads := append(bookEntry.FindAllStringSubmatchIndex(book, -1), []int{len(book), 0, 0, 0})
	from, entry := 0, "(before)"
	for _, head := range heads {
		for _, m := range bookInline.FindAllStringSubmatch(book[from:head[0]], -1) {
			text, _, _ := strings.Cut(m[1], " | ") // what comes after is not ours
			all = append(all, instruction{entry, text})
		}
		from, entry = head[0], book[head[2]:head[3]]
	}
	if len(all) < 30 {
		t.Fatalf("the run-book has %d instructions", len(all))
	}
	return all
}

// Every instruction of the run-book runs as it is written, with the role that it names, and finds the
// fault.
func TestRunBook_Instructions_RunAsWritten(t *testing.T) {
	t.Parallel()
	w, _ := newReleases(t, "unknown: ask")
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })
	r := ranks{admin: w.dsn}
	r.migrate(t, w.dsn, "booked")
	admin := pgtest.Connect(t, r.admin)
	pgtest.Exec(t, admin, `alter role booked_app password 'x'`)
	app := as(t, w.dsn, func(u *url.URL) { u.User = url.UserPassword("booked_app", "x") })

	// The faults: a message with an unknown outcome, an overdue ticket, a body that is no update with the
	// right secret, and a forgotten transaction.
	w.says("shop", 42, "hello")
	w.says("shop", 42, "change billing address")
	w.says("shop", 42, "I want to talk to a person")
	w.says("shop", 9, "hello")
	w.settle()
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Chat: 7, DropReply: true})
	w.says("shop", 7, "hello")
	w.settle()
	w.ClearFaults()
	long := func() time.Time { return clock.Now().AddDate(0, 0, -14) }
	if code, _, stderr := commandAt(t.Context(), long, "ticket", "open", "--priority=urgent", "shop:9",
		"--database-url", w.dsn); code != 0 {
		t.Fatal(stderr)
	}
	rubbish, err := http.NewRequest(http.MethodPost, w.url+"/webhook/shop", strings.NewReader("[\xff]"))
	if err != nil {
		t.Fatal(err)
	}
	rubbish.Header.Set("Content-Type", "application/json")
	rubbish.Header.Set("X-Telegram-Bot-Api-Secret-Token", "secret-of-shop")
	if answer, err := webhookClient.Do(rubbish); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", answer, err)
	}
	w.settle()
	forgotten := pgtest.Connect(t, app)
	pgtest.Exec(t, forgotten, `begin`)

	filled := strings.NewReplacer("...", w.rows(`select correlation_id::text from eventstore.events
		where stream_id = 'chat-shop:42' and version = 1`), "<table>", "conversations",
		"<delivery>", w.rows(`select delivery_id::text from eventstore.deliveries where state = 'unknown'`), "<destination>",
		"telegram:shop", "<ticket>", "shop:42#1",
		"demo:42", "shop:42", "<number>", "1", "<pid>", pgtest.Ask[string](t, forgotten, `select pg_backend_pid()::text`),
		"http://127.0.0.1:9464", w.url)
	finds := map[string]string{ // the beginning of what is typed, and what must be in the answer
		"chatledger doctor": "ok       serve ", "chatledger events": "message_received", "chatledger why": "chat-shop:42",
		"select * from eventstore.events where correlation_id": "understood", "select trace": "",
		"chatledger quarantine list": "1 times", "chatledger quarantine show": "[\xff]",
		"chatledger verify":            "conversations: clean",
		"select pid, application_name": "idle in transaction", "select pg_terminate_backend": "t",
		"chatledger rebuild": "conversations",
		"chatledger deliveries list --destination telegram:shop": "unknown", "chatledger deliveries show": "unknown",
		"chatledger deliveries retry": "1",
		"chatledger webhook info":     "/webhook/shop", "select * from readmodel.ticket_queue where overdue": "shop:9#1",
		"select reason, count": "asked",
		"select usename":       "booked_app",
	}
	asOwner := []string{"chatledger migrate", "chatledger rebase", "select pg_terminate_backend", "rollback prepared"}
	for _, i := range instructions(t) {
		text := filled.Replace(i.text)
		is := func(beginning string) bool { return strings.HasPrefix(text, beginning) }
		if is("select pid, application_name") { // from here on it holds up all tests' consumers
			pgtest.Exec(t, forgotten, `select pg_current_xact_id()`)
		}
		dsn := app
		if slices.ContainsFunc(asOwner, is) {
			dsn = r.admin
		}
		var answer string
		if command, ours := strings.CutPrefix(text, "chatledger "); ours {
			answer = w.typed(command, dsn)
		} else {
			answer = queried(t, dsn, text)
		}
		for beginning, want := range finds {
			if is(beginning) && !strings.Contains(answer, want) &&
				!is("chatledger deliveries list --destination telegram:shop --state waiting") {
				t.Errorf("%s: %s does not find %q but\n%s", i.entry, text, want, answer)
			}
		}
	}
	w.settle()
	w.clean()
}

// typed runs a command with the bots file and Telegram's address in the environment. Only doctor may end
// with a finding.
func (w *town) typed(line, dsn string) string {
	w.t.Helper()
	var args []string
	for _, word := range shellWord.FindAllString(line, -1) {
		args = append(args, strings.Trim(word, `"`))
	}
	switch args[0] {
	case "webhook", "doctor":
		args = append(args, "--bots", w.file, "--telegram-url", w.api)
	case "migrate":
		args = append(args, "--role-prefix", "booked")
	}
	code, stdout, stderr := commandAt(w.t.Context(), w.clock.now, append(args, "--database-url", dsn)...)
	if code != 0 && args[0] != "doctor" {
		w.t.Errorf("%s: exit %d, %s%s", line, code, stdout, stderr)
	}
	return stdout
}

// queried returns the result of SQL, one row a line.
func queried(t *testing.T, dsn, sql string) string {
	t.Helper()
	conn := pgtest.Connect(t, dsn)
	if strings.HasPrefix(sql, "rollback prepared") {
		const undefinedObject = "42704"
		if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), undefinedObject) {
			t.Errorf("%s: %v", sql, err)
		}
		return ""
	}
	rows, _ := conn.Query(t.Context(), `select coalesce(string_agg(r::text, e'\n'), '') from (`+sql+`) r`)
	answer, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[string])
	if err != nil {
		t.Errorf("%s: %v", sql, err)
	}
	return answer
}
