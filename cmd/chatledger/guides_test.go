package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/cmd/internal/dev"
)

const (
	// blockTimeout bounds one block of a guide: a command that waits for something else hangs.
	blockTimeout = time.Minute
	// readAgain is how long a block that only reads is run again until it shows what it should:
	// on a busy machine an answer takes seconds.
	readAgain = 20 * time.Second
	// mostNotRun is how many blocks may be marked as not run: what needs a server, a domain or
	// another machine. A new one must earn its place here.
	mostNotRun = 18
	// leastRun is how many blocks run at least: fewer mean that they are no longer found.
	leastRun = 19
)

// A block is fenced text of a guide: commands, and the output that the guide shows.
type block struct {
	guide    string
	line     int
	commands string
	shown    []string // lines of output; empty when the guide shows none
	reads    bool     // it only looks, and may do so again
	reason   string   // why it is not run; "" when it is
}

var (
	notRun  = regexp.MustCompile(`^<!-- not run: (.+) -->$`)
	numbers = regexp.MustCompile(`[0-9]+`)
)

// blocksOf reads the shell blocks of a guide: those fenced as sh, whose output may follow in a
// plain fence, and plain ones with "$ " before each command.
func blocksOf(guide, text string) (all []block) {
	lines := strings.Split(text, "\n")
	reason, before := "", -1 // before: the line behind the last sh block
	for i := 0; i < len(lines); i++ {
		if match := notRun.FindStringSubmatch(lines[i]); match != nil {
			reason = match[1]
			continue
		}
		if !strings.HasPrefix(lines[i], "```") {
			if lines[i] != "" {
				reason, before = "", -1
			}
			continue
		}
		kind, first := strings.TrimPrefix(lines[i], "```"), i+1
		for i++; i < len(lines) && lines[i] != "```"; i++ {
		}
		body := lines[first:min(i, len(lines))]
		switch {
		case kind == "sh":
			all = append(all, block{guide: guide, line: first, commands: strings.Join(body, "\n"), reason: reason})
			before = len(all) - 1
		case kind == "" && len(body) > 0 && strings.HasPrefix(body[0], "$ "):
			one := block{guide: guide, line: first, reads: true, reason: reason}
			for _, line := range body {
				if command, ok := strings.CutPrefix(line, "$ "); ok {
					one.commands += command + "\n"
				} else {
					one.shown = append(one.shown, line)
				}
			}
			all, before = append(all, one), -1
		case kind == "" && before >= 0:
			all[before].shown, before = body, -1
		}
		reason = ""
	}
	return all
}

// shape is a line of output without what differs from run to run: numbers, ids and times, and
// the width of columns.
func shape(line string) string {
	return strings.Join(strings.Fields(numbers.ReplaceAllString(line, "0")), " ")
}

// missing is the first shown line that the output does not have. The order is not looked at: two
// tools answer in either.
func missing(shown []string, output string) string {
	got := strings.Split(output, "\n")
	for _, line := range shown {
		want, cut := strings.CutSuffix(shape(line), "...")
		at := slices.IndexFunc(got, func(g string) bool {
			return shape(g) == want || cut && strings.HasPrefix(shape(g), want)
		})
		if at < 0 {
			return line
		}
		got = slices.Delete(got, at, at+1)
	}
	return ""
}

// Every command of README and the guides works on the demo as a reader pastes it, and prints
// what the guide shows.
func TestGuides_ShellBlocks_RunOnTheDemo(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "chatledger-guides-test-") // not t.TempDir: the server's user must enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := startGuidesDemo(t, filepath.Join(dir, ".data"))
	shell := newGuideShell(t, dir, d)
	shell.provide(t, d)

	var guides []string
	for _, pattern := range []string{"README.md", "CONTRIBUTING.md", "docs/*.md", "docs/operations/*.md"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern))
		guides = append(guides, found...)
	}
	ran, left := 0, 0
	for _, path := range guides {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(root, path)
		for _, b := range blocksOf(name, string(text)) {
			if b.reason != "" {
				left++
				continue
			}
			ran++
			output, err := shell.run(t.Context(), b.commands)
			for end := time.Now().Add(readAgain); b.reads && missing(b.shown, output) != "" && time.Now().Before(end); {
				output, err = shell.run(t.Context(), b.commands) // the tables follow a moment later
			}
			if err != nil {
				t.Errorf("%s:%d: %v\n%s\nprints\n%s", b.guide, b.line, err, b.commands, output)
			} else if line := missing(b.shown, output); line != "" {
				t.Errorf("%s:%d: no output like\n%s\nin\n%s", b.guide, b.line, line, output)
			}
		}
	}
	t.Logf("%d blocks run, %d marked as not run", ran, left)
	if left > mostNotRun || ran < leastRun {
		t.Errorf("%d blocks run, of at least %d; %d marked as not run, of at most %d", ran, leastRun, left, mostNotRun)
	}
}

// startGuidesDemo runs `chatledger dev` on ports of its own until the test ends.
func startGuidesDemo(t *testing.T, data string) devRun {
	t.Helper()
	args := []string{"dev", "--data-dir", data, "--model"}
	for _, flag := range []string{"--listen", "--sim", "--crm", "--zendesk", "--operators", "--model-listen"} {
		args = append(args, flag, "127.0.0.1:0")
	}
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	var errs waittest.Log
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, args, writer, &errs)
		writer.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("dev: exit %d, %s", code, errs.String())
		}
	})
	return readDev(t, reader)
}

