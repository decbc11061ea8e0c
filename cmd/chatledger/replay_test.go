package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/commands/whatif"
)

// settingsFile writes a bots file of one bot, demo, with these settings. Its token cannot be read: a
// replay does not need it.
func settingsFile(t *testing.T, settings string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bots.yaml")
	text := "bots: {demo: {token: 'env:CHATLEDGER_NO_ONE', secret: 'file:/nowhere', " + settings + "}}"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// replaysAsItWas fails unless this program decides everything as it was decided, with the bot's own
// settings and with none, and its sandbox equals the read model.
func (w *world) replaysAsItWas() {
	w.t.Helper()
	shop := fmt.Sprintf("orders: %q", w.bot.Orders)
	if w.bot.CRM != nil {
		shop = "crm: {url: 'env:CHATLEDGER_NO_ONE'}"
	}
	if w.bot.Zendesk != nil {
		shop += ", zendesk: {url: 'env:CHATLEDGER_NO_ONE'}"
	}
	if m := w.bot.Model; m != nil {
		shop += fmt.Sprintf(", model: {url: 'env:CHATLEDGER_NO_ONE', name: %s, use: %s}", m.Name, m.Use)
	}
	own := settingsFile(
		w.t,
		fmt.Sprintf("%s, chat_limit: {count: %d, window: %s}", shop, w.bot.ChatLimit.Count, w.bot.ChatLimit.Window),
	)
	for _, args := range [][]string{{"--bots", own, "--keep"}, {}} {
		code, stdout, stderr := w.cli(append([]string{"replay", "--sandbox"}, args...)...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, ": 0 differ, in 0 chats\n") {
			w.t.Errorf("replay %v: exit %d, %s%s", args, code, stdout, stderr)
		}
		if kept := keptSchema.FindString(stdout); kept != "" {
			for _, table := range []string{"conversations", "tickets"} {
				live, now := "table readmodel."+table, "table "+kept+"."+table
				w.wantRows("", fmt.Sprintf("(%s except %s) union all (%s except %s)", live, now, now, live))
			}
		}
	}
}

var keptSchema = regexp.MustCompile(`readmodel_sandbox_\w+`)

func TestReplay_OtherSettings_ReportsDifferences(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(b *config.Bot) { b.ChatLimit = &config.ChatLimit{Count: 1, Window: time.Hour} })
	w.Say(42, "where is my order 1001?")
	w.settle()
	w.Say(42, "I want to talk to \x1b[31m a person")
	w.Say(43, "hello")
	w.settle()

	orders := filepath.Join(t.TempDir(), "orders.yaml")
	if err := os.WriteFile(orders, []byte("- {number: 1001, status: lost}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := settingsFile(t, "orders: "+orders+", chat_limit: {count: 0}")
	code, stdout, stderr := w.cli("replay", "--sandbox", "--bots", other, "--keep")
	if code != 1 || stderr != "chatledger: 3 of 7 decisions differ, in 1 of 2 chats\n" {
		t.Errorf("exit %d, %q", code, stderr)
	}
	stdout = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+Z`).ReplaceAllString(stdout, "TIME")
	stdout = regexp.MustCompile(`person 0\.\d+`).ReplaceAllString(stdout, "person SURE")
	schema := keptSchema.FindString(stdout)
	want := `chat-demo:42 version 4 at TIME (the first of this chat)
  answered  was "order_status, number = 1001, code = arrives_tomorrow, ` +
		`detail = It left our warehouse yesterday and should arrive tomorrow., ` +
		`found = true, number = 1001, status = shipped"
            now "order_status, number = 1001, detail = , found = true, number = 1001, status = lost"
  reply     was "Order 1001: shipped. It left our warehouse yesterday and should arrive tomorrow."
            now "Order 1001: lost."
chat-demo:42 version 7 at TIME, on "I want to talk to \x1b[31m a person"
  received  was "message, over the limit, too fast"
            now "message"
chat-demo:42 version 8 at TIME, on "I want to talk to \x1b[31m a person"
  intent    was "too_fast 1"
            now "person SURE"
  reply     was "You are writing faster than I can answer. I've kept everything; please give me a minute."
            now "Of course. A colleague will answer you here."
  ticket    was nothing
            now "asked, high, due TIME"
2 chats, 7 inputs, 7 decisions compared: 3 differ, in 1 chats
  received  1
  intent    1
            1 too_fast -> person
  answered  1
  reply     2
            2 reworded, 0 sent that were not, 0 not sent that were
  ticket    1
kept in schema ` + schema + "; `drop schema " + schema + " cascade` when you are done with it\n"
	if diff := cmp.Diff(want, stdout); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	w.wantRows("42, bot, person; 43, bot, bot", `
		select chat_id, was.handler, now.handler from readmodel.conversations was full
		join `+schema+`.conversations now using (stream_id, chat_id) order by 1`)
	w.wantRows("demo:42#1", `select ticket_id from `+schema+`.tickets`)

	code, stdout, _ = w.cli("replay", "--sandbox", "--bots", other, "--json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var got struct {
		Difference whatif.Difference
		Summary    whatif.Tally
	}
	if len(lines) != 4 || code != 1 {
		t.Fatalf("exit %d, %s", code, stdout)
	}
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil || got.Difference.Version != 7 || got.Difference.Root ||
		got.Difference.Said != "I want to talk to \x1b[31m a person" {
		t.Errorf("%s: %v", lines[1], err)
	}
	if err := json.Unmarshal([]byte(lines[3]), &got); err != nil || got.Summary.Chats != 2 || got.Summary.Reworded != 2 ||
		got.Summary.Kinds[whatif.Ticket] != 1 {
		t.Errorf("%s: %v", lines[3], err)
	}
}

func TestReplay_Filters_SelectChats(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for chat := range int64(3) {
		w.Say(40+chat, "hello")
	}
	w.settle()
	var since string
	if err := w.db.QueryRow(t.Context(), `select to_json(clock_timestamp()) #>> '{}'`).Scan(&since); err != nil {
		t.Fatal(err)
	}
	w.Say(41, "thanks")
	w.settle()
	file := settingsFile(t, "chat_limit: {count: 0}")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "3 chats, 8 inputs, "},
		{[]string{"--bot", "demo", "--bots", file}, "3 chats, 8 inputs, "},
		{[]string{"--bots", file}, "3 chats, 8 inputs, "},
		{[]string{"--bot", "other"}, "0 chats, 0 inputs, "},
		{[]string{"--limit", "2"}, "2 chats, "},
		{[]string{"--stream", "chat-demo:41"}, "1 chats, 4 inputs, "},
		{[]string{"--since", since}, "1 chats, 2 inputs, "},
		{[]string{"--since", since, "--stream", "chat-demo:41", "--bots", file}, "1 chats, 2 inputs, "},
	} {
		code, stdout, stderr := w.cli(append([]string{"replay", "--sandbox"}, c.args...)...)
		if code != 0 || !strings.HasPrefix(stdout, c.want) {
			t.Errorf("%v: exit %d, %s%s; want %s", c.args, code, stdout, stderr, c.want)
		}
	}
	refused(
		t, "there is no stream chat-demo:99", "replay", "--sandbox", "--stream", "chat-demo:99",
		"--database-url", w.dsn,
	)

	// An event that this program does not know stops the replay, with its name.
	if _, err := w.db.Exec(t.Context(), `
		insert into eventstore.events (stream_id, version, event_id, name, event_version, payload,
		correlation_id, actor, occurred_at)
		select 'chat-demo:42', 5, gen_random_uuid(), 'moon_landed', 3, '{}', gen_random_uuid(), 'bot', now()`); err != nil {
		t.Fatal(err)
	}
	refused(t, "chat-demo:42 version 5: unknown event moon_landed@3", "replay", "--sandbox", "--database-url", w.dsn)
	w.wantRows("", `select nspname from pg_namespace where nspname like 'readmodel\_sandbox%'`)
	w.wantRows("1", `with gone as (delete from eventstore.events where name = 'moon_landed' returning 1)
		select count(*) from gone`)
}

