// Package zendesk connects to Zendesk: a client of its Ticketing API, the sender of
// deliveries to it, and the webhook that receives the changes that agents make there.
//
// A ticket is identified by its external id, which names the chat and our ticket. A retry has no
// second effect: a ticket is created with an idempotency key and looked up before it is created
// again, and every update carries the delivery's id as metadata, so that a retry finds it in the
// ticket's history.
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
	// auditsRead is the number of a ticket's newest audits that are searched for an earlier
	// attempt. Zendesk accepts 30 updates of a ticket in 10 minutes from one user.
	auditsRead = 30
	// cachedTickets is the number of ticket numbers in the cache, some 100 bytes each. Without the
	// cache every update would use two of the calls that the rate limit allows.
	cachedTickets = 10_000
	// connections is the number of deliveries that are sent at once.
	connections = 16
)

// Account configures a Client.
type Account struct {
	URL       string // https://<subdomain>.zendesk.com
	Email     string // of the agent for whom the token acts
	Token     string
	Limit     Limit             // nil: no limit
	Transport http.RoundTripper // nil: a transport of the client's own
}

// Limit is the rate limit of an account, shared by all processes.
type Limit interface {
	// Wait returns when a call may be made, or returns how long to wait.
	Wait(context.Context) (commands.Permit, error)
	// RetryAfter records that Zendesk asked to wait before the next update of the ticket what, or
	// before the next call if what is empty.
	RetryAfter(ctx context.Context, what string, wait time.Duration, reason string)
}

// Client calls the API of one account.
type Client struct {
	base    string
	header  http.Header // of every request
	http    *outbound.Client
	limit   Limit
	tickets *lru.Cache[string, int64] // ticket numbers by external id
}

// NewClient returns a client of the account.
func NewClient(a Account) (*Client, error) {
	base, err := url.Parse(a.URL)
	if err != nil || base.Host == "" || a.Email == "" || a.Token == "" {
		return nil, errors.New("zendesk: an account needs a url such as https://shop.zendesk.com, an email and a token")
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

// Requester is the customer, by name: a chat has no mail address.
type Requester struct {
	Name string `json:"name"`
}

// Update changes a ticket. Empty fields leave it as it is.
type Update struct {
	Comment  *Comment `json:"comment,omitempty"`
	Priority string   `json:"priority,omitempty"`
	Status   string   `json:"status,omitempty"` // open, pending or solved
}

// Create creates a ticket and returns its number. Within two hours, a second call with the same key
// creates no second ticket; Zendesk keeps keys for that long.
func (c *Client) Create(ctx context.Context, key string, t Ticket) (int64, error) {
	var answer oneTicket
	err := c.call(ctx, call{method: http.MethodPost, path: "/tickets.json", key: key,
		body: map[string]Ticket{"ticket": t}, answer: &answer})
	if err != nil {
		return 0, err
	}
	c.tickets.Add(t.ExternalID, answer.Ticket.ID)
	return answer.Ticket.ID, nil
}

// Find returns the number of the ticket with an external id, the oldest one if there are
// several; 0 if there is none.
func (c *Client) Find(ctx context.Context, externalID string) (int64, error) {
	if id, ok := c.tickets.Get(externalID); ok {
		return id, nil
	}
	// This lists tickets instead of searching, because the search index is minutes behind.
	path := "/tickets.json?" + url.Values{"external_id": {externalID}}.Encode()
	var answer ticketList
	if err := c.call(ctx, call{method: http.MethodGet, path: path, answer: &answer}); err != nil {
		return 0, err
	}
	var found int64
	for _, t := range *answer.Tickets {
		// Check the id: if the filter did not work, this is perhaps another customer's ticket.
		if t.ExternalID == externalID && t.ID != 0 && (found == 0 || t.ID < found) {
			found = t.ID
		}
	}
	if found != 0 {
		c.tickets.Add(externalID, found)
	}
	return found, nil
}

// marker is the metadata key under which an audit holds the delivery's id.
const marker = "chatledger_delivery"

// Update changes the ticket with this number. The key marks the update, so that Updated finds
// it. It is not sent as Idempotency-Key: Zendesk ignores that for updates, and net/http would
// retry the request by itself.
func (c *Client) Update(ctx context.Context, id int64, key string, u Update) error {
	type marked struct {
		Update
		Metadata map[string]string `json:"metadata"`
	}
	body := map[string]marked{"ticket": {u, map[string]string{marker: key}}}
	return c.call(ctx, call{method: http.MethodPut, path: ticketPath(id, ".json"), body: body, answer: &oneTicket{}})
}

// Updated reports whether the update with this key was made. An update that changed nothing
// leaves no audit, and can be made again.
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
