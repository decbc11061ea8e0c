package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// callFor calls f from several callers for a while, each time with the next number.
// It returns the durations of all calls, sorted, and how long it took altogether.
func callFor(
	ctx context.Context, callers int, length time.Duration, f func(ctx context.Context, n int64) error,
) (sorted []time.Duration, took time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	times := make([][]time.Duration, callers)
	var n atomic.Int64
	var all sync.WaitGroup
	begun := time.Now()
	for i := range callers {
		all.Go(func() {
			for time.Since(begun) < length && ctx.Err() == nil {
				before := time.Now()
				if err := f(ctx, n.Add(1)); err != nil {
					cancel(err)
					return
				}
				times[i] = append(times[i], time.Since(before))
			}
		})
	}
	all.Wait()
	took = time.Since(begun)
	sorted = slices.Concat(times...)
	slices.Sort(sorted)
	return sorted, took, context.Cause(ctx)
}

func rate(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

func latencyNotes(sorted []time.Duration) map[string]float64 {
	return map[string]float64{"p50 ms": percentile(sorted, .5), "p95 ms": percentile(sorted, .95)}
}
