package commands

import (
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Delivery is an effect outside of chatledger: one for each event that asks for one.
type Delivery struct {
	ID          uuid.UUID // of that event
	Stream      domain.StreamID
	Version     domain.Version
	Kind        domain.DeliveryKind
	Destination string
	OrderingKey string // deliveries of one key are sent one after the other
	Payload     any    // encoded as JSON
	Priority    int    // higher goes first
	Correlation uuid.UUID
}

// Priorities of deliveries: a customer waits longest for a person, and a pressed
// button shows a spinner until it is answered.
const (
	PriorityTyping = -10
	PriorityBot    = 0
	PriorityPerson = 10
	PriorityButton = 20
)

// SendMessage is the payload of domain.KindSendMessage. With Media it goes by sendPhoto and
// the like, or by sendMediaGroup, and Text is the caption.
type SendMessage struct {
	ChatID  int64           `json:"chat_id"`
	Text    string          `json:"text"`
	Format  dialog.Format   `json:"format,omitempty"`
	Media   []chat.Media    `json:"media,omitempty"`
	Buttons []dialog.Button `json:"buttons,omitempty"`
	Thread  int64           `json:"thread,omitempty"`
}

// AnswerButton is the payload of domain.KindAnswerButton.
type AnswerButton struct {
	QueryID string `json:"query_id"`
	Text    string `json:"text,omitempty"`
}

// UseTool is the payload of the kinds that use a tool.
type UseTool struct {
	Tool     string            `json:"tool"`
	For      chat.Purpose      `json:"for"`
	Call     int               `json:"call"`
	Input    map[string]string `json:"input,omitempty"`
	About    *dialog.Question  `json:"about,omitempty"`
	Customer string            `json:"customer"`          // who it is used for, in the CRM's words: telegram:77
	Account  string            `json:"account,omitempty"` // the id that the CRM answered them with, when it is known
	To       domain.Version    `json:"to"`                // the event that it is used about
}

// Returned is the command that records what came of a use.
func (u UseTool) Returned(delivery uuid.UUID, at time.Time) chat.RecordTool {
	return chat.RecordTool{
		Delivery: delivery, To: u.To, Call: u.Call, For: u.For, Tool: u.Tool, Input: u.Input, About: u.About, At: at,
	}
}

// CreateTicket is the payload of domain.KindCreateTicket.
type CreateTicket struct {
	ExternalID string   `json:"external_id"`
	Subject    string   `json:"subject"`
	Comment    string   `json:"comment"`             // the first, between agents
	Requester  string   `json:"requester,omitempty"` // the customer's name
	Priority   string   `json:"priority,omitempty"`  // urgent, high, normal or low
	Tags       []string `json:"tags,omitempty"`
}

// AddComment is the payload of domain.KindAddComment.
type AddComment struct {
	ExternalID string `json:"external_id"`
	Body       string `json:"body"`
	Public     bool   `json:"public,omitempty"` // the requester sees it
}

// SetStatus is the payload of domain.KindSetStatus.
type SetStatus struct {
	ExternalID string `json:"external_id"`
	Status     string `json:"status"` // open, pending or solved
}

// SetPriority is the payload of domain.KindSetPriority.
type SetPriority struct {
	ExternalID string `json:"external_id"`
	Priority   string `json:"priority"` // urgent, high, normal or low
}

// ExternalID names a chat's ticket at another desk: chat-demo:42/#1.
func ExternalID(stream domain.StreamID, ticket string) string {
	return string(stream) + "/" + ticket
}

// Claimed is a delivery that a worker has leased.
type Claimed struct {
	Delivery
	Body     []byte // the payload as JSON
	Attempt  int    // this one, from 1
	Unsure   int    // earlier attempts that may have arrived: a sender that can checks for their result first
	Waived   int    // how many of Unsure do not count against another attempt
	Fence    int64  // number of the lease
	Deadline time.Time
	Age      time.Duration // since it was decided, or retried by an operator
	Closed   bool          // its chat or its bot may be closed to calls (see Permit)
	Trace    string        // of the event that asks for it
}

// Outcome is what a sender learned from one attempt.
type Outcome struct {
	State    domain.DeliveryState
	After    time.Duration // to retry: not before this long; 0 leaves it to the worker
	Untried  bool          // does not count as an attempt: no call was made, or the answer is not about the delivery
	Unlikely bool          // unknown, but most likely not done: a gateway answered in the system's place
	// Unanswered is set when the system itself did not answer, as during its outages.
	Unanswered bool
	Cause      Cause        // to retry: CauseFlood or CauseToken, if it is one of these
	MovedTo    int64        // to retry: the group has this chat id now
	Reason     string       // when not done
	Answer     []byte       // JSON of what the other side said, for the ledger
	MessageID  int64        // of a message that was sent
	Blocked    bool         // refused: the customer does not want messages from this bot
	Command    chat.Command // what to record; nil records a chat.RecordDelivery
}
