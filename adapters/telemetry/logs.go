package telemetry

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// LogConfig says what is logged, and how.
type LogConfig struct {
	JSON  bool // a line is an object; else it is text
	Level slog.Level
	Burst int // lines with one message that are written in a second; 0 is no limit
}

// NewLogger writes lines to w. A line about something that is traced has the ids of trace
// and span. Quoted values are removed from errors. Lines below debug are dropped, because
// libraries log the data of their requests there.
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

// maxMessages bounds what is counted apart. Ours are some fifty; net/http puts a stranger's
// address into each of its own.
const maxMessages = 1000

// bursts writes the first lines of a second with one message, and adds the number of dropped
// lines to the next one: an error of every update must not fill the disk.
type bursts struct {
	slog.Handler
	counts *counts
}

// counts are shared by all loggers derived from one.
type counts struct {
	limit int
	mu    sync.Mutex
	by    map[string]*count
}

type count struct {
	second        time.Time
	written, left int // lines of this second; lines left out since one was written
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