func TestReplay_Mistakes_AreReported(t *testing.T) {
	t.Parallel()
	const nowhere = "--database-url=postgres://nobody@127.0.0.1:1/none?connect_timeout=1"
	file := settingsFile(t, "orders: demo")
	for _, c := range []struct {
		says string
		args []string
	}{
		{"give --sandbox", nil},
		{"--since", []string{"--sandbox", "--since", "yesterday"}},
		{"is not a chat", []string{"--sandbox", "--stream", "bot-demo"}},
		{"--bot and --stream", []string{"--sandbox", "--bot", "demo", "--stream", "chat-demo:42"}},
		{"has no bot other", []string{"--sandbox", "--bots", file, "--bot", "other"}},
		{"has no bot other", []string{"--sandbox", "--bots", file, "--stream", "chat-other:42"}},
		{"put the file there, or name another one", []string{"--sandbox", "--bots", "/nowhere/bots.yaml"}},
		{"chat_limit: count is", []string{"--sandbox", "--bots", settingsFile(t, "chat_limit: {count: 1000}")}},
		{"bot demo: orders: ", []string{"--sandbox", "--bots", settingsFile(t, "orders: /nowhere/orders.yaml")}},
		{"127.0.0.1:1", []string{"--sandbox"}},
	} {
		refused(t, c.says, append([]string{"replay", nowhere}, c.args...)...)
	}
}

