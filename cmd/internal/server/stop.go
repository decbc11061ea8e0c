package server

import (
	"context"
	"net/http"
	"time"
)

// When one of several processes is stopped, no request should fail. So /readyz fails first while
// updates are still received: a balancer stops sending, and each connection is closed with the
// next answer on it. Then the listeners close, requests in progress end, and other processes take
// over the consumer groups and the deliveries.

// untilNoticed returns a context that ends Config.Notice after asked, when balancers have noticed
// that the server is not ready; or at once, when a part of the server fails.
func (s *Server) untilNoticed(asked context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(asked))
	context.AfterFunc(asked, func() {
		s.Stopping.Store(true)
		select {
		case <-time.After(s.config.Notice):
		case <-ctx.Done():
		}
		cancel(context.Cause(asked))
	})
	return ctx, cancel
}

// closeWhenStopping closes each connection after its next answer while the server is stopping. An
// idle connection stays open, because its next request may already be on its way.
func (s *Server) closeWhenStopping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
