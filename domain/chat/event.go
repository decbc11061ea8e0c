package chat

import (
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// The types below are the storage format: their JSON is what history is made of.
// Adding a field is safe; anything else needs an upcaster and a golden file.

// Update is what every received update has. Late marks one that is older than what was received
// before it, by its message id and date: it is kept where it arrived and rewinds nothing.
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
// name for it, good for this bot only; with it the bot can send the file, too.
type Media struct {
	Kind     string `json:"kind"` // photo, document, voice, ...
	FileID   string `json:"file_id,omitempty"`
	FileName string `json:"file_name,omitempty"`
	MimeType string `json:"mime_type,omitempty"`
	Size     int64  `json:"size,omitempty"`     // bytes
	Duration int64  `json:"duration,omitempty"` // seconds
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
	// the first such message of a window, to which the customer is told so
	TooFast   bool `json:"too_fast,omitempty"`
	Continues bool `json:"continues,omitempty"` // a further part of an album, which is one act with those before
	Corrected bool `json:"corrected,omitempty"` // an edit of it came first, and is answered in its place
}

// MessageEdited: somebody changed a message; Text is the whole new text.
type MessageEdited struct {
	Update
	MessageID int64     `json:"message_id"`
	EditedAt  time.Time `json:"edited_at"`
	From      Sender    `json:"from"`
	Text      string    `json:"text,omitempty"`
	Ahead     bool      `json:"ahead,omitempty"` // it came before its message, and is answered in its place
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

// UpdateKept: an update of a kind that no decision about the chat needs; the whole of
// it is in raw. It may say that the chat has another id by now, or had one before.
type UpdateKept struct {
	Update
	Kind         string    `json:"kind"`
	Date         time.Time `json:"date,omitzero"` // when it was received
	MigratedTo   int64     `json:"migrated_to,omitempty"`
	MigratedFrom int64     `json:"migrated_from,omitempty"`
}

// Answer says which event of this stream something answers.
type Answer struct {
	To domain.Version `json:"to"`
}

// Understood: the bot took a message to mean this.
type Understood struct {
	Answer
	Intent     dialog.Intent   `json:"intent"`
	Confidence float64         `json:"confidence"`
	Language   dialog.Language `json:"language,omitempty"`  // that the customer is answered in
	Knowledge  string          `json:"knowledge,omitempty"` // hash of what the bot knew
	Waits      *Waiting        `json:"waits,omitempty"`     // it is too old to be answered by itself
	// it is answered when its album's words have come, or will not
	Wordless *Wordless `json:"wordless,omitempty"`
	Edited   int64     `json:"edited,omitempty"` // message_id of the message whose edit it is about
}

// Waiting is a message that is answered with those that came after it.
type Waiting struct {
	Text string    `json:"text,omitempty"`
	By   int64     `json:"by,omitempty"` // Telegram's id of who wrote
	Sent time.Time `json:"sent"`
	At   time.Time `json:"at"` // when it was come to
}

// Wordless is an album that began without words, which another of its parts may bring.
type Wordless struct {
	Album string    `json:"album"`
	By    int64     `json:"by,omitempty"` // Telegram's id of who sent it
	Sent  time.Time `json:"sent"`
	At    time.Time `json:"at"` // when it was come to
}

// ReplyQueued: a message to the customer was decided; the delivery with this
// event's id sends it. With Media, Text is their caption. Several media are an album.
type ReplyQueued struct {
	Answer
	Text    string          `json:"text"`
	Format  dialog.Format   `json:"format,omitempty"`
	Media   []Media         `json:"media,omitempty"`
	Buttons []dialog.Button `json:"buttons,omitempty"`
	Thread  int64           `json:"thread,omitempty"`
	Chat    int64           `json:"chat,omitempty"` // to which it goes, when this one has moved there
	Author  Author          `json:"author"`
}

// Author is who wrote a reply; Name is that of a person or a model.
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
	Source   int64             `json:"source,omitempty"`  // the message that Set came from
	By       int64             `json:"by,omitempty"`      // Telegram's id of who brought it about
	At       time.Time         `json:"at"`
}

// WorkflowPaused: a workflow was set aside at its step for another.
type WorkflowPaused struct {
	Answer
	Workflow string      `json:"workflow"`
	Step     dialog.Step `json:"step"`
	At       time.Time   `json:"at"`
}

// WorkflowResumed: a workflow that was set aside goes on at its step.
type WorkflowResumed struct {
	Answer
	Workflow string      `json:"workflow"`
	Step     dialog.Step `json:"step"`
	At       time.Time   `json:"at"`
}

// WorkflowReminded: the customer was reminded of a workflow that waits for them.
type WorkflowReminded struct {
	Workflow string      `json:"workflow"`
	Step     dialog.Step `json:"step"`
	At       time.Time   `json:"at"`
}

// SwitchOffered: the customer, within a workflow, seems to want something else, and was
// asked whether to do that first.
type SwitchOffered struct {
	Answer
	dialog.Offer
}

// TakeUpOffered: the customer wrote what a workflow that has expired seems to have waited
// for, and was asked whether to take it up again at that step with their text.
type TakeUpOffered struct {
	Answer
	Workflow string `json:"workflow"`
	dialog.TakeUp
}

// BacklogTaken: the messages that had waited too long were answered all at once.
type BacklogTaken struct {
	Answer
	Messages   int             `json:"messages"`
	Intent     dialog.Intent   `json:"intent"` // of the one that was acted upon
	Confidence float64         `json:"confidence"`
	Language   dialog.Language `json:"language,omitempty"`
	Knowledge  string          `json:"knowledge,omitempty"`
}

// AlbumTaken: an album that began without words, with the message answered here, is waited
// for no more. Its words came with a message that is answered by itself; or they did not come in
// time, and it is answered without.
type AlbumTaken struct {
	Answer
	Words domain.Version `json:"words,omitempty"` // the message that brought them
	At    time.Time      `json:"at"`
}

// ToolRequested: a tool must be used; the delivery with this event's id does it. Its id
// is the idempotency key of a tool that changes something.
type ToolRequested struct {
	Answer
	Call  int               `json:"call"` // number of this request in the chat
	For   Purpose           `json:"for"`
	Tool  string            `json:"tool"`
	Input map[string]string `json:"input,omitempty"`
	About *dialog.Question  `json:"about,omitempty"` // of ForQuestion
	// Telegram's id of who asked or confirmed: in a group, too, everybody changes their own only
	Customer int64  `json:"customer,omitempty"`
	Account  string `json:"account,omitempty"` // the CRM's id of who the chat is with, when it was known
	Writes   bool   `json:"writes,omitempty"`  // it changes something, which the customer has confirmed
}

// Purpose is what goes on when a tool has answered.
type Purpose string

// Purposes.
const (
	ForWorkflow Purpose = "workflow"
	ForQuestion Purpose = "question" // asked in passing
	ForLLM      Purpose = "llm"
	ForCustomer Purpose = "customer" // it is good to know who writes
)

// ToolReturned: the tool answered. Reason is set when it failed for good.
type ToolReturned struct {
	Delivery uuid.UUID         `json:"delivery"`
	Call     int               `json:"call"`
	Tool     string            `json:"tool"`
	Input    map[string]string `json:"input,omitempty"`
	Output   map[string]string `json:"output,omitempty"`
	Receipt  string            `json:"receipt,omitempty"` // the other side's number of a change
	Account  string            `json:"account,omitempty"` // the CRM's id of the customer who was looked up
	Reason   string            `json:"reason,omitempty"`
}

// TicketOpened: a person must take this chat over. The bot is silent from here.
type TicketOpened struct {
	Ticket   string          `json:"ticket"`
	Reason   string          `json:"reason"`
	Subject  string          `json:"subject,omitempty"`
	Priority dialog.Priority `json:"priority"`
	At       time.Time       `json:"at"`
	Due      time.Time       `json:"due"`                 // a person replies first
	Resolve  time.Time       `json:"resolve_by,omitzero"` // and has closed the case
}

// DueBreached: a time that a ticket was due at has passed, and what was due is not done.
type DueBreached struct {
	Ticket string    `json:"ticket"`
	What   DueWhat   `json:"what"`
	Due    time.Time `json:"due"`
	At     time.Time `json:"at"`
}

// DueWhat is what a ticket's times are of.
type DueWhat string

// The times that a ticket can miss.
const (
	DueResponse   DueWhat = "first_response"
	DueResolution DueWhat = "resolution"
)

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
	At       time.Time       `json:"at,omitzero"`
	Due      time.Time       `json:"due"`
	Resolve  time.Time       `json:"resolve_by,omitzero"`
}

