package projections

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Tickets is readmodel.tickets: every ticket of every chat.
type Tickets struct{}

// Ticket is a row; nil stands for null.
type Ticket struct {
	ID           string     `column:"ticket_id,key"`
	Stream       string     `column:"stream_id,fixed"`
	Bot          string     `column:"bot,fixed"`
	ChatID       int64      `column:"chat_id,fixed"`
	Status       string     `column:"status"`
	Priority     string     `column:"priority"`
	Reason       string     `column:"reason,fixed"`
	Subject      string     `column:"subject,fixed"`
	Assignee     *string    `column:"assignee"`
	OpenedAt     time.Time  `column:"opened_at,fixed"`
	DueAt        time.Time  `column:"due_at"`
	FirstReplyAt *time.Time `column:"first_reply_at"`
	ResolvedAt   *time.Time `column:"resolved_at"`
	Reopened     int64      `column:"reopened"`
	Escalations  int64      `column:"escalations"`
	UpdatedAt    time.Time  `column:"updated_at"`

	ResolveBy               *time.Time `column:"resolve_by"`
	FirstResponseBreachedAt *time.Time `column:"first_response_breached_at"`
	ResolutionBreachedAt    *time.Time `column:"resolution_breached_at"`

	ExternalSystem   *string `column:"external_system"`
	ExternalState    *string `column:"external_state"`
	ExternalID       *string `column:"external_id"`
	ExternalDelivery *string `column:"external_delivery"`

	Tags         []string   `column:"tags"`
	ClaimedBy    *string    `column:"claimed_by"`
	ClaimedUntil *time.Time `column:"claimed_until"`
	Fence        int64      `column:"fence"`
	place
}

var tickets = newTable[Ticket]("tickets")

// The column external_state says whether the external ticket system has the ticket.
const (
	pending = "pending"
	filed   = "filed"
	failed  = "failed"
)

// Name implements Projection.
func (Tickets) Name() string { return "tickets" }

// Version implements Projection.
func (Tickets) Version() int { return 2 }

// Concerned implements Projection.
func (Tickets) Concerned() []domain.Event { return codec.Folded("tickets") }

// caseFile has the tickets of one chat; the last one is the current ticket.
type caseFile []*Ticket

func (f caseFile) last() *Ticket { return f[len(f)-1] }

// version returns the version of the last event that changed any ticket.
func (f caseFile) version() (v int64) {
	for _, t := range f {
		v = max(v, t.Version)
	}
	return v
}

// filing returns the delivery that creates a ticket in an external system, the state that event gives
// it, and the ticket's number there. The state is "" if event is about something else.
func filing(event domain.Event) (delivery uuid.UUID, state, number string) {
	switch e := event.(type) {
	case chat.TicketFiled:
		return e.Delivery, filed, e.Number
	case chat.DeliveryFailed:
		if e.Kind == domain.KindCreateTicket {
			return e.Delivery, failed, ""
		}
	case chat.DeliverySkipped:
		if e.Kind == domain.KindCreateTicket {
			return e.Delivery, failed, ""
		}
	case chat.DeliveryRetried:
		if e.Kind == domain.KindCreateTicket {
			return e.Delivery, pending, ""
		}
	}
	return uuid.Nil, "", ""
}

// apply folds one event into the chat's tickets, and returns the ticket that it changed, if any.
func (f *caseFile) apply(r domain.Recorded) (*Ticket, error) {
	if int64(r.Version) <= f.version() {
		return nil, GapError{"tickets", r.Stream, f.version(), r.Version}
	}
	if e, opened := r.Event.(chat.TicketOpened); opened {
		chatID, _ := r.Stream.Chat()
		*f = append(*f, &Ticket{
			ID:     fmt.Sprintf("%s:%d%s", r.Stream.Bot(), chatID, e.Ticket),
			Stream: string(r.Stream), Bot: r.Stream.Bot(), ChatID: chatID, Status: "open",
			Priority: string(e.Priority), Reason: clean(e.Reason), Subject: clean(e.Subject), OpenedAt: e.At,
			DueAt:     e.Due,
			ResolveBy: timeOf(e.Resolve), UpdatedAt: r.OccurredAt, Tags: []string{}, place: placeOf(r),
		})
		return f.last(), nil
	}
	if delivery, state, number := filing(r.Event); state != "" {
		for _, t := range *f {
			if t.ExternalDelivery != nil && *t.ExternalDelivery == delivery.String() {
				t.ExternalState, t.ExternalID = &state, text(number)
				t.place, t.UpdatedAt = placeOf(r), r.OccurredAt
				return t, nil
			}
		}
	}
	if len(*f) == 0 {
		return nil, nil
	}
	t := f.last()
	switch e := r.Event.(type) {
	case chat.TicketAssigned:
		t.Status, t.Assignee = "assigned", text(e.Assignee)
	case chat.TicketEscalated:
		t.Priority, t.DueAt, t.ResolveBy = string(e.Priority), e.Due, timeOf(e.Resolve)
		t.Escalations++
	case chat.TicketResolved:
		t.Status, t.ResolvedAt = "resolved", &e.At
		t.claim("", time.Time{}, 0)
	case chat.TicketReopened:
		t.Status, t.ResolvedAt, t.DueAt, t.FirstReplyAt = "open", nil, e.Due, nil
		t.ResolveBy, t.FirstResponseBreachedAt, t.ResolutionBreachedAt = timeOf(e.Resolve), nil, nil
		if t.Assignee != nil {
			t.Status = "assigned"
		}
		t.Reopened++
	case chat.HandedBack:
		t.Status = "handed_back"
		t.claim("", time.Time{}, 0)
	case chat.DueBreached:
		breach := &t.FirstResponseBreachedAt
		if e.What == chat.DueResolution {
			breach = &t.ResolutionBreachedAt
		}
		if *breach != nil { // the row keeps the first breach
			return nil, nil
		}
		*breach = &e.At
	case chat.TicketClaimed:
		t.claim(e.Operator, e.Until, e.Fence)
	case chat.ClaimReleased:
		t.claim("", time.Time{}, 0)
	case chat.TicketTagged:
		t.tag(e)
	case chat.TicketPrioritized:
		t.Priority, t.DueAt, t.ResolveBy = string(e.Priority), e.Due, timeOf(e.Resolve)
		if e.Priority.Above(e.Was) {
			t.Escalations++
		}
	case chat.TicketReferred:
		state := pending
		t.ExternalSystem, t.ExternalState, t.ExternalDelivery = text(e.Desk), &state, text(r.ID.String())
	case chat.ReplyQueued:
		if e.Author.Kind != chat.Person || t.FirstReplyAt != nil || t.Status != "open" && t.Status != "assigned" {
			return nil, nil
		}
		t.FirstReplyAt = &r.OccurredAt
	default:
		return nil, nil
	}
	t.place, t.UpdatedAt = placeOf(r), r.OccurredAt
	return t, nil
}

