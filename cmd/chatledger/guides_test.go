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

	"github.com/chatledger/chatledger/adapters/waittest"
)

const (
	// blockTimeout bounds one block of a guide: a command that waits for something else hangs.
	blockTimeout = time.Minute
	// readAgain is how long a block that only reads is run again until it shows what it should:
	// on a busy machine an answer takes seconds.
	readAgain = 20 * time.Second
	// mostNotRun is how many blocks may be marked as not run: what needs a server, a domain or
	// another machine. A new one must earn its place here.
	mostNotRun = 27
	// leastRun is how many blocks run at least: fewer mean that they are no longer found.
	leastRun = 9
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
	env := append(os.Environ(), "DATABASE_URL="+strings.TrimSpace(string(dsn)), "PATH="+bin+":"+os.Getenv("PATH"))
	return guideShell{dir, env, strings.NewReplacer(pairs...)}
}

// run runs commands; curl fails on an answer that is an error.
func (s guideShell) run(ctx context.Context, commands string) (output string, err error) {
	ctx, cancel := context.WithTimeout(ctx, blockTimeout)
	defer cancel()
	script := "set -e\ncurl() { command curl --silent --show-error --fail-with-body \"$@\" && echo; }\n" + s.adjust.Replace(commands)
	c := exec.CommandContext(ctx, "bash", "-c", script)
	c.Dir, c.Env = s.dir, s.env
	out, err := c.CombinedOutput()
	return string(out), err
}

// Only a comment right before a block keeps it from being run, and plain output belongs to the
// commands before it.
func TestGuideBlocks_Marks_KeepOnlyTheNext(t *testing.T) {
	got := blocksOf("g", "<!-- not run: why -->\n```sh\na\n```\n\n```sh\nb\n```\n\n```\nout 12\n```\n\nText.\n\n```\nno output\n```\n\n```\n$ c\nshown...\n```\n")
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
