package delivery

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/commands"
)

func newQuota(g *limiter) Quota {
	return Quota{Limits: g, Account: "zendesk:shop", PerMinute: 200, Log: slog.New(slog.DiscardHandler)}
}

func TestQuota_NoPermit_WaitBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answers []commands.Permit
		asked   int
		waited  time.Duration
		left    time.Duration
	}{
		{nil, 1, 0, 0},
		{
			[]commands.Permit{{Wait: 300 * time.Millisecond}, {Wait: 400 * time.Millisecond}}, 3,
			700 * time.Millisecond, 0,
		},
		{
			[]commands.Permit{{Wait: 300 * time.Millisecond}, {Wait: 800 * time.Millisecond}}, 2,
			300 * time.Millisecond, 800 * time.Millisecond,
		},
		{[]commands.Permit{{Wait: time.Minute, Cause: commands.CauseFlood}}, 1, 0, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &limiter{answers: c.answers}
			begun := time.Now()
			permit, err := newQuota(g).Wait(t.Context())
			if err != nil || permit.Wait != c.left || time.Since(begun) != c.waited || len(g.asked) != c.asked {
				t.Errorf("%v: asked %d times, waited %s, then %+v, %v", c.answers, len(g.asked), time.Since(begun),
					permit, err)
			}
		})
	}
}

// A quota of 200 allows at most 200 calls in any minute, but at least 150, and some of them at once.
func TestQuota_Call_TakesShareOfAccount(t *testing.T) {
	t.Parallel()
	g := &limiter{}
	if _, err := newQuota(g).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	share := g.asked[0].Bot
	if n := 1 + (share.Slack+time.Minute)/share.Every; share.Name != "zendesk:shop" || n > 200 || n < 150 ||
		share.Slack == 0 || g.asked[0].Chat != (commands.Share{}) {
		t.Errorf("%d calls in a minute with %+v", n, g.asked)
	}
	none := newQuota(g)
	none.PerMinute = 0
	if permit, err := none.Wait(t.Context()); err != nil || permit.Wait != 0 || len(g.asked) != 1 {
		t.Errorf("without a limit: %+v, %v", permit, err)
	}
}

// If the limit cannot be read, or the context ends, Wait returns an error.
func TestQuota_LimiterFails_Error(t *testing.T) {
	t.Parallel()
	lost := errors.New("no connection")
	if _, err := newQuota(&limiter{err: lost}).Wait(t.Context()); !errors.Is(err, lost) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	waiting := newQuota(&limiter{answers: []commands.Permit{{Wait: time.Second / 2}}})
	if _, err := waiting.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestQuota_RetryAfter_Recorded(t *testing.T) {
	t.Parallel()
	g := &limiter{}
	q := newQuota(g)
	q.RetryAfter(t.Context(), "", time.Minute, "429")
	q.RetryAfter(t.Context(), "/tickets/7.json", 9*time.Second, "429")
	want := []string{"suspend zendesk:shop flood 1m0s", "retry after zendesk:shop zendesk:shop/tickets/7.json 9s"}
	if diff := cmp.Diff(want, g.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
