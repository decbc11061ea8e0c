package chat

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chatledger/chatledger/domain"
)

// Refusals. They are final: the same command in the same state is refused again.
var (
	ErrNoTicket        = errors.New("this chat has no open ticket")
	ErrTicketOpen      = errors.New("this chat has an open ticket already")
	ErrNothingToReopen = errors.New("this chat has no closed ticket to reopen")
	ErrNotMoreUrgent   = errors.New("the ticket has this priority or a higher one already")
	ErrPriority        = errors.New("unknown priority: use urgent, high, normal or low")
	ErrNobody          = errors.New("assignee is required")
	ErrEmpty           = errors.New("the text is empty")
	ErrTooLong         = errors.New("the text is too long")
	ErrHTML            = errors.New("invalid HTML for Telegram")
	ErrMedia           = errors.New("invalid attachment")
	ErrMoved           = errors.New("this group became a supergroup and continues under another chat id")
	ErrBlocked         = errors.New("the customer has blocked this bot, or removed it from the group")
)

// Decide returns the events that a command leads to, under the settings of the bot.
func Decide(state State, command Command, settings Settings) ([]domain.Event, error) {
	s := informed{State: state, Settings: settings}
	switch c := command.(type) {
	case RecordAgent:
		return recordAgent(s, c)
	case Operate:
		return operate(s, c)
	}
	events, err := decide(s, command)
	if err != nil {
		return nil, err
	}
	return s.tellDesk(events), nil
}

// decide is Decide before the other desk is told.
func decide(s informed, command Command) ([]domain.Event, error) {
	switch c := command.(type) {
	case Receive:
		return receive(s.State, c), nil
	case Respond:
		return respond(s, c), nil
	case RecordTool:
		return recordTool(s, c), nil
	case RecordModel:
		return recordModel(s, c), nil
	case RecordDelivery:
		return recordDelivery(c), nil
	case RetryDelivery:
		return []domain.Event{DeliveryRetried(c)}, nil
	case SkipDelivery:
		return skipDelivery(s, c), nil
	case Elapse:
		return elapse(s, c), nil
	case ReferTicket:
		return refer(s.State, c), nil
	case RecordFiling:
		return []domain.Event{TicketFiled(c)}, nil
	case Reply:
		return s.replyOf(c)
	case Migrate:
		return migrate(s, c), nil
	case Continue:
		return goOn(s, c), nil
	case MoveWebhook:
		return moveWebhook(c), nil
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
		e.Late = s.late(e)
		e.Corrected = s.corrected(e)
		e.Continues = s.continues(e)
		e.OverLimit = !e.Continues && !e.Corrected && s.overLimit(c.Limit, e.Date)
		// At twice the limit every other message is answered. A notice each time would
		// double the number of messages.
		e.TooFast = e.OverLimit && !e.From.Bot && e.Date.Sub(s.ToldTooFast) >= c.Limit.Window
		return []domain.Event{e}
	case MessageEdited:
		e.Late, e.Ahead = s.supersededEdit(e), s.ahead(e)
		return []domain.Event{e}
	case ButtonPressed: // it has no date, so nothing tells that it is late
		return []domain.Event{e}
	case MembershipChanged:
		e.Late = e.Date.Before(s.LastUpdateAt)
		return []domain.Event{e}
	case UpdateKept:
		e.Date = c.At
		return []domain.Event{e}
	default:
		panic(fmt.Sprintf("chat: Receive of %T", c.Event))
	}
}

// MayRepeat reports whether a message may be one that was received so long ago
// that the state has forgotten its key; only the store can tell then. Message
// ids rise within a chat, so a message above all others is new for certain.
func MayRepeat(s State, c Receive) (key uint64, may bool) {
	if len(s.Heard) < heardMax {
		return 0, false
	}
	message, ok := c.Event.(MessageReceived)
	return message.Key, ok && message.MessageID <= s.TopMessage && !slices.Contains(s.Heard, message.Key)
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

func recordDelivery(c RecordDelivery) []domain.Event {
	if c.Outcome == domain.DeliveryDone {
		return []domain.Event{
			DeliverySucceeded{Delivery: c.Delivery, Kind: c.Kind, MessageID: c.MessageID, Unsure: c.Unsure},
		}
	}
	return []domain.Event{
		DeliveryFailed{
			Delivery: c.Delivery, Kind: c.Kind, Outcome: c.Outcome, Reason: c.Reason, Blocked: c.Blocked,
			Unsure: c.Unsure, Held: c.Held,
		},
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
