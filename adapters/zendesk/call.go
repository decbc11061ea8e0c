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
	// can take seconds. After the timeout the outcome is unknown.
	callTimeout = 10 * time.Second
	// leastTime is the least time before the deadline in which a call is started. A call that the
	// deadline ends has an unknown outcome.
	leastTime = 3 * time.Second
	// maxAnswer bounds an answer, in bytes: auditsRead audits, each with the longest comment
	// (64 KiB, in three renderings).
	maxAnswer = 8 << 20
	// maxExcerpt bounds the part of an answer that a reason quotes, in bytes.
	maxExcerpt = 300
	// defaultRetryAfter is the wait after a 429 without Retry-After: Zendesk limits calls per minute.
	defaultRetryAfter = time.Minute
	// maxRetryAfter limits the wait that Zendesk can ask for. The longest period of its limits is
	// 10 minutes.
	maxRetryAfter = 15 * time.Minute
	// limitPause is the backoff when the rate limit cannot be read from the database.
	limitPause = time.Second
	// deniedPause is the backoff after an answer that shows wrong credentials or a wrong URL. An
	// administrator must correct them, so it does not count as an attempt of the delivery.
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
		return &Error{Outcome: commands.Outcome{State: domain.DeliveryRetry, After: after, Untried: true,
			Reason: one.String() + ": not sent: " + why}}
	}
	if pause := c.http.OpenFor(); pause > 0 {
		return untried(pause, "the circuit breaker is open")
	}
	if c.limit != nil {
		switch permit, err := c.limit.Wait(ctx); {
		case err != nil:
			return untried(limitPause, "cannot read the rate limit: "+err.Error())
		case permit.Wait > 0:
			return untried(permit.Wait, strings.TrimSuffix("the rate limit is used up: "+permit.Reason, ": "))
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

// limited returns the name of the resource whose calls a 429 limits, or "" for the account: Zendesk also
// limits the updates of one ticket.
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
		return &Error{commands.Outcome{State: c.unanswered(err.Sent), Reason: err.Error()}}
	}
	var said struct {
		Error json.RawMessage `json:"error"`
	}
	fromZendesk := json.Unmarshal(err.Body, &said) == nil && said.Error != nil
	e := refused("%d %s: %s", err.Status, http.StatusText(err.Status), excerpt(err.Body))
	switch status := err.Status; {
	case status == http.StatusServiceUnavailable: // the call was not processed
		e.State, e.After = domain.DeliveryRetry, retryAfter(err.Header, 0)
	case status >= 500: // a proxy answered, or Zendesk failed during the call
		e.State, e.After = c.unanswered(true), retryAfter(err.Header, 0)
	case status == http.StatusTooManyRequests:
		e.State, e.After, e.Cause = domain.DeliveryRetry, retryAfter(err.Header, defaultRetryAfter), commands.CauseFlood
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status < 400,
		status == http.StatusNotFound && !fromZendesk: // there is no Zendesk at this URL
		e.State, e.After, e.Untried, e.Cause = domain.DeliveryRetry, deniedPause, true, commands.CauseToken
	case status == http.StatusConflict, status == http.StatusRequestTimeout,
		// The key has created a ticket with other content: the retry will find it.
		status == http.StatusBadRequest && strings.Contains(string(said.Error), "IdempotentRequestError"):
		e.State = domain.DeliveryRetry
	}
	return e
}

func (c call) String() string {
	path, _, _ := strings.Cut(c.path, "?")
	return c.method + " " + path
}

// read decodes an answer and checks that it has the field that is needed.
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

// unanswered returns the outcome of a call without an answer. A change whose request was written may
// have taken effect.
func (c call) unanswered(written bool) domain.DeliveryState {
	if written && c.method != http.MethodGet {
		return domain.DeliveryUnknown
	}
	return domain.DeliveryRetry
}

// retryAfter returns the wait that Zendesk asks for, at least a second, or fallback if it asks for none.
func retryAfter(h http.Header, fallback time.Duration) time.Duration {
	after, ok := outbound.RetryAfter(h, maxRetryAfter)
	if !ok {
		return fallback
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

// Answers, with the fields that are used.
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