// TicketResolved: the case is closed; the bot answers again.
type TicketResolved struct {
	Ticket string    `json:"ticket"`
	At     time.Time `json:"at"`
}

// TicketReopened: the case was not closed after all.
type TicketReopened struct {
	Ticket  string    `json:"ticket"`
	Reason  string    `json:"reason"`
	At      time.Time `json:"at"`
	Due     time.Time `json:"due"`
	Resolve time.Time `json:"resolve_by,omitzero"`
}

// HandedBack: a person gave the chat back to the bot without closing a case.
type HandedBack struct {
	Ticket string `json:"ticket"`
}

// TicketReferred: another desk must keep the case, too; the delivery with this event's
// id files it there.
type TicketReferred struct {
	Ticket   string          `json:"ticket"`
	Desk     string          `json:"desk"` // zendesk
	Reason   string          `json:"reason"`
	Subject  string          `json:"subject,omitempty"`
	Customer string          `json:"customer,omitempty"` // name
	Priority dialog.Priority `json:"priority"`
	Said     []string        `json:"said,omitempty"` // the last words about it, oldest first
}

// TicketFiled: the other desk keeps the case, under this number.
type TicketFiled struct {
	Delivery uuid.UUID `json:"delivery"`
	Ticket   string    `json:"ticket"`
	Desk     string    `json:"desk"`
	Number   string    `json:"number"`
}

