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

// renewTables rebuilds, one after the other, the tables of an older version of their projection;
// processes of that version continue with the old tables meanwhile. It returns when each table had
// this version once, so that it does not undo a later rollback by an operator.
func (s *Server) renewTables(ctx context.Context) {
	pending := projections.All()
	for {
		pending = slices.DeleteFunc(pending, func(p projections.Projection) bool { return s.renew(ctx, p) })
		if len(pending) == 0 {
			return
		}
		if wait.For(ctx, renewEvery) != nil {
			return
		}
	}
}

// renew rebuilds a table if necessary. It reports whether the table has this version or a newer one.
func (s *Server) renew(ctx context.Context, p projections.Projection) bool {
	log := s.log.With("table", p.Name(), "version", p.Version())
	conn, err := s.Store.Session(ctx, "rebuild")
	if err == nil {
		defer conn.Close(context.WithoutCancel(ctx))
		var done rebuild.Result
		var renewed bool
		done, renewed, err = rebuild.IfOutdated(ctx, conn, eventstore.Ledger{Store: s.Store}, p,
			func(at rebuild.Progress) { s.metrics.Rebuilding(p.Name(), at.Done, at.Total) })
		if err == nil && renewed {
			log.Info("table rebuilt for a new version of its projection",
				"events", done.Events, "rows", done.Rows, "took", done.Took)
			for _, s := range done.Parked {
				log.Error("stream parked; see `chatledger parked`", "stream", s.Stream, "event_version", s.Version,
					"event", s.Event, "error", s.Reason)
			}
		}
	}
	if err != nil && ctx.Err() == nil {
		level := slog.LevelError
		if errors.Is(err, rebuild.ErrBusy) {
			level = slog.LevelInfo // another process rebuilds it
		}
		log.Log(ctx, level, "cannot rebuild a table for a new version of its projection; retrying", "error", err)
	}
	return err == nil
}

// verifyTables periodically compares a sample of rows with their events.
func (s *Server) verifyTables(ctx context.Context) {
	wait.Every(ctx, s.verify, func() {
		conn, err := s.Store.Pool().Acquire(ctx)
		if err != nil {
			return // the database is unreachable, which others log
		}
		defer conn.Release()
		for _, p := range projections.All() {
			v, err := rebuild.VerifySample(ctx, conn.Conn(), eventstore.Ledger{Store: s.Store}, p, verifySample)
			switch {
			case errors.As(err, new(rebuild.VersionError)):
				continue // other programs verify their tables themselves
			case err != nil:
				if ctx.Err() == nil {
					s.log.Error("cannot verify a table", "table", p.Name(), "error", err)
				}
				continue
			case v.First != nil:
				s.log.Error("a row differs from its events: run `chatledger rebuild "+p.Name()+"`",
					"divergence", v.First)
			}
			for _, stopped := range v.Stopped {
				if !stopped.Parked { // otherwise its group has said so
					s.log.Error("a stream has an event that this program cannot fold", "table", p.Name(),
						"stream", stopped.Stream, "version", stopped.Version, "event", stopped.Event, "error", stopped.Reason)
				}
			}
			s.metrics.Verified(p.Name(), v.Rows, v.First != nil)
		}
	})
}
