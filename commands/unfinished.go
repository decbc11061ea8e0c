package commands

import (
	"cmp"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Unfinished follows a whole history, in feed order, and knows what it leaves open:
// effects that were asked for and are not over, customers whom the bot owes its turn, and
// chats in which time is to bring something about. The zero value is ready. It keeps what
// is open, and nothing else.
type Unfinished struct {
	// AnsweredTo is how far the bot's turn was taken; nil when that is not known, and
	// then nobody counts as waiting. Of the events behind it some may be answered.
	AnsweredTo *domain.Position

	effects    map[uuid.UUID]OpenEffect
	unanswered map[uuid.UUID]Unanswered
	timed      map[domain.StreamID]chat.State // folded since something in it last began
}

// OpenEffect is an effect of which no outcome is known, or that is a dead letter.
type OpenEffect struct {
	ID     uuid.UUID // of the event that asked for it
	Stream domain.StreamID
	Unsure int    // attempts that may have arrived
	Reason string // of a dead letter
}

// Unanswered is what a customer did that the bot has not had its turn for, so far as
// can be told: who was to get no answer counts until the turn was taken.
type Unanswered struct {
	Stream  domain.StreamID
	Version domain.Version
}

// Follow takes the next event.
func (u *Unfinished) Add(r domain.Recorded) {
	if u.effects == nil {
		u.effects, u.unanswered, u.timed = map[uuid.UUID]OpenEffect{}, map[uuid.UUID]Unanswered{},
			map[domain.StreamID]chat.State{}
	}
	if r.Actor == domain.ActorDelivery { // whatever it is: the outcome of what caused it
		delete(u.effects, r.Causation)
	}
	if _, asks := Enqueue(r); asks {
		u.effects[r.ID] = OpenEffect{ID: r.ID, Stream: r.Stream, Unsure: 1}
	}
	switch e := r.Event.(type) {
	case chat.DeliveryFailed:
		if e.Held {
			u.effects[e.Delivery] = OpenEffect{e.Delivery, r.Stream, e.Unsure, e.Reason}
		}
	case chat.DeliveryRetried:
		u.effects[e.Delivery] = OpenEffect{ID: e.Delivery, Stream: r.Stream, Unsure: 1}
	case chat.TicketFiled:
		delete(u.effects, e.Delivery)
	case chat.DeliverySkipped:
		delete(u.effects, e.Delivery)
	}
	u.watch(r)
	delete(u.unanswered, r.Causation)
	if _, turn := Turn(r, r.OccurredAt); turn && u.AnsweredTo != nil && u.AnsweredTo.Before(r.Position) {
		u.unanswered[r.ID] = Unanswered{r.Stream, r.Version}
	}
}

// watch keeps the states of those chats alone in which something runs or is open. Folded
// from there, and not from the chat's beginning, they still tell whether time matters.
func (u *Unfinished) watch(r domain.Recorded) {
	state := chat.Decider.Evolve(u.timed[r.Stream], r.Event)
	if state.Run.Active() || !chat.Wake(state, chat.Settings{}).IsZero() {
		u.timed[r.Stream] = state
	} else {
		delete(u.timed, r.Stream)
	}
}

// Timed are the chats in which time is to bring something about, or may be once they are
// looked at with what their bot knows; by stream.
func (u *Unfinished) Timed() []domain.StreamID { return slices.Sorted(maps.Keys(u.timed)) }

// Effects are those that are open, in no order.
func (u *Unfinished) Effects() []OpenEffect { return slices.Collect(maps.Values(u.effects)) }

// Unanswered are what the bot owes its turn for, by stream and version.
func (u *Unfinished) Unanswered() []Unanswered {
	return slices.SortedFunc(maps.Values(u.unanswered), func(a, b Unanswered) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Version, b.Version))
	})
}