// DeskUpdateQueued: what the desk that keeps the case must be told was decided: one of
// text, status and priority. The delivery with this event's id tells it.
type DeskUpdateQueued struct {
	Ticket   string          `json:"ticket"`
	Desk     string          `json:"desk"`
	Text     string          `json:"text,omitempty"`
	Public   bool            `json:"public,omitempty"` // the customer got the text, too
	Status   string          `json:"status,omitempty"` // open or solved
	Priority dialog.Priority `json:"priority,omitempty"`
}

// AgentActed: somebody did something to the case at the other desk. What it led to
// here follows; Refused says why it led to nothing.
type AgentActed struct {
	ID      string    `json:"id"` // of the act: the same when it comes again
	Ticket  string    `json:"ticket"`
	Desk    string    `json:"desk"`
	Act     AgentAct  `json:"act"`
	Agent   string    `json:"agent"`
	Text    string    `json:"text,omitempty"`
	At      time.Time `json:"at"`
	Refused string    `json:"refused,omitempty"`
}

// AgentAct is what somebody did at the other desk.
type AgentAct string

// Acts of agents.
const (
	AgentSolved   AgentAct = "solved"
	AgentReopened AgentAct = "reopened"
	AgentReplied  AgentAct = "replied" // to the customer
)

// DeliverySucceeded: what the event with id Delivery asked for was done; more than
// once perhaps, when earlier attempts were unsure.
type DeliverySucceeded struct {
	Delivery  uuid.UUID           `json:"delivery"`
	Kind      domain.DeliveryKind `json:"kind"`
	MessageID int64               `json:"message_id,omitempty"` // of the message sent
	Unsure    int                 `json:"unsure,omitempty"`     // attempts before that may have arrived too
}

// DeliveryFailed: it was not, or nobody knows. Outcome is refused, unknown or dead.
type DeliveryFailed struct {
	Delivery uuid.UUID            `json:"delivery"`
	Kind     domain.DeliveryKind  `json:"kind"`
	Outcome  domain.DeliveryState `json:"outcome"`
	Reason   string               `json:"reason"`
	Blocked  bool                 `json:"blocked,omitempty"` // the customer does not want messages from this bot
	// attempts that may have arrived: it may have been done all the same
	Unsure int  `json:"unsure,omitempty"`
	Held   bool `json:"held,omitempty"` // a dead letter: what follows it waits until an operator decides
}

// DeliveryRetried: an operator wants it attempted anew.
type DeliveryRetried struct {
	Delivery uuid.UUID            `json:"delivery"`
	Kind     domain.DeliveryKind  `json:"kind"`
	Was      domain.DeliveryState `json:"was"` // dead, unknown, refused, skipped, or done when it is to be done twice
	Reason   string               `json:"reason"`
}

// DeliverySkipped: an operator decided that it will not be attempted any more.
type DeliverySkipped struct {
	Delivery uuid.UUID            `json:"delivery"`
	Kind     domain.DeliveryKind  `json:"kind"`
	Was      domain.DeliveryState `json:"was"` // dead, unknown or waiting
	Reason   string               `json:"reason"`
}

// Unfinished is what is open in a chat that goes on under another id.
type Unfinished struct {
	Workflow string            `json:"workflow,omitempty"`
	Step     dialog.Step       `json:"step,omitempty"`
	Path     []dialog.Step     `json:"path,omitempty"`   // the way to the step
	Data     map[string]string `json:"data,omitempty"`   // what was collected, by field
	Ticket   *TicketOpened     `json:"ticket,omitempty"` // as it stands
	Assignee string            `json:"assignee,omitempty"`
}

// ChatMigrated: the group became a supergroup, which has another id; what is open here
// goes on there.
type ChatMigrated struct {
	To int64 `json:"to"`
	Unfinished
	At time.Time `json:"at"`
}

// ChatContinued: this chat was another before, which left this open by its ChatMigrated
// at Version.
type ChatContinued struct {
	From    int64          `json:"from"`
	Version domain.Version `json:"version"`
	Unfinished
	At time.Time `json:"at"`
}

// The tables of the read model that fold some events only. Every event changes conversations, which
// keeps the version of its stream.
const (
	messages = "messages"
	tickets  = "tickets"
	chatDays = "chat_days"
)

