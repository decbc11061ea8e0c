package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/schema"
)

// refused fails unless a command ends with exit status 1, nothing on standard
// output, and one line that says this.
func refused(t *testing.T, says string, args ...string) {
	t.Helper()
	code, stdout, stderr := command(t.Context(), args...)
	if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "chatledger: ") || !strings.HasSuffix(stderr, "\n") ||
		!strings.Contains(stderr, says) {
		t.Errorf("chatledger %s\n exit %d, stdout %q\n says %q\n want %q", strings.Join(args, " "), code,
			stdout, stderr, says)
	}
	if strings.Count(stderr, "\n") != 1 {
		t.Errorf("chatledger %s\n says more than one line: %s", strings.Join(args, " "), stderr)
	}
}

func TestHelp_Root_NamesEveryCommand(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := command(t.Context(), "--help")
	if code != 0 || stderr != "" {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	for _, name := range []string{"dev", "serve", "migrate", "events", "rebuild", "verify", "rebase", "export", "import",
		"state", "why", "deliveries", "quarantine", "parked", "record", "webhook", "doctor", "config", "replay", "knowledge",
		"ticket", "operator", "intents", "version"} {
		if !regexp.MustCompile(`(?m)^ +` + name + `\b`).MatchString(stdout) {
			t.Errorf("--help says nothing of %s:\n%s", name, stdout)
		}
		if code, stdout, _ := command(t.Context(), name, "--help"); code != 0 ||
			!strings.Contains(stdout, "Usage: chatledger "+name) {
			t.Errorf("%s --help: exit %d, %s", name, code, stdout)
		}
	}
}

func TestHelp_HelpCommand_EqualsFlag(t *testing.T) {
	t.Parallel()
	for _, words := range [][]string{{"help"}, {"help", "serve"}, {"help", "ticket", "reply"}} {
		_, want, _ := command(t.Context(), append(words[1:], "--help")...)
		if code, stdout, stderr := command(t.Context(), words...); code != 0 || stderr != "" || stdout != want {
			t.Errorf("%s: exit %d, stderr %q, stdout %q", strings.Join(words, " "), code, stderr, stdout)
		}
	}
}

func TestVersion_Always_NamesProgram(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"version", "--version"} {
		code, stdout, stderr := command(t.Context(), word)
		if code != 0 || stderr != "" || !regexp.MustCompile(`^chatledger \S+ go1\.\S+ \w+/\w+\n$`).MatchString(stdout) {
			t.Errorf("%s: exit %d, %q, %q", word, code, stdout, stderr)
		}
	}
}

