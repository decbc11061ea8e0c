package chat

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain"
)

// Another desk, such as Zendesk, may keep a ticket too. From the moment it is referred
// there, the chat decides what that desk must be told, each as an event of its own; and
// what the desk's agents do is taken in like the acts of people here. What came from
// there is not told there.

// DeskZendesk is the other desk there is.
const DeskZendesk = "zendesk"

// ErrNoSuchTicket refuses what is about a ticket that this chat never had.
var ErrNoSuchTicket = errors.New("this chat has no such ticket")

// ErrOldTicket refuses to change a ticket that another has followed.
var ErrOldTicket = errors.New("the chat has a newer ticket")

// ErrForgottenAct and ErrOvertakenAct refuse acts of agents that come too late.
var (
	ErrForgottenAct = errors.New("acts as old as this one are not applied any more")
	ErrOvertakenAct = errors.New("a later act has changed the ticket")
)

const (
	// saidMax and saidKept bound what is remembered of the words that led to a ticket,
	// and of those that came before it was referred: moments in general.
	saidMax  = 1000 // characters
	saidKept = 5
	// actsKept is how many acts of agents are remembered to recognise one that comes
	// again. A desk repeats within minutes what it was given no answer to.
	actsKept = 32
)

// Agents is what is remembered of the acts of agents at another desk.
type Agents struct {
	Acts      []AgentActKept // the last ones, oldest first, at most actsKept
	Forgotten time.Time      // of the latest act that is not among them any more
	Changed   time.Time      // of the latest act that solved or reopened the ticket
}

// AgentActKept is an act by which a repeat of it is recognised.
type AgentActKept struct {
	ID string
	At time.Time
}

func (a Agents) add(e AgentActed) Agents {
	if len(a.Acts) == actsKept && a.Acts[0].At.After(a.Forgotten) {
		a.Forgotten = a.Acts[0].At
	}
	a.Acts = domain.KeepLast(a.Acts, AgentActKept{e.ID, e.At}, actsKept)
	if e.Refused == "" && e.Act != AgentReplied && e.At.After(a.Changed) {
		a.Changed = e.At
	}
	return a
}

// repeats reports whether an act is one of those remembered.
func (a Agents) repeats(id string) bool {
	return slices.ContainsFunc(a.Acts, func(kept AgentActKept) bool { return kept.ID == id })
}

// late is why an act may not be applied any more; nil if it may. An act as old as one that is
// forgotten may be a repeat of it. A reply is applied also after later acts.
func (a Agents) late(c RecordAgent) error {
	switch {
	case !a.Forgotten.IsZero() && !c.At.After(a.Forgotten):
		return ErrForgottenAct
	case c.Act != AgentReplied && c.At.Before(a.Changed):
		return ErrOvertakenAct
	}
	return nil
}

// refer hands the open ticket to another desk, once.
func refer(s State, c ReferTicket) []domain.Event {
	if c.Desk == "" || s.Ticket.Desk != "" || !s.WithPerson() {
		return nil
	}
	return []domain.Event{TicketReferred{Ticket: s.Ticket.ID, Desk: c.Desk, Reason: s.Ticket.Reason,
		Subject:  s.Ticket.Subject,
		Customer: s.Customer, Priority: s.Ticket.Priority, Said: s.Ticket.Said}}
}

// tell adds what the desk that keeps the ticket must be told of these events.
func (s State) tellDesk(events []domain.Event) []domain.Event {
	if s.Ticket.Desk == "" {
		return events
	}
	for _, event := range events {
		if _, another := event.(TicketOpened); another {
			break // which the desk does not keep yet: it hears all of it when it is referred there
		}
		if u := s.deskUpdate(event); u != (DeskUpdateQueued{}) {
			u.Ticket, u.Desk = s.Ticket.ID, s.Ticket.Desk
			events = append(events, u)
		}
	}
	return events
}

