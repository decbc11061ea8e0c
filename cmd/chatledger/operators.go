package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/operators"
	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// operatorServer is the listener of the operators' API, apart from the webhook's, so that the one
// may be open to the world and the other not. A nil one serves nobody.
type operatorServer struct {
	server   *http.Server
	listener net.Listener
}

// newOperatorServer builds the operators' API on a listener; nil when there is none.
func (a *app) newOperatorServer(l net.Listener) *operatorServer {
	if l == nil {
		return nil
	}
	api := &operators.API{Accounts: a.store, Ledger: ledger{a.store}, Handle: a.handler.Handle, Observe: a.metrics.Operators(), Now: a.now, Log: a.log,
		Canned: func(bot string) []string {
			settings, served := a.bots[bot]
			if !served {
				return nil
			}
			if settings.Knowledge == nil {
				return []string{}
			}
			return append([]string{}, slices.Sorted(maps.Keys(settings.Knowledge.Canned))...)
		}}
	routes := mux.NewRouter()
	api.Routes(routes)
	return &operatorServer{listener: l, server: &http.Server{Handler: routes, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}}
}

// serve answers until stop.
func (s *operatorServer) serve() error {
	if s == nil {
		return nil
	}
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *operatorServer) stop(ctx context.Context) error {
	if s == nil {
		return nil
	}
	return s.server.Shutdown(ctx)
}

// ledger is the store as the operators' API reads it.
type ledger struct{ *postgres.Store }

func (l ledger) Events(ctx context.Context, stream domain.StreamID, after domain.Version, limit int) ([]domain.Recorded, error) {
	return l.ReadStream(ctx, l.Pool(), stream, after, limit)
}

// demoOperator gives the demo's operator a new token.
func demoOperator(ctx context.Context, store *postgres.Store) (token string, err error) {
	token, hash := operators.NewToken()
	return token, store.PutOperator(ctx, "demo", commands.Admin, hash)
}
