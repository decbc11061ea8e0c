package guard

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// ServerLog is for an http.Server's ErrorLog. A handler's panic is an error, and said at
// once; what peers do wrong below HTTP is counted.
func (g *Guard) ServerLog() *log.Logger {
	return slog.NewLogLogger(&serverLog{g.config.Log.Handler(), g}, slog.LevelError)
}

type serverLog struct {
	slog.Handler
	guard *Guard
}

// Handle implements slog.Handler.
func (s *serverLog) Handle(ctx context.Context, r slog.Record) error {
	if rest, ok := strings.CutPrefix(r.Message, "http: TLS handshake error from "); ok {
		at, _, _ := strings.Cut(rest, ": ")
		source, _ := parseHop(at)
		s.guard.note(Unreadable, sourceOf(source))
		return nil
	}
	return s.Handler.Handle(ctx, r)
}
