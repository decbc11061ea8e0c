package crm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/chatledger/chatledger/commands"
)

const (
	// callTimeout bounds one call; after this long its outcome is unknown. With
	// the window it is less than a worker has for an attempt, some 11 s.
	callTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes: maxBatch times maxCharges
	// charges are some 300 KiB.
	maxAnswer = 1 << 20
	// connections to one CRM: kind to it, and more than the batches that a slow
	// second of it gathers.
	connections = 16
	// After breakAfter failures in a row the breaker opens: nothing is sent for
	// breakFor, then one call goes out to see whether the CRM is back.
	breakAfter = 5
	breakFor   = 60 * time.Second
	// maxRetryAfter bounds what the CRM can ask for, should it send nonsense.
	maxRetryAfter = time.Hour
	// setUpPause is how long to wait where only a person can mend it: a wrong
	// token or address of the CRM.
	setUpPause = time.Minute
	// maxQuoted is how much of what the CRM said can get into a reason, in characters.
	maxQuoted = 200
)

// Error says why a call brought nothing, and what its caller can do.
type Error struct {
	State  commands.State // Refused: for good. Again: it may pass. Unknown: it may have taken effect
	After  time.Duration  // Again: not before this long; 0 when nobody knows
	Status int            // of HTTP; 0 when no answer came
	Reason string
}

func (e *Error) Error() string { return "CRM: " + e.Reason }

func refused(format string, args ...any) *Error {
	return &Error{State: commands.Refused, Reason: fmt.Sprintf(format, args...)}
}

// Client speaks to one CRM. Its methods return an *Error when they fail; they are
// safe to call from many goroutines.
type Client struct {
	Batched func(lookups int) // is told of each batch that goes out; may be nil

	url, token string
	http       *http.Client
	breaker    circuitbreaker.CircuitBreaker[any]

	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	batches sync.WaitGroup // on their way

	mu sync.Mutex
	// known are the look-ups under way, and what was found not long ago. The library's
	// own expiring cache starts a goroutine that cannot be stopped.
	known     *simplelru.LRU[item, *lookup]
	gathering map[kind]*batch
}

// CheckURL says what is wrong with a base URL.
func CheckURL(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("it is no base URL; give one such as https://crm.example.com/v1") // it may hold a token
	}
	return nil
}

