// Package zendesksim simulates Zendesk: the part of the Ticketing API that chatledger uses, and the
// agents, whose acts send signed webhooks. The development server and the tests use it instead of
// Zendesk.
//
// It follows Zendesk's rules but has few of its features: credentials, requests per minute,
// idempotency keys for new tickets only, a history of audits, Zendesk's error texts. Everything is in
// memory.
//
// Server is an http.Handler of the API below /api/v2/ and of the control endpoints below /fake/
// (control.go). Tests in Go use its methods: Solve, Reopen and Comment act as an agent, Tickets and
// Calls return the state, SetFaults makes calls fail.
package zendesksim

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chatledger/chatledger/adapters/simulators/faults"
)

const (
	// defaultLimit is the limit of Zendesk's smallest plan, in requests per minute.
	defaultLimit = 200
	// firstID is as large as Zendesk's ids.
	firstID = 35_000_000_001
	// keyLife is how long Zendesk keeps an idempotency key.
	keyLife = 2 * time.Hour
	// maxBody limits a request, in bytes; a comment has up to 64 KiB.
	maxBody = 1 << 20
	// maxCalls limits the recorded calls, so that a development server that runs for days does
	// not grow.
	maxCalls = 10_000
)

// Options configure New. Email and Token are the credentials.
type Options struct {
	Email, Token string
	Limit        int    // requests per minute; 0: Zendesk's 200
	Hook         string // URL of webhooks; empty: none are sent
	Secret       string // signs webhooks
	FirstID      int64  // first id of tickets, comments and audits; 0: firstID

	// RetryUnit is the length of a second of Retry-After when a webhook is retried. 0 means a second;
	// tests make it shorter.
	RetryUnit time.Duration
}

// Server is the simulated Zendesk. Use New.
type Server struct {
	options Options
	mux     *http.ServeMux

	mu      sync.Mutex
	last    int64 // the last id
	tickets map[int64]*Ticket
	keys    map[string]kept
	calls   []Call
	recent  []time.Time // calls of the last minute
	faults  faults.HTTP
}

// Ticket is a ticket as an agent sees it.
type Ticket struct {
	ID         int64     `json:"id"`
	ExternalID string    `json:"external_id"`
	Subject    string    `json:"subject"`
	Requester  string    `json:"requester,omitempty"`
	Priority   string    `json:"priority,omitempty"`
	Status     string    `json:"status"`
	Tags       []string  `json:"tags"`
	Comments   []Comment `json:"comments"`
	UpdatedAt  time.Time `json:"updated_at"`

	audits []audit
}

// Comment is a comment of a ticket.
type Comment struct {
	ID     int64  `json:"id"`
	Author string `json:"author"` // api, or an agent's name
	Body   string `json:"body"`
	Public bool   `json:"public"`
}

// Call is a request to the API with the status of the answer; 0 if there was none.
type Call struct {
	At     time.Time `json:"at"`
	Method string    `json:"method"`
	Path   string    `json:"path"` // and query
	Key    string    `json:"key,omitempty"`
	Body   string    `json:"body,omitempty"`
	Status int       `json:"status"`
}

type audit struct {
	ID       int64    `json:"id"`
	Metadata metadata `json:"metadata"`
}

type metadata struct {
	Custom map[string]any    `json:"custom"`
	System map[string]string `json:"system"`
}

// kept is the stored answer to the first request with an idempotency key.
type kept struct {
	at     time.Time
	body   string
	answer answer
}

// answer is the answer to a request.
type answer struct {
	status     int
	body       []byte
	lookup     string // the x-idempotency-lookup header
	retryAfter int    // seconds; 0 is no such header
}

// New returns a Server. It panics without credentials: with an empty token it would accept every client.
func New(options Options) *Server {
	if options.Email == "" || options.Token == "" {
		panic("zendesksim: Options need an Email and a Token")
	}
	s := &Server{options: options, tickets: map[int64]*Ticket{}, keys: map[string]kept{}, mux: http.NewServeMux()}
	s.last = cmp.Or(options.FirstID, firstID) - 1
	s.options.Limit, s.options.RetryUnit = cmp.Or(options.Limit, defaultLimit), cmp.Or(options.RetryUnit, time.Second)
	s.mux.HandleFunc("/api/v2/", s.serveAPI)
	s.control()
	return s
}

// ServeHTTP answers the API and control requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// Tickets returns copies of all tickets, oldest first.
func (s *Server) Tickets() []Ticket {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Ticket, 0, len(s.tickets))
	for _, id := range slices.Sorted(maps.Keys(s.tickets)) {
		list = append(list, s.tickets[id].copy())
	}
	return list
}

func (t *Ticket) copy() Ticket {
	c := *t
	c.Tags, c.Comments, c.audits = slices.Clone(t.Tags), slices.Clone(t.Comments), nil
	return c
}

