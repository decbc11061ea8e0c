package server

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/commands"
)

// takeOver frees what dead workers held, and keeps long lanes out of the way of others.
func (a *Server) takeOver(ctx context.Context) {
	wait.Every(ctx, takeOverEvery, func() {
		n, err := a.outbox.ReclaimExpired(ctx)
		if n > 0 {
			a.log.Warn("deliveries with expired leases reclaimed", "deliveries", n)
		}
		if err == nil {
			err = a.outbox.ResumeDue(ctx)
		}
		if err == nil {
			err = a.outbox.DeferFollowers(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Error("cannot recover expired leases", "error", err)
		}
	})
}

// watch names who holds the consumers back with a transaction left open.
func (a *Server) watch(ctx context.Context) {
	wait.Every(ctx, watchEvery, func() {
		w, _, err := health.Of(a.Store.DB).OldestWriter(ctx)
		if err != nil {
			return // the database is away, and others say so
		}
		if a.metrics.OldestWrite(w.Age); w.Age > tooOld {
			a.log.Warn("an open write transaction holds all consumers back: end it, or run pg_terminate_backend(pid)",
				"pid", w.PID, "application", w.Application, "user", w.User, "state", w.State, "age", w.Age.Round(time.Second))
		}
	})
}

// watchFlow tells when a bot may not call Telegram, and when it may again, and clears
// away the limits of chats that have been quiet.
func (a *Server) watchFlow(ctx context.Context) {
	known := map[string]commands.Permit{}
	wait.Every(ctx, watchEvery, func() {
		stopped, err := a.flow.Suspended(ctx)
		if err == nil {
			_, err = a.flow.DeleteExpired(ctx)
		}
		if err != nil {
			return // the database is away, and others say so
		}
		for bot, why := range known {
			if stopped[bot].Cause != why.Cause {
				a.metrics.Suspended(bot, string(why.Cause), false)
				a.log.Info("the bot may call Telegram again", "bot", bot)
			}
		}
		for bot, why := range stopped {
			if known[bot].Cause != why.Cause {
				a.metrics.Suspended(bot, string(why.Cause), true)
				a.log.Error("the bot may not call Telegram; what it has to send waits", "bot", bot, "cause", why.Cause)
			}
		}
		known = stopped
	})
}
