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
type Error struct{ commands.Outcome }

func (e *Error) Error() string { return "zendesk: " + e.Reason }

func refused(format string, args ...any) *Error {
	return &Error{Outcome: commands.Outcome{State: domain.DeliveryRefused, Reason: fmt.Sprintf(format, args...)}}
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
		return &Error{Outcome: commands.Outcome{State: domain.DeliveryRetry, After: after, Untried: true, Reason: one.String() + ": not called, " + why}}
	}
	if pause := c.http.OpenFor(); pause > 0 {
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
	failed := c.http.Do(ctx, c.request(one), one.read)
	switch {
	case failed == nil:
		return nil
	case failed.Open:
		return untried(max(c.http.OpenFor(), breakerProbe), "the circuit breaker is "+c.Breaker())
	}
	err := one.judge(failed)
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
	case status == http.StatusServiceUnavailable: // nobody was there to do it
		e.State, e.After = domain.DeliveryRetry, retryAfter(err.Header, 0)
	case status >= 500: // from a proxy, or broken off half done
		e.State, e.After = c.silence(true), retryAfter(err.Header, 0)
	case status == http.StatusTooManyRequests:
		e.State, e.After, e.Cause = domain.DeliveryRetry, retryAfter(err.Header, defaultRetryAfter), commands.Flooded
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status < 400,
		status == http.StatusNotFound && !speaks: // this address is not a Zendesk
		e.State, e.After, e.Untried, e.Cause = domain.DeliveryRetry, deniedPause, true, commands.WrongToken
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

// silence is what it means that nobody says what a call came to: after the request
// had left us it is no proof that it did not arrive.
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
