package chat

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Refusals. They are final: the same command in the same state is refused again.
var (
	ErrNoTicket        = errors.New("this chat has no open ticket")
	ErrTicketOpen      = errors.New("this chat has an open ticket already")
	ErrNothingToReopen = errors.New("this chat has no closed ticket to reopen")
	ErrNotMoreUrgent   = errors.New("the ticket is as urgent as that already")
	ErrPriority        = errors.New("no such priority: use urgent, high, normal or low")
	ErrNobody          = errors.New("it is not said who takes the ticket")
	ErrEmpty           = errors.New("the text is empty")
	ErrTooLong         = errors.New("the text is too long")
	ErrHTML            = errors.New("this is no HTML that Telegram takes")
	ErrMedia           = errors.New("this cannot be sent")
	ErrMoved           = errors.New("this group became a supergroup and goes on under another chat id")
	ErrBlocked         = errors.New("the customer has blocked this bot, or removed it from the group")
)

// Decide says what a command leads to.
func Decide(s State, command Command) ([]domain.Event, error) {
	if c, theirs := command.(RecordAgent); theirs {
		return recordAgent(s, c)
	}
	events, err := decide(s, command)
	if err != nil {
		return nil, err
	}
	return s.tell(events), nil
}

// decide is Decide before the other desk is told.
func decide(s State, command Command) ([]domain.Event, error) {
	switch c := command.(type) {
	case Receive:
		return receive(s, c), nil
	case Respond:
		return respond(s, c), nil
	case RecordLookup:
		return recordLookup(s, c), nil
	case RecordAddressCheck:
		return recordAddressCheck(s, c), nil
	case RecordAddressUpdate:
		return recordAddressUpdate(s, c), nil
	case RecordDelivery:
		return recordDelivery(c), nil
	case RetryDelivery:
		return []domain.Event{DeliveryRetried(c)}, nil
	case SkipDelivery:
		return skipDelivery(s, c), nil
	case ReferTicket:
		return refer(s, c), nil
	case RecordFiling:
		return []domain.Event{TicketFiled(c)}, nil
	case Reply:
		return s.replyOf(c)
	case Migrate:
		return migrate(s, c), nil
	case Continue:
		return goOn(s, c), nil
	case OpenTicket, ReopenTicket:
		if s.MovedTo != 0 {
			return nil, fmt.Errorf("%w: %d", ErrMoved, s.MovedTo)
		}
		return decideTicket(s, command)
	default:
		return decideTicket(s, command)
	}
}

// receive keeps what came, once, with its marks.
func receive(s State, c Receive) []domain.Event {
	u := updateOf(c.Event)
	if slices.Contains(s.Heard, u.Key) {
		return nil
	}
	switch e := c.Event.(type) {
	case MessageReceived:
		e.Late = s.late(e.ID, e.Date)
		e.Continues = s.continues(e)
		e.OverLimit = !e.Continues && s.overLimit(c.Limit, e.Date)
		return []domain.Event{e}
	case MessageEdited:
		e.Late = s.late(e.ID, e.EditedAt)
		return []domain.Event{e}
	case ButtonPressed:
		e.Late = s.late(e.ID, e.Date)
		return []domain.Event{e}
	case MembershipChanged:
		e.Late = s.late(e.ID, e.Date)
		return []domain.Event{e}
	case UpdateKept:
		e.Date = c.At
		e.Late = s.late(e.ID, e.Date)
		return []domain.Event{e}
	default:
		panic(fmt.Sprintf("chat: Receive of %T", c.Event))
	}
}

// MayRepeat tells whether a message may be one that was received so long ago
// that the state has forgotten its key; only the store can tell then. Message
// ids rise within a chat, so a message above all others is new for certain.
func MayRepeat(s State, c Receive) (key uint64, may bool) {
	if len(s.Heard) < heardMax {
		return 0, false
	}
	message, ok := c.Event.(MessageReceived)
	return message.Key, ok && message.MessageID <= s.TopMessage && !slices.Contains(s.Heard, message.Key)
}

// renumbering is how long a bot must be quiet before Telegram may start its
// update ids anew, by the Bot API's documentation of update_id.
const renumbering = 7 * 24 * time.Hour

func (s State) late(id int64, at time.Time) bool {
	return id < s.LastUpdate && at.Sub(s.LastUpdateAt) < renumbering
}

func (s State) overLimit(limit Limit, at time.Time) bool {
	if limit.Count <= 0 {
		return false
	}
	recent := 0
	for _, t := range s.Answerable {
		if at.Sub(time.Unix(t, 0)) < limit.Window {
			recent++
		}
	}
	return recent >= min(limit.Count, MaxLimit)
}

