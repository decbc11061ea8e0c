package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
)

// One at a time tries to connect while the server is away.
func TestConnect_ServerAway_OneAttemptAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reach
		var tried atomic.Int64
		refused := errors.New("connection refused")
		connect := func(answer error) error {
			if err := r.beforeConnect(t.Context(), nil); err != nil {
				return err
			}
			tried.Add(1)
			time.Sleep(time.Millisecond) // as long as the server's answer takes
			ctx, cancel := context.WithCancel(t.Context())
			if errors.Is(answer, context.Canceled) {
				cancel()
			}
			r.TraceConnectEnd(ctx, pgx.TraceConnectEndData{Err: answer})
			cancel()
			return answer
		}
		crowd := func(answer error) (n int64) {
			before := tried.Load()
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() { _ = connect(answer) })
			}
			all.Wait()
			return tried.Load() - before
		}
		if n := crowd(nil); n != 50 {
			t.Errorf("%d of 50 tried while nothing is wrong", n)
		}
		if err := connect(context.Canceled); !errors.Is(err, context.Canceled) || crowd(nil) != 50 {
			t.Error("who gave up says nothing about the server")
		}
		if err := connect(refused); !errors.Is(err, refused) {
			t.Fatal(err)
		}
		for range 20 {
			time.Sleep(reachEvery + time.Millisecond)
			if n := crowd(refused); n != 1 {
				t.Fatalf("%d of 50 tried at once while the server is away", n)
			}
		}
		if err := connect(nil); !errors.As(err, new(awayError)) || !errors.Is(err, refused) {
			t.Errorf("between two attempts, without the cause: %v", err)
		}
		time.Sleep(reachEvery)
		if err := connect(nil); err != nil || crowd(nil) != 50 {
			t.Errorf("the server is back, and not used: %v", err)
		}
	})
}
