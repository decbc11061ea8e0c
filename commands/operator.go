package commands

import (
	"slices"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Operator is a person or a program that acts on chats for the team.
type Operator struct {
	Name     string
	Role     Role
	Bots     []string // whose chats they may see and act on; empty for all
	Logins   []string // how they log in, beside the token: password, password and code, provider
	Created  time.Time
	LastSeen time.Time // zero when never
	Disabled bool
}

// Serves tells whether a bot's chats are the operator's concern.
func (o Operator) Serves(bot string) bool { return len(o.Bots) == 0 || slices.Contains(o.Bots, bot) }

// Role is what an operator may do.
type Role string

// Roles, each may do what those before it may.
const (
	Viewer Role = "viewer" // read the queue and chats
	Agent  Role = "agent"  // act on them
	Admin  Role = "admin"  // take a chat from who has claimed it
)

var ranks = map[Role]int{Viewer: 1, Agent: 2, Admin: 3}

// Valid tells whether r is one of the roles.
func (r Role) Valid() bool { return ranks[r] > 0 }

// May tells whether who has this role may do what another is needed for.
func (r Role) Includes(needed Role) bool { return r.Valid() && ranks[r] >= ranks[needed] }

// Queue says which of the tickets that wait for a person are wanted. Zero fields are any.
type TicketQuery struct {
	Bot      string
	Bots     []string // bots; empty for all
	Status   string   // open or assigned
	Priority dialog.Priority
	Assignee string
	Tag      string
	Overdue  bool // only those
	At       time.Time
	After    *Place // they stand behind this one
	Limit    int
}

// Place is a ticket's in the queue as it stood at a time: those overdue then come first,
// then by priority, and then by due time.
type Place struct {
	At      time.Time `json:"at"`
	Overdue bool      `json:"overdue"`
	Rank    int       `json:"rank"` // of its priority, from 1 for urgent
	Due     time.Time `json:"due"`
	Ticket  string    `json:"ticket"`
}

// Queued is a ticket in the queue.
type QueuedTicket struct {
	Place
	Chat         string // <bot>:<chat id>
	Bot          string
	Status       string
	Priority     dialog.Priority
	Reason       string
	Subject      string
	Assignee     string
	Tags         []string
	Opened       time.Time
	Resolve      time.Time // when it must be closed; zero when nothing says so
	FirstReply   time.Time // zero until a person has replied
	ClaimedBy    string    // "" when no operator has claimed it
	ClaimedUntil time.Time
}
