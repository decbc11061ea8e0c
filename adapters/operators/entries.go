package operators

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// entry is an event of a chat as operators see it.
type entry struct {
	Version  domain.Version       `json:"version"`
	At       time.Time            `json:"at"`
	Kind     entryKind            `json:"kind"`
	By       string               `json:"by,omitempty"`   // customer, bot or person
	Name     string               `json:"name,omitempty"` // of the author
	Text     string               `json:"text,omitempty"`
	Format   dialog.Format        `json:"format,omitempty"` // of the text; empty means plain text
	Media    []mediaView          `json:"media,omitempty"`
	Delivery domain.DeliveryState `json:"delivery,omitempty"` // state of a reply's delivery
	Ticket   string               `json:"ticket,omitempty"`
	Priority dialog.Priority      `json:"priority,omitempty"`

	id uuid.UUID
}

type mediaView struct {
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"`
	FileID string `json:"file_id,omitempty"`
}

type entryKind string

// Kinds of entries.
const (
	kindMessage     entryKind = "message"
	kindEdit        entryKind = "edit" // of a message; Text is the complete new text
	kindButton      entryKind = "button"
	kindReply       entryKind = "reply"
	kindNote        entryKind = "note"
	kindOpened      entryKind = "ticket_opened" // Text is the reason
	kindClaimed     entryKind = "claimed"
	kindReleased    entryKind = "released"
	kindAssigned    entryKind = "assigned"
	kindPrioritized entryKind = "prioritized"
	kindTagged      entryKind = "tagged" // Text lists +on and -off
	kindResolved    entryKind = "resolved"
	kindReopened    entryKind = "reopened"
	kindHandedBack  entryKind = "handed_back"
	kindLate        entryKind = "late" // Text is first_response or resolution
)

// look is the number of events that a query reads for a page; about half of them have no entry. maxLook
// bounds the events that are read for a page of a chat with few entries.
const (
	look    = 500
	maxLook = 20 * look
)

// entries lists a chat's entries. The first page has the newest ones; each page starts with
// its oldest entry.
func (a *API) entries(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	before, limit, err := pageOf(r.URL.Query())
	if err != nil {
		return err
	}
	stream := streamOf(r)
	if before == 0 {
		c, err := a.now(r.Context(), stream)
		if err != nil {
			return err
		}
		before = c.Version + 1
	} else if first, err := a.Ledger.Events(r.Context(), stream, 0, 1); err != nil || len(first) == 0 {
		if err == nil {
			err = errNoChat
		}
		return err
	}
	page := struct {
		Entries []entry        `json:"entries"`
		Before  domain.Version `json:"before,omitempty"` // of the next page; omitted on the last one
	}{Entries: []entry{}, Before: before}
	for looked := 0; page.Before > 1 && len(page.Entries) < limit && looked < maxLook; looked += look {
		from := max(page.Before-1-look, 0)
		events, err := a.Ledger.Events(r.Context(), stream, from, int(page.Before-1-from))
		if err != nil {
			return err
		}
		page.Before = from + 1
		for _, r := range slices.Backward(events) {
			if e, ok := entryOf(r); ok {
				page.Entries = append(page.Entries, e)
			}
			if len(page.Entries) == limit {
				page.Before = r.Version
				break
			}
		}
	}
	if page.Before <= 1 {
		page.Before = 0
	}
	slices.Reverse(page.Entries)
	if err := a.addDeliveries(r.Context(), page.Entries); err != nil {
		return err
	}
	return write(w, page)
}

func pageOf(query url.Values) (before domain.Version, limit int, err error) {
	if err := only(query, "before", "limit"); err != nil {
		return 0, 0, err
	}
	if limit, err = limitOf(query); err != nil {
		return 0, 0, err
	}
	if text := query.Get("before"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return 0, 0, invalid("before", "the before of the previous page")
		}
		before = domain.Version(n)
	}
	return before, limit, nil
}

