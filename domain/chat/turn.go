package chat

import (
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// respond is the bot's turn. Its first event is always Understood, which marks
// the message as answered: the same turn is never taken twice.
func respond(s informed, c Respond) []domain.Event {
	if c.To <= s.Answered {
		return nil
	}
	if e, edited := c.Event.(MessageEdited); edited && e.Ahead {
		c.Event = e.message(s.Thread)
	}
	m, isMessage := c.Event.(MessageReceived)
	if isMessage && m.TooFast && !s.WithPerson() && !s.Blocked {
		return s.answer(c, dialog.TooFast(s.context(m.From)), "")
	}
	act, query, ok := actOf(s.State, c)
	if !ok || s.WithPerson() && query == "" {
		return nil
	}
	if isMessage && s.waited(m, c.At) {
		waiting := &Waiting{Text: domain.Shorten(m.Text, saidMax), By: m.From.ID, Sent: m.Date, At: c.At}
		return []domain.Event{
			Understood{
				Answer: Answer{c.To}, Intent: dialog.Waited, Confidence: 1, Knowledge: s.knowledge().Hash,
				Waits: waiting,
			},
		}
	}
	if isMessage && m.Album != "" && m.Text == "" {
		return s.awaitWords(c, m)
	}
	if isMessage {
		s.State = s.about(m) // others may have come since
		s.Recent = without(s.Recent, domain.Shorten(m.Text, recentCut))
	}
	before := ""
	if act.Edited {
		before, s.Recent = beforeEdit(s.Recent, act)
	}
	context := s.context(senderOf(c.Event))
	context.Before = before
	turn := dialog.Turn{Intent: dialog.Pressed, Confidence: 1}
	if s.WithPerson() {
		return s.answer(c, turn, query)
	}
	if pressed, ok := c.Event.(ButtonPressed); ok && strings.HasPrefix(pressed.Data, confirmButton) {
		return s.confirm(c, pressed)
	}
	turn, more := s.meanwhile(c, act, dialog.Take(context, act))
	events := append(s.answer(c, turn, query), more...)
	if before != "" {
		understood := events[0].(Understood)
		understood.Edited = act.MessageID
		events[0] = understood
	}
	if isMessage && s.brings(m) {
		events = s.worded(c, events)
	}
	return events
}

// answer is a turn as events.
func (s informed) answer(c Respond, turn dialog.Turn, query string) []domain.Event {
	to := Answer{To: c.To}
	events := []domain.Event{
		Understood{
			Answer: to, Intent: turn.Intent, Confidence: turn.Confidence, Language: turn.Language,
			Knowledge: s.knowledge().Hash,
		},
	}
	if query != "" {
		events = append(events, ButtonAnswered{to, query, turn.Toast})
	}
	events = append(events, s.does(to, turn, senderOf(c.Event).ID, c.At)...)
	if m, ok := c.Event.(MessageReceived); ok && s.wouldKnow(m) {
		call := s.request(to, ForCustomer, dialog.ToolCall{Tool: dialog.LookUpCustomer}, m.From.ID)
		for _, event := range events {
			if requested, ok := event.(ToolRequested); ok {
				call.Call = max(call.Call, requested.Call+1)
			}
		}
		events = append(events, call)
	}
	return events
}

// knownFor is how long it is good to know what the CRM said of a customer.
const knownFor = 24 * time.Hour

// wouldKnow reports whether the CRM is to be asked who writes. In a group that would be
// many.
func (s informed) wouldKnow(m MessageReceived) bool {
	return s.Tools[dialog.LookUpCustomer] && m.ChatType == "private" && m.Date.Sub(s.Known.Asked) >= knownFor
}

// heardText bounds the text that a decision is made on, in characters: no message that is
// written in Telegram is longer. A relay may post more, which is stored and of which the
// rest is not read, because reading costs time in proportion to the length.
const heardText = 4096

// actOf is what the customer did, as the dialogue sees it, and the callback
// query that waits for an answer. Excess messages are no acts, nor is what only continues an
// album, nor a message whose correction came first. A late message is answered, and moves no
// workflow; the words that an album waits for are never late. An edit that a newer one
// replaced is no act. A button is always answered. They are dated by
// when the customer acted, so that a workflow does not expire because we were slow.
func actOf(s State, c Respond) (act dialog.Act, query string, ok bool) {
	switch e := c.Event.(type) {
	case MessageReceived:
		ok = !e.OverLimit && !e.Continues && !e.Corrected && !e.From.Bot
		late := e.Late && !s.brings(e)
		text := domain.Shorten(e.Text, heardText)
		return dialog.Act{
			Text: text, MessageID: e.MessageID, Media: len(e.Media) > 0, Late: late, By: e.From.ID, At: e.Date,
		}, "", ok
	case MessageEdited:
		text := domain.Shorten(e.Text, heardText)
		return dialog.Act{
			Text: text, MessageID: e.MessageID, Edited: true, By: e.From.ID, At: e.EditedAt,
		}, "", !e.Late && !e.From.Bot
	case ButtonPressed:
		return dialog.Act{Button: e.Data, MessageID: e.MessageID, By: e.From.ID, At: e.Date}, e.QueryID, true
	default:
		return dialog.Act{}, "", false
	}
}

// senderOf is who did what a turn is about.
func senderOf(event domain.Event) Sender {
	switch e := event.(type) {
	case MessageReceived:
		return e.From
	case MessageEdited:
		return e.From
	case ButtonPressed:
		return e.From
	default:
		return Sender{}
	}
}

// without is what was said, but for a text the first time.
func without(list []Said, text string) []Said {
	if i := slices.IndexFunc(list, func(said Said) bool { return said.Text == text }); i >= 0 {
		return slices.Delete(slices.Clone(list), i, i+1)
	}
	return list
}

// beforeEdit is what a message said when it was answered, and what else was said. It is "" when that
// is forgotten, or when the message was edited once more since: the last edit is answered.
func beforeEdit(list []Said, act dialog.Act) (before string, others []Said) {
	i := slices.IndexFunc(list, func(said Said) bool { return said.ID == act.MessageID })
	if i < 0 {
		return "", list
	}
	if list[i].Edited == domain.Shorten(act.Text, recentCut) {
		before = list[i].Text
	}
	return before, slices.Delete(slices.Clone(list), i, i+1)
}
