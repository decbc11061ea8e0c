package progress

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatledger/chatledger/projections/rebuild"
)

func TestRebuild_NoTerminal_PrintsLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		r := NewRebuild(&out, "tickets")
		r.Show(rebuild.Progress{Done: 10, Total: 1000})
		if out.Len() > 0 {
			t.Errorf("the first call printed %q", out.String())
		}
		time.Sleep(2 * LineEvery)
		r.Show(rebuild.Progress{Done: 40_000, Total: 100_000})
		r.Show(rebuild.Progress{Done: 45_000, Total: 100_000})
		time.Sleep(LineEvery)
		r.Show(rebuild.Progress{Comparing: true, Done: 30_000})
		r.End()
		if want := "tickets: 40000 of 100000 events, 10000/s, 6s left\ntickets: 30000 rows compared\n"; out.String() != want {
			t.Errorf("printed %q, want %q", out.String(), want)
		}
	})
}
