package operators

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// queuedView is a ticket that waits for an operator.
type queuedView struct {
	Ticket       string          `json:"ticket"`
	Chat         string          `json:"chat"`
	Bot          string          `json:"bot"`
	Status       string          `json:"status"`
	Priority     dialog.Priority `json:"priority"`
	Reason       string          `json:"reason"`
	Subject      string          `json:"subject"`
	Assignee     string          `json:"assignee,omitempty"`
	Tags         []string        `json:"tags"`
	OpenedAt     time.Time       `json:"opened_at"`
	DueAt        time.Time       `json:"due_at"`
	ResolveBy    time.Time       `json:"resolve_by,omitzero"`
	FirstReplyAt time.Time       `json:"first_reply_at,omitzero"`
	Overdue      bool            `json:"overdue"`
	ClaimedBy    string          `json:"claimed_by,omitempty"`
	ClaimedUntil time.Time       `json:"claimed_until,omitzero"`
}

// queue lists the waiting tickets. All pages show which tickets were overdue when the first
// page was read, so that no ticket is repeated or skipped when it becomes overdue meanwhile.
func (a *API) queue(w http.ResponseWriter, r *http.Request, o commands.Operator) error {
	q, err := queueOf(r.URL.Query(), a.Now())
	if err != nil {
		return err
	}
	q.Bots = o.Bots
	wanted := q.Limit
	q.Limit++
	list, err := a.Ledger.TicketQueue(r.Context(), q)
	if err != nil {
		return err
	}
	page := struct {
		Tickets []queuedView `json:"tickets"`
		Next    string       `json:"next,omitempty"`
	}{Tickets: []queuedView{}}
	if len(list) > wanted {
		list = list[:wanted]
		page.Next = cursorOf(list[wanted-1].Place)
	}
	for _, t := range list {
		page.Tickets = append(page.Tickets, queuedView{t.Ticket, t.Chat, t.Bot, t.Status, t.Priority, t.Reason,
			t.Subject, t.Assignee, t.Tags, t.Opened, t.Due, t.Resolve, t.FirstReply, t.Place.Overdue, t.ClaimedBy,
			t.ClaimedUntil})
	}
	return write(w, page)
}

// queueOf parses the query. It rejects unknown parameters and values, because a mistyped
// filter must not list all tickets.
func queueOf(query url.Values, now time.Time) (q commands.TicketQuery, err error) {
	if err := only(query, "bot", "status", "priority", "assignee", "tag", "overdue", "limit", "after"); err != nil {
		return q, err
	}
	q = commands.TicketQuery{
		Bot:      query.Get("bot"),
		Status:   query.Get("status"),
		Priority: dialog.Priority(query.Get("priority")),
		Assignee: query.Get("assignee"),
		Tag:      query.Get("tag"),
		At:       now,
	}
	if q.Limit, err = limitOf(query); err != nil {
		return q, err
	}
	switch q.Status {
	case "", string(chat.Open), string(chat.Assigned):
	default:
		return q, invalid("status", "open or assigned: the queue holds waiting tickets only")
	}
	if q.Priority != "" && !q.Priority.Valid() {
		return q, invalid("priority", "urgent, high, normal or low")
	}
	switch query.Get("overdue") {
	case "", "false":
	case "true":
		q.Overdue = true
	default:
		return q, invalid("overdue", "true or false")
	}
	if after := query.Get("after"); after != "" {
		text, err := base64.RawURLEncoding.DecodeString(after)
		if err != nil || json.Unmarshal(text, &q.After) != nil || q.After == nil {
			return q, invalid("after", "the next of the previous page")
		}
		q.At = q.After.At
	}
	return q, nil
}

func cursorOf(p commands.Place) string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // the database has only times that JSON can hold
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// only rejects parameters other than names, and values that are empty or too long.
func only(query url.Values, names ...string) error {
	for name, values := range query {
		if !slices.Contains(names, name) || len(values) != 1 {
			return problem{
				Status: http.StatusUnprocessableEntity,
				Detail: fmt.Sprintf("parameter %.40q is unknown or repeated: use %v", name, names),
			}
		}
		if values[0] == "" {
			return invalid(name, "omitted, or have a value")
		}
		if name != "after" && len(values[0]) > maxParameter || !utf8.ValidString(values[0]) ||
			strings.ContainsRune(values[0], 0) {
			return invalid(name, fmt.Sprintf("at most %d bytes of text", maxParameter))
		}
	}
	return nil
}

func limitOf(query url.Values) (int, error) {
	text := query.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPage {
		return 0, invalid("limit", fmt.Sprintf("a number from 1 to %d", maxPage))
	}
	return n, nil
}

func invalid(parameter, want string) problem {
	return problem{Status: http.StatusUnprocessableEntity, Detail: parameter + " must be " + want}
}
