package chat

import (
	"fmt"
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// decideTicket says what operators' commands lead to.
func decideTicket(s State, command Command) ([]domain.Event, error) {
	switch c := command.(type) {
	case OpenTicket:
		if s.WithPerson() {
			return nil, fmt.Errorf("open ticket: %w (%s)", ErrTicketOpen, s.Ticket.ID)
		}
		if !c.Priority.Valid() {
			return nil, fmt.Errorf("open ticket: %q: %w", c.Priority, ErrPriority)
		}
		return append(s.endRun(Answer{}, c.At), s.open(dialog.HandOver{Reason: c.Reason, Priority: c.Priority}, c.At)), nil
	case AssignTicket:
		if !s.WithPerson() {
			return nil, fmt.Errorf("assign ticket: %w", ErrNoTicket)
		}
		if strings.TrimSpace(c.Assignee) == "" {
			return nil, fmt.Errorf("assign ticket: %w", ErrNobody)
		}
		if s.Ticket.Assignee == c.Assignee && s.Ticket.Status == Assigned {
			return nil, nil
		}
		return []domain.Event{TicketAssigned{s.Ticket.ID, c.Assignee}}, nil
	case EscalateTicket:
		switch {
		case !s.WithPerson():
			return nil, fmt.Errorf("escalate ticket: %w", ErrNoTicket)
		case !c.Priority.Valid():
			return nil, fmt.Errorf("escalate ticket: %q: %w", c.Priority, ErrPriority)
		case !c.Priority.Above(s.Ticket.Priority):
			return nil, fmt.Errorf("escalate ticket from %s to %s: %w", s.Ticket.Priority, c.Priority, ErrNotMoreUrgent)
		}
		return []domain.Event{TicketEscalated{s.Ticket.ID, c.Reason, c.Priority, c.At.Add(c.Priority.Due())}}, nil
	case ResolveTicket:
		if s.Ticket.Status == Resolved {
			return nil, nil
		}
		if !s.WithPerson() {
			return nil, fmt.Errorf("resolve ticket: %w", ErrNoTicket)
		}
		return []domain.Event{TicketResolved{s.Ticket.ID, c.At}}, nil
	case ReopenTicket:
		if s.Ticket.Status != Resolved && s.Ticket.Status != BackWithUs {
			return nil, fmt.Errorf("reopen ticket: %w", ErrNothingToReopen)
		}
		return append(s.endRun(Answer{}, c.At), TicketReopened{s.Ticket.ID, c.Reason, c.At, c.At.Add(s.Ticket.Priority.Due())}), nil
	case HandBack:
		if s.Ticket.Status == BackWithUs {
			return nil, nil
		}
		if !s.WithPerson() {
			return nil, fmt.Errorf("hand back to the bot: %w", ErrNoTicket)
		}
		return []domain.Event{HandedBack{s.Ticket.ID}}, nil
	default:
		panic(fmt.Sprintf("chat: no decision for %T", command))
	}
}

// open is the chat's next ticket.
func (s State) open(why dialog.HandOver, at time.Time) TicketOpened {
	return TicketOpened{
		Ticket: fmt.Sprintf("#%d", s.Tickets+1), Reason: why.Reason, Subject: cut(s.LastText, subjectMax),
		Priority: why.Priority, At: at, Due: at.Add(why.Priority.Due()),
	}
}

// endRun ends a running workflow, because a person takes over.
func (s State) endRun(answer Answer, at time.Time) []domain.Event {
	if !s.Run.Active() {
		return nil
	}
	return []domain.Event{WorkflowMoved{Answer: answer, Workflow: s.Run.Workflow, From: s.Run.Step, Step: dialog.HandedOver, Source: s.Run.Source, At: at}}
}
