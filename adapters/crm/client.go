package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/chatledger/chatledger/adapters/outbound"
	"github.com/chatledger/chatledger/domain"
)

const (
	// callTimeout limits one call; after the timeout its outcome is unknown. Together with the
	// window it is shorter than the time that a worker has for an attempt, some 11 s.
	callTimeout = 10 * time.Second
	// maxAnswer limits what is read of an answer, in bytes: maxBatch times maxCharges charges
	// are some 300 KiB.
	maxAnswer = 1 << 20
	// connections to one CRM: few enough not to overload it, and more than the batches that
	// gather while it is slow for a second.
	connections = 16
	// After breakAfter failures in a row the circuit breaker opens: nothing is sent for
	// breakFor; then one call is made as a probe.
	breakAfter = 5
	breakFor   = 60 * time.Second
	// maxRetryAfter limits the wait that the CRM can ask for.
	maxRetryAfter = time.Hour
	// setUpPause is the backoff after an answer that shows a wrong token or URL: an administrator
	// must correct the configuration.
	setUpPause = time.Minute
	// maxQuoted limits what a reason quotes of an answer, in characters.
	maxQuoted = 200
)

// Error is the error of every method of a Client.
type Error struct {
	State  domain.DeliveryState // retry; refused: a retry cannot succeed; unknown: it may have taken effect
	After  time.Duration        // least backoff before a retry; 0 if the CRM did not say
	Status int                  // of HTTP; 0 if there was no answer
	Reason string
}

func (e *Error) Error() string { return "CRM: " + e.Reason }

func refused(format string, args ...any) *Error {
	return &Error{State: domain.DeliveryRefused, Reason: fmt.Sprintf(format, args...)}
}

// Client calls one CRM. It is safe for concurrent use.
type Client struct {
	Batched func(lookups int) // observes the size of each batch that is sent; may be nil

	url, token string
	http       *outbound.Client

	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	batches sync.WaitGroup // goroutines that gather and send batches

	mu sync.Mutex
	// known holds the lookups in progress and recent results. The library's own expiring
	// cache starts a goroutine that cannot be stopped.
	known     *simplelru.LRU[item, *lookup]
	gathering map[kind]*batch
}