// news is what an event means to the desk; nothing when it is no business of its.
func (s State) deskUpdate(event domain.Event) DeskUpdateQueued {
	switch e := event.(type) {
	case MessageReceived:
		if s.WithPerson() && !e.From.Bot {
			return DeskUpdateQueued{Text: e.transcriptLine()}
		}
	case MessageEdited:
		if s.WithPerson() && !e.From.Bot && e.Text != "" {
			return DeskUpdateQueued{Text: transcriptLine(e.From.called(), "corrected: "+e.Text, nil)}
		}
	case ReplyQueued:
		if e.Author.Kind == Person {
			return DeskUpdateQueued{Text: e.transcriptLine(), Public: true}
		}
	case DeliveryFailed:
		if s.WithPerson() && e.Kind == domain.KindSendMessage {
			return DeskUpdateQueued{Text: fmt.Sprintf("A message to the customer: %s, %s.", e.Outcome, e.Reason)}
		}
	case TicketEscalated:
		return DeskUpdateQueued{Priority: e.Priority}
	case TicketPrioritized:
		return DeskUpdateQueued{Priority: e.Priority}
	case NoteAdded:
		return DeskUpdateQueued{Text: e.transcriptLine()}
	case TicketResolved:
		return DeskUpdateQueued{Status: "solved"}
	case TicketReopened:
		return DeskUpdateQueued{Status: "open"}
	case HandedBack:
		return DeskUpdateQueued{Text: "The chat was handed back to the bot."}
	case ChatMigrated:
		return DeskUpdateQueued{
			Text: fmt.Sprintf("The group became a supergroup: the case goes on in chat %d, as a new ticket.", e.To),
		}
	}
	return DeskUpdateQueued{}
}

// recordAgent keeps what an agent did, once, and does the same here. What cannot be
// done here is kept with the reason, and the agent is told when a customer did not get
// their words.
func recordAgent(s informed, c RecordAgent) ([]domain.Event, error) {
	if n, err := strconv.Atoi(strings.TrimPrefix(c.Ticket, "#")); err != nil || n < 1 || n > s.Tickets {
		return nil, fmt.Errorf("ticket %s: %w", c.Ticket, ErrNoSuchTicket)
	}
	if s.Agents.repeats(c.ID) {
		return nil, nil
	}
	acted := AgentActed{ID: c.ID, Ticket: c.Ticket, Desk: c.Desk, Act: c.Act, Agent: c.Agent, Text: c.Text, At: c.At}
	events, err := s.follow(c)
	if err != nil {
		acted.Refused = err.Error()
		if c.Act == AgentReplied {
			events = []domain.Event{
				DeskUpdateQueued{
					Ticket: c.Ticket, Desk: c.Desk, Text: "This did not reach the customer: " + acted.Refused + ".",
				},
			}
		}
	}
	return append([]domain.Event{acted}, events...), nil
}

// follow is what an agent's act leads to here.
func (s informed) follow(c RecordAgent) ([]domain.Event, error) {
	if err := s.Agents.late(c); err != nil {
		return nil, err
	}
	lease, claimed := s.Lease(c.At)
	switch {
	case c.Act == AgentReplied && claimed:
		return nil, fmt.Errorf("%w: %s", ErrClaimed, lease.Operator)
	case c.Act == AgentReplied:
		return decide(s, Reply{Author: Author{Kind: Person, Name: c.Agent}, Text: c.Text})
	case c.Ticket != s.Ticket.ID:
		return nil, fmt.Errorf("ticket %s: %w (%s)", c.Ticket, ErrOldTicket, s.Ticket.ID)
	case c.Act == AgentSolved:
		return decide(s, ResolveTicket{At: c.At})
	case c.Act == AgentReopened && s.WithPerson():
		return nil, nil // it is open already
	case c.Act == AgentReopened:
		return decide(s, ReopenTicket{Reason: "reopened at " + c.Desk, At: c.At})
	default:
		return nil, fmt.Errorf("unknown act %q of an agent", c.Act)
	}
}

// hear keeps what is said about an open ticket until it is referred to a desk.
func (t Ticket) hear(line string) Ticket {
	if t.Desk == "" && (t.Status == Open || t.Status == Assigned) {
		t.Said = domain.KeepLast(t.Said, domain.Shorten(line, saidMax), saidKept)
	}
	return t
}

func (e MessageReceived) transcriptLine() string {
	return transcriptLine(e.From.called(), e.Text, e.Media)
}

func (e ReplyQueued) transcriptLine() string {
	return transcriptLine(cmp.Or(e.Author.Name, string(e.Author.Kind)), e.Format.Shown(e.Text), e.Media)
}

func (s Sender) called() string { return cmp.Or(s.Name, s.Username) }

// line is a message on paper.
func transcriptLine(who, words string, media []Media) string {
	for _, m := range media {
		words += " [" + m.Kind + "]"
	}
	return cmp.Or(who, "the customer") + ": " + cmp.Or(strings.TrimSpace(words), "[no text]")
}
