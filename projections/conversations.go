package projections

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Conversations is readmodel.conversations: the current state of every chat.
type Conversations struct{}

// Conversation is a row; nil stands for null.
type Conversation struct {
	Stream            string            `column:"stream_id,key"`
	Bot               string            `column:"bot,fixed"`
	ChatID            *int64            `column:"chat_id,fixed"`
	ChatType          *string           `column:"chat_type"`
	Customer          *string           `column:"customer"`
	Username          *string           `column:"username"`
	Language          *string           `column:"language"`
	Handler           string            `column:"handler"`
	Blocked           bool              `column:"blocked"`
	Workflow          *string           `column:"workflow"`
	Step              *string           `column:"step"`
	Collected         map[string]string `column:"collected"`
	WorkflowStartedAt *time.Time        `column:"workflow_started_at"`
	Paused            *pausedWorkflow   `column:"paused"`
	LastIntent        *string           `column:"last_intent"`
	LastMessage       *string           `column:"last_message"`
	LastMessageAt     *time.Time        `column:"last_message_at"`
	LastReply         *string           `column:"last_reply"`
	LastReplyAt       *time.Time        `column:"last_reply_at"`
	Messages          int64             `column:"messages"`
	Replies           int64             `column:"replies"`
	Unread            int64             `column:"unread"`
	AwaitingDelivery  int64             `column:"awaiting_delivery"`
	FailedDeliveries  int64             `column:"failed_deliveries"`
	LastFailure       *string           `column:"last_failure"`
	CreatedAt         time.Time         `column:"created_at,fixed"`
	UpdatedAt         time.Time         `column:"updated_at"`
	place
}

var conversations = newTable[Conversation]("conversations")

// pausedWorkflow is a workflow that was interrupted by another.
type pausedWorkflow struct {
	Workflow  *string           `json:"workflow"`
	Step      *string           `json:"step"`
	Collected map[string]string `json:"collected"`
	StartedAt *time.Time        `json:"started_at"`
}

// The column handler says whether the bot or an operator answers a chat.
const (
	handlerBot      = "bot"
	handlerOperator = "person"
)

// Name implements Projection.
func (Conversations) Name() string { return "conversations" }

// Version implements Projection.
func (Conversations) Version() int { return 2 }

// Concerned implements Projection: every event changes the version of a row.
func (Conversations) Concerned() []domain.Event { return nil }

// Take implements Folding.
func (c *Conversation) Take(r domain.Recorded) error {
	if int64(r.Version) != c.Version+1 {
		return GapError{"conversations", r.Stream, c.Version, r.Version}
	}
	if c.Version == 0 {
		*c = Conversation{
			Stream: string(r.Stream), Bot: r.Stream.Bot(), Handler: handlerBot, Collected: map[string]string{},
			CreatedAt: r.OccurredAt,
		}
		if id, ok := r.Stream.Chat(); ok {
			c.ChatID = &id
		}
	}
	c.place, c.UpdatedAt = placeOf(r), r.OccurredAt
	switch e := r.Event.(type) {
	case chat.MessageReceived:
		c.Messages++
		c.Unread++
		c.Blocked = c.Blocked && e.Late // a new message shows that the customer has unblocked the bot
		c.from(e.From)
		c.ChatType = text(e.ChatType)
		if e.ChatTitle != "" {
			c.Customer = text(e.ChatTitle)
		}
		c.LastMessage, c.LastMessageAt = text(describe(e)), &e.Date
	case chat.MessageEdited:
		c.from(e.From)
	case chat.ButtonPressed:
		c.from(e.From)
	case chat.MembershipChanged:
		c.Blocked = e.Blocked
	case chat.Understood:
		c.wants(e.Intent)
	case chat.BacklogTaken:
		c.wants(e.Intent)
	case chat.ReplyQueued:
		c.Unread = 0
		c.AwaitingDelivery++
		c.LastReply, c.LastReplyAt = text(e.Text), &r.OccurredAt
	case chat.WorkflowMoved:
		c.move(e)
	case chat.TicketOpened, chat.TicketReopened:
		c.Handler = handlerOperator
	case chat.TicketResolved, chat.HandedBack:
		c.Handler = handlerBot
	case chat.DeliverySucceeded:
		if e.MessageID != 0 {
			c.Replies++
			c.AwaitingDelivery--
		}
	case chat.WorkflowPaused:
		c.pause()
	case chat.WorkflowResumed:
		if p := c.Paused; p != nil {
			c.Workflow, c.Step, c.Collected, c.WorkflowStartedAt, c.Paused = p.Workflow, p.Step, p.Collected, p.StartedAt, nil
		}
	case chat.ToolReturned:
		if e.Reason != "" {
			c.LastFailure = text(e.Reason)
		}
	case chat.DeliveryFailed:
		if e.Kind == messageKind {
			c.FailedDeliveries++
			c.AwaitingDelivery--
		}
		c.LastFailure = text(e.Reason)
		c.Blocked = c.Blocked || e.Blocked
	case chat.DeliveryRetried:
		if e.Kind != messageKind {
			break
		}
		if c.AwaitingDelivery++; e.Was != "done" {
			c.FailedDeliveries--
		}
	case chat.DeliverySkipped:
		if e.Kind == messageKind && e.Was == "waiting" { // in another state it is counted as failed already
			c.FailedDeliveries++
			c.AwaitingDelivery--
		}
	}
	return nil
}

