package server

import (
	"context"
	"time"

	pgretention "github.com/chatledger/chatledger/adapters/postgres/retention"
)

const (
	// retainEvery is how often expired rows are deleted: a row may outlive its retention period
	// by that much.
	retainEvery = time.Hour
)

// runRetention deletes expired rows at once, then periodically, and when the bots' retention
// periods have changed.
func (s *Server) runRetention(ctx context.Context) {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		s.deleteExpired(ctx)
		select {
		case <-ctx.Done():
			return
		case <-s.retentionChanged:
		case <-tick.C:
		}
	}
}

func (s *Server) deleteExpired(ctx context.Context) {
	type kind struct{ what, bot string }
	gone := map[kind]int64{}
	err := pgretention.Remove(ctx, s.Store.DB, s.retentions, func(what, bot string, rows int64) {
		s.metrics.Removed(what, bot, rows)
		gone[kind{what, bot}] += rows
	})
	for k, rows := range gone {
		if rows > 0 {
			s.log.Info("deleted rows past their retention period", "what", k.what, "bot", k.bot, "rows", rows)
		}
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("cannot delete rows past their retention period; retrying in "+retainEvery.String(), "error", err)
	}
}

// retentions returns the bots' retention periods. A bot that is not in the file keeps everything.
func (s *Server) retentions() map[string]pgretention.Period {
	all := map[string]pgretention.Period{}
	for name, b := range s.Bots.All() {
		keep := b.config.Retention
		all[name] = pgretention.Period{Updates: time.Duration(keep.Raw), Quarantine: time.Duration(keep.Quarantine)}
	}
	return all
}