// NewClient returns a client of the CRM at a base URL. A token, when there is one, is
// sent as a bearer token.
func NewClient(base, token string) (*Client, error) {
	if err := CheckURL(base); err != nil {
		return nil, fmt.Errorf("CRM: %w", err)
	}
	known, err := simplelru.NewLRU[item, *lookup](cacheSize, nil)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = connections, connections
	c := &Client{
		url: strings.TrimSuffix(base, "/"), token: token,
		http: &http.Client{Timeout: callTimeout, Transport: transport,
			// The contract knows no redirects, and a followed one would take the token along.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		breaker: circuitbreaker.NewBuilder[any]().WithFailureThreshold(breakAfter).WithDelay(breakFor).WithSuccessThreshold(1).Build(),
		known:   known, gathering: map[kind]*batch{},
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// Close cuts the look-ups under way off and waits for them to end.
func (c *Client) Close() {
	c.mu.Lock() // nobody joins from here on
	c.stop()
	c.mu.Unlock()
	c.batches.Wait()
	c.http.CloseIdleConnections()
}

// Through makes calls go through what wrap returns, before the first of them.
func (c *Client) Through(wrap func(http.RoundTripper) http.RoundTripper) {
	c.http.Transport = wrap(c.http.Transport)
}

// Breaker is the state of the circuit breaker.
func (c *Client) Breaker() circuitbreaker.State { return c.breaker.State() }

// open is the error of a call that is not made because the breaker is open.
func (c *Client) open() *Error {
	return &Error{State: commands.Again, After: c.breaker.RemainingDelay(), Reason: "it failed too often; the circuit breaker is open"}
}

// Receipt is the CRM's word that a billing address was changed.
type Receipt struct {
	ID        string `json:"id"`
	Customer  string `json:"customer"`
	Address   string `json:"address"` // in its normal form
	UpdatedAt string `json:"updated_at"`
}

// UpdateBillingAddress changes a customer's billing address. A repeat with the same
// key changes nothing, and is answered with the first receipt.
func (c *Client) UpdateBillingAddress(ctx context.Context, key, customer, address string) (Receipt, error) {
	if err := checked("customer", customer, "address", address); err != nil {
		return Receipt{}, err
	}
	defer c.forget(item{Kind: kindCustomer, Key: customer}) // whatever came of it, it may have taken effect
	var r Receipt
	path := "/customers/" + url.PathEscape(customer) + "/billing-address"
	if err := c.call(ctx, http.MethodPut, path, key, map[string]string{"address": address}, &r); err != nil {
		return Receipt{}, err
	}
	if lacks := missing("id", r.ID, "customer", r.Customer, "address", r.Address, "updated_at", r.UpdatedAt); lacks != "" {
		return Receipt{}, unreadable(commands.Unknown, "it lacks %s", lacks)
	}
	return r, nil
}

// call makes one call, unless the breaker is open, and decodes its answer.
func (c *Client) call(ctx context.Context, method, path, key string, body, into any) *Error {
	if err := ctx.Err(); err != nil {
		return silence(err, false)
	}
	if !c.breaker.TryAcquirePermit() {
		return c.open()
	}
	err := c.exchange(ctx, method, path, key, body, into)
	if err == nil || err.Status/100 == 4 { // what it refuses, it is up to refuse
		c.breaker.RecordSuccess()
	} else {
		c.breaker.RecordFailure()
	}
	if err != nil {
		err.Reason = method + " " + path + ": " + err.Reason
	}
	return err
}

func (c *Client) exchange(ctx context.Context, method, path, key string, body, into any) *Error {
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	r, err := c.request(ctx, method, path, key, body)
	if err != nil {
		return refused("%v", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return silence(err, written.Load())
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case resp.StatusCode/100 != 2:
		return refusal(resp, text)
	case err != nil:
	case len(text) > maxAnswer:
		err = fmt.Errorf("it is longer than %d bytes", maxAnswer)
	default:
		err = read(text, into)
	}
	if err != nil { // its words are not told: they may be a customer's
		return unreadable(commands.Unknown, "%s of %d bytes: %v", resp.Header.Get("Content-Type"), len(text), err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path, key string, body any) (*http.Request, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, application/problem+json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return r, nil
}

// silence is the error of a call without an answer. written tells whether the request
// had left us: then silence is no proof that it did not arrive.
func silence(err error, written bool) *Error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err // without method and URL, which are told already
	}
	if written {
		return &Error{State: commands.Unknown, Reason: err.Error()}
	}
	return &Error{State: commands.Again, Reason: err.Error()}
}

func unreadable(state commands.State, format string, args ...any) *Error {
	return &Error{State: state, Status: http.StatusOK, Reason: fmt.Sprintf("the answer cannot be read: %.*s", maxQuoted, fmt.Sprintf(format, args...))}
}

// refusal is the error of an answer other than 2xx.
func refusal(resp *http.Response, text []byte) *Error {
	var p problem
	if json.Unmarshal(text, &p) != nil || p.Detail == "" {
		p.Detail = http.StatusText(resp.StatusCode)
	}
	p.Status = resp.StatusCode
	e := p.error()
	if e.State == commands.Again && e.After == 0 {
		e.After = retryAfter(resp.Header.Get("Retry-After"))
	}
	return e
}

// problem is an error as RFC 9457 writes it.
type problem struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// error is what a problem means to the caller.
func (p problem) error() *Error {
	e := &Error{State: commands.Again, Status: p.Status, Reason: fmt.Sprintf("%d, %.*q", p.Status, maxQuoted, p.Detail)}
	switch {
	case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
		e.After, e.Reason = setUpPause, "the token is wrong: "+e.Reason
	case p.Status/100 == 3:
		e.After, e.Reason = setUpPause, "the CRM's URL is wrong: "+e.Reason
	case p.Status/100 == 4 && p.Status != http.StatusTooManyRequests && p.Status != http.StatusRequestTimeout:
		e.State = commands.Refused
	}
	return e
}

// retryAfter reads the header, which has seconds or a date; 0 when it has neither.
func retryAfter(header string) time.Duration {
	var after time.Duration
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		after = time.Until(at)
	}
	return min(max(after, 0), maxRetryAfter)
}

// missing names the fields that are empty, given as pairs of name and value.
func missing(pairs ...string) string {
	var names []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			names = append(names, pairs[i])
		}
	}
	return strings.Join(names, ", ")
}
