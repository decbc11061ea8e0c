package zendesk

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
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/commands"
)

const (
	// callTimeout bounds one call. Creating a ticket runs all triggers of the
	// account and takes seconds at times; after this long the outcome is unknown.
	callTimeout = 10 * time.Second
	// leastTime must be left for a call to be begun: cut off sooner it would only
	// be one more of unknown outcome.
	leastTime = 3 * time.Second
	// maxAnswer bounds what is read of an answer: auditsRead audits with the
	// longest comment (64 KiB, in three renderings) in each fit.
	maxAnswer = 8 << 20
	// maxExcerpt is how much of an answer a reason quotes, in bytes.
	maxExcerpt = 300
	// defaultRetryAfter is for a 429 that does not say: limits are by the minute.
	defaultRetryAfter = time.Minute
	// maxRetryAfter bounds what a server may ask for; its longest window is 10 minutes.
	maxRetryAfter = 15 * time.Minute
	// limitless is the pause when the rate limit cannot be read, as while the database
	// is away.
	limitless = time.Second
	// deniedPause is how long an account that does not let us in is left alone: only a
	// person can mend credentials or address. It says nothing about the delivery.
	deniedPause = time.Minute
)

// The circuit breaker opens after this many failures in a row and lets one call
// through after the pause; others come back while that one is on its way.
const (
	breakerFailures = 3
	breakerPause    = 30 * time.Second
	breakerProbe    = 2 * time.Second
)

// Error is why a call failed, as the outcome of the attempt that made it: Refused for
// good; Again, when it had no effect; Unknown, when it was sent and may have had its
// effect. Every error of a Client is one.
type Error struct {
	commands.Outcome
	down bool // it counts against the circuit breaker
}

func (e *Error) Error() string { return "zendesk: " + e.Reason }

func refused(format string, args ...any) *Error {
	return &Error{Outcome: commands.Outcome{State: commands.Refused, Reason: fmt.Sprintf(format, args...)}}
}

// call is one request, and where its answer goes.
type call struct {
	method, path, key string
	body              any
	answer            interface{ missing() string } // the field it lacks, or nothing
}

// call makes a call unless the breaker is open, when the limit allows.
func (c *Client) call(ctx context.Context, one call) error {
	untried := func(after time.Duration, why string) error {
		return &Error{Outcome: commands.Outcome{State: commands.Again, After: after, Untried: true, Reason: one.String() + ": not called, " + why}}
	}
	if pause := c.breaker.RemainingDelay(); pause > 0 {
		return untried(pause, "the circuit breaker is open")
	}
	if c.limit != nil {
		switch leave, err := c.limit.Wait(ctx); {
		case err != nil:
			return untried(limitless, "the rate limit cannot be read: "+err.Error())
		case leave.Wait > 0:
			return untried(leave.Wait, strings.TrimSuffix("no place within the rate limit: "+leave.Reason, ": "))
		}
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < leastTime {
		return untried(0, "too little time was left")
	}
	if !c.breaker.TryAcquirePermit() {
		return untried(max(c.breaker.RemainingDelay(), breakerProbe), "the circuit breaker is "+c.Breaker())
	}
	err := c.send(ctx, one)
	if err != nil && err.down {
		c.breaker.RecordFailure()
	} else {
		c.breaker.RecordSuccess()
	}
	if err == nil {
		return nil
	}
	err.Reason = one.String() + ": " + err.Reason
	if err.Cause == commands.Flooded && c.limit != nil {
		c.limit.Heed(ctx, one.limited(), err.After, err.Reason)
	}
	return err
}

// limited is what a 429 may be about when it is not about the whole account: Zendesk
// limits the updates of a ticket, too.
func (c call) limited() string {
	if c.method == http.MethodPut {
		return c.path
	}
	return ""
}

// send makes the call and judges what came back.
func (c *Client) send(ctx context.Context, one call) *Error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var written atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { written.Store(true) }})
	r, err := c.request(ctx, one)
	if err != nil {
		return refused("%v", err)
	}
	lost := func(err error) *Error {
		return &Error{Outcome: commands.Outcome{State: one.silence(written.Load()), Reason: err.Error()}, down: true}
	}
	resp, err := c.http.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the call is named already
		}
		return lost(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return judge(one, resp, body) // what could be read of its reason
	}
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("it has more than %d bytes", maxAnswer)
	}
	if err == nil {
		err = one.read(body)
	}
	if err != nil {
		return lost(fmt.Errorf("answered %d, but it cannot be read: %w: %s", resp.StatusCode, err, excerpt(body)))
	}
	return nil
}

