package server

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/wait"
)

// measureEvery is how often the queues in the database are counted: as often as they are
// usually scraped. It costs the server some milliseconds.
const measureEvery = 15 * time.Second

// show makes this process's own state a part of its metrics.
func (a *Server) show() {
	a.metrics.Build(a.config.Version)
	a.metrics.Waiting(a.Handler.Waiting)
	a.metrics.Pool(a.Store.Pool())
}

// measure counts what waits in the database. What cannot be counted is not shown.
func (a *Server) measure(ctx context.Context) {
	count := func() {
		readings, err := health.Of(a.Store.DB).Readings(ctx, ConsumerGroups())
		if err != nil && ctx.Err() == nil {
			a.log.Warn("cannot measure the queues", "error", err)
		}
		a.metrics.Read(func(show func(string, []string, float64)) {
			for _, r := range readings {
				show(r.Name, r.Labels, r.Value)
			}
		})
	}
	count()
	wait.Every(ctx, measureEvery, count)
}
