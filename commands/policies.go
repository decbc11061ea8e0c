package commands

import (
	"strconv"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Turn is the policy that gives the bot its turn: what a customer did leads to
// Respond on the same stream. It is false for events that call for no answer.
func Turn(r domain.Recorded, now time.Time) (Request, bool) {
	switch e := r.Event.(type) {
	case chat.MessageReceived:
		if e.OverLimit || e.From.Bot {
			return Request{}, false // nobody is answered, whatever the chat's state is
		}
	case chat.MessageEdited, chat.ButtonPressed:
	default:
		return Request{}, false
	}
	return Request{
		Stream: r.Stream, Command: chat.Respond{To: r.Version, Event: r.Event, At: now},
		Actor: "bot", Causation: r.ID, Correlation: r.Correlation, At: now,
	}, true
}

// Owe is the policy that turns a decided effect into a delivery. It is false for
// events that ask for none.
func Owe(r domain.Recorded) (Delivery, bool) {
	chatID, inChat := r.Stream.Chat()
	if !inChat {
		return Delivery{}, false
	}
	bot := r.Stream.Bot()
	d := Delivery{ID: r.ID, Stream: r.Stream, Version: r.Version, Correlation: r.Correlation}
	switch e := r.Event.(type) {
	case chat.ReplyQueued:
		d.Kind, d.Destination, d.Lane = KindSendMessage, "telegram:"+bot, string(r.Stream)
		d.Payload = SendMessage{chatID, e.Text, e.Buttons, e.Thread}
		if d.Priority = priorityPerson; e.Author.Kind == chat.Bot {
			d.Priority = priorityBot
		}
	case chat.ButtonAnswered:
		// A lane of its own: the answer must come within 150 s, however long the
		// chat's line of messages is.
		d.Kind, d.Destination, d.Lane = KindAnswerButton, "telegram:"+bot, "button-"+bot+":"+e.QueryID
		d.Payload, d.Priority = AnswerButton{e.QueryID, e.Text}, priorityButton
	case chat.OrderLookupRequested:
		d.Kind, d.Destination, d.Lane = KindLookUpOrder, "orders:"+bot, "orders-"+bot+":"+strconv.FormatInt(chatID, 10)
		d.Payload = LookUpOrder{e.Order, e.To}
	default:
		return Delivery{}, false
	}
	return d, true
}
