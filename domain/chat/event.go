package chat

import (
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// The types below are the storage format: their JSON is what history is made of.
// Adding a field is safe; anything else needs an upcaster and a golden file.

// Update is what every received update has. Late marks one whose update id is
// lower than one received before it: it is kept where it arrived and rewinds nothing.
type Update struct {
	ID   int64  `json:"update_id"`
	Key  uint64 `json:"key,string"` // what the update says, whatever its number: recognises a repeat under another id
	Late bool   `json:"late,omitempty"`
}

// Sender is who wrote or pressed.
type Sender struct {
	ID       int64  `json:"id"`
	Name     string `json:"name,omitempty"`
	Username string `json:"username,omitempty"`
	Language string `json:"language,omitempty"`
	Bot      bool   `json:"bot,omitempty"`
}

// Media is something a message carries beside its text. FileID is Telegram's
// name for it, good for this bot only.
type Media struct {
	Kind     string `json:"kind"` // photo, document, voice, ...
	FileID   string `json:"file_id,omitempty"`
	MimeType string `json:"mime_type,omitempty"`
	Size     int64  `json:"size,omitempty"` // bytes
}

// MessageReceived: somebody wrote in the chat.
type MessageReceived struct {
	Update
	MessageID int64     `json:"message_id"`
	Date      time.Time `json:"date"`
	ChatType  string    `json:"chat_type,omitempty"`
	ChatTitle string    `json:"chat_title,omitempty"`
	From      Sender    `json:"from"`
	Text      string    `json:"text,omitempty"` // or the caption
	Media     []Media   `json:"media,omitempty"`
	Album     string    `json:"album,omitempty"` // media_group_id
	ReplyTo   int64     `json:"reply_to,omitempty"`
	Thread    int64     `json:"thread,omitempty"`
	OverLimit bool      `json:"over_limit,omitempty"` // the chat wrote faster than its limit: kept, not answered
	Continues bool      `json:"continues,omitempty"`  // a further part of the album in the message before
}

// MessageEdited: somebody changed a message; Text is the whole new text.
type MessageEdited struct {
	Update
	MessageID int64     `json:"message_id"`
	EditedAt  time.Time `json:"edited_at"`
	From      Sender    `json:"from"`
	Text      string    `json:"text,omitempty"`
}

// ButtonPressed: somebody pressed an inline button (a callback query).
type ButtonPressed struct {
	Update
	QueryID   string    `json:"query_id"`
	MessageID int64     `json:"message_id"`
	Date      time.Time `json:"date"` // when it was received: a callback query has no date of its own
	From      Sender    `json:"from"`
	Data      string    `json:"data"`
}

// MembershipChanged: the bot was blocked, unblocked, added or removed.
type MembershipChanged struct {
	Update
	Date    time.Time `json:"date"`
	Status  string    `json:"status"` // member, administrator, left, kicked, ...
	Blocked bool      `json:"blocked,omitempty"`
}

// UpdateKept: an update of a kind that no decision needs; the whole of it is in raw.
type UpdateKept struct {
	Update
	Kind string    `json:"kind"`
	Date time.Time `json:"date,omitzero"` // when it was received
}

// Answer says which event of this stream something answers.
type Answer struct {
	To domain.Version `json:"to"`
}

// Understood: the bot took a message to mean this.
type Understood struct {
	Answer
	Intent     dialog.Intent `json:"intent"`
	Confidence float64       `json:"confidence"`
}

// ReplyQueued: a message to the customer was decided; the delivery with this
// event's id sends it.
type ReplyQueued struct {
	Answer
	Text    string          `json:"text"`
	Buttons []dialog.Button `json:"buttons,omitempty"`
	Thread  int64           `json:"thread,omitempty"`
	Author  Author          `json:"author"`
}

// Author is who wrote a reply; Name is that of a person.
type Author struct {
	Kind AuthorKind `json:"kind"`
	Name string     `json:"name,omitempty"`
}

// AuthorKind tells people's replies from others.
type AuthorKind string

// Kinds of authors.
const (
	Bot    AuthorKind = "bot"
	Person AuthorKind = "person"
)

// ButtonAnswered: the answer to a pressed button was decided; Text is shown for a moment.
type ButtonAnswered struct {
	Answer
	QueryID string `json:"query_id"`
	Text    string `json:"text,omitempty"`
}

// WorkflowMoved: a workflow went from one step to the next.
type WorkflowMoved struct {
	Answer
	Workflow string            `json:"workflow"`
	From     dialog.Step       `json:"from,omitempty"`
	Step     dialog.Step       `json:"step"`
	Set      map[string]string `json:"set,omitempty"`     // fields collected on the way
	Cleared  []string          `json:"cleared,omitempty"` // fields that no longer hold
	Source   int64             `json:"source,omitempty"`
	At       time.Time         `json:"at"`
}

// OrderLookupRequested: an order must be looked up before there is an answer.
type OrderLookupRequested struct {
	Answer
	Order string `json:"order"`
}

// OrderLookedUp: the look-up came back. Reason is set when it failed for good.
type OrderLookedUp struct {
	Delivery uuid.UUID    `json:"delivery"`
	Number   string       `json:"number"`
	Found    bool         `json:"found,omitempty"`
	Order    dialog.Order `json:"order,omitzero"`
	Reason   string       `json:"reason,omitempty"`
}

// TicketOpened: a person must take this chat over. The bot is silent from here.
type TicketOpened struct {
	Ticket   string          `json:"ticket"`
	Reason   string          `json:"reason"`
	Subject  string          `json:"subject,omitempty"`
	Priority dialog.Priority `json:"priority"`
	At       time.Time       `json:"at"`
	Due      time.Time       `json:"due"`
}

// TicketAssigned: a person took the ticket.
type TicketAssigned struct {
	Ticket   string `json:"ticket"`
	Assignee string `json:"assignee"`
}

// TicketEscalated: the ticket became more urgent.
type TicketEscalated struct {
	Ticket   string          `json:"ticket"`
	Reason   string          `json:"reason"`
	Priority dialog.Priority `json:"priority"`
	Due      time.Time       `json:"due"`
}

// TicketResolved: the case is closed; the bot answers again.
type TicketResolved struct {
	Ticket string    `json:"ticket"`
	At     time.Time `json:"at"`
}

// TicketReopened: the case was not closed after all.
type TicketReopened struct {
	Ticket string    `json:"ticket"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	Due    time.Time `json:"due"`
}

// HandedBack: a person gave the chat back to the bot without closing a case.
type HandedBack struct {
	Ticket string `json:"ticket"`
}

// DeliverySucceeded: what the event with id Delivery asked for was done.
type DeliverySucceeded struct {
	Delivery  uuid.UUID `json:"delivery"`
	Kind      string    `json:"kind"`
	MessageID int64     `json:"message_id,omitempty"` // of the message sent
}

// DeliveryFailed: it was not, or nobody knows. Outcome is refused, unknown or dead.
type DeliveryFailed struct {
	Delivery uuid.UUID `json:"delivery"`
	Kind     string    `json:"kind"`
	Outcome  string    `json:"outcome"`
	Reason   string    `json:"reason"`
	Blocked  bool      `json:"blocked,omitempty"` // the customer does not want messages from this bot
}

// NewCodec knows every event of a chat under its stored name.
func NewCodec() *domain.Codec {
	c := domain.NewCodec()
	domain.Register[MessageReceived](c, "message_received")
	domain.Register[MessageEdited](c, "message_edited")
	domain.Register[ButtonPressed](c, "button_pressed")
	domain.Register[MembershipChanged](c, "membership_changed")
	domain.Register[UpdateKept](c, "update_kept")
	domain.Register[Understood](c, "understood")
	domain.Register[ReplyQueued](c, "reply_queued", authorBecameAnObject)
	domain.Register[ButtonAnswered](c, "button_answered")
	domain.Register[WorkflowMoved](c, "workflow_moved", clearingBecameExplicit)
	domain.Register[OrderLookupRequested](c, "order_lookup_requested")
	domain.Register[OrderLookedUp](c, "order_looked_up")
	domain.Register[TicketOpened](c, "ticket_opened")
	domain.Register[TicketAssigned](c, "ticket_assigned")
	domain.Register[TicketEscalated](c, "ticket_escalated")
	domain.Register[TicketResolved](c, "ticket_resolved")
	domain.Register[TicketReopened](c, "ticket_reopened")
	domain.Register[HandedBack](c, "handed_back")
	domain.Register[DeliverySucceeded](c, "delivery_succeeded")
	domain.Register[DeliveryFailed](c, "delivery_failed")
	return c
}
