package whatif

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// What the other side gives what was never done: a message id, a receipt, a number.
const (
	neverSent = math.MaxInt64
	neverDone = "none"
)

// outcome is what comes of what an event asked for; recorded is what came of it then,
// nil when it was not asked for. It is nil when nobody can tell.
func (b *sandbox) outcome(asked domain.Recorded, recorded domain.Event, at time.Time) chat.Command {
	switch e := recorded.(type) {
	case chat.DeliverySucceeded:
		return chat.RecordDelivery{Delivery: asked.ID, Kind: e.Kind, Outcome: "done", MessageID: e.MessageID, Unsure: e.Unsure}
	case chat.DeliveryFailed:
		return chat.RecordDelivery{Delivery: asked.ID, Kind: e.Kind, Outcome: e.Outcome, Reason: e.Reason, Blocked: e.Blocked, Unsure: e.Unsure, Held: e.Held}
	}
	switch e := asked.Event.(type) {
	case chat.OrderLookupRequested:
		if found, known := b.order(e.Order, recorded); known {
			return chat.RecordLookup{Delivery: asked.ID, To: e.To, Number: e.Order, Found: found.Found, Order: found.Order, Reason: found.Reason, At: at}
		}
	case chat.AddressCheckRequested:
		if found, known := b.address(e.Address, recorded); known {
			return chat.RecordAddressCheck{Delivery: asked.ID, To: e.To, Address: e.Address, Check: found.Check, Reason: found.Reason, At: at}
		}
	case chat.AddressUpdateRequested:
		c := chat.RecordAddressUpdate{Delivery: asked.ID, To: e.To, Address: e.Address, Receipt: neverDone, At: at}
		switch was := recorded.(type) {
		case chat.AddressUpdated:
			if c.Receipt = was.Receipt; b.askedThen(asked.ID, e.Address) {
				c.Address = was.Address
			}
		case chat.AddressUpdateFailed:
			c.Receipt, c.Reason = "", was.Reason
		}
		return c
	case chat.TicketReferred:
		was, _ := recorded.(chat.TicketFiled)
		return chat.RecordFiling{Delivery: asked.ID, Ticket: e.Ticket, Desk: e.Desk, Number: cmp.Or(was.Number, neverDone)}
	default:
		effect, _ := commands.Owe(asked)
		return chat.RecordDelivery{Delivery: asked.ID, Kind: effect.Kind, Outcome: "done", MessageID: neverSent}
	}
	b.out.Unanswered++
	return nil
}

// order finds an order: in the catalogue, as this very look-up did, or as it was last
// found in this chat.
func (b *sandbox) order(number string, recorded domain.Event) (found chat.OrderLookedUp, known bool) {
	if b.Order != nil {
		found.Order, found.Found = b.Order(number)
		return found, true
	}
	if found, known = recorded.(chat.OrderLookedUp); known && found.Number == number {
		return found, true
	}
	found, known = b.then.orders[number]
	return found, known
}

// address checks an address, as this very check did or as it was last checked in this
// chat.
func (b *sandbox) address(address string, recorded domain.Event) (found chat.AddressChecked, known bool) {
	if found, known = recorded.(chat.AddressChecked); known && found.Address == address {
		return found, true
	}
	found, known = b.then.addresses[address]
	return found, known
}

// askedThen tells whether the recorded request was to change to this address, too.
func (b *sandbox) askedThen(request uuid.UUID, address string) bool {
	return slices.ContainsFunc(b.History, func(r domain.Recorded) bool {
		e, ok := r.Event.(chat.AddressUpdateRequested)
		return ok && r.ID == request && e.Address == address
	})
}

// replyOf is the reply that a person's messages were made of.
func replyOf(d decision) chat.Reply {
	var c chat.Reply
	var texts []string
	for _, r := range d {
		if e, ok := r.Event.(chat.ReplyQueued); ok {
			c.Author, c.Format = e.Author, e.Format
			c.Media = append(c.Media, e.Media...)
			if e.Text != "" {
				texts = append(texts, e.Text)
			}
		}
	}
	c.Text = strings.Join(texts, "\n\n") // parted there, as between paragraphs, it falls into the same messages
	return c
}

// commandedAt is the time in the command that led to a decision: a moment before that
// of the event, where it matters and is kept.
func commandedAt(d decision) time.Time {
	for _, r := range d {
		switch e := r.Event.(type) {
		case chat.WorkflowMoved:
			return e.At
		case chat.TicketOpened:
			return e.At
		}
	}
	return d[0].OccurredAt
}

// twoReadings is how far apart an act's own time and its event's may be: the clock is
// read twice within one process.
const twoReadings = time.Second

// escalatedAt is the time from which the due time counts. It is not kept; where
// another program counted otherwise it is the event's.
func escalatedAt(e chat.TicketEscalated, occurred time.Time) time.Time {
	if at := e.Due.Add(-e.Priority.Due()); at.Sub(occurred).Abs() < twoReadings {
		return at
	}
	return occurred
}
