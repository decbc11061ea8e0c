package guard

import (
	"context"
	"log"
	"log/slog"
	"strings"
	"time"
)

// ServerLog is for an http.Server's ErrorLog. A handler's panic is an error, and said at
// once; a handshake that came to nothing is a failure of its source.
func (g *Guard) ServerLog() *log.Logger {
	return slog.NewLogLogger(&serverLog{g.config.Log.Handler(), g}, slog.LevelError)
}

type serverLog struct {
	slog.Handler
	guard *Guard
}

// Enabled is true, as failures are counted however little is logged.
func (*serverLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (s *serverLog) Handle(ctx context.Context, r slog.Record) error {
	if rest, ok := strings.CutPrefix(r.Message, "http: TLS handshake error from "); ok {
		at, _, _ := strings.Cut(rest, ": ")
		source, _ := parseHop(at)
		source = sourceOf(source)
		s.guard.fail(source, time.Now()) // the next connections of who goes on are cut
		s.guard.note(Unreadable, source)
		return nil
	}
	if !s.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	r.Message = withoutThrown(r.Message)
	return s.Handler.Handle(ctx, r)
}

// withoutThrown takes out of a panic's line what was thrown, which may quote a customer,
// unless it is the runtime's own word. Where that was is told behind it.
func withoutThrown(message string) string {
	const begins = "http: panic serving "
	rest, ok := strings.CutPrefix(message, begins)
	source, thrown, _ := strings.Cut(rest, ": ")
	if !ok || strings.HasPrefix(thrown, "runtime error: ") {
		return message
	}
	if stack := strings.LastIndex(thrown, "\ngoroutine "); stack >= 0 {
		source += ":" + thrown[stack:]
	}
	return begins + source
}
