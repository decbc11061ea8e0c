package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"

	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/commands"
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

// trace prepares tracing for this process.
func (a *app) trace(ctx context.Context, c telemetry.TracingConfig) (err error) {
	c.Version, c.Instance, c.Log = programVersion(), cmp.Or(c.Instance, a.owner), a.log
	a.tracing, err = telemetry.NewTracing(ctx, c)
	return err
}

// round is told of every batch that was taken to the store.
func (a *app) round(r commands.Round) {
	a.metrics.Round(r)
	a.tracing.Round(r)
}
