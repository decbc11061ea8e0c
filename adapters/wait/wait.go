// Package wait pauses, retries and repeats until a context ends.
package wait

import (
	"context"
	"math/rand/v2"
	"time"
)

// For waits for d. If ctx ends before, it returns the context's cause.
func For(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Retry calls f until it succeeds or ctx ends. The pauses between the calls double
// from first to longest; each is shortened by up to half at random, so that processes that
// failed together do not retry together.
func Retry(ctx context.Context, first, longest time.Duration, f func() error) {
	for pause := first; ; pause = min(2*pause, longest) {
		if f() == nil || ctx.Err() != nil {
			return
		}
		if For(ctx, pause/2+rand.N(pause/2)) != nil {
			return
		}
	}
}

// Every calls f at each interval until ctx ends.
func Every(ctx context.Context, interval time.Duration, f func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}
