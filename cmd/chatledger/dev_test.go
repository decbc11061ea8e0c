package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
)

// devRun is a `chatledger dev` that has printed ready.
type devRun struct {
	said    []string // its lines
	chat    string   // base addresses
	webhook string
}

// readDev reads the output of dev until it is ready.
func readDev(t *testing.T, out io.Reader) devRun {
	t.Helper()
	var d devRun
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		d.said = append(d.said, lines.Text())
		name, rest, _ := strings.Cut(lines.Text(), " ")
		switch rest = strings.TrimSpace(rest); name {
		case "chat":
			d.chat = strings.TrimSuffix(rest, "/")
		case "webhook":
			d.webhook, _, _ = strings.Cut(rest, " ")
		case "ready":
			go io.Copy(io.Discard, out)
			return d
		}
	}
	t.Fatalf("dev ends before it is ready; it said %q", d.said)
	return d
}

// say writes as customer 42 over HTTP and waits for the bot's answer.
func (d devRun) say(t *testing.T, text, want string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(d.chat+"/sim/chats/42/messages", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("the simulator answers %d", answer.StatusCode)
	}
	eventually(t, patience, "the bot answers "+text, func() string {
		_, chat, err := get(d.chat + "/sim/chats/42/messages")
		return unless(err == nil && strings.Contains(chat, want), "%s %v", chat, err)
	})
}

// With an exported DATABASE_URL, dev uses that database and says so.
func TestDev_DatabaseURL_SaysThatItIsUsed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	var errs waittest.Log
	code, dsn := make(chan int, 1), pgtest.Database(t)
	go func() {
		code <- run(ctx, []string{
			"dev", "--listen", "127.0.0.1:0", "--sim", "127.0.0.1:0", "--crm", "127.0.0.1:0", "--zendesk", "127.0.0.1:0",
			"--operators", "127.0.0.1:0", "--data-dir", t.TempDir(), "--database-url", dsn,
		}, writer, &errs)
		writer.Close()
	}()
	d := readDev(t, reader)
	cancel()
	if got := <-code; got != 0 {
		t.Errorf("exit %d: %s", got, errs.String())
	}
	if said := strings.Join(d.said, "\n"); !strings.Contains(said, "in the database of DATABASE_URL") {
		t.Errorf("dev says\n%s", said)
	}
}

// `make run` starts a demo chat with one command. It keeps its messages when it is stopped, and when it is
// killed.
func TestDev_StoppedAndKilled_KeepsData(t *testing.T) {
	t.Parallel()
	// Not t.TempDir: the user of the server must be able to enter the folder.
	dir, err := os.MkdirTemp("", "chatledger-dev-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, ".data")
	args := []string{
		"dev", "--listen", "127.0.0.1:0", "--sim", "127.0.0.1:0", "--crm", "127.0.0.1:0", "--zendesk",
		"127.0.0.1:0", "--operators", "127.0.0.1:0", "--data-dir", data,
	}

	// inProcess runs dev until during returns.
	inProcess := func(during func(devRun)) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		reader, writer := io.Pipe()
		var errs waittest.Log
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, args, writer, &errs)
			writer.Close()
		}()
		begun := time.Now()
		d := readDev(t, reader)
		t.Logf("ready after %v", time.Since(begun).Round(time.Millisecond))
		during(d)
		cancel()
		select {
		case got := <-code:
			if got != 0 || errs.String() != "" {
				t.Errorf("exit %d, it says %s", got, errs.String())
			}
		case <-time.After(patience):
			t.Fatal("dev does not stop")
		}
		if _, _, err := get(d.chat + "/"); err == nil {
			t.Error("the simulator is still there")
		}
	}
	// stored returns a value from the database that the file dsn names.
	stored := func(query string) (found string) {
		t.Helper()
		dsn, err := os.ReadFile(filepath.Join(data, "dsn"))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.Connect(t.Context(), strings.TrimSpace(string(dsn)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if err := conn.QueryRow(t.Context(), query).Scan(&found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	const texts = `select string_agg(payload->>'text', ', ' order by version) from eventstore.events
		where name = 'message_received'`

	inProcess(func(d devRun) {
		if last := d.said[len(d.said)-1]; len(d.said) != 10 || !strings.HasPrefix(last, "ready") ||
			d.said[8] != "data      in "+data+"; remove it to start afresh" {
			t.Errorf("dev says %q", d.said)
		}
		info, err := os.Stat(filepath.Join(data, "dsn"))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("the dsn file has mode %v", mode)
		}
		if status, page, err := get(d.chat + "/"); err != nil || status != http.StatusOK || !strings.Contains(page, "<html") {
			t.Errorf("the chat page: %d (%v)", status, err)
		}
		base := strings.TrimSuffix(d.webhook, "/webhook/demo")
		if status, body, err := get(base + "/readyz"); err != nil || status != http.StatusOK {
			t.Errorf("readyz: %d %s (%v)", status, body, err)
		}
		d.say(t, "where is my order 1001?", "Order 1001: shipped")
		if got := stored(texts); got != "where is my order 1001?" {
			t.Errorf("stored: %s", got)
		}
		// The page shows the handler of a chat, and the command that lists its events.
		eventually(t, patience, "the page shows the handler of the chat", func() string {
			_, state, err := get(d.chat + "/sim/chats/42/status")
			return unless(err == nil && strings.Contains(state, `"handler":"bot"`) &&
				strings.Contains(state, "--stream demo:42"), "%s %v", state, err)
		})
		// A second process is rejected with the reason.
		code, _, stderr := command(t.Context(), args...)
		if code != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, data) {
			t.Errorf("a second dev on the same data: exit %d, %s", code, stderr)
		}
	})

	killed := exec.Command(os.Args[0], args...)
	killed.Env = append(os.Environ(), beTheProgram+"=1")
	out, err := killed.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { killed.Process.Kill() })
	readDev(t, out).say(t, "hello", "Hello! What can I do for you?")
	// If dev is killed between sending a reply and recording the outcome, the outcome is unknown, and the
	// chat waits for the lease to expire. Another test covers that.
	eventually(t, patience, "the reply is known to have arrived", func() string {
		return stored(`select coalesce(string_agg(kind || ' ' || state, ', '), '') from eventstore.deliveries
			where state in ('waiting', 'sending')`)
	})
	if err := killed.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := killed.Wait(); err == nil {
		t.Error("dev survived")
	}

	// As after `export DATABASE_URL=$(cat .data/dsn)` when the server of that address has stopped.
	dsn, err := os.ReadFile(filepath.Join(data, "dsn"))
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, "--database-url", strings.TrimSpace(string(dsn)))
	inProcess(func(d devRun) {
		d.say(t, "thank you", "You're welcome!")
		if got := stored(texts); got != "where is my order 1001?, hello, thank you" {
			t.Errorf("stored: %s", got)
		}
		if got := stored(`select count(*)::text from eventstore.events where payload ? 'late'`); got != "0" {
			t.Errorf("%s updates are taken for late: the simulator's ids do not go on", got)
		}
	})
}
