package chat

import (
	"fmt"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// OperatorActed: somebody of the team did something. What it led to follows.
type OperatorActed struct {
	Key         string      `json:"key"` // of the act: the same when it comes again
	Fingerprint uint64      `json:"fingerprint,string"`
	Operator    string      `json:"operator"`
	Act         OperatorAct `json:"act"`
	Canned      string      `json:"canned,omitempty"` // name of the reply that was taken
	Fence       int64       `json:"fence,omitempty"`  // of the claim that they named
	Force       bool        `json:"force,omitempty"`  // another's claim did not count
	At          time.Time   `json:"at"`
	Led         int         `json:"led"` // events that it led to, which follow this one; it may have been so already
}

// OperatorAct is what somebody of the team did.
type OperatorAct string

// Acts of operators.
const (
	ActClaim       OperatorAct = "claim"
	ActRelease     OperatorAct = "release"
	ActReply       OperatorAct = "reply"
	ActCannedReply OperatorAct = "canned_reply"
	ActNote        OperatorAct = "note"
	ActTag         OperatorAct = "tag"
	ActAssign      OperatorAct = "assign"
	ActPriority    OperatorAct = "priority"
	ActOpen        OperatorAct = "open"
	ActResolve     OperatorAct = "resolve"
	ActReopen      OperatorAct = "reopen"
	ActHandBack    OperatorAct = "hand_back"
)

// TicketClaimed: an operator has the chat until then, or until they release it or the
// ticket is closed. The same operator keeps the fence when they extend the claim.
type TicketClaimed struct {
	Ticket   string    `json:"ticket"`
	Operator string    `json:"operator"`
	Fence    int64     `json:"fence"` // rises with every claim of the chat by somebody else, or after one ran out
	At       time.Time `json:"at"`
	Until    time.Time `json:"until"`
	From     string    `json:"from,omitempty"` // whose running claim it ended
}

// ClaimReleased: an operator gave the chat back to the queue.
type ClaimReleased struct {
	Ticket   string `json:"ticket"`
	Operator string `json:"operator"`
	Fence    int64  `json:"fence"`
}

// NoteAdded: words about the chat that the customer does not see.
type NoteAdded struct {
	Ticket   string    `json:"ticket,omitempty"` // the last one; the chat may have had none
	Operator string    `json:"operator"`
	Text     string    `json:"text"`
	At       time.Time `json:"at"`
}

// TicketTagged: tags were put on the ticket, or taken off.
type TicketTagged struct {
	Ticket  string   `json:"ticket"`
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// TicketPrioritized: an operator set how much the ticket hurries.
type TicketPrioritized struct {
	Ticket   string          `json:"ticket"`
	Was      dialog.Priority `json:"was"`
	Priority dialog.Priority `json:"priority"`
	At       time.Time       `json:"at"`
	Due      time.Time       `json:"due"`
	Resolve  time.Time       `json:"resolve_by,omitzero"`
}

func (e NoteAdded) transcriptLine() string { return transcriptLine(e.Operator, "noted: "+e.Text, nil) }

// registerOperators makes what operators do known to the codec.
func registerOperators(c *domain.Codec) {
	domain.Register[OperatorActed](c, "operator_acted").FoldedBy()
	domain.Register[TicketClaimed](c, "ticket_claimed").FoldedBy(tickets)
	domain.Register[ClaimReleased](c, "claim_released").FoldedBy(tickets)
	domain.Register[NoteAdded](c, "note_added").FoldedBy()
	domain.Register[TicketTagged](c, "ticket_tagged").FoldedBy(tickets)
	domain.Register[TicketPrioritized](c, "ticket_prioritized").FoldedBy(tickets)
}

// actOfOperator names an operator's act.
func actOfOperator(do Command) OperatorAct {
	switch do := do.(type) {
	case Already:
		return do.Act
	case Claim:
		return ActClaim
	case Release:
		return ActRelease
	case Reply:
		return ActReply
	case CannedReply:
		return ActCannedReply
	case AddNote:
		return ActNote
	case Tag:
		return ActTag
	case AssignTicket:
		return ActAssign
	case SetPriority, EscalateTicket:
		return ActPriority
	case OpenTicket:
		return ActOpen
	case ResolveTicket:
		return ActResolve
	case ReopenTicket:
		return ActReopen
	case HandBack:
		return ActHandBack
	default:
		panic(fmt.Sprintf("chat: %T is no act of an operator", do))
	}
}
