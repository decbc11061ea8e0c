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

	changed bool // it is other than in the table
}

// Who wrote or answered a message, beside kinds of authors that have names of their own.
const (
	byCustomer = "customer"
	byBot      = "bot" // another one, in a group
	byRule     = "rule"
	byPerson   = "person"
	byNobody   = "nobody"
)

// What became of a message that was sent, beside the outcomes of failed deliveries.
const (
	waiting = "waiting"
	sent    = "sent"
	skipped = "skipped"
)

// lately is how many of a chat's last messages are looked at for those that wait for an
// answer. Who has written more to a person in one go waits as if with the last of them.
const lately = 50

// messageLog is the messages of one chat that are at hand, in order of their numbers:
// those that events name, and where an event speaks of no message in particular, the last.
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

// named is the message_id of what was received at a version of a stream.
func named(stream domain.StreamID, version domain.Version) string {
	return string(stream) + "/" + strconv.FormatInt(int64(version), 10)
}

// sending is the message_id of what a delivery sends, if it is a message.
func sending(delivery uuid.UUID, kind domain.DeliveryKind) string {
	if kind != messageKind {
		return ""
	}
	return delivery.String()
}

// about says which message an event changes, if it names one.
func about(r domain.Recorded) (id string) {
	to := func(a chat.Answer) string {
		if a.To == 0 {
			return ""
		}
		return named(r.Stream, a.To)
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

// aboutTheLast tells whether an event changes some of a chat's last messages.
func aboutTheLast(r domain.Recorded) bool {
	switch e := r.Event.(type) {
	case chat.TicketOpened:
		return fetched(r)
	case chat.BacklogTaken:
		return true
	case chat.ReplyQueued:
		return e.Author.Kind != chat.Bot
	}
	return false
}

// fetched tells whether it was the bot that fetched a person, rather than one who came
// by themselves.
func fetched(r domain.Recorded) bool {
	_, named := r.Actor.Operator()
	return !named
}

// take takes one event into the log.
func (l *messageLog) take(r domain.Recorded) error {
	switch e := r.Event.(type) {
	case chat.MessageReceived:
		return l.add(r, received(e))
	case chat.MessageEdited:
		return l.add(r,
			Message{
				Kind: "edit", SentAt: &e.EditedAt, TelegramID: &e.MessageID, WrittenBy: writer(e.From),
				Author: text(e.From.Name), Text: text(e.Text), Late: e.Late,
			})
	case chat.ButtonPressed:
		return l.add(r,
			Message{
				Kind: "button", TelegramID: &e.MessageID, WrittenBy: writer(e.From), Author: text(e.From.Name),
				Text: text(e.Data), Late: e.Late,
			})
	case chat.ReplyQueued:
		if err := l.answered(r, authorOf(e)); err != nil {
			return err
		}
		return l.add(r, queued(r, e))
	case chat.TicketOpened:
		if fetched(r) {
			return l.handOver(r, e.Reason)
		}
		return nil
	case chat.BacklogTaken:
		if e.Intent != dialog.Waited { // nobody has it, so that it was answered
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

// received is a message that came; what else a row has is the same for all.
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

// queued is a message that is to be sent.
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
		return byPerson
	default:
		return clean(string(e.Author.Kind))
	}
}

// add puts a message at the end of the log.
func (l *messageLog) add(r domain.Recorded, m Message) error {
	m.Stream, m.Bot, m.ChatID, m.Number, m.At = string(l.stream), l.bot, l.chatID, int64(r.Version), r.OccurredAt
	if m.Direction == "" {
		nobody := byNobody
		m.ID, m.Direction, m.AnsweredBy = named(l.stream, r.Version), "in", &nobody
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

// change changes a message by an event. One event may change a message more than once.
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

// answered notes whom a reply answers. A person's answers all that waits, a model's all
// that it was asked about; what the bot says to a message for which it fetches a person
// is no answer.
func (l *messageLog) answered(r domain.Recorded, by string) error {
	answer := func(m *Message) { m.answer(by, r.OccurredAt) }
	if by == byPerson {
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

func (l *messageLog) last() []*Message { return l.list[max(0, len(l.list)-lately):] }

// awaiting is what the customer wrote since the last answer, or since what a person was
// fetched for, which the bot has not answered whatever it said since.
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
			if m.WrittenBy == byPerson {
				break search
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(last[from:]), func(m *Message) bool { return !m.unanswered() })
}

// unanswered are those of the last messages that wait for the same answer.
func (l *messageLog) unanswered(same func(*Message) bool) []*Message {
	return slices.DeleteFunc(slices.Clone(l.last()),
		func(m *Message) bool { return !same(m) || !m.unanswered() || m.HandedOver != nil })
}

// handOver notes why a person was fetched at the message whose turn it was, which is not
// answered yet then.
func (l *messageLog) handOver(r domain.Recorded, reason string) error {
	for _, m := range slices.Backward(l.last()) {
		if m.Intent == nil {
			continue
		}
		return l.change(r, m, func(m *Message) {
			if reason, nobody := clean(reason), byNobody; *m.AnsweredBy != byPerson {
				m.HandedOver, m.AnsweredBy, m.AnsweredAt = &reason, &nobody, nil
			}
		})
	}
	return nil
}

// learn takes what an event says of the message.
func (m *Message) learn(r domain.Recorded) {
	state := func(s string, failure *string) { m.Delivery, m.Failure = &s, failure }
	switch e := r.Event.(type) {
	case chat.Understood:
		m.Intent, m.Confidence, m.Language, m.Knowledge = text(string(e.Intent)), &e.Confidence, text(string(e.Language)), text(e.Knowledge)
		m.Backlog = e.Waits != nil
	case chat.BacklogTaken:
		m.Intent, m.Confidence, m.Language, m.Knowledge = text(string(e.Intent)), &e.Confidence, text(string(e.Language)), text(e.Knowledge)
	case chat.AlbumTaken:
		m.AlbumPart = e.Words != 0 // what is answered is the part that had them
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

// answer notes the first answer.
func (m *Message) answer(by string, at time.Time) {
	if m.unanswered() {
		m.AnsweredBy, m.AnsweredAt = &by, &at
	}
}

func (m *Message) unanswered() bool { return m.AnsweredBy != nil && *m.AnsweredBy == byNobody }