// timeOf returns null for the zero time.
func timeOf(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// claim stores the operator who has claimed the ticket; "" means that nobody has.
func (t *Ticket) claim(operator string, until time.Time, fence int64) {
	t.ClaimedBy, t.ClaimedUntil, t.Fence = nil, nil, fence
	if operator != "" {
		t.ClaimedBy, t.ClaimedUntil = text(operator), &until
	}
}

// tag adds and removes tags.
func (t *Ticket) tag(e chat.TicketTagged) {
	t.Tags = slices.DeleteFunc(slices.Concat(t.Tags, e.Added),
		func(tag string) bool { return slices.Contains(e.Removed, tag) })
	slices.Sort(t.Tags)
}

// Apply implements Projection: one statement reads the tickets of the page's chats, and one writes
// those that changed.
func (p Tickets) Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	concerned := page[:0:0]
	for _, r := range page {
		if concerns(r.Event) {
			concerned = append(concerned, r)
		}
	}
	if len(concerned) == 0 {
		return nil
	}
	files, err := p.read(ctx, tx, streamsOf(concerned))
	if err != nil {
		return err
	}
	changed := map[string]*Ticket{}
	for _, r := range concerned {
		file := files[string(r.Stream)]
		t, err := file.apply(r)
		if err != nil {
			return err
		}
		if files[string(r.Stream)] = file; t != nil {
			changed[t.ID] = t
		}
	}
	rows := make([]*Ticket, 0, len(changed))
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		rows = append(rows, changed[id])
	}
	_, err = tickets.write(ctx, tx, rows)
	return err
}

// concerns reports whether an event can change a ticket. Of replies only those of operators do, and
// of deliveries only the one that creates the ticket in an external system.
func concerns(event domain.Event) bool {
	switch e := event.(type) {
	case chat.ReplyQueued:
		return e.Author.Kind == chat.Person
	case chat.TicketFiled, chat.DeliveryFailed, chat.DeliveryRetried, chat.DeliverySkipped:
		_, state, _ := filing(event)
		return state != ""
	default:
		return ticketEvents[reflect.TypeOf(event)]
	}
}

var ticketEvents = typesOf(Tickets{}.Concerned())

// Start implements Projection.
func (Tickets) Start() Folding { return &caseFile{} }

// Take implements Folding.
func (f *caseFile) Take(r domain.Recorded) error {
	if !concerns(r.Event) {
		return nil
	}
	_, err := f.apply(r)
	return err
}

// Rows implements Folding.
func (f caseFile) Rows() map[string]Row {
	rows := make(map[string]Row, len(f))
	for _, t := range f {
		rows[t.ID] = tickets.row(t)
	}
	return rows
}

// Rows implements Projection.
func (p Tickets) Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]Row, error) {
	files, err := p.read(ctx, tx, streams)
	if err != nil {
		return nil, err
	}
	rows := map[string]Row{}
	for _, file := range files {
		maps.Copy(rows, file.Rows())
	}
	return rows, nil
}

func (Tickets) read(ctx context.Context, tx pgx.Tx, streams []string) (map[string]caseFile, error) {
	list, err := tickets.query(ctx, tx, `
		select `+tickets.names+` from tickets where stream_id = any($1)
		order by stream_id, length(ticket_id), ticket_id`, streams)
	if err != nil {
		return nil, err
	}
	files := map[string]caseFile{}
	for _, t := range list {
		files[t.Stream] = append(files[t.Stream], t)
	}
	return files, nil
}
