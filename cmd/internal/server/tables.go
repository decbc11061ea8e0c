package server

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/rebuild"
)

const (
	// renewEvery is the pause before another attempt at building a table.
	renewEvery = 5 * time.Second
	// verifyEvery and verifySample make a few milliseconds of work twice a minute, and
	// 57,600 streams a day.
	verifyEvery  = 30 * time.Second
	verifySample = 20
)

// renewTables builds the tables that an older version of their projection made, one
// after the other, while processes of that version go on with the old ones. It is done
// when each was ours once: an operator who rolls one back afterwards is not overruled.
func (a *Server) renewTables(ctx context.Context) {
	pending := projections.All()
	for {
		pending = slices.DeleteFunc(pending, func(p projections.Projection) bool { return a.renew(ctx, p) })
		if len(pending) == 0 {
			return
		}
		if wait.For(ctx, renewEvery) != nil {
			return
		}
	}
}

// renew builds one table if need be, and tells whether it is ours now, or a newer program's.
func (a *Server) renew(ctx context.Context, p projections.Projection) bool {
	log := a.log.With("table", p.Name(), "version", p.Version())
	conn, err := a.Store.Session(ctx, "rebuild")
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		var done rebuild.Result
		var renewed bool
		done, renewed, err = rebuild.IfOutdated(ctx, conn, eventstore.Ledger{Store: a.Store}, p,
			func(at rebuild.Progress) { a.metrics.Rebuilding(p.Name(), at.Done, at.Total) })
		if err == nil && renewed {
			log.Info("table rebuilt for a new version of its projection", "events", done.Events, "rows", done.Rows, "took", done.Took)
		}
	}
	if err != nil && ctx.Err() == nil {
		level := slog.LevelError
		if errors.Is(err, rebuild.ErrBusy) {
			level = slog.LevelInfo // another process is at it
		}
		log.Log(ctx, level, "cannot rebuild a table for a new version of its projection; retrying", "error", err)
	}
	return err == nil
}

// verifyTables compares a few rows now and then with what the events lead to.
func (a *Server) verifyTables(ctx context.Context) {
	wait.Every(ctx, a.verify, func() {
		conn, err := a.Store.Pool().Acquire(ctx)
		if err != nil {
			return // the database is away, and others say so
		}
		defer conn.Release()
		for _, p := range projections.All() {
			v, err := rebuild.VerifySample(ctx, conn.Conn(), eventstore.Ledger{Store: a.Store}, p, verifySample)
			switch {
			case errors.As(err, new(rebuild.VersionError)):
				continue // other programs verify their tables themselves
			case err != nil:
				if ctx.Err() == nil {
					a.log.Error("cannot verify a table", "table", p.Name(), "error", err)
				}
				continue
			case v.First != nil:
				a.log.Error("a row differs from its events: run `chatledger rebuild "+p.Name()+"`", "divergence", v.First)
			}
			a.metrics.Verified(p.Name(), v.Rows, v.First != nil)
		}
	})
}
