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

// newOpsServer serves those who run chatledger on a listener that the world does not
// reach, in plain HTTP; nil when there is none.
func (a *Server) newOpsServer(c Config) *sideServer {
	if c.Ops == nil {
		return nil
	}
	s := &sideServer{guard: guard.New(guard.Config{Log: c.Log, Observer: guardObserver{a}})}
	s.listener = s.guard.Listener(c.Ops)
	routes := mux.NewRouter()
	a.health(routes)
	routes.Handle("/metrics", a.metrics.Handler())
	s.server = newHTTPServer(routes, s.guard)
	return s
}

// health serves what balancers ask: on every listener, as they ask the one that they
// send requests to.
func (a *Server) health(routes *mux.Router) {
	routes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	routes.HandleFunc("/readyz", a.Ready)
}

// Ready answers whether an update could be taken in now, and if not, why.
func (a *Server) Ready(w http.ResponseWriter, r *http.Request) { a.sayReady(w, r, "") }

func (a *Server) sayReady(w http.ResponseWriter, r *http.Request, version string) {
	reasons := a.unready(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	said := registrar.Readiness{Ready: len(reasons) == 0, Reasons: reasons, Version: version}
	if guard.IsLocal(r) {
		said.Database = a.identity(r.Context())
	}
	if err := json.NewEncoder(w).Encode(said); err != nil {
		a.log.Debug("readyz answer not written", "error", err)
	}
}

// identity returns the identity of the database, or "" when the database does not answer.
func (a *Server) identity(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	id, err := a.Store.Identity(ctx)
	if err != nil {
		a.log.Debug("database identity not read", "error", err)
	}
	return id
}

// unready is why no update could be taken in now. The reasons are in words of our own:
// the world may ask, and errors tell of addresses and users.
func (a *Server) unready(ctx context.Context) []string {
	reasons := []string{}
	if a.config.Only.works() {
		select {
		case <-a.Router.Running():
		default:
			reasons = append(reasons, "handlers are starting")
		}
	}
	if a.Stopping.Load() {
		reasons = append(reasons, "stopping")
	}
	if a.Handler.Full() {
		reasons = append(reasons, "too many requests are waiting")
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := a.Store.CheckWritable(ctx); err != nil {
		reasons = append(reasons, trouble(err))
		a.log.Debug("no update could be stored", "error", err)
	}
	return reasons
}

// SQLSTATEs that have words of their own.
const (
	readOnly           = "25006" // a standby, or a session that may only read
	tooManyConnections = "53300"
	diskFull           = "53100"
)

// trouble is what is wrong with the database.
func trouble(err error) string {
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
	default: // such as a schema that is another program's, or rights that are missing
		return "the database takes no update in: SQLSTATE " + refused.Code
	}
}
