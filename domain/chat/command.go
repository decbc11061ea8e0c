package chat

import (
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Command is what can be asked of a chat.
type Command interface{ command() }

// Settings are the part of a bot's configuration that decisions depend on. The zero value
// is a bot that knows nothing and has no tools.
type Settings struct {
	Knowledge *dialog.Knowledge // nil is dialog.Bare
	Tools     map[string]bool   // by name
	Model     string            // that is asked what the bot does not know; "" is none
}

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

// RecordTool brings what came of a ToolRequested. Reason is set when it failed for good.
type RecordTool struct {
	Delivery uuid.UUID
	To       domain.Version // what the request answered
	Call     int
	For      Purpose
	Tool     string
	Input    map[string]string
	About    *dialog.Question // of ForQuestion
	Output   map[string]string
	Receipt  string
	Account  string
	Reason   string
	At       time.Time
}

// Elapse lets the bot do what it is time for (see Wake).
type Elapse struct {
	At    time.Time
	Quiet bool // what is due comes to its end, and reaches nobody
}

// RecordDelivery brings the outcome of anything else that was sent.
type RecordDelivery struct {
	Delivery  uuid.UUID
	Kind      domain.DeliveryKind
	Outcome   domain.DeliveryState // done, refused, unknown or dead
	MessageID int64
	Reason    string
	Blocked   bool
	Unsure    int  // attempts that may have arrived, though nobody heard so
	Held      bool // an operator must decide about it
}

// RetryDelivery is an operator's decision to attempt a delivery anew.
type RetryDelivery struct {
	Delivery uuid.UUID
	Kind     domain.DeliveryKind
	Was      domain.DeliveryState // its state
	Reason   string
}

// SkipDelivery is an operator's decision to attempt a delivery no more.
type SkipDelivery struct {
	Delivery uuid.UUID
	Kind     domain.DeliveryKind
	Was      domain.DeliveryState // its state
	Over     bool                 // it had ended, and the chat continued without it
	Reason   string
	To       domain.Version   // what About answers
	About    *dialog.Question // of a tool that was asked in passing
	At       time.Time
}

// Reply is a person's message to the customer: a text, or media and their caption.
type Reply struct {
	Author Author
	Text   string
	Format dialog.Format
	Media  []Media
}

// Migrate says that the chat has another id by now.
type Migrate struct {
	To int64
	At time.Time
}

// Continue brings what another chat, which goes on as this one, has left open by its
// ChatMigrated at Version.
type Continue struct {
	From    int64
	Version domain.Version
	Unfinished
	At time.Time
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

// ReferTicket asks for the open ticket to be kept at another desk, too.
type ReferTicket struct{ Desk string }

// RecordFiling brings the number under which another desk keeps a ticket.
type RecordFiling struct {
	Delivery uuid.UUID
	Ticket   string
	Desk     string
	Number   string
}

// RecordAgent brings what somebody did to a ticket at the other desk.
type RecordAgent struct {
	ID     string // of the act: the same when it comes again
	Ticket string
	Desk   string
	Act    AgentAct
	Agent  string
	Text   string // of AgentReplied
	At     time.Time
}

func (Receive) command()        {}
func (Respond) command()        {}
func (RecordTool) command()     {}
func (Elapse) command()         {}
func (RecordDelivery) command() {}
func (RetryDelivery) command()  {}
func (SkipDelivery) command()   {}
func (Reply) command()          {}
func (Migrate) command()        {}
func (Continue) command()       {}
func (OpenTicket) command()     {}
func (AssignTicket) command()   {}
func (EscalateTicket) command() {}
func (ResolveTicket) command()  {}
func (ReopenTicket) command()   {}
func (HandBack) command()       {}
func (ReferTicket) command()    {}
func (RecordFiling) command()   {}
func (RecordAgent) command()    {}
