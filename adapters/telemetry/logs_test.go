package telemetry

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func lines(t *testing.T, written *bytes.Buffer) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(written.String()) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, one)
	}
	return all
}

// A line within a sampled trace has the ids of trace and span.
func TestLog_TracedContext_HasIDs(t *testing.T) {
	t.Parallel()
	var written bytes.Buffer
	log := NewLogger(&written, LogConfig{JSON: true}).With("bot", "demo")
	log.InfoContext(under(t.Context(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), "traced")
	log.InfoContext(under(t.Context(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"), "not sampled")
	log.Info("not traced")
	got := lines(t, &written)
	if got[0]["trace_id"] != "0af7651916cd43dd8448eb211c80319c" || got[0]["span_id"] != "b7ad6b7169203331" ||
		got[0]["bot"] != "demo" {
		t.Errorf("traced line: %v", got[0])
	}
	for _, line := range got[1:] {
		if line["trace_id"] != nil {
			t.Errorf("line with a trace_id: %v", line)
		}
	}
}

// Of lines with the same message, only the first ones of a second are written; the next second's first line
// says how many were dropped.
func TestLog_RepeatedMessage_Limited(t *testing.T) {
	t.Parallel()
	var written bytes.Buffer
	h := NewLogger(&written, LogConfig{JSON: true, Burst: 3}).Handler()
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	say := func(message string, at time.Time, loggers ...slog.Handler) {
		for _, h := range append(loggers, h) {
			if err := h.Handle(t.Context(), slog.NewRecord(at, slog.LevelError, message, 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	other := h.WithAttrs([]slog.Attr{slog.String("bot", "demo")}) // shares the counts
	for i := range 5 {
		say("storm", at.Add(time.Duration(i)*time.Millisecond), other)
	}
	say("calm", at)
	say("storm", at.Add(time.Second))
	var said []any
	for _, line := range lines(t, &written) {
		said = append(said, line["msg"], line["left_out"])
	}
	want := []any{"storm", nil, "storm", nil, "storm", nil, "calm", nil, "storm", 7.}
	if len(said) != len(want) {
		t.Fatalf("written: %v", said)
	}
	for i := range want {
		if said[i] != want[i] {
			t.Errorf("written: %v, want %v", said, want)
			break
		}
	}
}
