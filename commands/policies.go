package commands

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Turn is the policy that gives the bot its turn: what a customer did leads to
// Respond on the same stream. It is false for events that call for no answer.
func Turn(r domain.Recorded, now time.Time) (Request, bool) {
	switch e := r.Event.(type) {
	case chat.MessageReceived:
		if e.OverLimit && !e.TooFast || e.From.Bot {
			return Request{}, false // nobody is answered, whatever the chat's state is
		}
	case chat.MessageEdited, chat.ButtonPressed:
	default:
		return Request{}, false
	}
	return Request{
		Stream: r.Stream, Command: chat.Respond{To: r.Version, Event: r.Event, At: now},
		Actor: domain.ActorBot, Causation: r.ID, Correlation: r.Correlation, At: now,
	}, true
}

// Refer is the policy that has a ticket kept at another desk, too, as soon as it is
// open. It is false for a bot without one, and for other events.
func Refer(r domain.Recorded, desk string, now time.Time) (Request, bool) {
	switch r.Event.(type) {
	case chat.TicketOpened, chat.TicketReopened:
	default:
		return Request{}, false
	}
	return Request{
		Stream: r.Stream, Command: chat.ReferTicket{Desk: desk},
		Actor: domain.ActorBot, Causation: r.ID, Correlation: r.Correlation, At: now,
	}, desk != ""
}

// Migrate is the policy that follows a group which became a supergroup: what tells of
// it leads to Migrate on the group's stream, and what the group left to Continue on the
// supergroup's. It is false for other events.
func Migrate(r domain.Recorded, now time.Time) (Request, bool) {
	bot := r.Stream.Bot()
	id, _ := r.Stream.Chat()
	request := Request{Actor: domain.ActorBot, Causation: r.ID, Correlation: r.Correlation, At: now}
	switch e := r.Event.(type) {
	case chat.UpdateKept:
		switch {
		case e.MigratedTo != 0:
			request.Stream, request.Command = r.Stream, chat.Migrate{To: e.MigratedTo, At: now}
		case e.MigratedFrom != 0:
			request.Stream, request.Command = domain.ChatStream(bot, e.MigratedFrom), chat.Migrate{To: id, At: now}
		default:
			return Request{}, false
		}
	case chat.ChatMigrated:
		request.Stream = domain.ChatStream(bot, e.To)
		request.Command = chat.Continue{From: id, Version: r.Version, Unfinished: e.Unfinished, At: now}
	default:
		return Request{}, false
	}
	return request, true
}

// Enqueue is the policy that turns an event which asks for an effect into a delivery. It
// returns false for other events.
func Enqueue(r domain.Recorded) (Delivery, bool) {
	chatID, inChat := r.Stream.Chat()
	if !inChat {
		return Delivery{}, false
	}
	bot := r.Stream.Bot()
	d := Delivery{ID: r.ID, Stream: r.Stream, Version: r.Version, Correlation: r.Correlation}
	switch e := r.Event.(type) {
	case chat.ReplyQueued:
		to := cmp.Or(e.Chat, chatID)
		d.Kind, d.Destination, d.OrderingKey = domain.KindSendMessage, "telegram:"+bot, string(domain.ChatStream(bot,
			to))
		d.Payload = SendMessage{to, e.Text, e.Format, e.Media, e.Buttons, e.Thread}
		if d.Priority = PriorityPerson; e.Author.Kind != chat.Person {
			d.Priority = PriorityBot
		}
	case chat.ButtonAnswered:
		// A key of its own: the answer must be sent within 150 s, however many messages of the
		// chat are waiting. It is made of the event's id, because a callback query's id comes
		// from outside, and an index key can hold neither NUL nor more than 2,704 bytes.
		d.Kind, d.Destination, d.OrderingKey = domain.KindAnswerButton, "telegram:"+bot, "button-"+r.ID.String()
		d.Payload, d.Priority = AnswerButton{e.QueryID, e.Text}, PriorityButton
	case chat.ToolRequested:
		d.Kind, d.Destination, d.OrderingKey = chat.KindOf(e.Tool), toolDestination(e.Tool)+":"+bot, toolOrderingKey(e,
			bot, chatID)
		d.Payload = useTool(e, chatID)
	case chat.ModelAsked:
		d = askModel(d, e, bot, chatID)
	case chat.TicketReferred:
		d.Kind, d.Destination, d.OrderingKey = domain.KindCreateTicket, e.Desk+":"+bot, deskOrderingKey(e.Desk,
			r.Stream, e.Ticket)
		d.Payload = CreateTicket{
			ExternalID(r.Stream, e.Ticket), cmp.Or(e.Subject, e.Reason), firstComment(e), e.Customer,
			string(e.Priority), []string{deskTag},
		}
	case chat.DeskUpdateQueued:
		d.Destination, d.OrderingKey = e.Desk+":"+bot, deskOrderingKey(e.Desk, r.Stream, e.Ticket)
		switch id := ExternalID(r.Stream, e.Ticket); {
		case e.Status != "":
			d.Kind, d.Payload = domain.KindSetStatus, SetStatus{id, e.Status}
		case e.Priority != "":
			d.Kind, d.Payload = domain.KindSetPriority, SetPriority{id, string(e.Priority)}
		default:
			d.Kind, d.Payload = domain.KindAddComment, AddComment{id, e.Text, e.Public}
		}
	default:
		return Delivery{}, false
	}
	return d, true
}

// useTool says for whom a tool is used. A private chat has the id of who writes in it; in a
// group it is not known of whom an account was looked up.
func useTool(e chat.ToolRequested, chatID int64) UseTool {
	if private := chatID > 0; private {
		e.Customer = cmp.Or(e.Customer, chatID)
	} else {
		e.Account = ""
	}
	return UseTool{
		e.Tool, e.For, e.Call, e.Input, e.About, "telegram:" + strconv.FormatInt(e.Customer, 10), e.Account, e.To,
	}
}

// toolPlace is where a tool is: orders may be looked up without a CRM.
func toolDestination(tool string) string {
	if tool == dialog.OrderStatus {
		return "orders"
	}
	return "crm"
}

// toolOrderingKey returns one key for each chat and destination, so that requests are sent in
// order. Nothing waits for the look-up of the customer, which has its own key.
func toolOrderingKey(e chat.ToolRequested, bot string, chatID int64) string {
	place := toolDestination(e.Tool)
	if e.For == chat.ForCustomer {
		place = "customer"
	}
	return place + "-" + bot + ":" + strconv.FormatInt(chatID, 10)
}

// deskTag marks the tickets that are ours at another desk.
const deskTag = "chatledger"

// deskOrderingKey returns one key for each ticket: the ticket must exist at the other desk
// before updates of it are sent.
func deskOrderingKey(desk string, stream domain.StreamID, ticket string) string {
	return desk + "-" + strings.TrimPrefix(string(stream), "chat-") + ticket
}

// firstComment tells an agent why they are needed, and what was said last.
func firstComment(e chat.TicketReferred) string {
	return strings.Join(append([]string{"A person is needed: " + e.Reason}, e.Said...), "\n")
}
