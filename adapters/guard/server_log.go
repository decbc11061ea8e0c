package guard

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"time"
)

// ServerLog returns the ErrorLog for an http.Server. It logs a handler's panic at once, and counts a failed TLS
// handshake as a failure of its source.
func (g *Guard) ServerLog() *log.Logger {
	return slog.NewLogLogger(&serverLog{g.config.Log.Handler(), g}, slog.LevelError)
}

type serverLog struct {
	slog.Handler
	guard *Guard
}

// Enabled always returns true: failures are counted at every log level.
func (*serverLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (s *serverLog) Handle(ctx context.Context, r slog.Record) error {
	if rest, ok := strings.CutPrefix(r.Message, "http: TLS handshake error from "); ok {
		at, _, _ := strings.Cut(rest, ": ")
		source, _ := parseHop(at)
		source = sourceOf(source)
		s.guard.fail(source, time.Now()) // a source that keeps failing is banned
		s.guard.note(TLSFailed, source)
		return nil
	}
	if !s.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	r.Message = redactPanic(r.Message)
	return s.Handler.Handle(ctx, r)
}

// redactPanic removes the panic value from a log line, because it may quote a customer. A
// runtime error is kept, and so is the stack trace.
func redactPanic(message string) string {
	const begins = "http: panic serving "
	rest, ok := strings.CutPrefix(message, begins)
	source, value, _ := strings.Cut(rest, ": ")
	if !ok || strings.HasPrefix(value, "runtime error: ") {
		return message
	}
	if stack := strings.LastIndex(value, "\ngoroutine "); stack >= 0 {
		source += ":" + value[stack:]
	}
	return begins + source
}
