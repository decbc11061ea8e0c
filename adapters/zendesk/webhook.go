package zendesk

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/domain"
)

const (
	// maxBody, in bytes, is twice the longest comment: 64 KiB with each character escaped as 6 bytes.
	maxBody = 1 << 20
	// maxAge limits the age of a signature, so that a recorded request cannot be replayed later. It is
	// longer than the time in which Zendesk retries a webhook.
	maxAge = 5 * time.Minute
	// maxAhead is how far Zendesk's clock may be ahead of ours.
	maxAhead = 30 * time.Second
	// storeTimeout limits the wait for the database: Zendesk waits 12 s for a webhook.
	storeTimeout = 8 * time.Second
	// retryAfter503 is the Retry-After when an event could not be stored, in seconds.
	// Zendesk retries three times, and only if the wait is shorter than a minute.
	retryAfter503 = 55
)

// EventKind is what an agent did.
type EventKind string

// Kinds of events.
const (
	Solved        EventKind = "solved"
	Reopened      EventKind = "reopened"
	PublicComment EventKind = "public_comment"
)

// Event is a change of one of our tickets. The body of a webhook is configured with its trigger in Zendesk.
// Use this one, in which every value is a string that Zendesk fills in:
//
//	{
//	  "event": "public_comment",
//	  "external_id": "{{ticket.external_id}}",
//	  "ticket_id": "{{ticket.id}}",
//	  "author": "{{current_user.name}}",
//	  "comment_id": "{{ticket.latest_public_comment.id}}",
//	  "body": "{{ticket.latest_public_comment.value}}",
//	  "updated_at": "{{ticket.updated_at_with_timestamp}}"
//	}
//
// The events solved and reopened need neither comment_id nor body.
type Event struct {
	// ID is the same for every delivery of an event. It is derived from the body, because the
	// signature does not cover the headers.
	ID        string
	Kind      EventKind
	Stream    domain.StreamID // of the external id
	Ticket    string          // of the external id
	TicketID  int64           // Zendesk's
	Author    string          // the agent's name
	CommentID int64           // of a PublicComment
	Body      string          // of a PublicComment
	UpdatedAt time.Time       // to the second; the time of receipt when it says an impossible time
	Raw       []byte          // the body as received
}

// Webhook receives the requests of Zendesk's triggers. It answers 200 only after the event is
// durable.
type Webhook struct {
	Secrets  []string // valid secrets; an empty one is never valid
	Receiver Receiver
	Observer Observer
	Endpoint string         // the name under which Guard counts unverified bodies; one for each bot
	Guard    guard.Admitter // nil means no limits
	Now      func() time.Time
	Log      *slog.Logger
}

// Receiver stores events. A method returns nil only when the data is durable.
type Receiver interface {
	Receive(context.Context, Event) error
	// Quarantine keeps a body that is not an event.
	Quarantine(ctx context.Context, body []byte, reason string) error
}

// Observer measures requests.
type Observer interface {
	Answered(status int, took time.Duration)
}

// ServeHTTP answers one webhook.
func (wh *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	status := wh.admit(w, r)
	switch status {
	case http.StatusServiceUnavailable:
		if w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter503))
		}
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	}
	w.WriteHeader(status)
	wh.Observer.Answered(status, time.Since(begun))
}

// admit answers a request if the guard admits it. The guard is asked before the body is read.
func (wh *Webhook) admit(w http.ResponseWriter, r *http.Request) int {
	if wh.Guard == nil {
		return wh.answer(w, r, nil)
	}
	body, wait := wh.Guard.Admit(r, wh.Endpoint)
	defer body.Release()
	if wait > 0 {
		w.Header().Set("Connection", "close") // the body stays unread
		w.Header().Set("Retry-After", guard.Seconds(wait))
		return http.StatusTooManyRequests
	}
	return wh.report(w, r, wh.answer(w, r, body))
}

// report tells the guard whether a request was authenticated. It returns 429 if the guard limits or bans
// the source.
func (wh *Webhook) report(w http.ResponseWriter, r *http.Request, status int) int {
	switch status {
	case http.StatusUnauthorized, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge,
		http.StatusBadRequest: // not authenticated
		// Without a bot's name: the guard's pattern "a bot's secret is guessed" is for Telegram.
		if wait := wh.Guard.Failed(r, ""); wait > 0 {
			w.Header().Set("Retry-After", guard.Seconds(wait))
			return http.StatusTooManyRequests
		}
	}
	return status
}

