package chat

import (
	"fmt"
	"strings"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// decideTicket says what operators' commands lead to.
func decideTicket(s informed, command Command) ([]domain.Event, error) {
	switch c := command.(type) {
	case OpenTicket:
		if s.WithPerson() {
			return nil, fmt.Errorf("open ticket: %w (%s)", ErrTicketOpen, s.Ticket.ID)
		}
		if !c.Priority.Valid() {
			return nil, fmt.Errorf("open ticket: %q: %w", c.Priority, ErrPriority)
		}
		return append(s.endRun(Answer{}, c.At),
			s.open(dialog.HandOver{Reason: c.Reason, Priority: c.Priority}, c.At)), nil
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
			return nil, fmt.Errorf("escalate ticket from %s to %s: %w", s.Ticket.Priority, c.Priority,
				ErrNotMoreUrgent)
		}
		due, resolve := s.knowledge().Due(c.Priority, c.At)
		return []domain.Event{TicketEscalated{s.Ticket.ID, c.Reason, c.Priority, c.At, due, resolve}}, nil
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
		due, resolve := s.knowledge().Due(s.Ticket.Priority, c.At)
		return append(s.endRun(Answer{}, c.At), TicketReopened{s.Ticket.ID, c.Reason, c.At, due, resolve}), nil
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
func (s informed) open(why dialog.HandOver, at time.Time) TicketOpened {
	due, resolve := s.knowledge().Due(why.Priority, at)
	return TicketOpened{
		Ticket: fmt.Sprintf("#%d", s.Tickets+1), Reason: why.Reason, Subject: domain.Shorten(s.LastText, subjectMax),
		Priority: why.Priority, At: at, Due: due, Resolve: resolve,
	}
}
