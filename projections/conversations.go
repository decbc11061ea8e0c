package projections

import (
	"context"
	"encoding/json"
	"fmt"
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
	Stream            string
	Bot               string
	ChatID            *int64
	ChatType          *string
	Customer          *string
	Username          *string
	Language          *string
	Handler           string
	Blocked           bool
	Workflow          *string
	Step              *string
	Collected         map[string]string
	WorkflowStartedAt *time.Time
	Paused            *pausedWorkflow
	LastIntent        *string
	LastMessage       *string
	LastMessageAt     *time.Time
	LastReply         *string
	LastReplyAt       *time.Time
	Messages          int64
	Replies           int64
	Unread            int64
	AwaitingDelivery  int64
	FailedDeliveries  int64
	LastFailure       *string
	CreatedAt         time.Time
	UpdatedAt         time.Time
	place
}

// pausedWorkflow is a workflow that was set aside for another.
type pausedWorkflow struct {
	Workflow  *string           `json:"workflow"`
	Step      *string           `json:"step"`
	Collected map[string]string `json:"collected"`
	StartedAt *time.Time        `json:"started_at"`
}

// encode is the workflow as a jsonb column's value.
func (p *pausedWorkflow) encode() (*string, error) {
	if p == nil {
		return nil, nil
	}
	encoded, err := json.Marshal(p)
	value := string(encoded)
	return &value, err
}

// Who answers a chat.
const (
	handlerBot    = "bot"
	handlerPerson = "person"
)

// Name implements Projection.
func (Conversations) Name() string { return "conversations" }

// Version implements Projection.
func (Conversations) Version() int { return 2 }

// Concerned implements Projection: every event moves a row's version.
func (Conversations) Concerned() []domain.Event { return nil }

// Take implements Folding.
func (c *Conversation) Take(r domain.Recorded) error {
	if int64(r.Version) != c.Version+1 {
		return GapError{"conversations", r.Stream, c.Version, r.Version}
	}
	if c.Version == 0 {
		*c = Conversation{Stream: string(r.Stream), Bot: r.Stream.Bot(), Handler: handlerBot, Collected: map[string]string{}, CreatedAt: r.OccurredAt}
		if id, ok := r.Stream.Chat(); ok {
			c.ChatID = &id
		}
	}
	c.place, c.UpdatedAt = placeOf(r), r.OccurredAt
	switch e := r.Event.(type) {
	case chat.MessageReceived:
		c.Messages++
		c.Unread++
		c.Blocked = c.Blocked && e.Late // who writes has come back
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
		c.Handler = handlerPerson
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
		if e.Kind == messageKind && e.Was == "waiting" { // whatever else it was is counted as failed already
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

// wants notes an intent that says something new.
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
		c.Paused = nil // all that was begun is over
	}
	if e.Step == dialog.Initial {
		c.Collected, c.WorkflowStartedAt = map[string]string{}, &e.At
	}
	if len(e.Set)+len(e.Cleared) == 0 {
		return
	}
	c.Collected = maps.Clone(c.Collected)
	for field, value := range e.Set {
		c.Collected[field] = clean(value)
	}
	for _, field := range e.Cleared {
		delete(c.Collected, field)
	}
}

func (c *Conversation) pause() {
	c.Paused = &pausedWorkflow{Workflow: c.Workflow, Step: c.Step, Collected: c.Collected}
	if c.WorkflowStartedAt != nil {
		began := c.WorkflowStartedAt.Truncate(time.Microsecond) // as a column of its own keeps it
		c.Paused.StartedAt = &began
	}
}

// describe is a message in one line of text, whatever it carries.
func describe(e chat.MessageReceived) string {
	if e.Text != "" || len(e.Media) == 0 {
		return e.Text
	}
	return "[" + e.Media[0].Kind + "]"
}

// text is a nullable column's value: null for nothing, and without NUL, which a
// text column cannot hold.
func text(s string) *string {
	if s == "" {
		return nil
	}
	s = clean(s)
	return &s
}

func clean(s string) string { return strings.ReplaceAll(s, "\x00", "␀") }

// conversationColumns in the order of scan and of upsert's parameters.
const conversationColumns = `stream_id, bot, chat_id, chat_type, customer, username, language, handler, blocked, workflow, step, collected,
	workflow_started_at, paused, last_intent, last_message, last_message_at, last_reply, last_reply_at, messages, replies, unread,
	awaiting_delivery, failed_deliveries, last_failure, created_at, updated_at, version, transaction_id, position`

func (c *Conversation) fields() []any {
	return []any{&c.Stream, &c.Bot, &c.ChatID, &c.ChatType, &c.Customer, &c.Username, &c.Language, &c.Handler, &c.Blocked, &c.Workflow, &c.Step, &c.Collected,
		&c.WorkflowStartedAt, &c.Paused, &c.LastIntent, &c.LastMessage, &c.LastMessageAt, &c.LastReply, &c.LastReplyAt, &c.Messages, &c.Replies, &c.Unread,
		&c.AwaitingDelivery, &c.FailedDeliveries, &c.LastFailure, &c.CreatedAt, &c.UpdatedAt, &c.Version, &c.Position.Transaction, &c.Position.Number}
}

// Apply implements Projection: read the page's rows, fold, write them back, each
// in one statement.
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
	return p.write(ctx, tx, rows)
}

// Start implements Projection.
func (Conversations) Start() Folding { return &Conversation{} }