// messageKind is the kind of the deliveries that are counted: messages to the customer.
const messageKind = "telegram.sendMessage"

func (c *Conversation) from(s chat.Sender) {
	c.Customer, c.Username, c.Language = text(s.Name), text(s.Username), text(s.Language)
}

// wants stores the intent of a message, except intents that only continue the dialogue.
func (c *Conversation) wants(intent dialog.Intent) {
	switch intent {
	case dialog.Pressed, dialog.Corrected, dialog.Answered, dialog.Waited, dialog.Hasty:
	default:
		c.LastIntent = text(string(intent))
	}
}

func (c *Conversation) move(e chat.WorkflowMoved) {
	c.Workflow, c.Step = text(e.Workflow), text(string(e.Step))
	if e.Step == dialog.HandedOver || e.Step == dialog.Expired {
		c.Paused = nil // the paused workflow ends, too
	}
	if e.Step == dialog.Initial {
		c.Collected, c.WorkflowStartedAt = map[string]string{}, &e.At
	}
	if len(e.Set)+len(e.Cleared) == 0 {
		return
	}
	c.Collected = maps.Clone(c.Collected)
	for field, value := range e.Set {
		c.Collected[clean(field)] = clean(value)
	}
	for _, field := range e.Cleared {
		delete(c.Collected, clean(field))
	}
}

func (c *Conversation) pause() {
	c.Paused = &pausedWorkflow{Workflow: c.Workflow, Step: c.Step, Collected: c.Collected}
	if c.WorkflowStartedAt != nil {
		began := c.WorkflowStartedAt.Truncate(time.Microsecond) // the precision of a timestamptz column
		c.Paused.StartedAt = &began
	}
}

// describe returns the text of a message, or the kind of its first attachment.
func describe(e chat.MessageReceived) string {
	if e.Text != "" || len(e.Media) == 0 {
		return e.Text
	}
	return "[" + e.Media[0].Kind + "]"
}

// text returns the value of a nullable text column: null for an empty string, and NUL replaced, which
// a text column cannot store.
func text(s string) *string {
	if s == "" {
		return nil
	}
	s = clean(s)
	return &s
}

func clean(s string) string { return strings.ReplaceAll(s, "\x00", "␀") }

// Apply implements Projection: one statement reads the rows of the page's streams, and one writes them.
func (p Conversations) Apply(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	rows, err := p.read(ctx, tx, streamsOf(page))
	if err != nil {
		return err
	}
	for _, r := range page {
		row := rows[string(r.Stream)]
		if row == nil {
			row = &Conversation{}
			rows[string(r.Stream)] = row
		}
		if err := row.Take(r); err != nil {
			return err
		}
	}
	changed := make([]*Conversation, 0, len(rows))
	for _, stream := range slices.Sorted(maps.Keys(rows)) {
		changed = append(changed, rows[stream])
	}
	_, err = conversations.write(ctx, tx, changed)
	return err
}

// Start implements Projection.
func (Conversations) Start() Folding { return &Conversation{} }

// Rows implements Folding.
func (c *Conversation) Rows() map[string]Row {
	if c.Version == 0 {
		return nil
	}
	return map[string]Row{c.Stream: conversations.row(c)}
}

// Rows implements Projection.
func (p Conversations) Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]Row, error) {
	rows, err := p.read(ctx, tx, streams)
	if err != nil {
		return nil, err
	}
	found := make(map[string]Row, len(rows))
	for key, c := range rows {
		found[key] = conversations.row(c)
	}
	return found, nil
}

func (Conversations) read(ctx context.Context, tx pgx.Tx, streams []string) (map[string]*Conversation, error) {
	list, err := conversations.query(ctx, tx, `
		select `+conversations.names+` from conversations where stream_id = any($1)`, streams)
	if err != nil {
		return nil, err
	}
	rows := make(map[string]*Conversation, len(list))
	for _, c := range list {
		rows[c.Stream] = c
	}
	return rows, nil
}

// streamsOf returns the streams of a page without duplicates.
func streamsOf(page []domain.Recorded) []string {
	seen := map[domain.StreamID]bool{}
	var streams []string
	for _, r := range page {
		if !seen[r.Stream] {
			seen[r.Stream] = true
			streams = append(streams, string(r.Stream))
		}
	}
	return streams
}
