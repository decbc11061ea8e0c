package chat

import (
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// A group that becomes a supergroup is another chat to Telegram, and so it is another
// stream here. That it has moved is heard from the group's last message, from the
// supergroup's first one, or from a message that is refused, whichever comes first.
// Then the group leaves what is open in it to the supergroup, and each may hear of it
// again: what was opened in the group since goes the same way.

// migrate leaves what is open to the chat's successor. Of a group in which nothing
// happened there is nothing to leave. The result of a tool that changes
// something is awaited here; the customer gets it in the new chat.
func migrate(s informed, c Migrate) []domain.Event {
	running := s.Run.Active() && !s.Run.Writing
	if s.LastUpdate == 0 || s.MovedTo != 0 && !running && !s.WithPerson() {
		return nil
	}
	moved := ChatMigrated{To: c.To, At: c.At}
	var closing []domain.Event
	if running {
		closing = s.endRun(Answer{}, c.At)
	}
	if x := s.exchange(); x != nil && x.Confirm.Number != 0 { // its button is left behind
		closing = append(closing, ExchangeEnded{Answer{x.To}, EndedMoved, c.At})
	}
	if _, expire := s.knowledge().Wake(s.Run); running && (expire.IsZero() || c.At.Before(expire)) {
		moved.Workflow, moved.Step, moved.Path, moved.Data = s.Run.Workflow, s.Run.Step, s.Run.Path, s.Run.Data
	}
	if t := s.Ticket; s.WithPerson() {
		moved.Ticket = &TicketOpened{
			Ticket: t.ID, Reason: t.Reason, Subject: t.Subject, Priority: t.Priority, At: t.Opened, Due: t.Due,
			Resolve: t.Resolve,
		}
		moved.Assignee = t.Assignee
		closing = append(closing, TicketResolved{t.ID, c.At})
	}
	return append([]domain.Event{moved}, closing...)
}

// goOn takes over what a former chat left open. An operator who has claimed this chat keeps it,
// and a workflow that the customer has begun here continues.
func goOn(s informed, c Continue) []domain.Event {
	if c.Version <= s.Continued {
		return nil
	}
	events := []domain.Event{ChatContinued(c)}
	switch t := c.Ticket; {
	case t != nil && s.WithPerson() && t.Priority.Above(s.Ticket.Priority):
		events = append(events, TicketEscalated{s.Ticket.ID, t.Reason, t.Priority, c.At, t.Due, t.Resolve})
	case t != nil && s.WithPerson():
	case t != nil:
		events = append(events, s.endRun(Answer{}, c.At)...)
		opened := s.open(dialog.HandOver{Reason: t.Reason, Priority: t.Priority}, t.At)
		opened.Subject, opened.Due, opened.Resolve = t.Subject, t.Due, t.Resolve
		events = append(events, opened)
		if c.Assignee != "" {
			events = append(events, TicketAssigned{opened.Ticket, c.Assignee})
		}
	case c.Workflow != "" && !s.WithPerson() && !s.Run.Active():
		left := dialog.Run{Workflow: c.Workflow, Step: c.Step, Path: c.Path, Data: c.Data}
		events = append(events,
			s.does(Answer{}, dialog.Resume(s.context(Sender{}), left, dialog.Act{At: c.At}), 0, c.At)...)
	}
	return events
}
