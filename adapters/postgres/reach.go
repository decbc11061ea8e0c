package postgres

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// reachEvery is how far apart attempts to connect are while the server cannot be reached.
// A server that is starting up needs its processor for its recovery, and each attempt
// costs it a process of its own.
const reachEvery = 100 * time.Millisecond

// errAway is the answer to whoever wants a connection between two attempts.
var errAway = errors.New("the database could not be reached a moment ago, and is tried again every 100 ms")

// reach lets one try while the server cannot be reached, and sends the others away.
type reach struct {
	nextTry atomic.Int64 // Unix nanoseconds; 0 while the server can be reached
}

// beforeConnect is the pool's.
func (r *reach) beforeConnect(context.Context, *pgx.ConnConfig) error {
	at, now := r.nextTry.Load(), time.Now()
	if at == 0 || now.UnixNano() >= at && r.nextTry.CompareAndSwap(at, now.Add(reachEvery).UnixNano()) {
		return nil
	}
	return errAway
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
	case ctx.Err() == nil: // who gave up says nothing about the server
		r.nextTry.Store(time.Now().Add(reachEvery).UnixNano())
	}
}

// TraceQueryStart implements pgx.QueryTracer, without which there is no other.
func (r *reach) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (r *reach) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
