package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/domain/chat"
)

// tracingFlags set where traces are sent.
type tracingFlags struct {
	OTLPEndpoint string  `env:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"${otlp_endpoint_help}"`
	TraceRatio   float64 `name:"trace-ratio" env:"OTEL_TRACES_SAMPLER_ARG" default:"1" help:"${trace_ratio_help}"`
}

// flagsHelp has the help texts of the flags in this file, and defaults that commands share.
var flagsHelp = kong.Vars{
	"telegram_url": "https://api.telegram.org",
	"bots_help":    "YAML file of the bots.",
	"otlp_endpoint_help": "Send traces by HTTP to this OTLP receiver, for example http://127.0.0.1:4318. " +
		"Without it, there are no traces.",
	"trace_ratio_help": "The share of webhook requests that are traced, 0 to 1.",
	"log_burst_help": "Write at most this many log lines with the same message in a second; " +
		"the next line says how many were left out. 0 is no limit.",
	"database_url_help": "PostgreSQL as postgres://user:password@host:port/name, or where that address is: " +
		"file:PATH or command:PROGRAM.",
}

func (f tracingFlags) tracing() telemetry.TracingConfig {
	return telemetry.TracingConfig{Endpoint: f.OTLPEndpoint, Ratio: f.TraceRatio}
}

// logFlags set the format and the limit of log lines.
type logFlags struct {
	LogFormat string `enum:"text,json" default:"text" env:"CHATLEDGER_LOG_FORMAT" help:"Log lines as text or json."`
	LogBurst  int    `default:"100" env:"CHATLEDGER_LOG_BURST" help:"${log_burst_help}"`
}

func (f logFlags) logger(w io.Writer, level slog.Level) *slog.Logger {
	return telemetry.NewLogger(w, telemetry.LogConfig{JSON: f.LogFormat == "json", Level: level, Burst: f.LogBurst})
}

// database is the flag of every command that connects to PostgreSQL.
type database struct {
	DatabaseURL string `name:"database-url" env:"DATABASE_URL" placeholder:"URL" help:"${database_url_help}"`
}

// dsn returns the database's address; an unset flag is an error.
func (d database) dsn() (string, error) {
	if d.DatabaseURL == "" {
		return "", errors.New("no database: set DATABASE_URL or --database-url" +
			" (with `chatledger dev` running: DATABASE_URL=$(cat .data/dsn))")
	}
	return d.resolved()
}

// resolved returns the address that the flag gives or refers to, or "" when it is not set.
func (d database) resolved() (string, error) {
	dsn, err := config.Resolve(d.DatabaseURL)
	if err != nil {
		return "", fmt.Errorf("--database-url: %w", err)
	}
	return dsn, nil
}

// openStore connects for a command that runs once.
func openStore(ctx context.Context, d database) (*eventstore.Store, error) {
	dsn, err := d.dsn()
	if err != nil {
		return nil, err
	}
	return eventstore.Open(ctx, dsn, "chatledger cli", chat.NewCodec())
}

// openSession opens the store with a session beside its pool; closeBoth closes both.
func openSession(
	ctx context.Context, d database, name string,
) (store *eventstore.Store, conn *pgx.Conn, closeBoth func(), err error) {
	if store, err = openStore(ctx, d); err != nil {
		return nil, nil, nil, err
	}
	if conn, err = store.Session(ctx, name); err != nil {
		store.Close()
		return nil, nil, nil, err
	}
	return store, conn, func() {
		_ = conn.Close(context.WithoutCancel(ctx)) // otherwise the server ends the session when it notices
		store.Close()
	}, nil
}
