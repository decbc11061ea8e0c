package server

import (
	"context"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/commands"
)

// recoverLeases recovers expired leases, and defers the deliveries behind a long ordering key.
func (s *Server) recoverLeases(ctx context.Context) {
	wait.Every(ctx, recoverEvery, func() {
		n, err := s.outbox.ReclaimExpired(ctx)
		if n > 0 {
			s.log.Warn("deliveries with expired leases reclaimed", "deliveries", n)
		}
		if err == nil {
			err = s.outbox.ResumeDue(ctx)
		}
		if err == nil {
			err = s.outbox.DeferFollowers(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("cannot recover expired leases", "error", err)
		}
	})
}

// watchOldestWriter logs a write transaction that stays open: it holds all consumers back.
func (s *Server) watchOldestWriter(ctx context.Context) {
	wait.Every(ctx, watchEvery, func() {
		w, _, err := health.Of(s.Store.DB).OldestWriter(ctx)
		if err != nil {
			return // the database is unreachable, which others log
		}
		if s.metrics.OldestWrite(w.Age); w.Age > tooOld {
			s.log.Warn("an open write transaction holds all consumers back: end it, or run pg_terminate_backend(pid)",
				"pid", w.PID, "application", w.Application, "user", w.User,
				"state", w.State, "age", w.Age.Round(time.Second))
		}
	})
}

// endReaders ends the sessions of analysts that hold others back beyond their limits, which a role can
// shed.
func (s *Server) endReaders(ctx context.Context) {
	limits := health.ReaderLimits{Write: tooOld, Idle: readerIdle, Whole: readerWhole}
	wait.Every(ctx, watchEvery, func() {
		ended, err := health.Of(s.Store.DB).EndReaders(ctx, limits)
		if err != nil {
			return // the database is unreachable, which others log
		}
		s.logEnded("the session of an analyst was ended: its transaction was open for too long", ended)
	})
}

// endWriters ends open writes of other sessions that are older than --end-writers-after.
func (s *Server) endWriters(ctx context.Context) {
	if s.config.EndWriters == 0 {
		return
	}
	wait.Every(ctx, watchEvery, func() {
		ended, err := health.Of(s.Store.DB).EndWriters(ctx, s.config.EndWriters)
		if err != nil {
			return // the database is unreachable, which others log
		}
		s.logEnded("a session was ended: its open write transaction held all consumers back", ended)
	})
}

func (s *Server) logEnded(message string, ended []health.Session) {
	for _, e := range ended {
		s.log.Warn(message, "pid", e.PID, "application", e.Application, "user", e.User, "state", e.State,
			"writes", e.Writes, "age", e.Age.Round(time.Second))
	}
}

// hungAfter is how long a leader may handle one page: some hundred times what a page of the most
// expensive events takes, and longer than the deadlines of a page whose database does not answer.
const hungAfter = 30 * time.Second

// hung returns which part of this process's work hangs, which only a restart ends; "" when none does.
// It does not return when the handler's lock is not released. Work that waits for the database or for
// other sessions does not hang.
func (s *Server) hung() string {
	s.Handler.Waiting()
	if group, hangs := s.Store.Hung(hungAfter); hangs {
		return "consumer group " + group
	}
	return ""
}

// watchSuspensions logs when a bot is suspended from calling Telegram and when that ends. It
// also deletes expired rate limits.
func (s *Server) watchSuspensions(ctx context.Context) {
	known := map[string]commands.Permit{}
	wait.Every(ctx, watchEvery, func() {
		suspended, err := s.limiter.Suspended(ctx)
		if err == nil {
			_, err = s.limiter.DeleteExpired(ctx)
		}
		if err != nil {
			return // the database is unreachable, which others log
		}
		for bot, why := range known {
			if suspended[bot].Cause != why.Cause {
				s.metrics.Suspended(bot, string(why.Cause), false)
				s.log.Info("the bot may call Telegram again", "bot", bot)
			}
		}
		for bot, why := range suspended {
			if known[bot].Cause != why.Cause {
				s.metrics.Suspended(bot, string(why.Cause), true)
				s.log.Error("the bot may not call Telegram; what it has to send waits", "bot", bot, "cause", why.Cause)
			}
		}
		known = suspended
	})
}

// askForHeld asks for the chats of this process's bots that another process holds, because it leads the
// responder and has not got the bot in its bots file. It then gives the group up.
func (s *Server) askForHeld(ctx context.Context) {
	wait.Every(ctx, heldEvery, func() {
		parked, err := s.Store.Parked(ctx, Responder)
		if err != nil {
			return // the database is unreachable, which others log
		}
		for _, p := range parked {
			if !p.Stream.IsAllChats() || p.Request != commands.ParkedWaits || !s.Bots.serves(p.Stream.Bot()) ||
				s.Store.Leads(Responder) { // a leader releases them itself
				continue
			}
			if _, err := s.Store.RequestParked(ctx, Responder, p.Stream, commands.ParkedRetry); err == nil {
				s.log.Info("asked for the chats of a bot that the responder's leader holds", "bot", p.Stream.Bot())
			}
		}
	})
}

// heldEvery is how often a process looks whether chats of its bots are held.
const heldEvery = time.Second

// warnOfNewerTypes says at the start that a newer program has stored events which this one does
// not know. Their streams are parked, and their updates go to quarantine.
func (s *Server) warnOfNewerTypes(ctx context.Context) {
	types, err := s.Store.NewerTypes(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("cannot read which event types are stored", "error", err)
		}
		return
	}
	if len(types) > 0 {
		s.log.Error("this program is older than the stored events: it parks their streams; start the newer program",
			"unknown_types", strings.Join(types, ", "))
	}
}
