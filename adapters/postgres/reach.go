package postgres

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// reachEvery is the time between attempts to connect while the server cannot be reached. A server that
// is starting needs its processors for the recovery, and each attempt starts a process.
const reachEvery = 100 * time.Millisecond

// awayError is returned for a connection that is requested between two attempts. It contains the error
// of the last attempt, so that every log line names the cause.
type awayError struct{ cause error }

func (e awayError) Error() string {
	return "database unreachable, retrying every 100 ms: " + e.cause.Error()
}

func (e awayError) Unwrap() error { return e.cause }

// reach lets one connection attempt through while the server is unreachable, and rejects the others.
type reach struct {
	nextTry atomic.Int64              // Unix nanoseconds; 0 while the server can be reached
	last    atomic.Pointer[awayError] // set before nextTry
}

// beforeConnect implements BeforeConnect of the pool.
func (r *reach) beforeConnect(context.Context, *pgx.ConnConfig) error {
	at, now := r.nextTry.Load(), time.Now()
	if at == 0 || now.UnixNano() >= at && r.nextTry.CompareAndSwap(at, now.Add(reachEvery).UnixNano()) {
		return nil
	}
	return *r.last.Load()
}

// TraceConnectStart implements pgx.ConnectTracer.
func (r *reach) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

// TraceConnectEnd implements pgx.ConnectTracer.
func (r *reach) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	switch {
	case data.Err == nil:
		r.nextTry.Store(0)
	case ctx.Err() == nil: // a cancelled attempt does not mean that the server is down
		r.last.Store(&awayError{data.Err})
		r.nextTry.Store(time.Now().Add(reachEvery).UnixNano())
	}
}

// TraceQueryStart implements pgx.QueryTracer, which every tracer of pgx must implement.
func (r *reach) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (r *reach) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
