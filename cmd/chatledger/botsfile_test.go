package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// documented returns the n-th YAML example of docs/bots.md.
func documented(t *testing.T, n int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "bots.md"))
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) <= n {
		t.Fatalf("docs/bots.md has %d examples", len(examples))
	}
	return examples[n][1]
}

// saved writes a file and returns its path.
func saved(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBotsFile_Documented_Read(t *testing.T) {
	const value = "a-value-that-is-long-enough-for-any-key"
	dir := t.TempDir()
	text := documented(t, 0)
	for _, name := range regexp.MustCompile(`env:([A-Z_]+)`).FindAllStringSubmatch(text, -1) {
		t.Setenv(name[1], value)
	}
	for _, path := range regexp.MustCompile(`file:(\S+)`).FindAllStringSubmatch(text, -1) {
		text = strings.Replace(text, path[1], saved(t, filepath.Join(dir, filepath.Base(path[1])), value+"\n"), 1)
	}
	path := filepath.Join(dir, "bots.yaml")
	file, err := config.Read(saved(t, path, text))
	if err != nil {
		t.Fatal(err)
	}
	if shop := file.Bots["shop"]; shop.Token != value || shop.RelaySecret != value || shop.Language != "de" ||
		len(shop.AllowedUpdates) != 4 || len(file.Bots) != 2 {
		t.Errorf("read as %d bots, shop %+v", len(file.Bots), shop.AllowedUpdates)
	}
	// The certificate files of the second example take the place of those in the first.
	before, _, _ := strings.Cut(text, "    certificate:")
	if file, err = config.Read(saved(t, path, before+documented(t, 1))); err != nil || file.Server.TLS.ACME == nil {
		t.Errorf("with a certificate that is made: %v", err)
	}
}

func TestBotsFile_EveryKey_Documented(t *testing.T) {
	t.Parallel()
	text := documented(t, 0) + documented(t, 1)
	var walk func(at reflect.Type)
	seen := 0
	walk = func(at reflect.Type) {
		switch at.Kind() {
		case reflect.Pointer, reflect.Map, reflect.Slice:
			walk(at.Elem())
		case reflect.Struct:
			for field := range at.Fields() {
				key := field.Tag.Get("yaml")
				if key == "" {
					continue
				}
				if seen++; !regexp.MustCompile(`(?m)(^|[{,]) *` + key + `:`).MatchString(text) {
					t.Errorf("docs/bots.md has no %s (%s)", key, at)
				}
				walk(field.Type)
			}
		}
	}
	walk(reflect.TypeFor[config.File]())
	if seen < 40 {
		t.Errorf("only %d keys were found", seen)
	}
}

func TestConfigCheck_Mistakes_PrintedWithLines(t *testing.T) {
	t.Parallel()
	path := saved(t, filepath.Join(t.TempDir(), "bots.yaml"), `bots:
  shop:
    token: 12:the-token
    secret: "not good"
    tokn: 1
    rate: {bot: -1, chat: 1}
    chat_limit:
      count: 12:the-token
    crm:
      url: nowhere
    allowed_updates: [message, telegram]
    public_url: bot.example.com
  Second:
    token: env:CHATLEDGER_NO_SUCH
    secret: s
    retention:
      raw: 1h
    language: xx
server:
  connections: -1
`)
	code, stdout, stderr := command(t.Context(), "config", "check", "--bots", path)
	if code != 1 || stderr != fmt.Sprintf("chatledger: %s: 11 mistakes\n", path) {
		t.Errorf("exit %d, %s", code, stderr)
	}
	var got []string
	for line := range strings.Lines(stdout) {
		at, _, _ := strings.Cut(strings.TrimPrefix(line, path+":"), ":")
		got = append(got, at)
	}
	if want := "4 5 6 8 10 11 12 13 14 16 20"; strings.Join(got, " ") != want {
		t.Errorf("mistakes in lines %v, want %s:\n%s", got, want, stdout)
	}
	if strings.Contains(stdout+stderr, "the-token") {
		t.Errorf("a token is printed:\n%s", stdout)
	}
}

func TestConfigCheck_ValidFile_PrintsNoSecret(t *testing.T) {
	t.Setenv("CHATLEDGER_TEST_SECRET", "hidden-in-the-environment")
	dir := t.TempDir()
	hidden := saved(t, filepath.Join(dir, "token"), "17:hidden-in-a-file\n")
	path := saved(t, filepath.Join(dir, "bots.yaml"), `
bots:
  shop:
    token: file:`+hidden+`
    secret: env:CHATLEDGER_TEST_SECRET
    crm: {url: "https://user:hidden-in-a-url@crm.example.com", token: hidden-in-plain}
    zendesk:
      {url: "https://shop.zendesk.com", email: a@b, token: hidden-in-plain, webhook_secret: env:CHATLEDGER_TEST_SECRET}
    retention: {raw: 90d}
    language: de
`)
	code, stdout, stderr := command(t.Context(), "config", "check", "--bots", path)
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	for _, want := range []string{"set (file:" + hidden + ")", "set (env:CHATLEDGER_TEST_SECRET)",
		"set (in the bots file)", "crm.example.com", "updates for 90d", "all kinds"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	bots, err := config.ReadBots(path)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("a bot", "bot", bots["shop"], "all", bots)
	for _, text := range []string{stdout, fmt.Sprint(bots["shop"]), fmt.Sprintf("%v %+v %s", bots["shop"], bots, bots),
		logged.String()} {
		if strings.Contains(text, "hidden-") {
			t.Errorf("a secret is printed: %s", text)
		}
	}
}

// Each mistake of an operator in a file is reported with what failed, on what, and what to do.
func TestBotsFile_Unusable_SaysWhatToDo(t *testing.T) {
	t.Parallel()
	const bot = "bots:\n  shop:\n    token: 1:a\n    secret: s\n"
	dir := t.TempDir()
	path, empty := filepath.Join(dir, "bots.yaml"), saved(t, filepath.Join(dir, "token"), "\n")
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "bots.yaml: no bots: begin with `bots:`"},
		{"only a comment", "# later\n", "no bots: begin with"},
		{"no bots", "bots: {}\n", "bots.yaml:1: no bots"},
		{"half written", bot[:len(bot)-6], "bots.yaml:4: could not find expected ':'"},
		{"a tab", "bots:\n\tshop:\n", "bots.yaml:2: found character that cannot start any token: indent with spaces"},
		{"the same bot twice", bot + bot[len("bots:\n"):],
			`bots.yaml:5: mapping key "shop" already defined at line 2 (docs/bots.md has every key)`},
		{"text for a number", bot + "    rate: {bot: fast}\n", "bots.yaml:5: bots.shop.rate.bot must be a number, not text"},
		{"an unknown key", bot + "    ordres: demo\n", "bots.yaml:5: field ordres not found"},
		{"a secret's file missing", bot + "    old_secret: file:" + dir + "/none\n",
			"bots.yaml:5: bot shop: old_secret: open " + dir +
				"/none: no such file or directory: put the file there, or name another one"},
		{"a secret's file empty", bot + "    old_secret: file:" + empty + "\n", "token is empty: write the value into it"},
		{"a secret's file a folder", bot + "    old_secret: file:" + dir + "\n", "is a directory: name a file in it"},
		{"endless", strings.Repeat("#", config.MaxFile+1), "has more than 4 MiB: check that it is the right file"},
		{"no text", bot + "\xff\xfe", "bots.yaml:5: invalid leading UTF-8 octet"},
	} {
		wrong := server.LookAt(saved(t, path, c.text)).Wrong
		if !strings.Contains(wrong, c.want) || strings.Count(wrong, path) != 1 {
			t.Errorf("%s: it says %q, want once %q", c.name, wrong, c.want)
		}
	}
	for at, want := range map[string]string{dir: "is a directory: name a file in it",
		filepath.Join(dir, "gone.yaml"): "no such file or directory: put the file there, or name another one"} {
		if wrong := server.LookAt(at).Wrong; !strings.Contains(wrong, want) {
			t.Errorf("%s: it says %q, want %q", at, wrong, want)
		}
	}
}