// NewCodec registers every event of a chat under its stored name, with the tables that fold it. A new
// event is added here and, if a table folds it, to the Apply of that table's projection.
func NewCodec() *domain.Codec {
	c := domain.NewCodec()
	domain.Register[MessageReceived](c, "message_received").FoldedBy(messages, chatDays)
	domain.Register[MessageEdited](c, "message_edited").FoldedBy(messages)
	domain.Register[ButtonPressed](c, "button_pressed").FoldedBy(messages, chatDays)
	domain.Register[MembershipChanged](c, "membership_changed").FoldedBy(chatDays)
	domain.Register[UpdateKept](c, "update_kept").FoldedBy()
	domain.Register[Understood](c, "understood").FoldedBy(messages)
	domain.Register[ReplyQueued](c, "reply_queued", authorBecameAnObject).FoldedBy(tickets, messages, chatDays)
	domain.Register[ButtonAnswered](c, "button_answered").FoldedBy(messages)
	domain.Register[WorkflowMoved](c, "workflow_moved", clearingBecameExplicit).FoldedBy(messages)
	domain.Register[WorkflowPaused](c, "workflow_paused").FoldedBy()
	domain.Register[WorkflowResumed](c, "workflow_resumed").FoldedBy()
	domain.Register[WorkflowReminded](c, "workflow_reminded").FoldedBy()
	domain.Register[SwitchOffered](c, "switch_offered").FoldedBy()
	domain.Register[TakeUpOffered](c, "take_up_offered").FoldedBy()
	domain.Register[BacklogTaken](c, "backlog_taken").FoldedBy(messages)
	domain.Register[AlbumTaken](c, "album_taken").FoldedBy(messages)
	domain.Register[ToolRequested](c, "tool_requested").FoldedBy()
	domain.Formerly[ToolRequested](c, "order_lookup_requested", orderLookupBecameATool)
	domain.Formerly[ToolRequested](c, "address_check_requested", addressCheckBecameATool)
	domain.Formerly[ToolRequested](c, "address_update_requested", addressUpdateBecameATool)
	domain.Register[ToolReturned](c, "tool_returned").FoldedBy()
	domain.Formerly[ToolReturned](c, "order_looked_up", orderBecameOutput)
	domain.Formerly[ToolReturned](c, "address_checked", checkBecameOutput)
	domain.Formerly[ToolReturned](c, "address_updated", addressBecameOutput)
	domain.Formerly[ToolReturned](c, "address_update_failed", failureBecameOutput)
	domain.Register[ModelAsked](c, "model_asked").FoldedBy(messages)
	domain.Register[ModelAnswered](c, "model_answered").FoldedBy(chatDays)
	domain.Register[ExchangeJoined](c, "exchange_joined").FoldedBy(messages)
	domain.Register[ExchangeEnded](c, "exchange_ended").FoldedBy()
	domain.Register[AttackRefused](c, "attack_refused").FoldedBy()
	domain.Register[ConfirmationAsked](c, "confirmation_asked").FoldedBy()
	domain.Register[ToolConfirmed](c, "tool_confirmed").FoldedBy()
	domain.Register[DueBreached](c, "due_breached").FoldedBy(tickets, chatDays)
	domain.Register[TicketOpened](c, "ticket_opened").FoldedBy(tickets, messages, chatDays)
	domain.Register[TicketAssigned](c, "ticket_assigned").FoldedBy(tickets)
	domain.Register[TicketEscalated](c, "ticket_escalated").FoldedBy(tickets)
	domain.Register[TicketResolved](c, "ticket_resolved").FoldedBy(tickets, chatDays)
	domain.Register[TicketReopened](c, "ticket_reopened").FoldedBy(tickets, chatDays)
	domain.Register[HandedBack](c, "handed_back").FoldedBy(tickets, chatDays)
	domain.Register[TicketReferred](c, "ticket_referred").FoldedBy(tickets)
	domain.Register[TicketFiled](c, "ticket_filed").FoldedBy(tickets)
	domain.Register[DeskUpdateQueued](c, "desk_update_queued").FoldedBy()
	domain.Register[AgentActed](c, "agent_acted").FoldedBy()
	domain.Register[DeliverySucceeded](c, "delivery_succeeded").FoldedBy(messages)
	domain.Register[DeliveryFailed](c, "delivery_failed").FoldedBy(tickets, messages, chatDays)
	domain.Register[DeliveryRetried](c, "delivery_retried").FoldedBy(tickets, messages)
	domain.Register[DeliverySkipped](c, "delivery_skipped").FoldedBy(tickets, messages)
	domain.Register[ChatMigrated](c, "chat_migrated").FoldedBy()
	domain.Register[ChatContinued](c, "chat_continued").FoldedBy()
	registerOperators(c)
	domain.Register[WebhookMoved](c, "webhook_moved").FoldedBy()
	return c
}
