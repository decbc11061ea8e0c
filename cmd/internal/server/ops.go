package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/adapters/postgres/health"
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
	side.server = newHTTPServer(guard.SameOrigin(c.Ops.Addr(), routes), side.guard)
	return side
}

// health serves the health checks. Every listener has them, because a balancer checks the
// listener that it sends requests to.
func (s *Server) health(routes *mux.Router) {
	routes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	routes.HandleFunc("/readyz", s.Ready)
	routes.HandleFunc("/workz", s.Works)
}

const (
	// workPatience is how long a consumer group may stand still before /workz says so: a new
	// leader takes over within 5 s, and a page takes milliseconds.
	workPatience = 10 * time.Second
	// workEvery is how long an answer is used again: the endpoint is public.
	workEvery = time.Second
)

// work is the body of /workz, and a part of that of /readyz. It names neither chats nor errors,
// because both endpoints are public: `chatledger parked list` and `deliveries list` do.
type work struct {
	Moves         bool     `json:"moves"`
	Reasons       []string `json:"reasons"`
	ParkedStreams int64    `json:"parked_streams"`
	DeadLetters   int64    `json:"dead_letters"`
}

// Works answers whether the work of all processes moves, and if not, which consumer groups stand
// still. A balancer asks /readyz instead: a process that can store updates should get them.
func (s *Server) Works(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	said := s.works.ask(r.Context(), s.readWork)
	if !said.Moves {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(said); err != nil {
		s.log.Debug("workz answer not written", "error", err)
	}
}

func (s *Server) readWork(ctx context.Context) work {
	said := work{Reasons: []string{}}
	found, err := health.Of(s.Store.DB).Work(ctx, ConsumerGroups(), workPatience)
	if err != nil {
		s.log.Debug("cannot read whether the work moves", "error", err)
		said.Reasons = append(said.Reasons, databaseReason(err))
	}
	for _, g := range found.Stalled {
		said.Reasons = append(said.Reasons, fmt.Sprintf("consumer group %s stands still, and its next event is %s old",
			g.Group, g.Behind.Round(time.Second)))
	}
	said.Moves, said.ParkedStreams, said.DeadLetters = len(said.Reasons) == 0, found.Parked, found.DeadLetters
	return said
}

// recent keeps an answer for workEvery.
type recent struct {
	mu   sync.Mutex
	said work
	at   time.Time
}

func (r *recent) ask(ctx context.Context, read func(context.Context) work) work {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) > workEvery {
		// The next requests get the answer, too, whether or not this one waits for it.
		r.said, r.at = read(context.WithoutCancel(ctx)), time.Now()
	}
	return r.said
}

// Ready answers whether an update can be stored now, and if not, why.
func (s *Server) Ready(w http.ResponseWriter, r *http.Request) { s.writeReadiness(w, r, "") }

func (s *Server) writeReadiness(w http.ResponseWriter, r *http.Request, version string) {
	reasons := s.unready(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	said := readiness{Readiness: registrar.Readiness{Ready: len(reasons) == 0, Reasons: reasons, Version: version}}
	if said.Ready { // else the database was waited for long enough
		work := s.works.ask(r.Context(), s.readWork)
		said.Work = &work
	}
	if guard.IsLocal(r) {
		said.Database = s.identity(r.Context())
	}
	if err := json.NewEncoder(w).Encode(said); err != nil {
		s.log.Debug("readyz answer not written", "error", err)
	}
}

// readiness is the body of /readyz. Whether the work moves does not count for the status.
type readiness struct {
	registrar.Readiness
	Work *work `json:"work,omitempty"`
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
