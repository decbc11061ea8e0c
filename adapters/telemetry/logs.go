package telemetry

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// LogConfig configures a logger.
type LogConfig struct {
	JSON  bool // lines are JSON objects; otherwise text
	Level slog.Level
	Burst int // lines per second with the same message; 0 means no limit
}

// NewLogger returns a logger that writes to w. A line within a trace has the ids of trace and span. Values
// that errors quote are removed. Lines below level debug are dropped, because libraries log the data of
// their requests there.
func NewLogger(w io.Writer, c LogConfig) *slog.Logger {
	var h slog.Handler
	if options := (&slog.HandlerOptions{Level: max(c.Level, slog.LevelDebug)}); c.JSON {
		h = slog.NewJSONHandler(w, options)
	} else {
		h = slog.NewTextHandler(w, options)
	}
	if c.Burst > 0 {
		h = bursts{h, &counts{limit: c.Burst, by: map[string]*count{}}}
	}
	return slog.New(ids{worded{h}})
}

// ids adds the ids of trace and span to a line.
type ids struct{ slog.Handler }

func (h ids) Handle(ctx context.Context, r slog.Record) error {
	span := trace.SpanContextFromContext(ctx)
	if in, ok := ctx.Value(incomingKey{}).(*incoming); ok && in.span != nil && !span.IsValid() {
		span = in.span.SpanContext()
	}
	if span.IsSampled() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h ids) WithAttrs(attrs []slog.Attr) slog.Handler { return ids{h.Handler.WithAttrs(attrs)} }
func (h ids) WithGroup(name string) slog.Handler       { return ids{h.Handler.WithGroup(name)} }

// maxMessages bounds the messages that are counted. chatledger has some fifty, but those of net/http
// contain the address of a client.
const maxMessages = 1000

// bursts writes only the first lines of a second that have the same message, and adds the number of dropped
// lines to the next one. Otherwise an error of every update could fill the disk.
type bursts struct {
	slog.Handler
	counts *counts
}

// counts holds the counts by message. All loggers that are derived from one share it.
type counts struct {
	limit int
	mu    sync.Mutex
	by    map[string]*count
}

type count struct {
	second        time.Time
	written, left int // lines written in this second; lines dropped since the last written one
}

func (h bursts) Handle(ctx context.Context, r slog.Record) error {
	left, write := h.counts.admit(r.Message, r.Time)
	if !write {
		return nil
	}
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("left_out", left))
	}
	return h.Handler.Handle(ctx, r)
}

// admit reports whether a line is written, and how many lines before it were dropped.
func (cs *counts) admit(message string, at time.Time) (left int, write bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.by[message]
	if c == nil {
		if len(cs.by) == maxMessages {
			clear(cs.by)
		}
		c = &count{}
		cs.by[message] = c
	}
	if second := at.Truncate(time.Second); !second.Equal(c.second) {
		c.second, c.written = second, 0
	}
	if c.written == cs.limit {
		c.left++
		return 0, false
	}
	c.written++
	left, c.left = c.left, 0
	return left, true
}

func (h bursts) WithAttrs(attrs []slog.Attr) slog.Handler {
	return bursts{h.Handler.WithAttrs(attrs), h.counts}
}

func (h bursts) WithGroup(name string) slog.Handler {
	return bursts{h.Handler.WithGroup(name), h.counts}
}