// Calls returns the requests to the API, in order.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// serveAPI answers one request.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	call := Call{
		At:     time.Now(),
		Method: r.Method,
		Path:   r.URL.RequestURI(),
		Key:    r.Header.Get("Idempotency-Key"),
		Body:   string(body),
	}
	fault := s.faults.Hit(call.Method, call.Path)
	fault.Wait(r.Context()) // the request takes effect even if the client closes the connection
	reply := s.reply(r, call, fault)
	if call.Status = reply.status; fault.Spoil == faults.Reset || fault.Spoil == faults.Cut {
		call.Status = 0
	}
	s.record(call)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if reply.lookup != "" {
		w.Header().Set("x-idempotency-lookup", reply.lookup)
	}
	if reply.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(reply.retryAfter))
	}
	fault.Write(w, r, reply.status, reply.body)
}

// SetFaults replaces all faults; without arguments it removes them. It panics if one is not valid.
func (s *Server) SetFaults(list ...faults.Fault) {
	s.faults.Clear()
	s.faults.MustAdd(list...)
}

// reply checks credentials, rate limit and faults, and then executes the request.
func (s *Server) reply(r *http.Request, call Call, fault faults.Fault) answer {
	if user, password, _ := r.BasicAuth(); user != s.options.Email+"/token" || password != s.options.Token {
		return failure(http.StatusUnauthorized, "Couldn't authenticate you", "")
	}
	if wait := s.admit(); wait > 0 {
		reply := failure(http.StatusTooManyRequests, "APIRateLimitExceeded",
			"Number of allowed API requests per minute exceeded")
		reply.retryAfter = int((wait + time.Second - 1) / time.Second)
		return reply
	}
	switch {
	case fault.Status != 0:
		reply := failure(fault.Status, "Fault", http.StatusText(fault.Status))
		reply.retryAfter = fault.RetryAfter
		return reply
	case fault.Spoil == faults.Reset:
		return answer{}
	}
	return s.work(r, call)
}

// admit counts a call against the limit, or returns how long to wait.
func (s *Server) admit() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := time.Now()
	s.recent = slices.DeleteFunc(s.recent, func(t time.Time) bool { return at.Sub(t) >= time.Minute })
	if len(s.recent) >= s.options.Limit {
		return time.Minute - at.Sub(s.recent[0])
	}
	s.recent = append(s.recent, at)
	return 0
}

func (s *Server) record(c Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	s.calls = s.calls[max(0, len(s.calls)-maxCalls):]
}

// work executes a request.
func (s *Server) work(r *http.Request, call Call) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/api/v2"), ".json")
	if path == "/tickets" {
		switch r.Method {
		case http.MethodPost:
			return s.createOnce(call)
		case http.MethodGet:
			return s.list(r.URL.Query().Get("external_id"))
		}
	}
	number, audits := strings.CutSuffix(strings.TrimPrefix(path, "/tickets/"), "/audits")
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return failure(http.StatusNotFound, "InvalidEndpoint", "Not found")
	}
	t := s.tickets[id]
	switch {
	case t == nil:
		return failure(http.StatusNotFound, "RecordNotFound", "Not found")
	case r.Method == http.MethodPut && !audits:
		return s.update(t, call.Body)
	case r.Method == http.MethodGet && audits:
		return list(t.audits, r.URL.Query().Get("sort_order"), r.URL.Query().Get("per_page"))
	case r.Method == http.MethodGet:
		return encode(http.StatusOK, map[string]any{"ticket": t.public()})
	}
	return failure(http.StatusNotFound, "InvalidEndpoint", "Not found")
}

// createOnce creates a ticket, but only one for each idempotency key.
func (s *Server) createOnce(call Call) answer {
	if call.Key == "" {
		return s.create(call.Body)
	}
	maps.DeleteFunc(s.keys, func(_ string, k kept) bool { return call.At.Sub(k.at) >= keyLife })
	if first, known := s.keys[call.Key]; known {
		if first.body != call.Body {
			return failure(http.StatusBadRequest, "IdempotentRequestError",
				"Request parameters don't match the given idempotency key")
		}
		first.answer.lookup = "hit"
		return first.answer
	}
	made := s.create(call.Body)
	if made.status == http.StatusCreated {
		made.lookup = "miss"
		s.keys[call.Key] = kept{call.At, call.Body, made}
	}
	return made
}

// asked is the body of a request.
type asked struct {
	Ticket struct {
		ExternalID string                `json:"external_id"`
		Subject    string                `json:"subject"`
		Requester  struct{ Name string } `json:"requester"`
		Priority   string                `json:"priority"`
		Status     string                `json:"status"`
		Tags       []string              `json:"tags"`
		Metadata   map[string]any        `json:"metadata"`
		Comment    *struct {
			Body   string `json:"body"`
			Public *bool  `json:"public"`
		} `json:"comment"`
	} `json:"ticket"`
}

