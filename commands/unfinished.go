package commands

import (
	"cmp"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Unfinished reads a whole history, in feed order, and finds what is unfinished at its end:
// deliveries without an outcome, messages that still need the bot's turn, and chats that need
// a timer. The zero value is ready to use. It keeps only what is unfinished.
type Unfinished struct {
	// AnsweredTo is the position up to which the bot has taken its turns; nil when that is not
	// known, and then no message counts as unanswered. Some events after it may be answered.
	AnsweredTo *domain.Position

	effects    map[uuid.UUID]OpenEffect
	unanswered map[uuid.UUID]Unanswered
	timed      map[domain.StreamID]chat.State // folded from the event with which the last run or ticket began
}

// OpenEffect is a delivery without a known outcome, or a dead letter.
type OpenEffect struct {
	ID     uuid.UUID // of the event that requested it
	Stream domain.StreamID
	Unsure int    // attempts that may have arrived
	Reason string // of a dead letter
}

// Unanswered is an act of a customer for which the bot has not taken its turn. An act that
// needs no answer may be one, too, until the bot's turn for it.
type Unanswered struct {
	Stream  domain.StreamID
	Version domain.Version
}

// Add reads the next event.
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

// watch keeps the states of only those chats that have a running workflow or a timer. A state
// that is folded from there, and not from the chat's beginning, is enough to know whether the chat
// needs a timer.
func (u *Unfinished) watch(r domain.Recorded) {
	state := chat.Decider.Evolve(u.timed[r.Stream], r.Event)
	if state.Run.Active() || !chat.Wake(state, chat.Settings{}).IsZero() {
		u.timed[r.Stream] = state
	} else {
		delete(u.timed, r.Stream)
	}
}

// Timed returns the chats that need a timer, or may need one depending on their bot's settings,
// ordered by stream.
func (u *Unfinished) Timed() []domain.StreamID { return slices.Sorted(maps.Keys(u.timed)) }

// Effects returns the open effects, in no order.
func (u *Unfinished) Effects() []OpenEffect { return slices.Collect(maps.Values(u.effects)) }

// Unanswered returns the unanswered acts, ordered by stream and version.
func (u *Unfinished) Unanswered() []Unanswered {
	return slices.SortedFunc(maps.Values(u.unanswered), func(a, b Unanswered) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Version, b.Version))
	})
}