func TestCommandLine_Mistakes_AreOneLine(t *testing.T) {
	t.Parallel()
	const nowhere = "--database-url=postgres://nobody@127.0.0.1:1/none?connect_timeout=1"
	bots := filepath.Join(t.TempDir(), "bots.yaml")
	if err := os.WriteFile(bots, []byte("bots: {demo: {token: '1:x', secret: s}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says string
		args []string
	}{
		{"expected one of", nil},
		{"see `chatledger --help`", nil},
		{"dance", []string{"dance"}},
		{"--loud; see `chatledger verify --help`", []string{"verify", "--loud"}},
		{"see `chatledger deliveries show --help`", []string{"deliveries", "show", "5"}},
		{"<projection>", []string{"rebuild"}},
		{"--bots", []string{"serve"}},
		{"set DATABASE_URL", []string{"serve", "--bots", bots}},
		{"set DATABASE_URL", []string{"migrate"}},
		{"set DATABASE_URL", []string{"events"}},
		{"set DATABASE_URL", []string{"verify"}},
		{"set DATABASE_URL", []string{"rebuild", "tickets"}},
		{"set DATABASE_URL", []string{"ticket", "resolve", "demo:42"}},
		{"nonsense", []string{"rebuild", "nonsense", nowhere}},
		{"nonsense", []string{"verify", "nonsense", nowhere}},
		{"--from", []string{"events", "--from", "soon", nowhere}},
		{"--from", []string{"events", "--stream", "chat-demo:42", "--from", "soon", nowhere}},
		{"is not a chat", []string{"ticket", "resolve", "42", nowhere}},
		{"is not a chat", []string{"ticket", "resolve", "demo:me", nowhere}},
		{"--log-level", []string{"--log-level", "loud", "version"}},
	} {
		refused(t, c.says, c.args...)
	}
	for _, args := range [][]string{{"migrate"}, {"rebase"}, {"events"},
		{"serve", "--bots", bots, "--listen", "127.0.0.1:0"}} {
		refused(t, "127.0.0.1:1", append(args, nowhere)...)
		refused(t, "look at the address in DATABASE_URL, the firewall, and whether the server runs", append(args, nowhere)...)
	}
}

func TestListen_TakenPort_NamesFlag(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bots := filepath.Join(t.TempDir(), "bots.yaml")
	if err := os.WriteFile(bots, []byte("bots: {demo: {token: '1:x', secret: s}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	refused(t, "choose another address with --listen", "serve", "--bots", bots, "--database-url",
		pgtest.Database(t), "--listen", address)
	refused(t, "choose another address with --listen", "dev", "--data-dir", t.TempDir(), "--listen", address,
		"--sim", "127.0.0.1:0")
	refused(t, "choose another address with --sim", "dev", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0",
		"--sim", address)
	refused(t, "choose another address with --crm", "dev", "--data-dir", t.TempDir(), "--listen", "127.0.0.1:0",
		"--sim", "127.0.0.1:0", "--crm", address)
}

func TestBotsFile_Mistakes_Reported(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dsn := "postgres://nobody@127.0.0.1:1/none"
	orders := filepath.Join(dir, "orders.yaml")
	if err := os.WriteFile(orders, []byte("- {number: '1'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		bot    = "bots: {demo: {token: '1:x', secret: s, "
		server = "bots: {demo: {token: '1:x', secret: s}}\nserver: {"
	)
	for says, text := range map[string]string{
		"no bots: begin":                           "bots: {}",
		"begin with `bots:` and a name below it":   "",
		"field tokn not found":                     "bots: {demo: {tokn: '1:x', secret: s}}",
		"bot demo: token is missing":               "bots: {demo: {secret: s}}",
		"bot demo: secret must be":                 "bots: {demo: {token: '1:x'}}",
		"bot blank: secret must be":                "bots: {blank: {token: '1:x', secret: 'a b'}}",
		"bot few: relay_secret must have 32":       "bots: {few: {token: '1:x', secret: s, relay_secret: short}}",
		"bot old: old_secret must be":              "bots: {old: {token: '1:x', secret: s, old_secret: 'ä'}}",
		"bot Demo: a name is":                      "bots: {Demo: {token: '1:x', secret: s}}",
		"reorder_window must be between 0 and 2s":  bot + "reorder_window: 3s}}",
		"chat_limit: count is 0 (off) to":          bot + "chat_limit: {count: 5}}}",
		"chat_limit: count is":                     bot + "chat_limit: {count: 1000000, window: 1s}}}",
		"rate: bot must be 0 (no limit) or":        bot + "rate: {bot: -1}}}",
		"rate: group_per_minute must be 0":         bot + "rate: {group_per_minute: 5000}}}",
		"rate: chat must be 0":                     bot + "rate: {chat: .nan}}}",
		"retention: raw and quarantine are 1d":     bot + "retention: {raw: 23h}}}",
		"raw and quarantine are 1d to 36500d":      bot + "retention: {quarantine: -5h}}}",
		"are 1d to 36500d":                         bot + "retention: {quarantine: 65535d}}}",
		"\"90\" is not a duration":                 bot + "retention: {raw: 90}}}",
		"\"-1d\" is not a duration":                bot + "retention: {raw: -1d}}}",
		"field inbox not found":                    bot + "retention: {inbox: 1d}}}",
		"crm: url: not a base URL; give one":       bot + "crm: {token: x}}}",
		"not a base URL":                           bot + "crm: {url: crm.example.com}}}",
		"orders and crm exclude each other":        bot + "orders: demo, crm: {url: 'http://127.0.0.1'}}}",
		"crm: token: the environment has no":       bot + "crm: {url: 'http://127.0.0.1', token: 'env:CHATLEDGER_NO_ONE'}}}",
		"field user not found":                     bot + "crm: {url: 'http://127.0.0.1', user: x}}}",
		"oidc: issuer: not a base URL":             server + "oidc: {client_id: x, client_secret: y}}",
		"oidc: client_id: missing":                 server + "oidc: {issuer: 'https://login.example.com'}}",
		"oidc: client_secret: the environment has": server + "oidc: {client_secret: 'env:CHATLEDGER_NO_ONE'}}",
		"oidc: redirect_url: must be the https": server +
			"oidc: {redirect_url: 'http://desk.example.com/api/v1/session/oidc/callback'}}",
		"the environment has no CHATLEDGER_NO_ONE": "bots: {demo: {token: 'env:CHATLEDGER_NO_ONE', secret: s}}",
		"no such file": "bots: {demo: {token: '1:x', secret: 'file:" + dir + "/none'}}",
	} {
		path := filepath.Join(dir, "bots.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, says, "serve", "--bots", path, "--database-url", dsn, "--listen", "127.0.0.1:0")
	}
	refused(t, "put the file there, or name another one", "serve", "--bots", filepath.Join(dir, "none.yaml"),
		"--database-url", dsn)
}

func TestBotsFile_References_Read(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CHATLEDGER_TEST_TOKEN", "17:env")
	files := map[string]string{
		"secret": "from-file\n",
		"bots.yaml": `
bots:
  shop:
    token: env:CHATLEDGER_TEST_TOKEN
    secret: file:` + filepath.Join(dir, "secret") + `
    old_secret: previous
    reorder_window: 150ms
    chat_limit: {count: 3, window: 10s}
    orders: demo
    rate: {bot: 25, chat: 0}
    retention: {raw: 90d, quarantine: 36h}
  quiet:
    token: "18:plain"
    secret: plain
    crm: {url: "https://crm.example.com/v1", token: env:CHATLEDGER_TEST_TOKEN}
`}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bots, err := config.ReadBots(filepath.Join(dir, "bots.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	shop, quiet := bots["shop"], bots["quiet"]
	if got := fmt.Sprint(shop.Token, " ", shop.Receiver("shop")); got != "17:env {shop []  {3 10s} 150ms}" {
		t.Errorf("shop: %s", got)
	}
	if got := fmt.Sprint(quiet.Token, " ", quiet.Receiver("quiet")); got != "18:plain {quiet []  {10 1m0s} 0s}" {
		t.Errorf("quiet: %s", got)
	}
	if got := fmt.Sprint(shop.Limits(), quiet.Limits()); got != "{25 0 20} {30 1 20}" {
		t.Errorf("rates: %s", got)
	}
	if got := fmt.Sprint(shop.Retention, quiet.Retention); got != "{2160h0m0s 36h0m0s} {0s 0s}" {
		t.Errorf("retention: %s", got)
	}
	if orders, err := shop.ReadOrders(); err != nil || orders == nil {
		t.Errorf("shop's orders: %v (%v)", orders, err)
	}
	if quiet.CRM == nil || *quiet.CRM != (config.CRM{URL: "https://crm.example.com/v1", Token: "17:env"}) ||
		shop.CRM != nil {
		t.Errorf("CRMs: %+v, %+v", quiet.CRM, shop.CRM)
	}
	if orders, err := quiet.ReadOrders(); err != nil || orders != nil {
		t.Errorf("quiet's orders: %v (%v)", orders, err)
	}
}

func TestMigrate_Twice_MigratesOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.EmptyDatabase(t)
	bots := filepath.Join(t.TempDir(), "bots.yaml")
	if err := os.WriteFile(bots, []byte("bots: {demo: {token: '1:x', secret: s}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "run `chatledger migrate`", "serve", "--bots", bots, "--listen", "127.0.0.1:0", "--database-url", dsn)
	for _, want := range []string{
		fmt.Sprintf("schema migrated from version 0 to %d\n", schema.Latest()),
		fmt.Sprintf("schema is up to date at version %d\n", schema.Latest()),
	} {
		if code, stdout, stderr := command(t.Context(), "migrate", "--database-url", dsn); code != 0 ||
			stdout != want || stderr != "" {
			t.Errorf("exit %d, %q, %q; want %q", code, stdout, stderr, want)
		}
	}
}

func TestEvents_Stored_AreListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(42, "hello")
	w.settle()
	w.Say(43, "where is my order 1001?")
	w.settle()

	list := func(args ...string) []string {
		code, stdout, stderr := w.cli(append([]string{"events"}, args...)...)
		if code != 0 || stderr != "" {
			t.Fatalf("events %v: exit %d, %s", args, code, stderr)
		}
		return strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	}
	all := list()
	if len(all) != 10 || !strings.Contains(all[0], "chat-demo:42") || !strings.Contains(all[0], "message_received") ||
		!strings.Contains(all[0], `"text":"hello"`) {
		t.Errorf("%d lines:\n%s", len(all), strings.Join(all, "\n"))
	}
	place, _, _ := strings.Cut(all[5], " ")
	if after := list("--from", place); len(after) != 4 || after[0] != all[6] {
		t.Errorf("after %s:\n%s", place, strings.Join(after, "\n"))
	}
	for _, named := range []string{"chat-demo:43", "demo:43"} {
		if chat := list("--stream", named); len(chat) != 6 || chat[0] != all[4] {
			t.Errorf("of %s:\n%s", named, strings.Join(chat, "\n"))
		}
		for _, args := range [][]string{{"state", named}, {"why", "conversations", named}} {
			if code, stdout, stderr := w.cli(args...); code != 0 || !strings.Contains(stdout, "chat-demo:43") {
				t.Errorf("%v: exit %d, %s%s", args, code, stdout, stderr)
			}
		}
	}
	if rest := list("--stream", "chat-demo:43", "--from", "5"); len(rest) != 1 || rest[0] != all[9] {
		t.Errorf("of one stream after version 5:\n%s", strings.Join(rest, "\n"))
	}
	for i, line := range list("--json", "--stream", "chat-demo:42") {
		var got struct {
			Position, Stream, ID, Name, Actor, Causation, Correlation string
			Version                                                   int
			Payload                                                   map[string]any
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		wantName := []string{"message_received", "understood", "reply_queued", "delivery_succeeded"}[i]
		wantActor := []string{"customer", "bot", "bot", "delivery"}[i]
		if got.Name != wantName || got.Actor != wantActor || got.Version != i+1 || got.Stream != "chat-demo:42" ||
			got.Payload == nil || got.Correlation == "" || (got.Causation == "") != (i == 0) {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
}

// --follow prints the stored events, then new ones, until it is stopped.
func TestEvents_Follow_PrintsNewEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"events", "--follow", "--database-url", w.dsn}, writer, io.Discard)
	}()
	w.Say(42, "hello")
	buffer, read := make([]byte, 4096), ""
	for !strings.Contains(read, "delivery_succeeded") {
		n, err := reader.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		read += string(buffer[:n])
	}
	if lines := strings.Count(read, "\n"); lines != 4 {
		t.Errorf("%d lines:\n%s", lines, read)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestVerify_ForgedRow_RebuildRepairsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(42, "I want to talk to a person")
	w.Say(43, "hello")
	w.settle()
	w.clean()
	for _, c := range []struct{ projection, tamper, says string }{
		{"conversations", `update readmodel.conversations set last_message = 'forged' where chat_id = 43`, "chat-demo:43"},
		{"conversations", `delete from readmodel.conversations where chat_id = 43`, "chat-demo:43"},
		{"conversations", `insert into readmodel.conversations
			select (jsonb_populate_record(c, '{"stream_id": "chat-demo:44"}')).*
			from readmodel.conversations c limit 1`, "chat-demo:44"},
		{"tickets", `update readmodel.tickets set priority = 'low'`, "demo:42#1"},
		{"tickets", `update readmodel.tickets set ticket_id = 'demo:42#2'`, "demo:42#1"},
		{"messages", `update readmodel.messages set answered_by = 'model'
			where chat_id = 43 and direction = 'in'`, "chat-demo:43/1"},
		{"chat_days", `update readmodel.chat_days set messages_in = 7 where chat_id = 43`, "chat-demo:43/2"},
	} {
		if tag, err := w.db.Exec(t.Context(), c.tamper); err != nil || tag.RowsAffected() != 1 {
			t.Fatalf("%s: %v %v", c.tamper, tag, err)
		}
		for _, args := range [][]string{{"verify"}, {"verify", c.projection}} {
			code, _, stderr := w.cli(args...)
			if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "readmodel."+c.projection) ||
				!strings.Contains(stderr, c.says) || !strings.Contains(stderr, "chatledger rebuild "+c.projection) {
				t.Errorf("after %s, %v: exit %d, %s", c.tamper, args, code, stderr)
			}
		}
		code, stdout, stderr := w.cli("rebuild", c.projection)
		if code != 0 || stderr != "" || !strings.Contains(stdout, c.projection+": rebuilt from ") {
			t.Errorf("rebuild %s: exit %d, %s%s", c.projection, code, stdout, stderr)
		}
		w.clean()
	}
	// The rebuilt tables continue from their position.
	w.Say(43, "thank you")
	w.settle()
	w.clean()
	if said := w.texts(43, "bot"); len(said) != 2 {
		t.Errorf("rebuilding sends nothing, yet the bot says %q", said)
	}
}

func TestTicket_UnknownChat_IsRejected(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Say(42, "hello")
	w.settle()
	refused(t, "chat demo:24 does not exist", "ticket", "open", "demo:24", "--database-url", w.dsn)
	w.wantRows("chat-demo:42", `select stream_id from eventstore.streams`)
	refused(t, "unknown priority", "ticket", "open", "demo:42", "--priority", "whenever", "--database-url", w.dsn)
	refused(t, "text is empty", "ticket", "reply", "demo:42", "", "--database-url", w.dsn)

	// A chat can be named in any form in which it is printed.
	for i, chat := range []string{"demo:42", "chat-demo:42", "demo:42#1"} {
		args := [][]string{{"open"}, {"assign"}, {"resolve"}}[i]
		args = append(append([]string{"ticket"}, args...), chat)
		if i == 1 {
			args = append(args, "ann")
		}
		code, stdout, stderr := w.cli(args...)
		if want := []string{"ticket_opened", "ticket_assigned", "ticket_resolved"}[i]; code != 0 ||
			stdout != fmt.Sprintf("chat-demo:42 %d %s\n", 5+i, want) {
			t.Errorf("%v: exit %d, %q %q", args, code, stdout, stderr)
		}
	}
	if code, stdout, _ := w.cli("ticket", "resolve", "demo:42"); code != 0 ||
		stdout != "nothing to do: the ticket is in this state already\n" {
		t.Errorf("resolving again: exit %d, %q", code, stdout)
	}
}

// The database's address can be in a file or come from a command, like the secrets of the bots file.
func TestDatabaseURL_Reference_Followed(t *testing.T) {
	t.Parallel()
	path := saved(t, filepath.Join(t.TempDir(), "dsn"), pgtest.Database(t)+"\n")
	for _, address := range []string{"file:" + path, "command:cat " + path} {
		if code, stdout, stderr := command(t.Context(), "operator", "list", "--database-url", address); code != 0 ||
			!strings.Contains(stdout, "logs in with") {
			t.Errorf("%s: exit %d, %s%s", address, code, stdout, stderr)
		}
	}
	refused(t, "no such file", "operator", "list", "--database-url", "file:/nowhere")
}
