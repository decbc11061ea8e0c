// Package operators is the HTTP API of the team: people, and programs that act for
// them, read the queue of chats that wait for a person, read a chat, claim it, and answer.
// docs/operators-openapi.yaml describes it.
//
// It promises that an act is done once, however often it is sent with its
// Idempotency-Key, and that an act under a claim that is over is refused with the chat
// as it is now. What an act leads to is decided in domain/chat; this package only asks.
package operators

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// API serves the team.
type API struct {
	Accounts Accounts
	Ledger   Ledger
	Handle   func(context.Context, commands.Request) (commands.Result, error)
	Canned   func(bot string) []string // names of a bot's canned replies
	Guard    guard.Limiter
	Observe  func(route string, status int, took time.Duration)
	Now      func() time.Time
	Log      *slog.Logger

	logins failures // that failed, by name
}

// Ledger is what is read.
type Ledger interface {
	// TicketQueue are the tickets that wait for a person.
	TicketQueue(context.Context, commands.Queue) ([]commands.Queued, error)
	// Events reads up to limit of a stream's events after a version, oldest first.
	Events(ctx context.Context, stream domain.StreamID, after domain.Version, limit int) ([]domain.Recorded, error)
	// DeliveryStates tells how deliveries stand, by id.
	DeliveryStates(context.Context, []uuid.UUID) (map[uuid.UUID]commands.State, error)
}

const (
	// maxBody is room for the longest reply that is sent, 20 messages of 4096 characters
	// of up to 4 bytes each.
	maxBody = 512 << 10
	// defaultPage and maxPage are of tickets or entries: what a screen shows, and what is
	// read at once without holding up others.
	defaultPage = 50
	maxPage     = 200
	// maxKey bounds an Idempotency-Key: a UUID has 36 characters.
	maxKey = 64
	// maxParameter bounds what is looked for, in bytes.
	maxParameter = 200
)

// route is one operation.
type route struct {
	method string
	path   string
	needs  commands.Role
	serve  func(http.ResponseWriter, *http.Request, commands.Operator) error
}

// anybody is the role that no operator needs.
const anybody commands.Role = ""

// prefix is where all paths begin; the number rises when an operation changes so that
// programs break.
const prefix = "/api/v1"

func (a *API) routes() []route {
	list := []route{
		{"POST", "/session", anybody, a.login},
		{"DELETE", "/session", commands.Viewer, a.logout},
		{"GET", "/me", commands.Viewer, a.me},
		{"GET", "/queue", commands.Viewer, a.queue},
		{"GET", "/bots/{bot}/canned-replies", commands.Viewer, a.cannedReplies},
		{"GET", "/chats/{chat}", commands.Viewer, a.chat},
		{"GET", "/chats/{chat}/entries", commands.Viewer, a.entries},
	}
	for name, read := range acts {
		list = append(list, route{"POST", "/chats/{chat}/" + name, commands.Agent, a.act(name, read)})
	}
	return list
}

// Routes adds the API to a router.
func (a *API) Routes(r *mux.Router) {
	for _, one := range a.routes() {
		r.Handle(prefix+one.path, a.authorize(one)).Methods(one.method)
	}
	fixed := func(p problem) http.Handler {
		return a.observed("none", func(w http.ResponseWriter, r *http.Request) error { return p })
	}
	r.NotFoundHandler = fixed(problem{Status: http.StatusNotFound, Detail: "there is no such path: docs/operators-openapi.yaml lists them"})
	r.MethodNotAllowedHandler = fixed(problem{Status: http.StatusMethodNotAllowed, Detail: "this path has other methods: docs/operators-openapi.yaml lists them"})
}

// authorize serves a route to the operators whose role and bots permit it.
func (a *API) authorize(one route) http.Handler {
	return a.observed(one.method+" "+one.path, func(w http.ResponseWriter, r *http.Request) error {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if one.needs == anybody {
			return one.serve(w, r, commands.Operator{})
		}
		operator, err := a.operator(r)
		if err != nil {
			return err
		}
		if !operator.Role.May(one.needs) {
			a.Log.Warn("an operator was denied access", "operator", operator.Name, "role", operator.Role, "needs", one.needs, "path", one.path)
			return problem{Status: http.StatusForbidden, Detail: "you are " + string(operator.Role) + ", and this needs " + string(one.needs) + ": ask who runs chatledger for that role"}
		}
		if bot := botIn(r); bot != "" && !operator.Serves(bot) {
			a.Log.Warn("an operator was denied access", "operator", operator.Name, "has", operator.Bots, "path", one.path)
			return problem{Status: http.StatusForbidden, Detail: "this bot is not one of yours: ask who runs chatledger for it"}
		}
		return one.serve(w, r, operator)
	})
}

// botIn is the bot that a request is about, wherever it is named; empty where it is about
// none, or all.
func botIn(r *http.Request) string {
	vars := mux.Vars(r)
	if _, ok := vars["chat"]; ok {
		return streamOf(r).Bot()
	}
	return cmp.Or(vars["bot"], r.URL.Query().Get("bot"))
}

// observed answers what goes wrong, and tells how it went. Nothing that is answered here
// is for a browser to show, to keep, or to guess the type of.
func (a *API) observed(name string, serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun, answer := time.Now(), &answered{ResponseWriter: w, status: http.StatusOK}
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		if err := serve(answer, r); err != nil {
			a.fail(answer, r, err)
		}
		a.Observe(name, answer.status, time.Since(begun))
	})
}

// answered remembers the status.
type answered struct {
	http.ResponseWriter
	status int
}

func (w *answered) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (a *API) me(w http.ResponseWriter, _ *http.Request, o commands.Operator) error {
	return write(w, struct {
		Name string        `json:"name"`
		Role commands.Role `json:"role"`
		Bots []string      `json:"bots,omitempty"` // none is all
	}{o.Name, o.Role, o.Bots})
}

func (a *API) cannedReplies(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	names := a.Canned(mux.Vars(r)["bot"])
	if names == nil {
		return problem{Status: http.StatusNotFound, Detail: "there is no such bot"}
	}
	return write(w, struct {
		Names []string `json:"names"`
	}{names})
}