// addDeliveries adds the state of its delivery to each reply.
func (a *API) addDeliveries(ctx context.Context, entries []entry) error {
	var ids []uuid.UUID
	for _, e := range entries {
		if e.Kind == kindReply {
			ids = append(ids, e.id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	states, err := a.Ledger.DeliveryStates(ctx, ids)
	if err != nil {
		return err
	}
	for i := range entries {
		entries[i].Delivery = states[entries[i].id]
	}
	return nil
}

// entryOf returns the entry for an event; false if operators do not see that event.
func entryOf(r domain.Recorded) (entry, bool) {
	e := entry{Version: r.Version, At: r.OccurredAt.UTC(), id: r.ID}
	if name, byOperator := r.Actor.Operator(); byOperator {
		e.By, e.Name = string(chat.Person), name
	} else if r.Actor == domain.ActorCustomer || r.Actor == domain.ActorBot {
		e.By = string(r.Actor)
	}
	switch v := r.Event.(type) {
	case chat.MessageReceived:
		e.Kind, e.Name, e.Text, e.Media, e.At = kindMessage, calledBy(v.From), v.Text, mediaOf(v.Media), v.Date.UTC()
	case chat.MessageEdited:
		e.Kind, e.Name, e.Text, e.At = kindEdit, calledBy(v.From), v.Text, v.EditedAt.UTC()
	case chat.ButtonPressed:
		e.Kind, e.Name, e.Text = kindButton, calledBy(v.From), v.Data
	case chat.ReplyQueued:
		e.Kind, e.By, e.Name = kindReply, string(v.Author.Kind), v.Author.Name
		e.Text, e.Format, e.Media = v.Text, v.Format, mediaOf(v.Media)
	case chat.NoteAdded:
		e.Kind, e.Text, e.Ticket = kindNote, v.Text, v.Ticket
	case chat.TicketOpened:
		e.Kind, e.Text, e.Ticket, e.Priority = kindOpened, v.Reason, v.Ticket, v.Priority
	case chat.TicketClaimed:
		e.Kind, e.Ticket = kindClaimed, v.Ticket
	case chat.ClaimReleased:
		e.Kind, e.Ticket = kindReleased, v.Ticket
	case chat.TicketAssigned:
		e.Kind, e.Text, e.Ticket = kindAssigned, v.Assignee, v.Ticket
	case chat.TicketEscalated:
		e.Kind, e.Text, e.Ticket, e.Priority = kindPrioritized, v.Reason, v.Ticket, v.Priority
	case chat.TicketPrioritized:
		e.Kind, e.Ticket, e.Priority = kindPrioritized, v.Ticket, v.Priority
	case chat.TicketTagged:
		e.Kind, e.Ticket, e.Text = kindTagged, v.Ticket, tagLine(v)
	case chat.TicketResolved:
		e.Kind, e.Ticket = kindResolved, v.Ticket
	case chat.TicketReopened:
		e.Kind, e.Text, e.Ticket = kindReopened, v.Reason, v.Ticket
	case chat.HandedBack:
		e.Kind, e.Ticket = kindHandedBack, v.Ticket
	case chat.DueBreached:
		e.Kind, e.Text, e.Ticket = kindLate, string(v.What), v.Ticket
	default:
		return e, false
	}
	return e, true
}

func calledBy(s chat.Sender) string {
	if s.Name == "" {
		return s.Username
	}
	return s.Name
}

func mediaOf(list []chat.Media) (views []mediaView) {
	for _, m := range list {
		views = append(views, mediaView{m.Kind, m.FileName, m.FileID})
	}
	return views
}

func tagLine(e chat.TicketTagged) string {
	var words []string
	for _, t := range e.Added {
		words = append(words, "+"+t)
	}
	for _, t := range e.Removed {
		words = append(words, "-"+t)
	}
	return strings.Join(words, " ")
}
