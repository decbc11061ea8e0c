package server

import (
	"context"
	"time"

	pgretention "github.com/chatledger/chatledger/adapters/postgres/retention"
)

const (
	// retainEvery is how often what was kept for long enough is looked for: that much longer
	// than a bot wants something may be there.
	retainEvery = time.Hour
)

// retain removes what the bots do not keep any longer: now, then now and again, and when
// they keep it for another time than before.
func (a *Server) retain(ctx context.Context) {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		a.remove(ctx)
		select {
		case <-ctx.Done():
			return
		case <-a.rekeep:
		case <-tick.C:
		}
	}
}

func (a *Server) remove(ctx context.Context) {
	type kind struct{ what, bot string }
	gone := map[kind]int64{}
	err := pgretention.Remove(ctx, a.Store.DB, a.retentions, func(what, bot string, rows int64) {
		a.metrics.Removed(what, bot, rows)
		gone[kind{what, bot}] += rows
	})
	for k, rows := range gone {
		if rows > 0 {
			a.log.Info("deleted rows past their retention period", "what", k.what, "bot", k.bot, "rows", rows)
		}
	}
	if err != nil && ctx.Err() == nil {
		a.log.Error("cannot delete rows past their retention period; retrying in "+retainEvery.String(), "error", err)
	}
}

// retentions are the bots' at the moment. One that is not in the file keeps everything.
func (a *Server) retentions() map[string]pgretention.Period {
	all := map[string]pgretention.Period{}
	for name, b := range a.Bots.All() {
		keep := b.config.Retention
		all[name] = pgretention.Period{Updates: time.Duration(keep.Raw), Quarantine: time.Duration(keep.Quarantine)}
	}
	return all
}
