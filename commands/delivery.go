package commands

import (
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Delivery is an effect that is owed to the outside, one per event that asks for it.
type Delivery struct {
	ID          uuid.UUID // of that event
	Stream      domain.StreamID
	Version     domain.Version
	Kind        string
	Destination string
	Lane        string // effects of one lane go out in order
	Payload     any    // encoded as JSON
	Priority    int    // higher goes first
	Correlation uuid.UUID
}

// Kinds of deliveries.
const (
	KindSendMessage  = "telegram.sendMessage"
	KindAnswerButton = "telegram.answerCallbackQuery"
	KindLookUpOrder  = "orders.lookup"
)

// Priorities of deliveries: a customer waits longest for a person, and a pressed
// button shows a spinner until it is answered.
const (
	priorityBot    = 0
	priorityPerson = 10
	priorityButton = 20
)

// SendMessage is the payload of KindSendMessage.
type SendMessage struct {
	ChatID  int64           `json:"chat_id"`
	Text    string          `json:"text"`
	Buttons []dialog.Button `json:"buttons,omitempty"`
	Thread  int64           `json:"thread,omitempty"`
}

// AnswerButton is the payload of KindAnswerButton.
type AnswerButton struct {
	QueryID string `json:"query_id"`
	Text    string `json:"text,omitempty"`
}

// LookUpOrder is the payload of KindLookUpOrder.
type LookUpOrder struct {
	Number string         `json:"number"`
	To     domain.Version `json:"to"` // the event that asked
}

// Claimed is a delivery in the hands of one worker until its lease runs out.
type Claimed struct {
	Delivery
	Body     []byte // the payload as JSON
	Attempt  int    // this one, from 1
	Unsure   int    // earlier attempts that may have arrived
	Fence    int64  // number of the lease
	Deadline time.Time
	Age      time.Duration // since it was decided
}

// State is what became of an attempt.
type State string

// States of an attempt. Unknown means that the request was written and no answer
// came: it may have arrived.
const (
	Done    State = "done"
	Refused State = "refused"
	Unknown State = "unknown"
	Again   State = "again" // it did not arrive and may be tried again
	Dead    State = "dead"  // given up
)

// Outcome is what a sender learned from one attempt.
type Outcome struct {
	State     State
	After     time.Duration // Again: not before this long; 0 leaves it to the worker
	Reason    string        // when not Done
	Answer    []byte        // JSON of what the other side said, for the ledger
	MessageID int64         // of a message that was sent
	Blocked   bool          // Refused: the customer does not want messages from this bot
	Command   chat.Command  // what to record; nil records a chat.RecordDelivery
}
