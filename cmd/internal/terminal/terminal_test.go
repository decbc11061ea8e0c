package terminal

import (
	"strings"
	"testing"
	"time"
)

func TestOneLine_HostileText_IsHarmless(t *testing.T) {
	t.Parallel()
	got := OneLine("a\x1b[2J\r\nb\u0085"+strings.Repeat("é", 100), 60)
	if strings.ContainsAny(got, "\x1b\r\n\u0085") || len([]rune(got)) != 60 {
		t.Errorf("got %q", got)
	}
}

func TestAge_AnyTime_HasOneUnit(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for ago, want := range map[time.Duration]string{
		-time.Hour:       "0s",
		59 * time.Second: "59s",
		90 * time.Second: "1m",
		47*time.Hour + 1: "47h",
		75 * time.Hour:   "3d",
	} {
		if got := Age(now.Add(-ago), now); got != want {
			t.Errorf("%s ago is %s, want %s", ago, got, want)
		}
	}
}
