package delivery

import (
	"context"
	"log/slog"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Quota keeps the calls to one account of another system within its limit, for all
// processes and all bots that share the account.
type Quota struct {
	Limits    RateLimiter
	Account   domain.StreamID // whose limit it is
	PerMinute float64         // calls; 0 is no limit
	Log       *slog.Logger
}

// Wait returns when a call may be made, or says how long to wait for that when it is
// too long to keep a delivery in hand.
func (q Quota) Wait(ctx context.Context) (commands.Permit, error) {
	if q.PerMinute == 0 {
		return commands.Permit{}, nil
	}
	ask := commands.PermitRequest{Bot: within(time.Minute, q.PerMinute).share(q.Account, 1)}
	for held := time.Now().Add(hold); ; {
		leave, err := q.Limits.Acquire(ctx, ask)
		if err != nil || leave.Wait == 0 || time.Now().Add(leave.Wait).After(held) {
			return leave, err
		}
		select {
		case <-time.After(leave.Wait):
		case <-ctx.Done():
			return leave, ctx.Err()
		}
	}
}

// Heed records for all that the other side asked to wait. It may have meant only what
// was called; when it asks the same for something else in a moment, it means the account.
func (q Quota) Heed(ctx context.Context, what string, wait time.Duration, reason string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), heedTimeout)
	defer done()
	var err error
	if what == "" {
		err = q.Limits.Suspend(ctx, q.Account, commands.CauseFlood, wait, reason)
	} else {
		_, err = q.Limits.RetryAfter(ctx, q.Account, q.Account+domain.StreamID(what), wait, reason)
	}
	if err != nil {
		q.Log.Error("cannot record the rate limit of the account", "account", q.Account, "error", err)
	}
}
