package server

import (
	"context"
	"net/http"
	"time"
)

// Who stops a process while another goes on wants no request to fail. So /readyz says no
// first, while updates are still taken in: whoever spreads them sees that, and each
// connection is closed with the next answer on it. Only then is nobody let in any more,
// what is in hand is finished, and groups and deliveries are left to others.

// notice returns a context that ends some time after the other, which is when the app is
// unready; or at once, when a part of the app fails.
func (a *Server) notice(asked context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(asked))
	context.AfterFunc(asked, func() {
		a.Stopping.Store(true)
		select {
		case <-time.After(a.config.Notice):
		case <-ctx.Done():
		}
		cancel(context.Cause(asked))
	})
	return ctx, cancel
}

// farewell closes connections, each after an answer, while the app is stopping: one that
// is only idle might just be used again.
func (a *Server) farewell(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.Stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
