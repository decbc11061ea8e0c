//go:build unix

package systemd

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
)

// systemd hears that the program is ready, and of the watchdog only while nothing hangs.
func TestRun_WorkHangs_WatchdogNotFed(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "3000")
	t.Setenv("WATCHDOG_PID", "")
	answers := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		defer close(ended)
		Run(ctx, slog.New(slog.DiscardHandler), func() string {
			select {
			case what := <-answers:
				return what
			case <-ctx.Done():
				return "the end"
			}
		})
	}()
	hear := func(want string) {
		t.Helper()
		buffer := make([]byte, 100)
		n, err := conn.Read(buffer)
		if got := string(buffer[:n]); err != nil || got != want {
			t.Fatalf("systemd hears %q (%v), want %q", got, err, want)
		}
	}
	hear("READY=1")
	for _, step := range []struct{ hangs, want string }{
		{"", "WATCHDOG=1"}, {"consumer group outbox", "STATUS=consumer group outbox hangs"}, {"", "WATCHDOG=1"},
	} {
		answers <- step.hangs
		hear(step.want)
	}
	cancel()
	<-ended
}

// Elsewhere there is nobody to tell.
func TestRun_NoSystemd_Returns(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	Run(t.Context(), slog.New(slog.DiscardHandler), func() string { return "" })
}
