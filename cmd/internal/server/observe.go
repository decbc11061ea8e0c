package server

import (
	"cmp"
	"context"

	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/commands"
)

// trace prepares tracing for this process.
func (a *Server) trace(ctx context.Context, c telemetry.TracingConfig) (err error) {
	c.Version, c.Instance, c.Log = a.config.Version, cmp.Or(c.Instance, a.owner), a.log
	a.tracing, err = telemetry.NewTracing(ctx, c)
	return err
}

// Committed records the metrics and the traces of a commit.
func (a *Server) Committed(c commands.Commit) {
	a.metrics.Commit(c)
	a.tracing.Round(c)
}
