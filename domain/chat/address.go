package chat

import (
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Kinds of deliveries that a step of the address change waits for.
const (
	KindValidateAddress = "crm.validateAddress"
	KindUpdateAddress   = "crm.updateAddress"
)

// recordAddressCheck goes on with the address change once the address is checked. It
// only keeps the finding when that is not waited for any more: the customer cancelled
// or sent another address, or a person has taken over.
func recordAddressCheck(s State, c RecordAddressCheck) []domain.Event {
	events := []domain.Event{AddressChecked{Delivery: c.Delivery, Address: c.Address, Check: c.Check, Reason: c.Reason}}
	switch {
	case c.To != s.Awaited || s.Run.Step != dialog.ValidatingAddress:
		return events
	case s.Blocked: // nobody could be asked to confirm it
		return append(events, s.does(Answer{c.To}, s.Run.Dropped(), c.At)...)
	case c.Reason != "":
		return append(events, s.does(Answer{c.To}, s.Run.NotChecked(), c.At)...)
	default:
		return append(events, s.does(Answer{c.To}, s.Run.Checked(c.Check), c.At)...)
	}
}

// recordAddressUpdate completes the address change, or hands it to a person. An update
// cannot be called back: when it arrives after a person has taken over, the change is
// complete all the same, and it is theirs to say so.
func recordAddressUpdate(s State, c RecordAddressUpdate) []domain.Event {
	if c.Reason != "" {
		return append([]domain.Event{AddressUpdateFailed{Delivery: c.Delivery, Address: c.Address, Reason: c.Reason}}, s.notSaved(c.To, c.At)...)
	}
	events := []domain.Event{AddressUpdated{Delivery: c.Delivery, Address: c.Address, Receipt: c.Receipt}}
	if c.To != s.Awaited || s.Run.Step != dialog.SavingChanges && s.Run.Step != dialog.HandedOver {
		return events
	}
	return append(events, s.does(Answer{c.To}, s.Run.Saved(c.Address), c.At)...)
}

func (s State) notSaved(to domain.Version, at time.Time) []domain.Event {
	if to != s.Awaited || s.Run.Step != dialog.SavingChanges {
		return nil
	}
	return s.does(Answer{to}, s.Run.NotSaved(), at)
}

// skipDelivery keeps an operator's decision. The address change must not wait for what
// does not come any more.
func skipDelivery(s State, c SkipDelivery) []domain.Event {
	events := []domain.Event{DeliverySkipped{Delivery: c.Delivery, Kind: c.Kind, Was: c.Was, Reason: c.Reason}}
	switch {
	case c.Kind == KindValidateAddress && s.Run.Step == dialog.ValidatingAddress:
		return append(events, s.does(Answer{s.Awaited}, s.Run.NotChecked(), c.At)...)
	case c.Kind == KindUpdateAddress:
		return append(events, s.notSaved(s.Awaited, c.At)...)
	default:
		return events
	}
}

// does is a turn that no act of the customer's led to. They hear nothing of it while a
// person has the chat, or when they do not want to hear from us.
func (s State) does(to Answer, turn dialog.Turn, at time.Time) []domain.Event {
	if s.WithPerson() || s.Blocked {
		turn.Replies = nil
	}
	return append(s.moves(to, turn, at), s.says(to, turn, at)...)
}