// respond is the bot's turn. Its first event is always Understood, which marks
// the message as answered: the same turn is never taken twice.
func respond(s State, c Respond) []domain.Event {
	if c.To <= s.Answered {
		return nil
	}
	act, query, ok := actOf(s, c)
	if !ok {
		return nil
	}
	if s.WithPerson() && query == "" {
		return nil
	}
	if m, ok := c.Event.(MessageReceived); ok {
		s = s.about(m) // others may have come since
	}
	turn := dialog.Turn{Intent: dialog.Pressed, Confidence: 1}
	if !s.WithPerson() {
		turn = dialog.Take(dialog.Context{Run: s.Run, LastIntent: s.LastIntent, Misunderstood: s.Misunderstood, CRM: c.CRM}, act)
	}
	answer := Answer{To: c.To}
	events := []domain.Event{Understood{answer, turn.Intent, turn.Confidence}}
	events = append(events, s.moves(answer, turn, c.At)...)
	if query != "" {
		events = append(events, ButtonAnswered{answer, query, turn.Toast})
	}
	if turn.Lookup != "" {
		events = append(events, OrderLookupRequested{answer, turn.Lookup})
	}
	if turn.Check != "" {
		events = append(events, AddressCheckRequested{answer, turn.Check})
	}
	if turn.Save != "" {
		events = append(events, AddressUpdateRequested{answer, senderOf(c.Event).ID, turn.Save})
	}
	return append(events, s.says(answer, turn, c.At)...)
}

// moves are the steps that a turn takes in the workflow.
func (s State) moves(to Answer, turn dialog.Turn, at time.Time) (events []domain.Event) {
	for _, move := range turn.Moves {
		events = append(events, WorkflowMoved{Answer: to, Workflow: move.Workflow, From: move.From, Step: move.To, Set: move.Set, Cleared: move.Cleared, Source: move.Source, At: at})
	}
	return events
}

// says is what the customer hears in a turn, and whether a person comes.
func (s State) says(to Answer, turn dialog.Turn, at time.Time) (events []domain.Event) {
	for _, reply := range turn.Replies {
		events = append(events, s.reply(to, reply)...)
	}
	if turn.HandOver.Reason != "" {
		events = append(events, s.open(turn.HandOver, at))
	}
	return events
}

// actOf is what the customer did, as the dialogue sees it, and the callback
// query that waits for an answer. Late and excess messages are no acts: what they
// answered is past, or too much; nor is what only continues an album. A
// button is always answered, even then. They are dated by when the customer acted,
// so that a workflow does not expire because we were slow.
func actOf(s State, c Respond) (act dialog.Act, query string, ok bool) {
	switch e := c.Event.(type) {
	case MessageReceived:
		ok = !(e.Late && s.Run.Active()) && !e.OverLimit && !e.Continues && !e.From.Bot
		return dialog.Act{Text: e.Text, MessageID: e.MessageID, Media: len(e.Media) > 0, At: e.Date}, "", ok
	case MessageEdited:
		return dialog.Act{Text: e.Text, MessageID: e.MessageID, Edited: true, At: e.EditedAt}, "", !e.Late && !e.From.Bot
	case ButtonPressed:
		return dialog.Act{Button: e.Data, MessageID: e.MessageID, At: e.Date}, e.QueryID, true
	default:
		return dialog.Act{}, "", false
	}
}

// recordLookup answers the customer's question once the order is known. A
// person who took over meanwhile reads the finding instead; a customer who blocked
// the bot meanwhile does not want to know.
func recordLookup(s State, c RecordLookup) []domain.Event {
	events := []domain.Event{OrderLookedUp{Delivery: c.Delivery, Number: c.Number, Found: c.Found, Order: c.Order, Reason: c.Reason}}
	if s.WithPerson() || s.Blocked {
		return events
	}
	to := Answer{To: c.To}
	if c.Reason != "" {
		events = append(append(events, s.endRun(to, c.At)...), s.reply(to, dialog.AnswerOrderUnavailable(c.Number))...)
		return append(events, s.open(dialog.HandOver{Reason: "order_lookup_failed", Priority: dialog.Normal}, c.At))
	}
	return append(events, s.reply(to, dialog.AnswerOrder(c.Number, c.Order, c.Found))...)
}

func recordDelivery(c RecordDelivery) []domain.Event {
	if c.Outcome == "done" {
		return []domain.Event{DeliverySucceeded{Delivery: c.Delivery, Kind: c.Kind, MessageID: c.MessageID, Unsure: c.Unsure}}
	}
	return []domain.Event{DeliveryFailed{Delivery: c.Delivery, Kind: c.Kind, Outcome: c.Outcome, Reason: c.Reason, Blocked: c.Blocked, Unsure: c.Unsure, Held: c.Held}}
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

// updateOf is the update part of a received event.
func updateOf(event domain.Event) Update {
	switch e := event.(type) {
	case MessageReceived:
		return e.Update
	case MessageEdited:
		return e.Update
	case ButtonPressed:
		return e.Update
	case MembershipChanged:
		return e.Update
	case UpdateKept:
		return e.Update
	default:
		return Update{}
	}
}