func (c *Client) request(ctx context.Context, one call) (*http.Request, error) {
	var body io.Reader
	if one.body != nil {
		encoded, err := json.Marshal(one.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, one.method, c.base+one.path, body)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(c.user, c.token)
	r.Header.Set("Accept", "application/json")
	if one.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if one.key != "" {
		r.Header.Set("Idempotency-Key", one.key)
	}
	return r, nil
}

// judge says what a status other than 2xx means.
func judge(one call, resp *http.Response, body []byte) *Error {
	var said struct {
		Error json.RawMessage `json:"error"`
	}
	speaks := json.Unmarshal(body, &said) == nil && said.Error != nil
	e := refused("%d %s: %s", resp.StatusCode, http.StatusText(resp.StatusCode), excerpt(body))
	switch status := resp.StatusCode; {
	case status == http.StatusServiceUnavailable: // nobody was there to do it
		e.State, e.After, e.down = commands.Again, retryAfter(resp, 0), true
	case status >= 500: // somebody else's word, or broken off half done
		e.State, e.After, e.down = one.silence(true), retryAfter(resp, 0), true
	case status == http.StatusTooManyRequests:
		e.State, e.After, e.Cause = commands.Again, retryAfter(resp, defaultRetryAfter), commands.Flooded
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status < 400,
		status == http.StatusNotFound && !speaks: // what stands there is no Zendesk
		e.State, e.After, e.Untried, e.Cause = commands.Again, deniedPause, true, commands.WrongToken
	case status == http.StatusConflict, status == http.StatusRequestTimeout,
		// The key made a ticket with other words: a repeat will find it.
		status == http.StatusBadRequest && strings.Contains(string(said.Error), "IdempotentRequestError"):
		e.State = commands.Again
	}
	return e
}

func (c call) String() string {
	path, _, _ := strings.Cut(c.path, "?")
	return c.method + " " + path
}

func (c call) read(body []byte) error {
	if err := json.Unmarshal(body, c.answer); err != nil {
		return err
	}
	if field := c.answer.missing(); field != "" {
		return errors.New("it has no " + field)
	}
	return nil
}

// silence is what it means that nobody says what a call came to: after the request
// had left us it is no proof that it did not arrive.
func (c call) silence(written bool) commands.State {
	if written && c.method != http.MethodGet {
		return commands.Unknown
	}
	return commands.Again
}

// retryAfter reads the header, seconds or a date.
func retryAfter(resp *http.Response, otherwise time.Duration) time.Duration {
	header := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return min(time.Duration(max(seconds, 1))*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(time.Until(at), time.Second), maxRetryAfter)
	}
	return otherwise
}

// excerpt is the beginning of an answer on one line.
func excerpt(body []byte) string {
	line := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), maxExcerpt)]), "")), " ")
	if len(body) > maxExcerpt {
		line += " ..."
	}
	return line
}

// What is read of answers; the rest may be what it likes.
type (
	ticket struct {
		ID         int64  `json:"id"`
		ExternalID string `json:"external_id"`
	}
	oneTicket struct {
		Ticket ticket `json:"ticket"`
	}
	ticketList struct {
		Tickets *[]ticket `json:"tickets"`
	}
	auditList struct {
		Audits *[]struct {
			Metadata struct {
				Custom map[string]any `json:"custom"`
			} `json:"metadata"`
		} `json:"audits"`
	}
)

func (a *oneTicket) missing() string {
	if a.Ticket.ID == 0 {
		return "ticket.id"
	}
	return ""
}

func (a *ticketList) missing() string {
	if a.Tickets == nil {
		return "tickets"
	}
	return ""
}

func (a *auditList) missing() string {
	if a.Audits == nil {
		return "audits"
	}
	return ""
}