func (s *Server) create(body string) answer {
	var in asked
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		return failure(http.StatusBadRequest, "InvalidJSON", err.Error())
	}
	if in.Ticket.Comment == nil || in.Ticket.Comment.Body == "" {
		return invalid("description", "Description: cannot be blank")
	}
	if refusal, bad := in.check(); bad {
		return refusal
	}
	t := &Ticket{
		ID:         s.number(),
		ExternalID: in.Ticket.ExternalID,
		Subject:    in.Ticket.Subject,
		Requester:  in.Ticket.Requester.Name,
		Status:     "new",
		Tags:       in.Ticket.Tags,
	}
	s.tickets[t.ID] = t
	s.change(t, in)
	return encode(http.StatusCreated, map[string]any{"ticket": t.public()})
}

func (s *Server) update(t *Ticket, body string) answer {
	var in asked
	if err := json.Unmarshal([]byte(body), &in); err != nil {
		return failure(http.StatusBadRequest, "InvalidJSON", err.Error())
	}
	if t.Status == "closed" {
		return invalid("status", "Status: closed prevents ticket update")
	}
	if refusal, bad := in.check(); bad {
		return refusal
	}
	s.change(t, in)
	return encode(http.StatusOK, map[string]any{"ticket": t.public()})
}

func (in asked) check() (answer, bool) {
	for field, c := range map[string]struct {
		value   string
		allowed []string
	}{
		"priority": {in.Ticket.Priority, []string{"", "urgent", "high", "normal", "low"}},
		"status":   {in.Ticket.Status, []string{"", "new", "open", "pending", "hold", "solved", "closed"}},
	} {
		if !slices.Contains(c.allowed, c.value) {
			return invalid(field, fmt.Sprintf("%s is not properly formatted: %s", field, c.value)), true
		}
	}
	return answer{}, false
}

// change applies a request to a ticket. As at Zendesk, the metadata is stored in an audit, and there is an
// audit only if something has changed.
func (s *Server) change(t *Ticket, in asked) {
	before := *t
	t.Priority, t.Status = cmp.Or(in.Ticket.Priority, t.Priority), cmp.Or(in.Ticket.Status, t.Status)
	if c := in.Ticket.Comment; c != nil && c.Body != "" {
		t.Comments = append(t.Comments, Comment{s.number(), "api", c.Body, c.Public == nil || *c.Public})
	}
	if t.Priority == before.Priority && t.Status == before.Status && len(t.Comments) == len(before.Comments) {
		return
	}
	t.UpdatedAt = time.Now().UTC()
	custom := in.Ticket.Metadata
	if custom == nil {
		custom = map[string]any{}
	}
	t.audits = append(t.audits, audit{s.number(), metadata{custom, map[string]string{"client": "chatledger"}}})
}

func (s *Server) list(externalID string) answer {
	found := []any{}
	for _, id := range slices.Sorted(maps.Keys(s.tickets)) {
		if t := s.tickets[id]; externalID == "" || t.ExternalID == externalID {
			found = append(found, t.public())
		}
	}
	return encode(http.StatusOK, map[string]any{"tickets": found, "count": len(found), "next_page": nil})
}

func list(audits []audit, order, perPage string) answer {
	audits = slices.Clone(audits)
	if order == "desc" {
		slices.Reverse(audits)
	}
	size, err := strconv.Atoi(perPage)
	if err != nil || size > 100 {
		size = 100
	}
	return encode(http.StatusOK, map[string]any{"audits": audits[:min(size, len(audits))], "count": len(audits)})
}

// public returns the ticket as the API does, including fields that chatledger ignores.
func (t *Ticket) public() map[string]any {
	return map[string]any{
		"id": t.ID, "external_id": t.ExternalID, "subject": t.Subject, "raw_subject": t.Subject, "priority": t.Priority,
		"status": t.Status, "tags": t.Tags, "via": map[string]any{"channel": "api"},
		"updated_at": t.UpdatedAt.Format(time.RFC3339), "custom_fields": []any{},
	}
}

// number returns the next id.
func (s *Server) number() int64 {
	s.last++
	return s.last
}

func failure(status int, code, description string) answer {
	return encode(status, map[string]string{"error": code, "description": description})
}

func invalid(field, description string) answer {
	return encode(http.StatusUnprocessableEntity, map[string]any{
		"error": "RecordInvalid", "description": "Record validation errors",
		"details": map[string]any{field: []any{map[string]string{"description": description}}},
	})
}

func encode(status int, body any) answer {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return answer{status: status, body: encoded}
}
