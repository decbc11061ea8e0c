package operators

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"
	"golang.org/x/crypto/argon2"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// office runs the API with a ledger and accounts in memory.
type office struct {
	*API
	routes *mux.Router
	log    strings.Builder

	mu       sync.Mutex
	streams  map[domain.StreamID][]domain.Recorded
	tokens   map[[32]byte]commands.Operator
	password map[string]string
	totp     map[string][]byte
	codes    map[string]int64  // step of the last used code
	logins   map[string]string // names of operators by login at the provider
	sessions map[[32]byte]commands.Operator
	down     bool
	now      time.Time
	refused  int    // requests reported to the guard as failed
	asked    int    // lookups of passwords
	queued   string // part of all texts of the queued tickets
	read     int    // events read by the API
}

var errDown = errors.New("no connection")

// knowledge is the bot's knowledge.
var knowledge = &dialog.Knowledge{Canned: map[string]dialog.Text{"sent": {"en": "It left us on {day}."}}}

// newOffice returns an office with a viewer, vera, agents, maria and jo, and an admin, boss. Their tokens are
// their names. It has one chat, demo:42, with one message. kim is an admin of another bot, shop.
func newOffice() *office {
	o := &office{
		streams:  map[domain.StreamID][]domain.Recorded{},
		tokens:   map[[32]byte]commands.Operator{},
		password: map[string]string{},
		totp:     map[string][]byte{},
		codes:    map[string]int64{},
		logins:   map[string]string{"jo@example.com": "jo"},
		sessions: map[[32]byte]commands.Operator{},
		now:      noon,
	}
	for name, role := range map[string]commands.Role{"vera": commands.Viewer, "maria": commands.Agent,
		"jo": commands.Agent, "boss": commands.Admin} {
		o.tokens[sha(name)] = commands.Operator{Name: name, Role: role}
	}
	o.tokens[sha("kim")] = commands.Operator{Name: "kim", Role: commands.Admin, Bots: []string{"shop"}}
	o.API = &API{
		Guard:    o,
		Accounts: o,
		Provider: o,
		Ledger:   o,
		Handler:  o,
		Observer: unobserved{},
		Now:      func() time.Time { return o.now },
		Log:      slog.New(slog.NewTextHandler(&o.log, nil)),
		Canned:   cannedReplies{"demo": {"sent"}},
	}
	o.routes = mux.NewRouter()
	o.Routes(o.routes)
	o.record("chat-demo:42", "customer", chat.MessageReceived{
		Date:  noon,
		From:  chat.Sender{ID: 42, Name: "Anna"},
		Text:  "hello",
		Media: []chat.Media{{Kind: "photo", FileName: "a.jpg", FileID: "AgAC"}},
	})
	return o
}

func fold(history []domain.Recorded) chat.State {
	s := chat.Decider.Initial()
	for _, r := range history {
		s = chat.Decider.Evolve(s, r.Event)
	}
	return s
}

func (o *office) record(stream domain.StreamID, actor domain.Actor, events ...domain.Event) {
	for _, e := range events {
		version := domain.Version(len(o.streams[stream]) + 1)
		o.streams[stream] = append(o.streams[stream], domain.Recorded{Stream: stream, Version: version,
			ID: uuid.Must(uuid.NewV7()), Event: e, Actor: actor, OccurredAt: o.now})
	}
}

func (o *office) Handle(_ context.Context, r commands.Request) (commands.Result, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return commands.Result{}, errDown
	}
	events, err := chat.Decider.Decide(fold(o.streams[r.Stream]), r.Command, chat.Settings{Knowledge: knowledge})
	result := commands.Result{First: domain.Version(len(o.streams[r.Stream]) + 1), Events: events}
	o.record(r.Stream, r.Actor, events...)
	if _, operates := r.Command.(chat.Operate); operates && len(events) > 0 {
		state := fold(o.streams[r.Stream])
		result.State = &state
	}
	return result, err
}

func (o *office) State(_ context.Context, stream domain.StreamID) (chat.State, domain.Version, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return chat.State{}, 0, errDown
	}
	return fold(o.streams[stream]), domain.Version(len(o.streams[stream])), nil
}

func (o *office) Events(
	_ context.Context, stream domain.StreamID, after domain.Version, limit int,
) ([]domain.Recorded, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return nil, errDown
	}
	all := o.streams[stream]
	from := min(int(after), len(all))
	page := all[from:min(from+limit, len(all))]
	o.read += len(page)
	return page, nil
}

