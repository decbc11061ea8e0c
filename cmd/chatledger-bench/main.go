// Command chatledger-bench measures chatledger beside baselines of the same machine, such as a
// plain INSERT (docs/benchmarks.md). It starts a private PostgreSQL, and needs the program
// chatledger beside it for the rows that measure whole processes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// env is what the command gets from main.
type env struct {
	ctx    context.Context // ends with Ctrl-C or SIGTERM
	stdout io.Writer
	log    *slog.Logger
}

func main() {
	server.TuneMemory()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c benchCmd
	kong.Parse(&c, kong.Name("chatledger-bench"),
		kong.Description("Measure chatledger beside baselines of this machine, such as a plain INSERT."), benchHelp)
	if c.Program == "" {
		c.Program = besideThis("chatledger")
	}
	logger := telemetry.NewLogger(os.Stderr, telemetry.LogConfig{Level: slog.LevelWarn})
	if err := c.Run(&env{ctx, os.Stdout, logger}); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(os.Stderr, "chatledger-bench: %v\n", err)
		os.Exit(1)
	}
}

// besideThis returns the path of a program in the folder of this one.
func besideThis(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}
