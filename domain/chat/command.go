package chat

import (
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Command is what can be asked of a chat.
type Command interface{ command() }

// Receive takes an update in. Event is what it says, one of MessageReceived,
// MessageEdited, ButtonPressed, MembershipChanged or UpdateKept; marks that
// depend on the chat's past (late, over the limit) are set by the decision.
type Receive struct {
	Event domain.Event
	At    time.Time // when it reached us
	Limit Limit
}

// Limit is how many messages of one chat are answered in a window; a Count of 0
// is no limit.
type Limit struct {
	Count  int
	Window time.Duration
}

// Respond asks for the bot's turn about one event of this stream, now at version To.
type Respond struct {
	To    domain.Version
	Event domain.Event // MessageReceived, MessageEdited or ButtonPressed
	At    time.Time
}

// RecordLookup brings the outcome of an order look-up. Reason is set when it
// failed for good; Order is the zero Order when there is none of that number.
type RecordLookup struct {
	Delivery uuid.UUID
	To       domain.Version
	Number   string
	Found    bool
	Order    dialog.Order
	Reason   string
	At       time.Time
}

// RecordDelivery brings the outcome of anything else that was sent.
type RecordDelivery struct {
	Delivery  uuid.UUID
	Kind      string
	Outcome   string // done, refused, unknown or dead
	MessageID int64
	Reason    string
	Blocked   bool
}

// Reply is a person's message to the customer.
type Reply struct {
	Author Author
	Text   string
}

// OpenTicket asks for a person.
type OpenTicket struct {
	Reason   string
	Priority dialog.Priority
	At       time.Time
}

// AssignTicket gives the open ticket to somebody.
type AssignTicket struct{ Assignee string }

// EscalateTicket makes the open ticket more urgent.
type EscalateTicket struct {
	Priority dialog.Priority
	Reason   string
	At       time.Time
}

// ResolveTicket closes the open ticket.
type ResolveTicket struct{ At time.Time }

// ReopenTicket opens the last ticket again.
type ReopenTicket struct {
	Reason string
	At     time.Time
}

// HandBack gives the chat back to the bot.
type HandBack struct{}

func (Receive) command()        {}
func (Respond) command()        {}
func (RecordLookup) command()   {}
func (RecordDelivery) command() {}
func (Reply) command()          {}
func (OpenTicket) command()     {}
func (AssignTicket) command()   {}
func (EscalateTicket) command() {}
func (ResolveTicket) command()  {}
func (ReopenTicket) command()   {}
func (HandBack) command()       {}
