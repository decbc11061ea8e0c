// Package crmtest is a fake CRM: the contract of docs/crm-openapi.yaml over a demo
// shop, in memory, with faults on demand. Trials and tests talk to it instead of to
// a real one.
//
// Server is an http.Handler with two doors: the contract, and below /fake/ a control
// API to see what was asked and to make calls fail. Tests in Go use its methods.
package crmtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of what is kept in memory and read at once.
const (
	maxBody     = 256 << 10 // bytes; 50 look-ups with keys of 300 characters are at most some 180 KiB
	maxLookups  = 50        // in one request, as the contract says
	maxKey      = 300       // characters, as the contract says
	maxRequests = 10_000    // the oldest are forgotten
	maxUpdates  = 10_000    // the oldest are forgotten, and so are their idempotency keys
	maxAccounts = 10_000    // customers beside those of the demo
)

// Options configure New.
type Options struct {
	Token string // that callers must bear; empty accepts every caller
}

// Customer is an account of the demo shop.
type Customer struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	BillingAddress string `json:"billing_address,omitempty"`
}

// Order is an order of the demo shop.
type Order struct {
	Number string `json:"number"`
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Request is one call of the contract, as it came.
type Request struct {
	Method         string          `json:"method"`
	Path           string          `json:"path"`
	IdempotencyKey string          `json:"idempotency_key,omitempty"`
	Body           json.RawMessage `json:"body,omitempty"` // null when it was no JSON
	At             time.Time       `json:"at"`
}

// Update is a change of a billing address that took effect.
type Update struct {
	ID        string    `json:"id"`
	Customer  string    `json:"customer"`
	Address   string    `json:"address"`
	UpdatedAt time.Time `json:"updated_at"`

	key, asked string // of the request: a repeat has both
}

// Server is the fake. Use New; the zero value does not work.
type Server struct {
	token    string
	contract *http.ServeMux
	control  *http.ServeMux

	mu        sync.Mutex
	customers map[string]*Customer
	orders    map[string]Order
	requests  []Request
	updates   []Update
	updated   int // updates ever, those forgotten included
	faults    []Fault
}

// New returns a fake CRM with the customers C-1 and C-2 and the orders 1001 to 1004.
// A customer telegram:<number> exists as soon as somebody asks: everybody who writes
// to a bot has an account.
func New(options Options) *Server {
	s := &Server{
		token: options.Token, contract: http.NewServeMux(), control: http.NewServeMux(),
		customers: map[string]*Customer{
			"C-1": {ID: "C-1", Name: "Ada Example", BillingAddress: "12 Baker Street, London NW1 6XE"},
			"C-2": {ID: "C-2", Name: "Bo Beispiel"},
		},
		orders: map[string]Order{
			"1001": {Number: "1001", Status: "shipped", Detail: "It left our warehouse yesterday and should arrive tomorrow."},
			"1002": {Number: "1002", Status: "delivered", Detail: "It was left with a neighbour."},
			"1003": {Number: "1003", Status: "processing", Detail: "It will be shipped within two days."},
			"1004": {Number: "1004", Status: "cancelled", Detail: "The refund is on its way."},
		},
	}
	for pattern, serve := range routes {
		s.contract.HandleFunc(pattern, s.front(serve))
	}
	s.controls()
	return s
}

// routes are the contract, by pattern.
var routes = map[string]func(*Server, call) reply{
	"GET /customers/{id}":                 (*Server).getCustomer,
	"PUT /customers/{id}/billing-address": (*Server).putBillingAddress,
	"GET /orders/{number}":                (*Server).getOrder,
	"POST /addresses/validate":            (*Server).postAddress,
	"POST /lookups":                       (*Server).postLookups,
}

// Routes lists the contract as it is served, in the form "GET /orders/{number}".
func Routes() []string {
	var list []string
	for pattern := range routes {
		list = append(list, pattern)
	}
	return list
}

// ServeHTTP answers the contract and the control API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/fake/") {
		s.control.ServeHTTP(w, r)
		return
	}
	s.contract.ServeHTTP(w, r)
}

// call is one request of the contract, its body read.
type call struct {
	*http.Request
	body []byte
}

// reply is what it is answered with.
type reply struct {
	status     int
	retryAfter int // seconds; 0: no such header
	body       any
}

func ok(body any) reply { return reply{status: http.StatusOK, body: body} }

// problem is an error as RFC 9457 writes it.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func refuse(status int, format string, args ...any) reply {
	return reply{status: status, body: problem{http.StatusText(status), status, fmt.Sprintf(format, args...)}}
}

// front records a request, lets faults have their way with it, and answers.
func (s *Server) front(serve func(*Server, call) reply) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			write(w, refuse(http.StatusBadRequest, "the body cannot be read: %v", err))
			return
		}
		fault := s.record(r, body)
		if !fault.wait(r.Context()) {
			return // the caller is gone
		}
		switch {
		case s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token:
			w.Header().Set("WWW-Authenticate", "Bearer")
			write(w, refuse(http.StatusUnauthorized, "the token is missing or wrong"))
		case fault.Status != 0:
			answer := refuse(fault.Status, "a fault that was asked for")
			answer.retryAfter = fault.RetryAfter
			write(w, answer)
		default:
			fault.spoil(w, r, serve(s, call{r, body}))
		}
	}
}

// record keeps a request and tells which fault hits it; the zero Fault when none does.
func (s *Server) record(r *http.Request, body []byte) Fault {
	if !json.Valid(body) {
		body = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = newest(append(s.requests, Request{r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"), body, time.Now()}), maxRequests)
	return s.hit(r.URL.Path)
}

// newest cuts a list to its last n.
func newest[T any](list []T, n int) []T { return list[max(0, len(list)-n):] }

func write(w http.ResponseWriter, answer reply) {
	w.Header().Set("Content-Type", "application/json")
	if _, isProblem := answer.body.(problem); isProblem {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	if answer.retryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(answer.retryAfter))
	}
	w.WriteHeader(answer.status)
	_ = json.NewEncoder(w).Encode(answer.body) // the caller may be gone
}

// Requests are the calls of the contract, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request{}, s.requests...)
}

// Updates are the changes that took effect, oldest first; a repeat is none.
func (s *Server) Updates() []Update {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Update{}, s.updates...)
}