func TestReplay_AnyChat_ChangesAndSendsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, text := range []string{"where is my order 1001?", "I want to change my billing address",
		"12 Baker Street, London NW1 6XE", "a person please"} {
		w.Say(42, text)
		w.settle()
	}
	world := func() string { // without the heartbeats, which go on by themselves
		var all []string
		for _, table := range strings.Split(w.rows(`
			select format('%I.%I', schemaname, tablename) from pg_tables
			where schemaname not in ('pg_catalog', 'information_schema')
			  and tablename <> 'leaders' order by 1`), "; ") {
			all = append(all,
				table+" "+w.rows(`select count(*), md5(string_agg(t::text, ' ' order by t::text)) from `+table+` t`))
		}
		all = append(all,
			"sequences "+w.rows(`select schemaname, sequencename, last_value from pg_sequences order by 1, 2`),
			fmt.Sprintf("calls %v", w.Stats().Calls))
		return strings.Join(all, "\n")
	}
	before := world()
	code, stdout, stderr := w.cli(
		"replay", "--sandbox", "--bots", settingsFile(t, "chat_limit: {count: 1, window: 24h}"),
	)
	if code != 1 || !strings.Contains(stdout, "1 chats, ") {
		t.Fatalf("exit %d, %s%s", code, stdout, stderr)
	}
	w.settle()
	if diff := cmp.Diff(before, world()); diff != "" {
		t.Errorf("a replay changed (-before +after):\n%s", diff)
	}
}

func TestReplay_Imports_CannotSend(t *testing.T) {
	t.Parallel()
	found := false
	for _, p := range packages(t) {
		if strings.TrimPrefix(p.ImportPath, module) != "commands/whatif" {
			continue
		}
		found = true
		for _, dep := range p.Deps {
			if ours, ok := strings.CutPrefix(dep, module); ok && !within(ours, []string{"domain", "commands"}) {
				t.Errorf("commands/whatif reaches %s", dep)
			}
			if dep == "net/http" || strings.HasPrefix(dep, "github.com/jackc/pgx") {
				t.Errorf("commands/whatif reaches %s", dep)
			}
		}
	}
	if !found {
		t.Error("there is no package commands/whatif")
	}

	// The code that calls it is pure, too: of the packages that can send, package replay uses only what
	// cannot send.
	const settings = "../internal/admin/replay/settings.go"
	harmless := map[string][]string{
		"telegram": {"Bot", "Translate"}, "crm": {"Asker", "Catalogue", "ToolsWith"},
		"eventstore": {"Store", "Ledger"},
	}
	files, err := filepath.Glob(filepath.Dir(settings) + "/*.go")
	if err != nil || !slices.Contains(files, settings) {
		t.Fatalf("files of package replay: %v (%v)", files, err)
	}
	for _, path := range files {
		namesOnly(t, path, harmless)
	}
}

// namesOnly fails when a file uses an adapter, or anything of one, that is not listed.
func namesOnly(t *testing.T, path string, harmless map[string][]string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range file.Imports {
		name := strings.Trim(i.Path.Value, `"`)
		if strings.HasPrefix(name, module+"adapters/") && harmless[filepath.Base(name)] == nil {
			t.Errorf("%s imports %s", path, name)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && harmless[x.Name] != nil && !slices.Contains(harmless[x.Name], s.Sel.Name) {
				t.Errorf("%s uses %s.%s", path, x.Name, s.Sel.Name)
			}
		}
		return true
	})
}
