// Package systemd tells the service manager that the program is ready and that it works, by the
// protocol of sd_notify(3). Without systemd it does nothing.
package systemd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/chatledger/chatledger/adapters/wait"
)

// Run says that the program is ready. Until ctx ends it then feeds the watchdog, three times in each
// WatchdogSec of the unit, while hung returns nothing. Otherwise hung returns what hangs, and systemd
// restarts the program.
func Run(ctx context.Context, log *slog.Logger, hung func() string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	send := func(state string) {
		if err := notify(socket, state); err != nil {
			log.Warn("cannot notify systemd", "state", state, "error", err)
		}
	}
	send("READY=1")
	limit := watchdog()
	if limit <= 0 {
		return
	}
	wait.Every(ctx, limit/3, func() {
		what := hung()
		if what == "" {
			send("WATCHDOG=1")
			return
		}
		log.Error("the work hangs; systemd will restart the program", "hangs", what, "watchdog", limit)
		send("STATUS=" + what + " hangs")
	})
}

// watchdog returns the unit's WatchdogSec; 0 when there is none for this process.
func watchdog() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	limit, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(limit) * time.Microsecond
}

// notify sends one datagram. A name that begins with @ is in Linux' abstract namespace, as in package net.
func notify(socket, state string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("write to %s: %w", socket, err)
	}
	return nil
}
