package server

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/postgres/modelusage"
	"github.com/chatledger/chatledger/adapters/wait"
)

// measureEvery is how often the queues in the database are counted: as often as metrics are
// usually scraped. A count costs the database some milliseconds.
const measureEvery = 15 * time.Second

// exposeState adds this process's own state to its metrics.
func (s *Server) exposeState() {
	s.metrics.Build(s.config.Version)
	s.metrics.Waiting(s.Handler.Waiting)
	s.metrics.Pool(s.Store.Pool())
}

// runMeasurements counts the queues in the database until ctx ends. A failed count is not exposed.
func (s *Server) runMeasurements(ctx context.Context) {
	count := func() {
		readings, err := health.Of(s.Store.DB).Readings(ctx, ConsumerGroups())
		if err != nil && ctx.Err() == nil {
			s.log.Warn("cannot measure the queues", "error", err)
		}
		used, err := modelusage.New(s.Store.DB).Today(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("cannot measure the use of models", "error", err)
		}
		s.metrics.Read(func(show func(string, []string, float64)) {
			for _, r := range readings {
				show(r.Name, r.Labels, r.Value)
			}
			for name, b := range s.Bots.All() {
				if b.config.Model == nil || err != nil {
					continue
				}
				for of, part := range used[name].Of(b.config.Model.Daily.Usage()) {
					show("chatledger_model_budget_used_ratio", []string{name, of}, part)
				}
			}
		})
	}
	count()
	wait.Every(ctx, measureEvery, count)
}
