package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/domain/chat"
)

// tracingFlags say where traces go.
type tracingFlags struct {
	OTLPEndpoint string  `name:"otlp-endpoint" env:"OTEL_EXPORTER_OTLP_ENDPOINT" placeholder:"URL" help:"Send traces to this OTLP receiver by HTTP, such as http://127.0.0.1:4318; none are made without it."`
	TraceRatio   float64 `name:"trace-ratio" env:"OTEL_TRACES_SAMPLER_ARG" default:"1" help:"Of the webhooks, how many begin a trace: 0 to 1."`
}

func (f tracingFlags) tracing() telemetry.TracingConfig {
	return telemetry.TracingConfig{Endpoint: f.OTLPEndpoint, Ratio: f.TraceRatio}
}

// logFlags say how lines are logged.
type logFlags struct {
	LogFormat string `enum:"text,json" default:"text" env:"CHATLEDGER_LOG_FORMAT" help:"Log lines as text or json."`
	LogBurst  int    `default:"100" env:"CHATLEDGER_LOG_BURST" help:"Log lines with one message that are written in a second; the next tells how many were left out. 0 is no limit."`
}

func (f logFlags) logger(w io.Writer, level slog.Level) *slog.Logger {
	return telemetry.NewLogger(w, telemetry.LogConfig{JSON: f.LogFormat == "json", Level: level, Burst: f.LogBurst})
}

// database is where the store is.
type database struct {
	DatabaseURL string `name:"database-url" env:"DATABASE_URL" placeholder:"URL" help:"PostgreSQL, as postgres://user:password@host:port/name, or where that is: file:PATH or command:PROGRAM."`
}

// dsn is the database's address, or what to do without one.
func (d database) dsn() (string, error) {
	if d.DatabaseURL == "" {
		return "", errors.New("no database: set DATABASE_URL or --database-url (with `chatledger dev` running: DATABASE_URL=$(cat .data/dsn))")
	}
	return d.resolved()
}

// resolved is the address that the flag gives or refers to; "" when it is not set.
func (d database) resolved() (string, error) {
	dsn, err := config.Resolve(d.DatabaseURL)
	if err != nil {
		return "", fmt.Errorf("--database-url: %w", err)
	}
	return dsn, nil
}

// openStore connects for a subcommand that looks at a ledger or acts on it once.
func openStore(ctx context.Context, d database) (*eventstore.Store, error) {
	dsn, err := d.dsn()
	if err != nil {
		return nil, err
	}
	return eventstore.Open(ctx, dsn, "chatledger cli", chat.NewCodec())
}

// openSession opens the store with a session beside its pool; leave ends both.
func openSession(
	ctx context.Context, d database, name string,
) (store *eventstore.Store, conn *pgx.Conn, leave func(), err error) {
	if store, err = openStore(ctx, d); err != nil {
		return nil, nil, nil, err
	}
	if conn, err = store.Session(ctx, name); err != nil {
		store.Close()
		return nil, nil, nil, err
	}
	return store, conn, func() {
		_ = conn.Close(context.WithoutCancel(ctx)) // else the server ends it when it notices
		store.Close()
	}, nil
}