// Rows implements Folding.
func (c *Conversation) Rows() map[string]Row {
	if c.Version == 0 {
		return nil
	}
	return map[string]Row{c.Stream: rowOf(conversationColumns, c.fields())}
}

// Rows implements Projection.
func (p Conversations) Rows(ctx context.Context, tx pgx.Tx, streams []string) (map[string]Row, error) {
	rows, err := p.read(ctx, tx, streams)
	if err != nil {
		return nil, err
	}
	found := make(map[string]Row, len(rows))
	for key, c := range rows {
		found[key] = rowOf(conversationColumns, c.fields())
	}
	return found, nil
}

func (Conversations) read(ctx context.Context, tx pgx.Tx, streams []string) (map[string]*Conversation, error) {
	found, err := tx.Query(ctx, `select `+conversationColumns+` from conversations where stream_id = any($1)`, streams)
	if err != nil {
		return nil, fmt.Errorf("read conversations: %w", err)
	}
	rows := map[string]*Conversation{}
	list, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (*Conversation, error) {
		c := &Conversation{}
		return c, row.Scan(c.fields()...)
	})
	if err != nil {
		return nil, fmt.Errorf("read conversations: %w", err)
	}
	for _, c := range list {
		rows[c.Stream] = c
	}
	return rows, nil
}

func (Conversations) write(ctx context.Context, tx pgx.Tx, rows map[string]*Conversation) error {
	n := len(rows)
	var (
		streams, bots, handlers                                            = make([]string, 0, n), make([]string, 0, n), make([]string, 0, n)
		chats                                                              = make([]*int64, 0, n)
		types, customers, usernames, languages, workflows, steps           []*string
		intents, messages, replies, failures                               []*string
		blocked                                                            []bool
		collected                                                          []string
		paused                                                             []*string
		started, messageAt, replyAt                                        []*time.Time
		messageCount, replyCount, unread, awaiting, failed, versions, nums []int64
		created, updated                                                   []time.Time
		transactions                                                       []uint64
	)
	for _, key := range slices.Sorted(maps.Keys(rows)) { // one order for all, so that no two writers wait for each other
		c := rows[key]
		data, err := json.Marshal(c.Collected)
		if err != nil {
			return fmt.Errorf("conversation %s: %w", c.Stream, err)
		}
		aside, err := c.Paused.encode()
		if err != nil {
			return fmt.Errorf("conversation %s: %w", c.Stream, err)
		}
		streams, bots, handlers, chats = append(streams, c.Stream), append(bots, c.Bot), append(handlers, c.Handler), append(chats, c.ChatID)
		types, customers, usernames, languages = append(types, c.ChatType), append(customers, c.Customer), append(usernames, c.Username), append(languages, c.Language)
		blocked, workflows, steps, collected = append(blocked, c.Blocked), append(workflows, c.Workflow), append(steps, c.Step), append(collected, string(data))
		paused = append(paused, aside)
		started, intents, messages, messageAt = append(started, c.WorkflowStartedAt), append(intents, c.LastIntent), append(messages, c.LastMessage), append(messageAt, c.LastMessageAt)
		replies, replyAt, messageCount, replyCount = append(replies, c.LastReply), append(replyAt, c.LastReplyAt), append(messageCount, c.Messages), append(replyCount, c.Replies)
		unread, awaiting, failed, failures = append(unread, c.Unread), append(awaiting, c.AwaitingDelivery), append(failed, c.FailedDeliveries), append(failures, c.LastFailure)
		created, updated, versions = append(created, c.CreatedAt), append(updated, c.UpdatedAt), append(versions, c.Version)
		transactions, nums = append(transactions, c.Position.Transaction), append(nums, c.Position.Number)
	}
	_, err := tx.Exec(ctx, `
		insert into conversations (`+conversationColumns+`)
		select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::boolean[],
			$10::text[], $11::text[], $12::jsonb[], $13::timestamptz[], $14::jsonb[], $15::text[], $16::text[], $17::timestamptz[], $18::text[], $19::timestamptz[],
			$20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[], $25::text[], $26::timestamptz[], $27::timestamptz[],
			$28::bigint[], $29::xid8[], $30::bigint[])
		on conflict (stream_id) do update set
			chat_type = excluded.chat_type, customer = excluded.customer, username = excluded.username, language = excluded.language,
			handler = excluded.handler, blocked = excluded.blocked, workflow = excluded.workflow, step = excluded.step,
			collected = excluded.collected, workflow_started_at = excluded.workflow_started_at, paused = excluded.paused, last_intent = excluded.last_intent,
			last_message = excluded.last_message, last_message_at = excluded.last_message_at, last_reply = excluded.last_reply,
			last_reply_at = excluded.last_reply_at, messages = excluded.messages, replies = excluded.replies, unread = excluded.unread,
			awaiting_delivery = excluded.awaiting_delivery, failed_deliveries = excluded.failed_deliveries, last_failure = excluded.last_failure,
			updated_at = excluded.updated_at, version = excluded.version, transaction_id = excluded.transaction_id, position = excluded.position`,
		streams, bots, chats, types, customers, usernames, languages, handlers, blocked, workflows, steps, collected, started, paused, intents,
		messages, messageAt, replies, replyAt, messageCount, replyCount, unread, awaiting, failed, failures, created, updated, versions, transactions, nums)
	if err != nil {
		return fmt.Errorf("write %d conversations: %w", n, err)
	}
	return nil
}

// streamsOf lists the streams of a page, each once.
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
