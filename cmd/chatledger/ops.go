package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gorilla/mux"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/adapters/guard"
)

// newOpsServer serves those who run chatledger on a listener that the world does not
// reach, in plain HTTP; nil when there is none.
func (a *app) newOpsServer(c appConfig) *sideServer {
	if c.Ops == nil {
		return nil
	}
	s := &sideServer{guard: guard.New(guard.Config{Log: c.Log, Observer: guardObserver{a}})}
	s.listener = s.guard.Listener(c.Ops)
	routes := mux.NewRouter()
	a.health(routes)
	routes.Handle("/metrics", a.metrics.Handler())
	s.server = &http.Server{Handler: routes, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: s.guard.ServerLog(), ConnContext: guard.Context}
	return s
}

// health serves what balancers ask: on every listener, as they ask the one that they
// send requests to.
func (a *app) health(routes *mux.Router) {
	routes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	routes.HandleFunc("/readyz", a.ready)
}

// readiness is what /readyz answers with. The release is told only to who may know it.
type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
	Version string   `json:"version,omitempty"`
}

// ready answers whether an update could be taken in now, and if not, why.
func (a *app) ready(w http.ResponseWriter, r *http.Request) { a.sayReady(w, r, "") }

func (a *app) sayReady(w http.ResponseWriter, r *http.Request, version string) {
	reasons := a.unready(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(readiness{len(reasons) == 0, reasons, version}); err != nil {
		a.log.Debug("readyz answer not written", "error", err)
	}
}

// unready is why no update could be taken in now. The reasons are in words of our own:
// the world may ask, and errors tell of addresses and users.
func (a *app) unready(ctx context.Context) []string {
	reasons := []string{}
	if a.config.Only.works() {
		select {
		case <-a.router.Running():
		default:
			reasons = append(reasons, "handlers are starting")
		}
	}
	if a.stopping.Load() {
		reasons = append(reasons, "stopping")
	}
	if a.handler.Full() {
		reasons = append(reasons, "too many requests are waiting")
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := a.store.Rehearse(ctx); err != nil {
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
