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
	Bots     []string // the bots whose chats the operator may see and act on; empty for all
	Logins   []string // the ways to log in, besides the token: password, password and code, provider
	Created  time.Time
	LastSeen time.Time // zero when never
	Disabled bool
}

// Serves reports whether the operator may see and act on a bot's chats.
func (o Operator) Serves(bot string) bool { return len(o.Bots) == 0 || slices.Contains(o.Bots, bot) }

// Role determines the operator's permissions.
type Role string

// Roles: each includes the permissions of those before it.
const (
	Viewer Role = "viewer" // read the queue and chats
	Agent  Role = "agent"  // act on them
	Admin  Role = "admin"  // release another operator's claim of a chat
)

var ranks = map[Role]int{Viewer: 1, Agent: 2, Admin: 3}

// Valid reports whether r is one of the roles.
func (r Role) Valid() bool { return ranks[r] > 0 }

// Includes reports whether r includes the permissions of needed.
func (r Role) Includes(needed Role) bool { return r.Valid() && ranks[r] >= ranks[needed] }

// TicketQuery selects tickets of the queue. A zero field does not restrict the result.
type TicketQuery struct {
	Bot      string
	Bots     []string // bots; empty for all
	Status   string   // open or assigned
	Priority dialog.Priority
	Assignee string
	Tag      string
	Overdue  bool // only overdue tickets
	At       time.Time
	After    *Place // only tickets after this place
	Limit    int
}

// Place is the place of a ticket in the queue at a time: overdue tickets come first, then the
// order is by priority and by due time.
type Place struct {
	At      time.Time `json:"at"`
	Overdue bool      `json:"overdue"`
	Rank    int       `json:"rank"` // of its priority, from 1 for urgent
	Due     time.Time `json:"due"`
	Ticket  string    `json:"ticket"`
}

// QueuedTicket is a ticket in the queue.
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
	Resolve      time.Time // when it must be resolved; zero if there is no target
	FirstReply   time.Time // zero until an operator has replied
	ClaimedBy    string    // "" when no operator has claimed it
	ClaimedUntil time.Time
}
