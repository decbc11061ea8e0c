package chat

import (
	"slices"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Some events are caused by time alone: a workflow is reminded of and expires,
// messages that waited through an outage are answered, the wait for an album ends, a
// ticket becomes overdue. Wake returns when the next of them is due; the timekeeper then
// handles Elapse, which does only what is due, so that it may be handled too often.

// backlogGather is how long a backlog has to be quiet before it is answered: what
// Telegram kept through an outage comes within seconds.
const backlogGather = 3 * time.Second

// Wake is when time brings something about; zero is never.
func Wake(s State, b Settings) time.Time {
	var next time.Time
	sooner := func(at time.Time) {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	switch {
	case s.Backlog.Count > 0: // which may hold what the workflow waits for
		sooner(s.Backlog.At.Add(backlogGather))
	case !s.WithPerson():
		remind, expire := b.knowledge().Wake(s.Run)
		sooner(remind)
		sooner(expire)
		sooner(s.wakeExchange())
	}
	sooner(s.Unworded.until())
	for _, d := range s.dues() {
		sooner(d.at)
	}
	return next
}

// elapse does what is due.
func elapse(s informed, c Elapse) (events []domain.Event) {
	if !c.Quiet {
		return overdue(s, c.At)
	}
	for range quietRounds {
		ended := slices.DeleteFunc(overdue(s, c.At), reachesSomebody)
		for _, event := range ended {
			s.State = Evolve(s.State, event)
		}
		events = append(events, ended...)
	}
	return events
}

// quietRounds is how many things may have to end one after the other: messages that wait,
// an album, an exchange, a reminder and a workflow.
const quietRounds = 5

// reachesSomebody tells what is due from what follows of it for others: what the customer
// would hear or be asked next, who would be fetched, what would be looked up.
func reachesSomebody(event domain.Event) bool {
	switch e := event.(type) {
	case WorkflowMoved:
		return e.Step != dialog.Expired
	case WorkflowReminded, BacklogTaken, AlbumTaken, ExchangeEnded, DueBreached:
		return false
	default:
		return true
	}
}

func overdue(s informed, at time.Time) (events []domain.Event) {
	if s.Backlog.Count > 0 && !at.Before(s.Backlog.At.Add(backlogGather)) {
		return s.takeBacklog(at)
	}
	if until := s.Unworded.until(); !until.IsZero() && !at.Before(until) {
		return s.takeUnworded(at)
	}
	for _, d := range s.dues() {
		if !at.Before(d.at) {
			events = append(events, DueBreached{s.Ticket.ID, d.what, d.at, at})
		}
	}
	if s.WithPerson() || s.Backlog.Count > 0 {
		return events
	}
	if ended := s.endExchange(at); ended != nil {
		return ended
	}
	turn := dialog.Elapse(s.context(Sender{}), at)
	return append(events, s.does(Answer{}, turn, 0, at)...)
}

// due is a time that a ticket has.
type due struct {
	what DueWhat
	at   time.Time
}

// dues are the times of the open ticket that matter still.
func (s State) dues() (list []due) {
	if !s.WithPerson() {
		return nil
	}
	if t := s.Ticket; !t.Replied && !t.Due.IsZero() && !slices.Contains(t.Breached, DueResponse) {
		list = append(list, due{DueResponse, t.Due})
	}
	if t := s.Ticket; !t.Resolve.IsZero() && !slices.Contains(t.Breached, DueResolution) {
		list = append(list, due{DueResolution, t.Resolve})
	}
	return list
}

// waited reports whether a message is too old to be answered by itself, or has come
// behind one that is.
func (s informed) waited(m MessageReceived, at time.Time) bool {
	limit := s.knowledge().Backlog
	return limit > 0 && (s.Backlog.Count > 0 || at.Sub(m.Date) > limit)
}

// takeBacklog answers all that has waited, at once. Nobody is answered whom a person has
// by now, or who does not want to hear from us.
func (s informed) takeBacklog(at time.Time) []domain.Event {
	to, messages := Answer{s.Backlog.To}, s.Backlog.Messages
	said := make([]string, len(messages))
	for i, m := range messages {
		said[i] = m.Text
	}
	taken := BacklogTaken{Answer: to, Messages: s.Backlog.Count, Intent: dialog.Waited, Knowledge: s.knowledge().Hash}
	if s.WithPerson() || s.Blocked {
		return []domain.Event{taken}
	}
	last := messages[len(messages)-1]
	s.Recent = nil
	turn := dialog.CatchUp(s.context(Sender{}), said, s.Backlog.Count, dialog.Act{By: last.By, At: last.Sent})
	taken.Intent, taken.Confidence, taken.Language = turn.Intent, turn.Confidence, turn.Language
	return append([]domain.Event{taken}, s.does(to, turn, last.By, at)...)
}
