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

// problem is an error answer in the form of RFC 9457. After a conflict, Chat is the chat's
// current state.
type problem struct {
	Status int       `json:"status"`
	Title  string    `json:"title"`
	Detail string    `json:"detail"`
	Chat   *chatView `json:"chat,omitempty"`

	after time.Duration // for Retry-After; 0 omits it
}

func (p problem) Error() string { return p.Detail }

const (
	// busyFor and awayFor are sent as Retry-After: the time in which a full queue empties, and in which
	// the database may be available again.
	busyFor = time.Second
	awayFor = 5 * time.Second
)

// conflicts lists the refusals that another act or event has caused meanwhile.
var conflicts = []error{
	chat.ErrClaimed,
	chat.ErrStale,
	chat.ErrNoTicket,
	chat.ErrTicketOpen,
	chat.ErrNothingToReopen,
	chat.ErrMoved,
	chat.ErrBlocked,
}

// refusals lists the refusals caused by the request itself.
var refusals = []error{
	chat.ErrEmpty,
	chat.ErrTooLong,
	chat.ErrHTML,
	chat.ErrMedia,
	chat.ErrPriority,
	chat.ErrNobody,
	chat.ErrLease,
	chat.ErrNoCanned,
	chat.ErrVariables,
	chat.ErrTag,
	chat.ErrTags,
	chat.ErrKeyReused,
}

func isOneOf(err error, list []error) bool {
	for _, one := range list {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// fail writes the answer to an error.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p problem
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &tooLarge):
		p = problem{
			Status: http.StatusRequestEntityTooLarge,
			Detail: "the body is too long: at most " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes",
		}
	case isOneOf(err, refusals):
		p = problem{Status: http.StatusUnprocessableEntity, Detail: err.Error()}
	case errors.Is(err, commands.ErrUnreadable):
		p = problem{
			Status: http.StatusServiceUnavailable,
			Detail: "this chat has an event that this program does not know: run the newer program; " +
				"`chatledger parked` names the event",
			after: awayFor,
		}
	case errors.Is(err, commands.ErrBusy), errors.Is(err, commands.ErrClosed), errors.Is(err, commands.ErrConflict):
		p = problem{
			Status: http.StatusServiceUnavailable,
			Detail: "the server is busy: retry with the same key",
			after:  busyFor,
		}
	case r.Context().Err() != nil:
		return // the client has disconnected
	default:
		a.Log.Error("operator request failed", "error", err)
		p = problem{Status: http.StatusServiceUnavailable,
			Detail: "the database is unavailable: retry with the same key", after: awayFor}
		if errors.Is(err, context.DeadlineExceeded) {
			p.Detail = "timeout; the act may have taken effect: retry with the same key"
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
	_ = json.NewEncoder(w).Encode(p) // a client that did not receive it retries
}

// write sends a JSON answer.
func write(w http.ResponseWriter, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // a client that did not receive it retries
	return nil
}
