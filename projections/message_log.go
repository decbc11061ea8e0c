package projections

import (
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Message is a row of readmodel.messages; nil stands for null.
type Message struct {
	ID          string     `column:"message_id,key"`
	Stream      string     `column:"stream_id,fixed"`
	Number      int64      `column:"number,fixed"`
	Bot         string     `column:"bot,fixed"`
	ChatID      int64      `column:"chat_id,fixed"`
	Direction   string     `column:"direction,fixed"`
	Kind        string     `column:"kind,fixed"`
	At          time.Time  `column:"at,fixed"`
	SentAt      *time.Time `column:"sent_at,fixed"`
	TelegramID  *int64     `column:"telegram_id"`
	WrittenBy   string     `column:"written_by,fixed"`
	Author      *string    `column:"author,fixed"`
	Text        *string    `column:"text,fixed"`
	Language    *string    `column:"language"`
	Intent      *string    `column:"intent"`
	Confidence  *float64   `column:"confidence"`
	Knowledge   *string    `column:"knowledge"`
	Workflow    *string    `column:"workflow"`
	FromStep    *string    `column:"from_step"`
	Step        *string    `column:"step"`
	AnsweredBy  *string    `column:"answered_by"`
	AnsweredAt  *time.Time `column:"answered_at"`
	HandedOver  *string    `column:"handed_over"`
	Answers     *string    `column:"answers,fixed"`
	Backlog     bool       `column:"backlog"`
	ModelAsked  bool       `column:"model_asked"`
	OverLimit   bool       `column:"over_limit,fixed"`
	Late        bool       `column:"late,fixed"`
	AlbumPart   bool       `column:"album_part"`
	Delivery    *string    `column:"delivery"`
	DeliveredAt *time.Time `column:"delivered_at"`
	Failure     *string    `column:"failure"`
	place

	changed bool // it differs from the row in the table
}

// Authors of messages and answers, in the columns written_by and answered_by. Other authors have the
// name of their kind.
const (
	byCustomer = "customer"
	byBot      = "bot" // another bot in a group
	byRule     = "rule"
	byOperator = "person"
	byNobody   = "nobody"
)

// Values of the column delivery. A failed delivery has its outcome there.
const (
	waiting = "waiting"
	sent    = "sent"
	skipped = "skipped"
)

// lastMessages is how many of a chat's last messages are checked for those that wait for an answer.
// An operator's reply does not mark older messages as answered.
const lastMessages = 50

// messageLog has the loaded messages of one chat, in the order of their numbers: those that events
// name, and the last ones if an event does not name a message.
type messageLog struct {
	stream domain.StreamID
	list   []*Message
	byID   map[string]*Message
	chatID int64
	bot    string
}

func newMessageLog(stream domain.StreamID) *messageLog {
	id, _ := stream.Chat()
	return &messageLog{stream: stream, byID: map[string]*Message{}, chatID: id, bot: stream.Bot()}
}

// receivedID returns the message_id of the message that was received at a version of a stream.
func receivedID(stream domain.StreamID, version domain.Version) string {
	return string(stream) + "/" + strconv.FormatInt(int64(version), 10)
}

// sending returns the message_id of the message that a delivery sends, or "" if it sends none.
func sending(delivery uuid.UUID, kind domain.DeliveryKind) string {
	if kind != messageKind {
		return ""
	}
	return delivery.String()
}

// about returns the message that an event changes, or "" if it names none.
func about(r domain.Recorded) (id string) {
	to := func(a chat.Answer) string {
		if a.To == 0 {
			return ""
		}
		return receivedID(r.Stream, a.To)
	}
	switch e := r.Event.(type) {
	case chat.Understood:
		return to(e.Answer)
	case chat.BacklogTaken:
		return to(e.Answer)
	case chat.AlbumTaken:
		return to(e.Answer)
	case chat.WorkflowMoved:
		return to(e.Answer)
	case chat.ModelAsked:
		return to(e.Answer)
	case chat.ExchangeJoined:
		return to(e.Answer)
	case chat.ReplyQueued:
		return to(e.Answer)
	case chat.ButtonAnswered:
		if e.Text != "" {
			return to(e.Answer)
		}
	case chat.DeliverySucceeded:
		return sending(e.Delivery, e.Kind)
	case chat.DeliveryFailed:
		return sending(e.Delivery, e.Kind)
	case chat.DeliveryRetried:
		return sending(e.Delivery, e.Kind)
	case chat.DeliverySkipped:
		return sending(e.Delivery, e.Kind)
	}
	return ""
}

// aboutTheLast reports whether an event changes some of a chat's last messages.
func aboutTheLast(r domain.Recorded) bool {
	switch e := r.Event.(type) {
	case chat.TicketOpened:
		return handedOver(r)
	case chat.BacklogTaken:
		return true
	case chat.ReplyQueued:
		return e.Author.Kind != chat.Bot
	}
	return false
}

// handedOver reports whether the bot opened the ticket, and not an operator.
func handedOver(r domain.Recorded) bool {
	_, named := r.Actor.Operator()
	return !named
}

// take folds one event into the log.
func (l *messageLog) take(r domain.Recorded) error {
	switch e := r.Event.(type) {
	case chat.MessageReceived:
		return l.add(r, received(e))
	case chat.MessageEdited:
		return l.add(r, Message{
			Kind: "edit", SentAt: &e.EditedAt, TelegramID: &e.MessageID, WrittenBy: writer(e.From),
			Author: text(e.From.Name), Text: text(e.Text), Late: e.Late,
		})
	case chat.ButtonPressed:
		return l.add(r, Message{
			Kind: "button", TelegramID: &e.MessageID, WrittenBy: writer(e.From),
			Author: text(e.From.Name), Text: text(e.Data), Late: e.Late,
		})
	case chat.ReplyQueued:
		if err := l.answered(r, authorOf(e)); err != nil {
			return err
		}
		return l.add(r, queued(r, e))
	case chat.TicketOpened:
		if handedOver(r) {
			return l.handOver(r, e.Reason)
		}
		return nil
	case chat.BacklogTaken:
		if e.Intent != dialog.Waited { // the bot has answered the backlog
			if err := l.each(r, l.unanswered(func(m *Message) bool { return m.Backlog }),
				func(m *Message) { m.answer(byRule, r.OccurredAt) }); err != nil {
				return err
			}
		}
	}
	m := l.byID[about(r)]
	if m == nil {
		return nil
	}
	return l.change(r, m, func(m *Message) { m.learn(r) })
}

// received returns the row of a received message. The columns that all rows have are set by add.
func received(e chat.MessageReceived) Message {
	m := Message{Kind: "text", SentAt: &e.Date, TelegramID: &e.MessageID, WrittenBy: writer(e.From),
		Author: text(e.From.Name), Text: text(e.Text),
		OverLimit: e.OverLimit, Late: e.Late || e.Corrected, AlbumPart: e.Continues}
	if len(e.Media) > 0 {
		m.Kind = clean(e.Media[0].Kind)
	}
	return m
}

func writer(from chat.Sender) string {
	if from.Bot {
		return byBot
	}
	return byCustomer
}

// queued returns the row of a reply that waits to be sent.
func queued(r domain.Recorded, e chat.ReplyQueued) Message {
	state := waiting
	m := Message{ID: r.ID.String(), Direction: "out", Kind: "text", WrittenBy: authorOf(e),
		Author: text(e.Author.Name), Text: text(e.Text),
		Answers: text(about(r)), Delivery: &state}
	if len(e.Media) > 0 {
		m.Kind = clean(e.Media[0].Kind)
	}
	return m
}

func authorOf(e chat.ReplyQueued) string {
	switch e.Author.Kind {
	case chat.Bot:
		return byRule
	case chat.Person:
		return byOperator
	default:
		return clean(string(e.Author.Kind))
	}
}

// add appends a message to the log.
func (l *messageLog) add(r domain.Recorded, m Message) error {
	m.Stream, m.Bot, m.ChatID, m.Number, m.At = string(l.stream), l.bot, l.chatID, int64(r.Version), r.OccurredAt
	if m.Direction == "" {
		nobody := byNobody
		m.ID, m.Direction, m.AnsweredBy = receivedID(l.stream, r.Version), "in", &nobody
	}
	if known := l.byID[m.ID]; known != nil {
		return GapError{"messages", r.Stream, known.Version, r.Version}
	}
	m.place, m.changed = placeOf(r), true
	l.keep(&m)
	return nil
}

func (l *messageLog) keep(m *Message) {
	l.list, l.byID[m.ID] = append(l.list, m), m
}

// change applies an event to a message. One event may change a message more than once.
func (l *messageLog) change(r domain.Recorded, m *Message, how func(*Message)) error {
	if int64(r.Version) < m.Version || int64(r.Version) == m.Version && !m.changed {
		return GapError{"messages", r.Stream, m.Version, r.Version}
	}
	how(m)
	m.place, m.changed = placeOf(r), true
	return nil
}

func (l *messageLog) each(r domain.Recorded, messages []*Message, how func(*Message)) error {
	for _, m := range messages {
		if err := l.change(r, m, how); err != nil {
			return err
		}
	}
	return nil
}

// answered marks the messages that a reply answers. An operator's reply answers all messages that
// wait, and a model's all that the model was asked about. The bot's reply to a message for which it
// hands the chat over is not an answer.
func (l *messageLog) answered(r domain.Recorded, by string) error {
	answer := func(m *Message) { m.answer(by, r.OccurredAt) }
	if by == byOperator {
		return l.each(r, l.awaiting(), answer)
	}
	if by != byRule {
		if err := l.each(r, l.unanswered(func(m *Message) bool { return m.ModelAsked }), answer); err != nil {
			return err
		}
	}
	if m := l.byID[about(r)]; m != nil && m.unanswered() && m.HandedOver == nil {
		return l.change(r, m, answer)
	}
	return nil
}

func (l *messageLog) last() []*Message { return l.list[max(0, len(l.list)-lastMessages):] }

// awaiting returns the unanswered messages since the last answer, or since the message at which the
// chat was handed over. Later messages of the bot do not answer that one.
func (l *messageLog) awaiting() []*Message {
	last := l.last()
	from, said := 0, false
search:
	for i, m := range slices.Backward(last) {
		switch {
		case m.HandedOver != nil:
			from = i
			break search
		case m.Direction == "out":
			if !said {
				from, said = i+1, true
			}
			if m.WrittenBy == byOperator {
				break search
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(last[from:]), func(m *Message) bool { return !m.unanswered() })
}

// unanswered returns those of the last messages that wait for the same answer.
func (l *messageLog) unanswered(same func(*Message) bool) []*Message {
	return slices.DeleteFunc(slices.Clone(l.last()),
		func(m *Message) bool { return !same(m) || !m.unanswered() || m.HandedOver != nil })
}

// handOver stores the reason of a hand-over in the last message that was classified. That message
// then counts as not answered.
func (l *messageLog) handOver(r domain.Recorded, reason string) error {
	for _, m := range slices.Backward(l.last()) {
		if m.Intent == nil {
			continue
		}
		return l.change(r, m, func(m *Message) {
			if reason, nobody := clean(reason), byNobody; *m.AnsweredBy != byOperator {
				m.HandedOver, m.AnsweredBy, m.AnsweredAt = &reason, &nobody, nil
			}
		})
	}
	return nil
}

// learn folds an event about the message into its row.
func (m *Message) learn(r domain.Recorded) {
	state := func(s string, failure *string) { m.Delivery, m.Failure = &s, failure }
	switch e := r.Event.(type) {
	case chat.Understood:
		m.Intent, m.Confidence = text(string(e.Intent)), &e.Confidence
		m.Language, m.Knowledge = text(string(e.Language)), text(e.Knowledge)
		m.Backlog = e.Waits != nil
	case chat.BacklogTaken:
		m.Intent, m.Confidence = text(string(e.Intent)), &e.Confidence
		m.Language, m.Knowledge = text(string(e.Language)), text(e.Knowledge)
	case chat.AlbumTaken:
		m.AlbumPart = e.Words != 0 // the answer belongs to the part with the words
	case chat.WorkflowMoved:
		if m.Step == nil {
			m.FromStep = text(string(e.From))
		}
		m.Workflow, m.Step = text(e.Workflow), text(string(e.Step))
	case chat.ModelAsked, chat.ExchangeJoined:
		m.ModelAsked = true
	case chat.ButtonAnswered:
		m.answer(byRule, r.OccurredAt)
	case chat.DeliverySucceeded:
		state(sent, nil)
		m.DeliveredAt = &r.OccurredAt
		if e.MessageID != 0 {
			m.TelegramID = &e.MessageID
		}
	case chat.DeliveryFailed:
		state(string(e.Outcome), text(e.Reason))
	case chat.DeliveryRetried:
		state(waiting, m.Failure)
	case chat.DeliverySkipped:
		state(skipped, text(e.Reason))
	}
}

// answer stores the first answer; later ones do not change it.
func (m *Message) answer(by string, at time.Time) {
	if m.unanswered() {
		m.AnsweredBy, m.AnsweredAt = &by, &at
	}
}

func (m *Message) unanswered() bool { return m.AnsweredBy != nil && *m.AnsweredBy == byNobody }