// answer checks and stores a request. unverified is its body until the signature has been checked.
func (wh *Webhook) answer(w http.ResponseWriter, r *http.Request, unverified *guard.Body) int {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed
	}
	signed := r.Header.Get("X-Zendesk-Webhook-Signature-Timestamp")
	if !fresh(signed, wh.Now()) {
		w.Header().Set("Connection", "close") // the body stays unread
		return http.StatusUnauthorized
	}
	body, err := unverified.Read(w, r, maxBody)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, guard.ErrBusy):
		return http.StatusServiceUnavailable
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case err != nil:
		return http.StatusBadRequest // the connection broke: this status is not received
	case !authentic(wh.Secrets, signed, body, r.Header.Get("X-Zendesk-Webhook-Signature")):
		return http.StatusUnauthorized
	}
	unverified.Verified()
	if wh.Guard != nil {
		wh.Guard.Authenticated(r)
	}
	// The event is stored even if the sender closes the connection meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), storeTimeout)
	defer cancel()
	if err := wh.store(ctx, body); err != nil {
		wh.Log.ErrorContext(ctx, "Zendesk event not stored; Zendesk will retry it",
			"invocation", r.Header.Get("X-Zendesk-Webhook-Invocation-Id"), "error", err)
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// store stores the body: as an event, or in quarantine if it cannot be read.
func (wh *Webhook) store(ctx context.Context, body []byte) error {
	event, err := readEvent(body, wh.Now())
	if err != nil {
		return wh.Receiver.Quarantine(ctx, body, err.Error())
	}
	return wh.Receiver.Receive(ctx, event)
}

// fresh reports whether the time of a signature is near now.
func fresh(timestamp string, now time.Time) bool {
	at, err := time.Parse(time.RFC3339, timestamp)
	return err == nil && !at.Before(now.Add(-maxAge)) && !at.After(now.Add(maxAhead))
}

// authentic reports whether the signature was made with one of the secrets, which it compares in constant
// time.
func authentic(secrets []string, timestamp string, body []byte, signature string) bool {
	given, err := base64.StdEncoding.DecodeString(signature)
	right := false
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		io.WriteString(mac, timestamp)
		mac.Write(body)
		if hmac.Equal(mac.Sum(nil), given) && secret != "" {
			right = true
		}
	}
	return right && err == nil
}

// impossible matches times that time.Parse rejects for their year or offset, and not for their form.
var impossible = regexp.MustCompile(`^[+-]?\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d`)

// updatedAt reads the time of a change. A time that cannot be, before 1970 or in the future, is
// replaced by the time of receipt: no act of an agent is lost or reordered by it.
func updatedAt(text string, received time.Time) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil && !impossible.MatchString(text) {
		return at, err
	}
	if err != nil || at.Unix() <= 0 || at.After(received.Add(maxAhead)) {
		return received, nil
	}
	return at, nil
}

// readEvent decodes the body of a webhook and ignores unknown fields. The error names a missing required
// field: Zendesk replaces a misspelt placeholder by nothing.
func readEvent(body []byte, received time.Time) (Event, error) {
	var said struct {
		Event      EventKind `json:"event"`
		ExternalID string    `json:"external_id"`
		TicketID   number    `json:"ticket_id"`
		Author     string    `json:"author"`
		CommentID  number    `json:"comment_id"`
		Body       string    `json:"body"`
		UpdatedAt  string    `json:"updated_at"`
	}
	if err := json.Unmarshal(body, &said); err != nil {
		return Event{}, fmt.Errorf("not an event of a trigger: %w", err)
	}
	stream, ticket, ours := SplitExternalID(said.ExternalID)
	at, err := updatedAt(said.UpdatedAt, received)
	e := Event{
		Kind:      said.Event,
		Stream:    stream,
		Ticket:    ticket,
		TicketID:  int64(said.TicketID),
		Author:    said.Author,
		UpdatedAt: at,
		Raw:       body,
	}
	switch {
	case !ours:
		return Event{}, fmt.Errorf("external_id %q is not one of ours", said.ExternalID)
	case e.TicketID <= 0:
		return Event{}, errors.New("ticket_id is missing")
	case err != nil:
		return Event{}, fmt.Errorf("updated_at: %w", err)
	}
	switch e.Kind {
	case Solved, Reopened:
		when := said.UpdatedAt // as it is sent again
		if !at.Equal(received) {
			when = at.UTC().Format(time.RFC3339Nano)
		}
		e.ID = fmt.Sprintf("%s %d %s", e.Kind, e.TicketID, when)
	case PublicComment:
		e.CommentID, e.Body = int64(said.CommentID), said.Body
		if e.CommentID <= 0 || strings.TrimSpace(e.Body) == "" {
			return Event{}, errors.New("comment_id or body is missing")
		}
		e.ID = fmt.Sprintf("%s %d", e.Kind, e.CommentID)
	default:
		return Event{}, fmt.Errorf("event %q is unknown; use %s, %s or %s", e.Kind, Solved, Reopened, PublicComment)
	}
	return e, nil
}

// number is an integer with or without quotes; 0 if the value is anything else.
type number int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(text []byte) error {
	value, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 64)
	if err != nil {
		value = 0
	}
	*n = number(value)
	return nil
}
