package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/chatledger/chatledger/adapters/guard"
)

// Listen listens on an address. The error names the flag that chooses another.
func Listen(address, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another address with %s", err, flag)
	}
	return l, nil
}

// sideServer serves a listener beside the webhook's, which need not be public. A nil *sideServer
// does nothing.
type sideServer struct {
	server   *http.Server
	listener net.Listener
	guard    *guard.Guard
}

// serve answers until stop; the guard writes its log until ctx ends.
func (s *sideServer) serve(ctx context.Context) error {
	if s == nil {
		return nil
	}
	var log sync.WaitGroup
	defer log.Wait()
	log.Go(func() { s.guard.Run(ctx) })
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *sideServer) stop(ctx context.Context) error {
	if s == nil {
		return nil
	}
	return s.server.Shutdown(ctx)
}

// newHTTPServer returns a server with the time limits that all listeners have.
func newHTTPServer(handler http.Handler, g *guard.Guard) *http.Server {
	return &http.Server{
		Handler: g.BehindProxies(handler), ReadHeaderTimeout: HeaderTimeout, ReadTimeout: RequestTimeout,
		WriteTimeout: answerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: g.ServerLog(), ConnContext: guard.Context,
	}
}
