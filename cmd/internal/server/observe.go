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

// round is told of every batch that was taken to the store.
func (a *Server) round(r commands.Commit) {
	a.metrics.Round(r)
	a.tracing.Round(r)
}