func (o *office) TicketQueue(_ context.Context, q commands.TicketQuery) ([]commands.QueuedTicket, error) {
	if o.down {
		return nil, errDown
	}
	var list []commands.QueuedTicket
	for n := range 3 {
		if (len(q.Bots) == 0 || slices.Contains(q.Bots, "demo")) &&
			(q.After == nil || q.After.Ticket < fmt.Sprint("demo:", n, "#1")) {
			place := commands.Place{At: q.At, Overdue: n == 0, Rank: 2, Due: noon, Ticket: fmt.Sprint("demo:", n, "#1")}
			list = append(list, commands.QueuedTicket{
				Place: place, Chat: fmt.Sprint("demo:", n), Bot: "demo", Status: "assigned", Priority: dialog.High,
				Reason: "asked" + o.queued, Subject: "hello" + o.queued, Assignee: "maria", Tags: []string{"vip"},
				Opened: noon, Resolve: noon, FirstReply: noon, ClaimedBy: "maria", ClaimedUntil: noon,
			})
		}
	}
	return list[:min(len(list), q.Limit)], nil
}

func (o *office) DeliveryStates(_ context.Context, ids []uuid.UUID) (map[uuid.UUID]domain.DeliveryState, error) {
	states := map[uuid.UUID]domain.DeliveryState{}
	for _, id := range ids {
		states[id] = domain.DeliveryDone
	}
	return states, nil
}

func (o *office) OperatorOf(_ context.Context, token [32]byte) (commands.Operator, bool, error) {
	operator, known := o.tokens[token]
	return operator, known, nil
}

func (o *office) Authenticated(*http.Request) {}

func (o *office) Failed(*http.Request, string) time.Duration {
	if o.refused++; o.refused > maxFailed {
		return time.Minute
	}
	return 0
}

func (o *office) Limited(r *http.Request) time.Duration {
	if o.refused < maxFailed {
		return 0
	}
	return o.Failed(r, "")
}

// maxFailed is the number of failed requests after which this guard limits a source.
const maxFailed = 50

func (o *office) SawOperator(context.Context, string) error { return nil }

func (o *office) Password(_ context.Context, name string) (string, []byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down {
		return "", nil, errDown
	}
	o.asked++
	return o.password[name], o.totp[name], nil
}

func (o *office) OperatorByLogin(_ context.Context, login string) (commands.Operator, bool, error) {
	name, known := o.logins[login]
	return o.tokens[sha(name)], known, nil
}

// office is also an OpenID Connect provider, which confirms the code as the login name.

func (o *office) Start(context.Context) (address, secret string, err error) {
	if o.down {
		return "", "", errDown
	}
	return "https://login.example.com/auth?state=s", "kept", nil
}

func (o *office) Finish(_ context.Context, secret, state, code string) (login string, err error) {
	if o.down {
		return "", errDown
	}
	if secret != "kept" || state != "s" {
		return "", nil
	}
	return code, nil
}

func (o *office) UseCode(_ context.Context, name string, step int64) (bool, error) {
	if step <= o.codes[name] {
		return false, nil
	}
	o.codes[name] = step
	return true, nil
}

func (o *office) OpenSession(_ context.Context, name string, session [32]byte, _ time.Duration) error {
	o.sessions[session] = o.tokens[sha(name)]
	return nil
}

func (o *office) SessionOf(_ context.Context, session [32]byte) (commands.Operator, bool, error) {
	operator, known := o.sessions[session]
	return operator, known, nil
}

func (o *office) CloseSession(_ context.Context, session [32]byte) error {
	if o.down {
		return errDown
	}
	delete(o.sessions, session)
	return nil
}

// request returns a request to the API; the token is the operator's name.
func request(method, path, as, body string) *http.Request {
	r := httptest.NewRequest(method, prefix+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", uuid.NewString())
	if as != "" {
		r.Header.Set("Authorization", "Bearer "+as)
	}
	return r
}

func (o *office) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	o.routes.ServeHTTP(w, r)
	return w
}

// must fails the test unless the answer has this status.
func (o *office) must(t *testing.T, r *http.Request, status int) *httptest.ResponseRecorder {
	t.Helper()
	w := o.serve(r)
	if w.Code != status {
		t.Fatalf("%s %s: %d %s, want %d", r.Method, r.URL, w.Code, w.Body, status)
	}
	return w
}

// unavailable is an office whose accounts cannot be read.
type unavailable struct{ *office }

func (unavailable) OperatorOf(context.Context, [32]byte) (commands.Operator, bool, error) {
	return commands.Operator{}, false, errDown
}

func sha(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// hashOf returns the hash of a chosen password.
func hashOf(password string) string {
	salt := []byte("0123456789abcdef")
	sum := argon2.IDKey([]byte(password), salt, 1, 64, 1, 32)
	return fmt.Sprintf("argon2id$64$1$%s$%s", base64.RawStdEncoding.EncodeToString(salt),
		base64.RawStdEncoding.EncodeToString(sum))
}

// unobserved is an Observer that records nothing.
type unobserved struct{}

func (unobserved) OperatorRequest(string, int, time.Duration) {}

// cannedReplies holds the names of canned replies by bot.
type cannedReplies map[string][]string

func (c cannedReplies) CannedReplies(bot string) []string { return c[bot] }