func TestConfigCheck_ServerPart_SaysWhatIsFollowed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "bots.yaml")
	saved(t, path, serverBots+"server: {allow: [telegram, 203.0.113.7], connections: 100, "+
		"tls: {acme: {domains: [bot.example.com]}}}\n")
	code, stdout, stderr := command(t.Context(), "config", "check", "--bots", path)
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, %s", code, stderr)
	}
	for _, want := range []string{"telegram, 203.0.113.7\n", " 100, from one address", "made for bot.example.com\n",
		"all settings except the kind of tls, and acme"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, stdout)
		}
	}
	// Files that the bots file names are checked, too, and reported with their line.
	saved(t, path, "bots:\n  shop:\n    token: 1:a\n    secret: s\n"+
		"    orders: "+dir+"/none.yaml\n    knowledge: "+dir+"/none\n"+
		"server:\n  tls:\n    key: a\n    certificate: "+dir+"/none.pem\n")
	code, stdout, _ = command(t.Context(), "config", "check", "--bots", path)
	const missing = "no such file or directory: put the file there, or name another one"
	want := strings.NewReplacer("PATH", path, "DIR", dir, "MISSING", missing).Replace(
		`PATH:5: bot shop: orders: open DIR/none.yaml: MISSING
PATH:6: bot shop: knowledge: stat DIR/none: MISSING
PATH:10: server: tls: certificate: stat DIR/none.pem: no such file or directory`)
	if code != 1 || !strings.HasPrefix(stdout, want) {
		t.Errorf("exit %d:\n%s\nwant\n%s", code, stdout, want)
	}
}