// NewClient returns a client of the CRM at a base URL. A token that is not empty is sent as a
// bearer token.
func NewClient(base, token string) (*Client, error) {
	if err := outbound.CheckBaseURL(base); err != nil {
		return nil, fmt.Errorf("CRM: %w", err)
	}
	known, err := simplelru.NewLRU[item, *lookup](cacheSize, nil)
	if err != nil {
		return nil, err
	}
	c := &Client{
		url: strings.TrimSuffix(base, "/"), token: token,
		http: outbound.New(outbound.Config{
			Timeout: callTimeout, MaxBody: maxAnswer, Connections: connections,
			BreakAfter: breakAfter, BreakFor: breakFor,
		}),
		known: known, gathering: map[kind]*batch{},
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// Close cancels the lookups in progress and waits for them to end.
func (c *Client) Close() {
	c.mu.Lock() // no lookup joins a batch after this
	c.stop()
	c.mu.Unlock()
	c.batches.Wait()
	c.http.Close()
}

// Through makes calls go through the transport that wrap returns. Call it before the first
// call.
func (c *Client) Through(wrap func(http.RoundTripper) http.RoundTripper) { c.http.Through(wrap) }

// Breaker returns the state of the circuit breaker: closed, open or half-open.
func (c *Client) Breaker() string { return c.http.Breaker() }

// Receipt is the CRM's confirmation that a billing address was changed.
type Receipt struct {
	ID        string `json:"id"`
	Customer  string `json:"customer"`
	Address   string `json:"address"` // in its normal form
	UpdatedAt string `json:"updated_at"`
}

// UpdateBillingAddress changes a customer's billing address. A retry with the same key
// changes nothing and returns the first receipt.
func (c *Client) UpdateBillingAddress(ctx context.Context, key, customer, address string) (Receipt, error) {
	if err := checked("customer", customer, "address", address); err != nil {
		return Receipt{}, err
	}
	defer c.forget(item{Kind: kindCustomer, Key: customer}) // even a failed call may have taken effect
	var r Receipt
	path := "/customers/" + url.PathEscape(customer) + "/billing-address"
	if err := c.call(ctx, http.MethodPut, path, key, map[string]string{"address": address}, &r); err != nil {
		return Receipt{}, err
	}
	if lacks := missing("id", r.ID, "customer", r.Customer, "address", r.Address, "updated_at", r.UpdatedAt); lacks != "" {
		return Receipt{}, unreadable(domain.DeliveryUnknown, "it lacks %s", lacks)
	}
	return r, nil
}

// call makes one call, unless the breaker is open, and decodes the answer.
func (c *Client) call(ctx context.Context, method, path, key string, body, into any) *Error {
	header := http.Header{"Accept": {"application/json, application/problem+json"}}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	if c.token != "" {
		header.Set("Authorization", "Bearer "+c.token)
	}
	request := outbound.Request{Method: method, URL: c.url + path, Header: header, Body: body}
	err := c.http.Do(ctx, request, func(r outbound.Response) error {
		text, err := r.ReadAll()
		if err == nil {
			err = read(text, into)
		}
		if err != nil { // do not quote the answer: it may contain a customer's data
			return fmt.Errorf("%s of %d bytes: %w", r.Header.Get("Content-Type"), len(text), err)
		}
		return nil
	})
	if err == nil {
		return nil
	}
	e := c.failure(err)
	if !err.Open {
		e.Reason = method + " " + path + ": " + e.Reason
	}
	return e
}

// failure translates the error of a call.
func (c *Client) failure(err *outbound.Error) *Error {
	switch {
	case err.Invalid:
		return refused("%v", err)
	case err.Open:
		return c.open()
	case err.Unreadable():
		return unreadable(domain.DeliveryUnknown, "%v", err)
	case err.Status == 0 && err.Sent: // it may have arrived
		return &Error{State: domain.DeliveryUnknown, Reason: err.Error()}
	case err.Status == 0:
		return &Error{State: domain.DeliveryRetry, Reason: err.Error()}
	default:
		return refusal(err)
	}
}

// open returns the error of a call that is not made because the circuit breaker is open.
func (c *Client) open() *Error {
	return &Error{State: domain.DeliveryRetry, After: c.http.OpenFor(), Reason: (&outbound.Error{Open: true}).Error()}
}

func unreadable(state domain.DeliveryState, format string, args ...any) *Error {
	return &Error{
		State:  state,
		Status: http.StatusOK,
		Reason: fmt.Sprintf("the answer cannot be read: %.*s", maxQuoted, fmt.Sprintf(format, args...)),
	}
}

// refusal translates an answer whose status is not 2xx.
func refusal(err *outbound.Error) *Error {
	var p problem
	if json.Unmarshal(err.Body, &p) != nil || p.Detail == "" {
		p.Detail = http.StatusText(err.Status)
	}
	p.Status = err.Status
	e := p.error()
	if e.State == domain.DeliveryRetry && e.After == 0 {
		e.After, _ = outbound.RetryAfter(err.Header, maxRetryAfter)
	}
	return e
}

// problem is an error in the format of RFC 9457.
type problem struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// error translates a problem.
func (p problem) error() *Error {
	e := &Error{
		State:  domain.DeliveryRetry,
		Status: p.Status,
		Reason: fmt.Sprintf("%d, %.*q", p.Status, maxQuoted, p.Detail),
	}
	switch {
	case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
		e.After, e.Reason = setUpPause, "the token is wrong: "+e.Reason
	case p.Status/100 == 3:
		e.After, e.Reason = setUpPause, "the CRM's URL is wrong: "+e.Reason
	case p.Status/100 == 4 && p.Status != http.StatusTooManyRequests && p.Status != http.StatusRequestTimeout:
		e.State = domain.DeliveryRefused
	}
	return e
}

// missing returns the names of the empty fields, which are given as pairs of name and value.
func missing(pairs ...string) string {
	var names []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			names = append(names, pairs[i])
		}
	}
	return strings.Join(names, ", ")
}
