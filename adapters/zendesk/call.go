package zendesk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/outbound"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

const (
	// callTimeout limits one call. Creating a ticket runs all triggers of the account and
	// can take seconds; after this long the outcome is unknown.
	callTimeout = 10 * time.Second
	// leastTime must be left before the deadline to start a call: a call that is cut off
	// has an unknown outcome.
	leastTime = 3 * time.Second
	// maxAnswer limits what is read of an answer, in bytes: auditsRead audits with the longest
	// comment (64 KiB, in three renderings) in each fit.
	maxAnswer = 8 << 20
	// maxExcerpt limits what a reason quotes of an answer, in bytes.
	maxExcerpt = 300
	// defaultRetryAfter is for a 429 without Retry-After: Zendesk limits calls per minute.
	defaultRetryAfter = time.Minute
	// maxRetryAfter limits the wait that Zendesk can ask for; its longest window is 10
	// minutes.
	maxRetryAfter = 15 * time.Minute
	// limitPause is the pause when the rate limit cannot be read, because the database is
	// down.
	limitPause = time.Second
	// deniedPause is the pause after wrong credentials or a wrong address, which only a
	// person can correct. The delivery itself is not to blame.
	deniedPause = time.Minute
)

// The circuit breaker opens after breakerFailures failures in a row. After breakerPause it
// lets one call through as a probe; other calls are retried after breakerProbe.
const (
	breakerFailures = 3
	breakerPause    = 30 * time.Second
	breakerProbe    = 2 * time.Second
)

// Error is the error of every method of a Client. Its Outcome is that of the attempt: refused
// (do not retry), retry (it had no effect), or unknown (it was sent and may have had its
// effect).
type Error struct{ commands.Outcome }

func (e *Error) Error() string { return "zendesk: " + e.Reason }

func refused(format string, args ...any) *Error {
	return &Error{Outcome: commands.Outcome{State: domain.DeliveryRefused, Reason: fmt.Sprintf(format, args...)}}
}

// call is one request and the value that its answer is decoded into.
type call struct {
	method, path, key string
	body              any
	answer            interface{ missing() string } // the name of a missing field, or ""
}

// call makes a call, unless the circuit breaker is open or the rate limit is used up.
func (c *Client) call(ctx context.Context, one call) error {
	untried := func(after time.Duration, why string) error {
		return &Error{
			Outcome: commands.Outcome{
				State:   domain.DeliveryRetry,
				After:   after,
				Untried: true,
				Reason:  one.String() + ": not sent: " + why,
			},
		}
	}
	if pause := c.http.OpenFor(); pause > 0 {
		return untried(pause, "the circuit breaker is open")
	}
	if c.limit != nil {
		switch leave, err := c.limit.Wait(ctx); {
		case err != nil:
			return untried(limitPause, "cannot read the rate limit: "+err.Error())
		case leave.Wait > 0:
			return untried(leave.Wait, strings.TrimSuffix("the rate limit is used up: "+leave.Reason, ": "))
		}
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < leastTime {
		return untried(0, "too little time is left before the deadline")
	}
	failed := c.http.Do(ctx, c.request(one), one.read)
	switch {
	case failed == nil:
		return nil
	case failed.Open:
		return untried(max(c.http.OpenFor(), breakerProbe), "the circuit breaker is "+c.Breaker())
	}
	err := one.judge(failed)
	err.Reason = one.String() + ": " + err.Reason
	if err.Cause == commands.CauseFlood && c.limit != nil {
		c.limit.RetryAfter(ctx, one.limited(), err.After, err.Reason)
	}
	return err
}

// limited names what a 429 limits besides the whole account: Zendesk also limits the updates
// of one ticket.
func (c call) limited() string {
	if c.method == http.MethodPut {
		return c.path
	}
	return ""
}

func (c *Client) request(one call) outbound.Request {
	header := c.header.Clone()
	if one.key != "" {
		header.Set("Idempotency-Key", one.key)
	}
	return outbound.Request{Method: one.method, URL: c.base + one.path, Header: header, Body: one.body}
}

// judge translates the error of a call.
func (c call) judge(err *outbound.Error) *Error {
	switch {
	case err.Invalid:
		return refused("%v", err)
	case err.Unreadable(), err.Status == 0:
		return &Error{commands.Outcome{State: c.silence(err.Sent), Reason: err.Error()}}
	}
	var said struct {
		Error json.RawMessage `json:"error"`
	}
	speaks := json.Unmarshal(err.Body, &said) == nil && said.Error != nil
	e := refused("%d %s: %s", err.Status, http.StatusText(err.Status), excerpt(err.Body))
	switch status := err.Status; {
	case status == http.StatusServiceUnavailable: // the call was not processed
		e.State, e.After = domain.DeliveryRetry, retryAfter(err.Header, 0)
	case status >= 500: // from a proxy, or broken off half done
		e.State, e.After = c.silence(true), retryAfter(err.Header, 0)
	case status == http.StatusTooManyRequests:
		e.State, e.After, e.Cause = domain.DeliveryRetry, retryAfter(err.Header, defaultRetryAfter), commands.CauseFlood
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status < 400,
		status == http.StatusNotFound && !speaks: // this address is not a Zendesk
		e.State, e.After, e.Untried, e.Cause = domain.DeliveryRetry, deniedPause, true, commands.CauseToken
	case status == http.StatusConflict, status == http.StatusRequestTimeout,
		// The key made a ticket with other words: a repeat will find it.
		status == http.StatusBadRequest && strings.Contains(string(said.Error), "IdempotentRequestError"):
		e.State = domain.DeliveryRetry
	}
	return e
}

func (c call) String() string {
	path, _, _ := strings.Cut(c.path, "?")
	return c.method + " " + path
}

// read decodes an answer and checks that it has the field it is for.
func (c call) read(r outbound.Response) error {
	body, err := r.ReadAll()
	if err == nil {
		err = json.Unmarshal(body, c.answer)
	}
	if err == nil {
		if field := c.answer.missing(); field != "" {
			err = errors.New("it has no " + field)
		}
	}
	if err != nil {
		return fmt.Errorf("answered %d, but it cannot be read: %w: %s", r.Status, err, excerpt(body))
	}
	return nil
}

// silence returns the outcome of a call without an answer: once the request was written, it
// may have arrived.
func (c call) silence(written bool) domain.DeliveryState {
	if written && c.method != http.MethodGet {
		return domain.DeliveryUnknown
	}
	return domain.DeliveryRetry
}

// retryAfter returns the wait that Zendesk asks for, at least a second; otherwise when it
// asks for none.
func retryAfter(h http.Header, otherwise time.Duration) time.Duration {
	after, ok := outbound.RetryAfter(h, maxRetryAfter)
	if !ok {
		return otherwise
	}
	return max(after, time.Second)
}

// excerpt returns the beginning of an answer on one line.
func excerpt(body []byte) string {
	line := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), maxExcerpt)]), "")), " ")
	if len(body) > maxExcerpt {
		line += " ..."
	}
	return line
}

// The parts of answers that are used.
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
