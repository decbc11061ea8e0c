// Package crmsim simulates a CRM: it serves the contract of docs/crm-openapi.yaml for a demo
// shop, in memory, with faults on demand. The development server and tests use it instead of
// a real CRM.
//
// Server is an http.Handler of the contract and, below /fake/, of a control API that shows the
// calls and makes calls fail. Tests in Go use its methods.
package crmsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/chatledger/chatledger/adapters/simulators/faults"
)

// Limits of memory and of requests.
const (
	maxBody     = 512 << 10 // bytes; 50 lookups with keys and owners of 300 characters are at most some 360 KiB
	maxLookups  = 50        // in one request, as the contract says
	maxKey      = 300       // characters, as the contract says
	maxDetail   = 1000      // characters, as the contract says
	maxRequests = 10_000    // the oldest are dropped
	maxChanges  = 10_000    // of each kind; the oldest are dropped, with their idempotency keys
	maxAccounts = 10_000    // customers
)

// Options configure New.
type Options struct {
	Token string // bearer token of callers; empty accepts every caller
}

// Customer is an account of the demo shop.
type Customer struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	Email          string `json:"email,omitempty"`
	Tier           string `json:"tier,omitempty"` // standard or priority
	BillingAddress string `json:"billing_address,omitempty"`
}

// Order is an order of the demo shop.
type Order struct {
	Number string `json:"number"`
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
	Coded         // the detail as a code
}

// Coded is a text as a code with values.
type Coded struct {
	Code   string            `json:"code,omitempty"`
	Values map[string]string `json:"values,omitempty"`
}

// Invoice is the invoice of an order.
type Invoice struct {
	Number string `json:"number"`
	Amount string `json:"amount"` // 24.90 EUR
	Date   string `json:"date"`   // 2026-03-02
	URL    string `json:"url"`
}

// Charges are the payments for an order.
type Charges struct {
	Charges []Charge `json:"charges"`
}

// Charge is one payment.
type Charge struct {
	ID          string `json:"id"`
	Amount      string `json:"amount"` // 24.90 EUR
	Date        string `json:"date"`   // 2026-03-02
	Status      string `json:"status"`
	DuplicateOf string `json:"duplicate_of,omitempty"`
}

// Statuses of a charge.
const (
	Reserved = "reserved"
	Charged  = "charged"
	Refunded = "refunded"
)

// Request is one call of the contract, as received.
type Request struct {
	Method         string          `json:"method"`
	Path           string          `json:"path"`
	IdempotencyKey string          `json:"idempotency_key,omitempty"`
	Body           json.RawMessage `json:"body,omitempty"` // null if it was not JSON
	At             time.Time       `json:"at"`
}

