// Package outbound is the HTTP client with which chatledger calls other systems: a CRM, Zendesk, a
// language model. A Client calls one system. It follows no redirects, bounds the time and the size of
// every answer, and has a circuit breaker, which stops calls to a system that keeps failing. Its error
// says whether a failed request may have arrived. It never retries: the outbox does.
package outbound

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
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// Config configures a Client.
type Config struct {
	Timeout     time.Duration     // of a call, including its answer; 0: only the caller's context ends it
	MaxBody     int               // of an answer, in bytes
	Connections int               // open at once to one host; idle ones are kept
	BreakAfter  uint              // failures in a row after which the circuit breaker opens
	BreakFor    time.Duration     // time from then until one call is made as a probe
	Transport   http.RoundTripper // nil: a transport of the client's own
}

// Client calls one system. It is safe for concurrent use.
type Client struct {
	http    http.Client
	timeout time.Duration
	maxBody int
	breaker circuitbreaker.CircuitBreaker[any]
}

// New returns a client.
func New(c Config) *Client {
	if c.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = c.Connections, c.Connections
		c.Transport = transport
	}
	return &Client{
		http: http.Client{
			Transport: c.Transport,
			// A client that followed redirects would send credentials and content to another
			// server, and a POST as a GET.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: c.Timeout,
		maxBody: c.MaxBody,
		// Without a threshold of successes the breaker would allow three probes at once.
		breaker: circuitbreaker.NewBuilder[any]().
			WithFailureThreshold(c.BreakAfter).WithSuccessThreshold(1).WithDelay(c.BreakFor).Build(),
	}
}

// CheckBaseURL reports whether base can be the base URL of a system. The error does not
// quote it: a base URL may contain a token.
func CheckBaseURL(base string) error {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("not a base URL; give one such as https://example.com/v1")
	}
	return nil
}

// Through replaces the transport by the one that wrap returns, for example one that traces calls. Call it
// before the first request.
func (c *Client) Through(wrap func(http.RoundTripper) http.RoundTripper) {
	c.http.Transport = wrap(c.http.Transport)
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Breaker returns the state of the circuit breaker: closed, open or half-open.
func (c *Client) Breaker() string { return c.breaker.State().String() }

// OpenFor returns how long the circuit breaker stays open; 0 if a call can be made.
func (c *Client) OpenFor() time.Duration { return c.breaker.RemainingDelay() }

// Request is one HTTP request.
type Request struct {
	Method, URL string
	Header      http.Header
	Body        any // sent as JSON; nil sends no body
}

// Response is an answer with a 2xx status. Reading Body beyond the client's limit fails with a *TooLongError.
type Response struct {
	Status int
	Header http.Header
	Body   io.Reader
}

// ReadAll returns the whole body.
func (r Response) ReadAll() ([]byte, error) { return io.ReadAll(r.Body) }

// TooLongError is the error of an answer that is longer than the client's limit.
type TooLongError struct{ Limit int }

func (e *TooLongError) Error() string { return fmt.Sprintf("longer than %d bytes", e.Limit) }

// Error describes a call that failed.
type Error struct {
	Status int         // of HTTP; 0 if there was no answer
	Header http.Header // of the answer; nil if there was none
	Body   []byte      // of an answer whose status is not 2xx, as far as it could be read
	// Sent reports that the request's header was written: the request may have taken effect.
	Sent bool
	// Open reports that nothing was sent, because the circuit breaker was open or another probe in
	// progress.
	Open bool
	// Invalid reports that the given values do not make a valid request.
	Invalid bool
	// Err is the error of the network, of the context, or of read. It is nil for an answer whose status
	// is not 2xx.
	Err error
}

func (e *Error) Error() string {
	switch {
	case e.Open:
		return "not called: the circuit breaker is open after repeated failures"
	case e.Err != nil:
		return e.Err.Error()
	default:
		return fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status))
	}
}

func (e *Error) Unwrap() error { return e.Err }

// Unreadable reports whether the system answered with success, but the answer could not
// be read.
func (e *Error) Unreadable() bool { return e.Status/100 == 2 }

// Do sends a request and calls read with an answer that has a 2xx status. An error of read means that the
// answer could not be read. The circuit breaker counts calls without an answer, unreadable answers and 5xx
// statuses as failures; any other answer shows that the system works.
func (c *Client) Do(ctx context.Context, r Request, read func(Response) error) *Error {
	if err := ctx.Err(); err != nil {
		return &Error{Err: err} // no failure of the system
	}
	request, invalid := r.request(ctx)
	if invalid != nil {
		return &Error{Invalid: true, Err: invalid}
	}
	if !c.breaker.TryAcquirePermit() {
		return &Error{Open: true}
	}
	err := c.do(request, read)
	if err != nil && (err.Status == 0 || err.Unreadable() || err.Status >= 500) {
		c.breaker.RecordFailure()
	} else {
		c.breaker.RecordSuccess()
	}
	return err
}

func (c *Client) do(r *http.Request, read func(Response) error) *Error {
	ctx := r.Context()
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	resp, err := c.http.Do(r.WithContext(ctx))
	if err != nil {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err // without the URL, which may contain a token
		}
		return &Error{Sent: written.Load(), Err: err}
	}
	defer resp.Body.Close()
	body := &boundedReader{from: resp.Body, left: c.maxBody, limit: c.maxBody}
	failed := &Error{Status: resp.StatusCode, Header: resp.Header, Sent: true}
	if resp.StatusCode/100 != 2 {
		failed.Body, _ = io.ReadAll(body) // an error does not matter: the status decides
		return failed
	}
	if failed.Err = read(Response{Status: resp.StatusCode, Header: resp.Header, Body: body}); failed.Err != nil {
		return failed
	}
	return nil
}

func (r Request) request(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	if r.Body != nil {
		encoded, err := json.Marshal(r.Body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, err
	}
	for name, values := range r.Header {
		request.Header[name] = values
	}
	if r.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

// boundedReader returns an error at the limit. io.LimitReader would report the end of the body instead.
type boundedReader struct {
	from        io.Reader
	left, limit int
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if len(p) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.from.Read(p)
	if n > b.left {
		n = b.left
		b.left = 0
		return n, &TooLongError{b.limit}
	}
	b.left -= n
	return n, err
}

// RetryAfter returns the value of the Retry-After header, which has seconds or a date. The result is between 0
// and most; ok is false if the header is missing or invalid.
func RetryAfter(h http.Header, most time.Duration) (after time.Duration, ok bool) {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		after = time.Until(at)
	} else {
		return 0, false
	}
	return min(max(after, 0), most), true
}
