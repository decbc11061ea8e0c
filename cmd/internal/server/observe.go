package server

import (
	"cmp"
	"context"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/quarantine"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// startTracing prepares tracing for this process.
func (s *Server) startTracing(ctx context.Context, c telemetry.TracingConfig) (err error) {
	c.Version, c.Instance, c.Log = s.config.Version, cmp.Or(c.Instance, s.owner), s.log
	s.tracing, err = telemetry.NewTracing(ctx, c)
	return err
}

// Committed records the metrics and the traces of a commit.
func (s *Server) Committed(c commands.Commit) {
	s.metrics.Commit(c)
	s.tracing.Commit(c)
}

// deliveryObserver records the metrics and the outcome of attempts.
type deliveryObserver struct {
	metrics *telemetry.Metrics
	tracing *telemetry.Tracing
}

// Attempted implements delivery.Observer.
func (o deliveryObserver) Attempted(
	ctx context.Context, c commands.Claimed, state domain.DeliveryState, took time.Duration,
) {
	o.metrics.Delivery(c, state, took)
	o.tracing.Outcome(ctx, state)
}

// countedQuarantine counts the bodies that it puts into quarantine.
type countedQuarantine struct {
	*quarantine.Store
	metrics *telemetry.Metrics
}

// Add implements telegram.Quarantine.
func (q countedQuarantine) Add(ctx context.Context, source string, body []byte, reason string) error {
	q.metrics.Quarantined(source)
	return q.Store.Add(ctx, source, body, reason)
}