// A guideShell runs blocks where a reader stands: in a folder with bin/chatledger and .data.
type guideShell struct {
	dir    string
	env    []string
	adjust *strings.Replacer // the guides' ports and token to those of this demo
}

func newGuideShell(t *testing.T, dir string, d devRun) guideShell {
	t.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", beTheProgram, os.Args[0])
	if err := os.WriteFile(filepath.Join(bin, "chatledger"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	dsn, err := os.ReadFile(filepath.Join(dir, ".data", "dsn"))
	if err != nil {
		t.Fatal(err)
	}
	pairs := []string{"sleep 1 ", "sleep 5 "} // what takes a moment takes longer on a busy machine
	address := regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
	usual := map[string]string{
		"chat": "8081", "webhook": "8080", "crm": "8082", "zendesk": "8083", "model": "8084", "operators": "8090",
	}
	for _, line := range d.said {
		name, rest, _ := strings.Cut(line, " ")
		if port := usual[name]; port != "" {
			pairs = append(pairs, "127.0.0.1:"+port, address.FindString(rest))
		} else if name == "token" {
			pairs = append(pairs, "TOKEN=clop_...", "TOKEN="+strings.TrimSpace(rest))
		}
	}
	env := append(os.Environ(), "DATABASE_URL="+strings.TrimSpace(string(dsn)), "PATH="+bin+":"+os.Getenv("PATH"),
		"CHATLEDGER_TELEGRAM_URL="+d.chat, "DEMO_TOKEN="+dev.Token, "DEMO_SECRET="+dev.Secret)
	pairs = append(pairs, "shop:<your chat id>", "demo:43", // where a ticket is open
		"/etc/chatledger/environment", "./environment")
	return guideShell{dir, env, strings.NewReplacer(pairs...)}
}

// provide puts what a reader has by then into the shell's folder, and gives it what the guides call a
// new database and another machine. Customer 43 waits for an operator.
func (s *guideShell) provide(t *testing.T, d devRun) {
	t.Helper()
	bots := s.adjust.Replace(`bots:
  demo:
    token: env:DEMO_TOKEN
    secret: env:DEMO_SECRET
    crm: {url: "http://127.0.0.1:8082"}
    zendesk:
      url: http://127.0.0.1:8083
      email: ops@example.com
      token: env:DEMO_SECRET
      webhook_secret: env:DEMO_SECRET
`)
	files := map[string]string{"bots.yaml": bots, "other.yaml": bots + "    chat_limit: {count: 60, window: 60s}\n"}
	for file, from := range map[string]string{"examples.tsv": shopExamples, "others.tsv": shopTest} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		files[file] = string(text)
	}
	files["others.tsv"] = strings.ReplaceAll(files["others.tsv"], "\n", "\tde\n")
	files["environment"] = "CHATLEDGER_BOTS=bots.yaml\n"
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.env = append(s.env, "NEW_URL="+pgtest.EmptyDatabase(t), "ELSEWHERE_URL="+pgtest.Database(t))
	output, err := s.run(t.Context(), `
		curl -X POST `+d.chat+`/sim/chats/43/messages -d '{"text": "I want to talk to a person"}'
		until psql "$DATABASE_URL" -tc 'table readmodel.ticket_queue' | grep -q demo:43; do sleep 0.1; done`)
	if err != nil {
		t.Fatalf("no ticket: %v\n%s", err, output)
	}
}

// run runs commands; curl fails on an answer that is an error.
func (s guideShell) run(ctx context.Context, commands string) (output string, err error) {
	ctx, cancel := context.WithTimeout(ctx, blockTimeout)
	defer cancel()
	script := "set -e\ncurl() { command curl --silent --show-error --fail-with-body \"$@\" && echo; }\n" +
		"ssh() { shift; DATABASE_URL=\"$ELSEWHERE_URL\" \"$@\"; }\n" + s.adjust.Replace(commands)
	c := exec.CommandContext(ctx, "bash", "-c", script)
	c.Dir, c.Env = s.dir, s.env
	out, err := c.CombinedOutput()
	return string(out), err
}

// Only a comment right before a block keeps it from being run, and plain output belongs to the
// commands before it.
func TestGuideBlocks_Marks_KeepOnlyTheNext(t *testing.T) {
	got := blocksOf("g",
		"<!-- not run: why -->\n```sh\na\n```\n\n```sh\nb\n```\n\n```\nout 12\n```\n\n"+
			"Text.\n\n```\nno output\n```\n\n```\n$ c\nshown...\n```\n")
	if len(got) != 3 || got[0].reason != "why" || got[1].reason != "" || got[1].commands != "b" ||
		len(got[1].shown) != 1 || got[2].commands != "c\n" || len(got[2].shown) != 1 {
		t.Errorf("%+v", got)
	}
	if line := missing([]string{"a 12 b", "long..."}, "a 7  b\nlonger\n"); line != "" {
		t.Errorf("%q is missing", line)
	}
	if missing([]string{"line 1", "line 2"}, "line 3\n") == "" {
		t.Error("one line stands for two")
	}
}
