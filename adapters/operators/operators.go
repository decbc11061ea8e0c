// Package operators implements the HTTP API for operators, the members of the support team,
// and for their programs. Operators read the ticket queue, read a chat, claim it and reply.
// docs/operators-openapi.yaml is the contract.
//
// An act takes effect once, however often it is sent with the same Idempotency-Key. An act
// under an expired claim is rejected, and the answer contains the chat's current state.
// domain/chat decides what an act does; this package only passes it on.
package operators

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// API serves the operators.
type API struct {
	Accounts Accounts
	Provider Provider
	Ledger   Ledger
	Handler  Handler
	Canned   CannedReplies
	Guard    guard.Limiter
	Observer Observer
	Now      func() time.Time
	Log      *slog.Logger

	logins  failures // failed logins, by name
	hashing hashing
}

// Ledger holds the data that the API reads.
type Ledger interface {
	// TicketQueue lists the tickets that wait for an operator.
	TicketQueue(context.Context, commands.TicketQuery) ([]commands.QueuedTicket, error)
	// State returns the state of a chat and its version, which is 0 if there is no such chat.
	State(ctx context.Context, stream domain.StreamID) (chat.State, domain.Version, error)
	// Events reads up to limit of a stream's events after a version, oldest first.
	Events(ctx context.Context, stream domain.StreamID, after domain.Version, limit int) ([]domain.Recorded, error)
	// DeliveryStates returns the states of deliveries, by id.
	DeliveryStates(context.Context, []uuid.UUID) (map[uuid.UUID]domain.DeliveryState, error)
}

// Handler decides a request and stores its events: commands.Handler.
type Handler interface {
	Handle(context.Context, commands.Request) (commands.Result, error)
}

// CannedReplies are the replies that a bot's team has prepared.
type CannedReplies interface {
	// CannedReplies returns the names of a bot's canned replies, sorted; nil for an unknown bot.
	CannedReplies(bot string) []string
}

// Observer measures requests.
type Observer interface {
	OperatorRequest(route string, status int, took time.Duration)
}

const (
	// maxBody, in bytes, has room for the longest reply: 20 messages of 4,096 characters of
	// up to 4 bytes each.
	maxBody = 512 << 10
	// defaultPage and maxPage count tickets or entries: as many as a screen shows, and as
	// many as one query reads without delaying others.
	defaultPage = 50
	maxPage     = 200
	// maxKey bounds an Idempotency-Key, in characters: a UUID has 36.
	maxKey = 64
	// maxParameter bounds a query parameter, in bytes.
	maxParameter = 200
)

// route is one operation.
type route struct {
	method string
	path   string
	needs  commands.Role
	serve  func(http.ResponseWriter, *http.Request, commands.Operator) error
}

// noLogin is the role of a route that needs no login.
const noLogin commands.Role = ""

// prefix starts all paths. Its number rises with every incompatible change.
const prefix = "/api/v1"

func (a *API) routes() []route {
	list := []route{
		{"POST", "/session", noLogin, a.login},
		{"DELETE", "/session", commands.Viewer, a.logout},
		{"GET", "/session/oidc", noLogin, a.startLogin},
		{"GET", "/session/oidc/callback", noLogin, a.finishLogin},
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
	r.NotFoundHandler = fixed(problem{Status: http.StatusNotFound,
		Detail: "unknown path: docs/operators-openapi.yaml lists all paths"})
	r.MethodNotAllowedHandler = fixed(problem{Status: http.StatusMethodNotAllowed,
		Detail: "method not allowed here: docs/operators-openapi.yaml lists all methods"})
}

// authorize serves a route to the operators whose role and bots permit it.
func (a *API) authorize(one route) http.Handler {
	return a.observed(one.method+" "+one.path, func(w http.ResponseWriter, r *http.Request) error {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		// URL.Query drops parameters that are malformed, and a filter must not be dropped.
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
			return problem{Status: http.StatusBadRequest, Detail: "the query is malformed: escape its values"}
		}
		if one.needs == noLogin {
			return one.serve(w, r, commands.Operator{})
		}
		operator, err := a.operator(r)
		if err != nil {
			return err
		}
		if !operator.Role.Includes(one.needs) {
			a.Log.Warn("operator request rejected: role not sufficient",
				"operator", operator.Name, "role", operator.Role, "needs", one.needs, "path", one.path)
			return problem{Status: http.StatusForbidden, Detail: fmt.Sprintf(
				"your role is %s, and this needs %s: ask your administrator for that role", operator.Role, one.needs)}
		}
		if _, named := mux.Vars(r)["chat"]; named && streamOf(r) == "" {
			return errNoChat // an invalid name has no bot, so the operator's access cannot be checked
		}
		if bot := botIn(r); bot != "" && !operator.Serves(bot) {
			a.Log.Warn("operator request rejected: not an operator of this bot",
				"operator", operator.Name, "bots", operator.Bots, "path", one.path)
			return problem{Status: http.StatusForbidden,
				Detail: "you are not an operator of this bot: ask your administrator for access"}
		}
		return one.serve(w, r, operator)
	})
}

// botIn returns the bot in the path or query of a request; "" for a request about no bot, or about all.
func botIn(r *http.Request) string {
	vars := mux.Vars(r)
	if _, ok := vars["chat"]; ok {
		return streamOf(r).Bot()
	}
	return cmp.Or(vars["bot"], r.URL.Query().Get("bot"))
}

// observed answers a handler's error and reports status and duration. Its headers forbid
// browsers to cache an answer, to display it as a page, or to guess its type.
func (a *API) observed(name string, serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun, answer := time.Now(), &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		if err := serve(answer, r); err != nil {
			a.fail(answer, r, err)
		}
		a.Observer.OperatorRequest(name, answer.status, time.Since(begun))
	})
}

// statusRecorder records the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (a *API) me(w http.ResponseWriter, _ *http.Request, o commands.Operator) error {
	return write(w, struct {
		Name string        `json:"name"`
		Role commands.Role `json:"role"`
		Bots []string      `json:"bots,omitempty"` // empty means all
	}{o.Name, o.Role, o.Bots})
}

func (a *API) cannedReplies(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	names := a.Canned.CannedReplies(mux.Vars(r)["bot"])
	if names == nil {
		return problem{Status: http.StatusNotFound, Detail: "unknown bot"}
	}
	return write(w, struct {
		Names []string `json:"names"`
	}{names})
}
