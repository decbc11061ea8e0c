package delivery

import (
	"context"
	"log/slog"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Quota is the rate limit of an account at another system, for all processes and all bots that use the
// account.
type Quota struct {
	Limits    RateLimiter
	Account   domain.StreamID // name of the limit
	PerMinute float64         // calls; 0 means no limit
	Log       *slog.Logger
}

// Wait returns when a call may be made. If that takes longer than a worker may hold a delivery, it
// returns a permit with the time to wait.
func (q Quota) Wait(ctx context.Context) (commands.Permit, error) {
	if q.PerMinute == 0 {
		return commands.Permit{}, nil
	}
	request := commands.PermitRequest{Bot: within(time.Minute, q.PerMinute).share(q.Account, 1)}
	for held := time.Now().Add(hold); ; {
		permit, err := q.Limits.Acquire(ctx, request)
		if err != nil || permit.Wait == 0 || time.Now().Add(permit.Wait).After(held) {
			return permit, err
		}
		select {
		case <-time.After(permit.Wait):
		case <-ctx.Done():
			return permit, ctx.Err()
		}
	}
}

// RetryAfter records for all processes how long the other system asked to wait. what names the resource
// that was called; the wait holds for that resource, or for the account if another resource is limited
// a moment later. With "" it holds for the account.
func (q Quota) RetryAfter(ctx context.Context, what string, wait time.Duration, reason string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer done()
	var err error
	if what == "" {
		err = q.Limits.Suspend(ctx, q.Account, commands.CauseFlood, wait, reason)
	} else {
		_, err = q.Limits.RetryAfter(ctx, q.Account, q.Account+domain.StreamID(what), wait, reason)
	}
	if err != nil {
		q.Log.Error("rate limit of the account not recorded", "account", q.Account, "error", err)
	}
}
