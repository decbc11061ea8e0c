package operators

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// problem is what went wrong, as RFC 9457 writes it. Chat is the chat as it is now, of a
// conflict.
type problem struct {
	Status int       `json:"status"`
	Title  string    `json:"title"`
	Detail string    `json:"detail"`
	Chat   *chatView `json:"chat,omitempty"`

	after time.Duration // when to try again
}

func (p problem) Error() string { return p.Detail }

const (
	// busyFor and awayFor are when to come again: when requests have been worked off, and
	// when the database may be back.
	busyFor = time.Second
	awayFor = 5 * time.Second
)

// conflicts are refusals that come of what others did meanwhile.
var conflicts = []error{chat.ErrClaimed, chat.ErrStale, chat.ErrNoTicket, chat.ErrTicketOpen, chat.ErrNothingToReopen, chat.ErrMoved, chat.ErrBlocked}

// refusals are those that come of what was asked for.
var refusals = []error{chat.ErrEmpty, chat.ErrTooLong, chat.ErrHTML, chat.ErrMedia, chat.ErrPriority, chat.ErrNobody, chat.ErrLease,
	chat.ErrNoCanned, chat.ErrVariables, chat.ErrTag, chat.ErrTags, chat.ErrKeyReused}

func isOneOf(err error, list []error) bool {
	for _, one := range list {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// fail answers an error.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p problem
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &tooLarge):
		p = problem{Status: http.StatusRequestEntityTooLarge, Detail: "the body is too long: " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes at most"}
	case isOneOf(err, refusals):
		p = problem{Status: http.StatusUnprocessableEntity, Detail: err.Error()}
	case errors.Is(err, commands.ErrBusy), errors.Is(err, commands.ErrClosed), errors.Is(err, commands.ErrConflict):
		p = problem{Status: http.StatusServiceUnavailable, Detail: "too much is going on: send it again, with the same key", after: busyFor}
	case r.Context().Err() != nil:
		return // nobody hears it
	default:
		a.Log.Error("a request of an operator failed", "error", err)
		p = problem{Status: http.StatusServiceUnavailable, Detail: "the ledger cannot be reached, or is in trouble: send it again, with the same key", after: awayFor}
		if errors.Is(err, context.DeadlineExceeded) {
			p.Detail = "that took too long, and may be done: send it again, with the same key"
		}
	}
	if p.Title = http.StatusText(p.Status); p.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(p.after.Round(time.Second).Seconds())))
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="chatledger"`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // who does not hear it asks again
}

// write answers with JSON.
func write(w http.ResponseWriter, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // who does not hear it asks again
	return nil
}
