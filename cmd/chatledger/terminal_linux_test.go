package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// newTerminal is a pseudo-terminal: the output of tty can be read from screen.
func newTerminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("there are no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	var number, unlocked uint32
	for request, value := range map[uintptr]*uint32{syscall.TIOCGPTN: &number, syscall.TIOCSPTLCK: &unlocked} {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), request, uintptr(unsafe.Pointer(value)))
		if errno != 0 {
			t.Fatal(errno)
		}
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

// No command prints control characters from customers' texts to a terminal; a pipe gets them unchanged.
func TestOutput_HostileText_ShownAsEscapes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const hostile = "\x1b]0;owned\a \u009b2J \u202egnp.exe"
	w.Say(42, "hello "+hostile)
	w.mustPost(`{"no": "update", "text": "` + "\u009b2J \u202e" + `"}`)
	w.settle()
	w.exec(`
		insert into eventstore.parked (consumer_group, stream_id, version, transaction_id, position,
			event, reason, tries, parked_at, last_try_at)
		values ('tickets', 'chat-demo:9', 1, '1', 1, 'ticket_opened', $1, 1, now(), now())`, "because "+hostile)
	w.exec(`
		update eventstore.deliveries set state = 'dead', finished_at = null, reason = $1
		where kind = 'telegram.sendMessage'`, "since "+hostile)
	first := w.rows(`select min(id)::text from eventstore.quarantine`)

	on := func(args ...string) string {
		t.Helper()
		screen, tty := newTerminal(t)
		shown := make(chan []byte)
		go func() {
			text, _ := io.ReadAll(screen) // ends with an error when tty is closed
			shown <- text
		}()
		code := run(t.Context(), append(args, "--database-url", w.dsn), tty, tty)
		tty.Close()
		text := string(bytes.ReplaceAll(<-shown, []byte("\r\n"), []byte("\n")))
		if code != 0 {
			t.Errorf("%v: %d %s", args, code, text)
		}
		return text
	}
	obeyed := func(text string) bool { return strings.ContainsAny(text, "\x1b\a\u009b\u202e") }
	for _, args := range [][]string{
		{"state", "demo:42"}, {"events", "--stream", "demo:42"}, {"events", "--json"},
		{"why", "conversations", "demo:42"}, {"quarantine", "show", first}, {"quarantine"}, {"parked"},
		{"parked", "show", "tickets", "chat-demo:9"}, {"deliveries", "list"},
	} {
		text := on(args...)
		if obeyed(text) || strings.TrimSpace(text) == "" {
			t.Errorf("%v prints\n%q", args, text)
		}
	}
	if text := on("quarantine", "show", first); !strings.Contains(text, `\u009b2J \u202e`) {
		t.Errorf("the escapes are missing: %q", text)
	}
	if text := on("--raw", "quarantine", "show", first); !obeyed(text) {
		t.Errorf("--raw prints %q", text)
	}
	if text := w.must("quarantine", "show", first); !obeyed(text) {
		t.Errorf("a pipe gets %q", text)
	}
}
