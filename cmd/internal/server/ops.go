package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gorilla/mux"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
)

// newOpsServer returns the server of /metrics and the health checks on a listener of its own, in
// plain HTTP; nil when there is none.
func (s *Server) newOpsServer(c Config) *sideServer {
	if c.Ops == nil {
		return nil
	}
	side := &sideServer{guard: guard.New(guard.Config{Log: c.Log, Observer: guardObserver{s}})}
	side.listener = side.guard.Listener(c.Ops)
	routes := mux.NewRouter()
	s.health(routes)
	routes.Handle("/metrics", s.metrics.Handler())
	side.server = newHTTPServer(routes, side.guard)
	return side
}

// health serves the health checks. Every listener has them, because a balancer checks the
// listener that it sends requests to.
func (s *Server) health(routes *mux.Router) {
	routes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	routes.HandleFunc("/readyz", s.Ready)
}

// Ready answers whether an update can be stored now, and if not, why.
func (s *Server) Ready(w http.ResponseWriter, r *http.Request) { s.writeReadiness(w, r, "") }

func (s *Server) writeReadiness(w http.ResponseWriter, r *http.Request, version string) {
	reasons := s.unready(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	said := registrar.Readiness{Ready: len(reasons) == 0, Reasons: reasons, Version: version}
	if guard.IsLocal(r) {
		said.Database = s.identity(r.Context())
	}
	if err := json.NewEncoder(w).Encode(said); err != nil {
		s.log.Debug("readyz answer not written", "error", err)
	}
}

// identity returns the identity of the database, or "" when the database does not answer.
func (s *Server) identity(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	id, err := s.Store.Identity(ctx)
	if err != nil {
		s.log.Debug("database identity not read", "error", err)
	}
	return id
}

// unready returns the reasons why no update can be stored now. They do not quote errors, which
// contain addresses and users: the endpoint is public.
func (s *Server) unready(ctx context.Context) []string {
	reasons := []string{}
	if s.config.Only.works() {
		select {
		case <-s.Router.Running():
		default:
			reasons = append(reasons, "handlers are starting")
		}
	}
	if s.Stopping.Load() {
		reasons = append(reasons, "stopping")
	}
	if s.Handler.Full() {
		reasons = append(reasons, "too many requests are waiting")
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.Store.CheckWritable(ctx); err != nil {
		reasons = append(reasons, databaseReason(err))
		s.log.Debug("no update could be stored", "error", err)
	}
	return reasons
}

// SQLSTATEs with a reason of their own.
const (
	readOnly           = "25006" // a standby, or a session that may only read
	tooManyConnections = "53300"
	diskFull           = "53100"
)

// databaseReason words an error of the database for the public.
func databaseReason(err error) string {
	var refused *pgconn.PgError
	switch {
	case !errors.As(err, &refused):
		return "the database does not answer"
	case refused.Code == readOnly:
		return "the database is read-only"
	case refused.Code == tooManyConnections:
		return "the database has no connection left"
	case refused.Code == diskFull:
		return "the database's disk is full"
	default: // such as a schema of another version, or missing privileges
		return "the database takes no update in: SQLSTATE " + refused.Code
	}
}
