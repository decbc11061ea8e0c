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

func newQuota(g *gate) Quota {
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
			g := &gate{answers: c.answers}
			begun := time.Now()
			leave, err := newQuota(g).Wait(t.Context())
			if err != nil || leave.Wait != c.left || time.Since(begun) != c.waited || len(g.asked) != c.asked {
				t.Errorf("%v: asked %d times, waited %s, then %+v, %v", c.answers, len(g.asked), time.Since(begun),
					leave, err)
			}
		})
	}
}

// At most 200 calls in whichever minute, some of them at once, and not many fewer.
func TestQuota_Call_AsksForItsAccount(t *testing.T) {
	t.Parallel()
	g := &gate{}
	if _, err := newQuota(g).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	share := g.asked[0].Bot
	if n := 1 + (share.Slack+time.Minute)/share.Every; share.Name != "zendesk:shop" || n > 200 || n < 150 ||
		share.Slack == 0 || g.asked[0].Chat != (commands.Share{}) {
		t.Errorf("%d calls in a minute by %+v", n, g.asked)
	}
	none := newQuota(g)
	none.PerMinute = 0
	if leave, err := none.Wait(t.Context()); err != nil || leave.Wait != 0 || len(g.asked) != 1 {
		t.Errorf("without a limit: %+v, %v", leave, err)
	}
}

// A quota that cannot be read is an error.
func TestQuota_LimiterFails_Error(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	if _, err := newQuota(&gate{err: lost}).Wait(t.Context()); !errors.Is(err, lost) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newQuota(&gate{answers: []commands.Permit{{Wait: time.Second / 2}}}).Wait(ctx); !errors.Is(err,
		context.Canceled) {
		t.Error(err)
	}
}

func TestQuota_RetryAfter_Recorded(t *testing.T) {
	t.Parallel()
	g := &gate{}
	q := newQuota(g)
	q.Heed(t.Context(), "", time.Minute, "429")
	q.Heed(t.Context(), "/tickets/7.json", 9*time.Second, "429")
	want := []string{"close zendesk:shop flood 1m0s", "flood zendesk:shop zendesk:shop/tickets/7.json 9s"}
	if diff := cmp.Diff(want, g.told); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
