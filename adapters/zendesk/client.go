// Package zendesk is the edge to Zendesk: a thin client of its Ticketing API, the
// sender of what the ledger owes to it, and the webhook by which it tells what its
// agents did.
//
// A ticket is known by its external id, which names the chat and the case. Nothing
// is made twice: a ticket is created under an idempotency key and looked up before
// it is created again, and every update carries the delivery's id as metadata, by
// which a repeat finds it in the ticket's history.
package zendesk

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/chatledger/chatledger/adapters/outbound"
	"github.com/chatledger/chatledger/commands"
)

const (
	// auditsRead is how many of a ticket's newest audits are searched for an earlier
	// attempt. Zendesk takes 30 updates of a ticket in 10 minutes from one user.
	auditsRead = 30
	// cachedTickets is how many tickets' numbers are remembered, some 100 bytes each:
	// without, every update would cost two of the minute's calls.
	cachedTickets = 10_000
	// connections is as many as deliveries are under way at once.
	connections = 16
)

// Account says how to reach a Zendesk account.
type Account struct {
	URL       string // https://<subdomain>.zendesk.com
	Email     string // of the agent the token acts as
	Token     string
	Limit     Limit             // nil is none
	Transport http.RoundTripper // nil is one of its own
}

// Limit holds calls back so that an account's limit is kept, by all who call it.
type Limit interface {
	// Wait returns when a call may be made, or says how long to wait for that.
	Wait(context.Context) (commands.Leave, error)
	// Heed records that Zendesk asked to wait before the next update of a ticket, or
	// before the next call when what has no name.
	Heed(ctx context.Context, what string, wait time.Duration, reason string)
}

// Client speaks to one account.
type Client struct {
	base    string
	header  http.Header // of every request
	http    *outbound.Client
	limit   Limit
	tickets *lru.Cache[string, int64] // Zendesk's number by external id
}

// NewClient returns a client of the account.
func NewClient(a Account) (*Client, error) {
	base, err := url.Parse(a.URL)
	if err != nil || base.Host == "" || a.Email == "" || a.Token == "" {
		return nil, errors.New("zendesk: an account needs an address such as https://shop.zendesk.com, an email and a token")
	}
	tickets, err := lru.New[string, int64](cachedTickets)
	if err != nil {
		return nil, err
	}
	login := base64.StdEncoding.EncodeToString([]byte(a.Email + "/token:" + a.Token))
	return &Client{
		base:   strings.TrimSuffix(a.URL, "/") + "/api/v2",
		header: http.Header{"Accept": {"application/json"}, "Authorization": {"Basic " + login}},
		http: outbound.New(outbound.Config{
			Timeout: callTimeout, MaxBody: maxAnswer, Connections: connections,
			BreakAfter: breakerFailures, BreakFor: breakerPause, Transport: a.Transport,
		}),
		limit:   a.Limit,
		tickets: tickets,
	}, nil
}

// Through makes calls go through the transport that wrap returns. Call it before the first
// call.
func (c *Client) Through(wrap func(http.RoundTripper) http.RoundTripper) { c.http.Through(wrap) }

// Breaker returns the state of the circuit breaker: closed, open or half-open.
func (c *Client) Breaker() string { return c.http.Breaker() }

// Ticket is a new ticket.
type Ticket struct {
	Subject    string    `json:"subject"`
	Comment    Comment   `json:"comment"` // the first
	Requester  Requester `json:"requester,omitzero"`
	ExternalID string    `json:"external_id"`
	Priority   string    `json:"priority,omitempty"` // urgent, high, normal or low
	Tags       []string  `json:"tags,omitempty"`
}

// Comment is a reply that the requester sees, or a note between agents.
type Comment struct {
	Body   string `json:"body"`
	Public bool   `json:"public"`
}

// Requester is the customer, by name: a chat knows no mail address.
type Requester struct {
	Name string `json:"name"`
}

// Update changes a ticket; what is empty stays as it is.
type Update struct {
	Comment  *Comment `json:"comment,omitempty"`
	Priority string   `json:"priority,omitempty"`
	Status   string   `json:"status,omitempty"` // open, pending or solved
}

// Create makes a ticket and returns its number. The same key with the same ticket
// makes no second one for two hours; Zendesk forgets keys then.
func (c *Client) Create(ctx context.Context, key string, t Ticket) (int64, error) {
	var answer oneTicket
	if err := c.call(ctx, call{method: http.MethodPost, path: "/tickets.json", key: key, body: map[string]Ticket{"ticket": t}, answer: &answer}); err != nil {
		return 0, err
	}
	c.tickets.Add(t.ExternalID, answer.Ticket.ID)
	return answer.Ticket.ID, nil
}

// Find returns the number of the ticket with an external id, the oldest of
// several; 0 when there is none.
func (c *Client) Find(ctx context.Context, externalID string) (int64, error) {
	if id, ok := c.tickets.Get(externalID); ok {
		return id, nil
	}
	// The list is used rather than the search, whose index is minutes behind.
	path := "/tickets.json?" + url.Values{"external_id": {externalID}}.Encode()
	var answer ticketList
	if err := c.call(ctx, call{method: http.MethodGet, path: path, answer: &answer}); err != nil {
		return 0, err
	}
	var found int64
	for _, t := range *answer.Tickets {
		// A list that was not filtered must not lead to a stranger's ticket.
		if t.ExternalID == externalID && t.ID != 0 && (found == 0 || t.ID < found) {
			found = t.ID
		}
	}
	if found != 0 {
		c.tickets.Add(externalID, found)
	}
	return found, nil
}

// marker names an update in the metadata of its audit.
const marker = "chatledger_delivery"

// Update changes the ticket of that number. The key marks the update: Updated
// finds it. It is not sent as Idempotency-Key, which Zendesk ignores for updates
// and net/http takes for leave to send a request again by itself.
func (c *Client) Update(ctx context.Context, id int64, key string, u Update) error {
	type marked struct {
		Update
		Metadata map[string]string `json:"metadata"`
	}
	body := map[string]marked{"ticket": {u, map[string]string{marker: key}}}
	return c.call(ctx, call{method: http.MethodPut, path: ticketPath(id, ".json"), body: body, answer: &oneTicket{}})
}

// Updated tells whether the update with that key was made. One that changed
// nothing left no trace, and is safe to repeat.
func (c *Client) Updated(ctx context.Context, id int64, key string) (bool, error) {
	path := ticketPath(id, "/audits.json?sort_order=desc&per_page="+strconv.Itoa(auditsRead))
	var answer auditList
	if err := c.call(ctx, call{method: http.MethodGet, path: path, answer: &answer}); err != nil {
		return false, err
	}
	for _, audit := range *answer.Audits {
		if audit.Metadata.Custom[marker] == key {
			return true, nil
		}
	}
	return false, nil
}

func ticketPath(id int64, rest string) string {
	return "/tickets/" + strconv.FormatInt(id, 10) + rest
}