// Update is a change of a billing address that took effect.
type Update struct {
	ID        string    `json:"id"`
	Customer  string    `json:"customer"`
	Address   string    `json:"address"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Refund is a refunded charge.
type Refund struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Order    string `json:"order"`
	Charge   string `json:"charge"`
	Amount   string `json:"amount"`
	Days     int    `json:"days"`
}

// DeliveryCase is a reported problem with a delivery.
type DeliveryCase struct {
	Number   string `json:"number"`
	Customer string `json:"customer"`
	Order    string `json:"order"`
	Problem  string `json:"problem"`
	Detail   string `json:"detail,omitempty"`
	Days     int    `json:"days"`
}

// Server is the simulated CRM. Use New; the zero value does not work.
type Server struct {
	token    string
	contract *http.ServeMux
	control  *http.ServeMux
	faults   faults.HTTP

	mu        sync.Mutex
	customers map[string]*Customer
	orders    map[string]purchase // by number
	refunded  map[[2]string]bool  // by customer and charge
	requests  []Request
	written   []written
	updates   []Update
	refunds   []Refund
	cases     []DeliveryCase
	numbers   map[string]int // last number of a change, by prefix
}

// New returns a simulated CRM. It has the customers C-1 and C-2, the orders 1001 to 1004, which every
// customer has, and 2001, which only C-1 has. A customer telegram:<number> is created when it is first used,
// so that everyone who writes to a bot has an account.
func New(options Options) *Server {
	s := &Server{
		token: options.Token, contract: http.NewServeMux(), control: http.NewServeMux(),
		customers: demoCustomers(), orders: demoOrders(), refunded: map[[2]string]bool{}, numbers: map[string]int{},
	}
	for pattern, serve := range routes {
		s.contract.HandleFunc(pattern, s.front(serve))
	}
	s.controls()
	return s
}

// routes are the handlers of the contract, by pattern.
var routes = map[string]func(*Server, call) reply{
	"GET /customers/{id}":                         (*Server).getCustomer,
	"PUT /customers/{id}/billing-address":         (*Server).putBillingAddress,
	"GET /customers/{id}/orders/{number}/invoice": (*Server).getInvoice,
	"GET /customers/{id}/orders/{number}/charges": (*Server).getCharges,
	"POST /customers/{id}/refunds":                (*Server).postRefund,
	"POST /customers/{id}/delivery-problems":      (*Server).postDeliveryProblem,
	"GET /orders/{number}":                        (*Server).getOrder,
	"POST /addresses/validate":                    (*Server).postAddress,
	"POST /lookups":                               (*Server).postLookups,
}

// Routes returns the served operations of the contract, in the form "GET /orders/{number}".
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

// call is one request of the contract with its body.
type call struct {
	*http.Request
	body []byte
}

// reply is the answer to a call.
type reply struct {
	status     int
	retryAfter int // seconds; 0: no such header
	body       any
}

func ok(body any) reply { return reply{status: http.StatusOK, body: body} }

// problem is an error in the format of RFC 9457.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func refuse(status int, format string, args ...any) reply {
	return reply{status: status, body: problem{http.StatusText(status), status, fmt.Sprintf(format, args...)}}
}

// front records a request, applies its fault, and answers.
func (s *Server) front(serve func(*Server, call) reply) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			write(w, refuse(http.StatusBadRequest, "the body cannot be read: %v", err))
			return
		}
		fault := s.record(r, body)
		if !fault.Wait(r.Context()) {
			return // the client closed the connection
		}
		switch {
		case s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token:
			w.Header().Set("WWW-Authenticate", "Bearer")
			write(w, refuse(http.StatusUnauthorized, "the token is missing or wrong"))
		case fault.Spoil == faults.Reset:
			panic(http.ErrAbortHandler)
		case fault.Status != 0:
			answer := refuse(fault.Status, "a fault that was asked for")
			answer.retryAfter = fault.RetryAfter
			write(w, answer)
		default:
			writeSpoilt(w, r, fault, serve(s, call{r, body}))
		}
	}
}

// record stores a request and returns its fault; the zero Fault if there is none.
func (s *Server) record(r *http.Request, body []byte) faults.Fault {
	if !json.Valid(body) {
		body = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	request := Request{r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"), body, time.Now()}
	s.requests = newest(append(s.requests, request), maxRequests)
	return s.faults.Hit(r.Method, r.URL.Path)
}

// newest returns the last n items of a list.
func newest[T any](list []T, n int) []T { return list[max(0, len(list)-n):] }

func write(w http.ResponseWriter, answer reply) { writeSpoilt(w, nil, faults.Fault{}, answer) }

// writeSpoilt writes an answer, spoilt by a fault.
func writeSpoilt(w http.ResponseWriter, r *http.Request, fault faults.Fault, answer reply) {
	w.Header().Set("Content-Type", "application/json")
	if _, isProblem := answer.body.(problem); isProblem {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	if answer.retryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(answer.retryAfter))
	}
	body, err := json.Marshal(answer.body)
	if err != nil {
		panic(err) // text and numbers can always be encoded
	}
	fault.Write(w, r, answer.status, append(body, '\n'))
}

// AddFault adds a fault after those already set. It panics if the fault is not valid.
func (s *Server) AddFault(f faults.Fault) { s.faults.MustAdd(f) }

// ClearFaults removes all faults.
func (s *Server) ClearFaults() { s.faults.Clear() }

// Faults returns the faults that are set, with their remaining counts.
func (s *Server) Faults() []faults.Fault { return s.faults.List() }

// Requests returns the calls of the contract, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request{}, s.requests...)
}
