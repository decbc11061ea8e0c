package whatif

import (
	"time"

	"github.com/chatledger/chatledger/domain/chat"
)

// operateOf is what an operator did, told by the events that it led to. A canned reply is
// repeated in the words that it had then: they were a person's.
func operateOf(d decision) chat.Operate {
	var c chat.Operate
	for _, r := range d {
		switch e := r.Event.(type) {
		case chat.OperatorActed:
			c.Key, c.Print, c.Operator, c.Fence, c.At = e.Key, e.Print, e.Operator, e.Fence, e.At
		case chat.TicketClaimed:
			c.Do, c.Force = chat.Claim{For: e.Until.Sub(e.At)}, e.From != ""
			c.Operator, c.At = e.Operator, e.At
		case chat.ClaimReleased:
			c.Do, c.Operator = chat.Release{}, e.Operator
		case chat.NoteAdded:
			c.Do, c.Operator, c.At = chat.AddNote{Text: e.Text}, e.Operator, e.At
		case chat.TicketTagged:
			c.Do = chat.Tag{Add: e.Added, Remove: e.Removed}
		case chat.TicketPrioritized:
			c.Do = chat.SetPriority{Priority: e.Priority, At: e.At}
		case chat.ReplyQueued:
			c.Do = replyOf(d)
		case chat.TicketOpened:
			if c.Do == nil { // a claim's follows
				c.Do = chat.OpenTicket{Reason: e.Reason, Priority: e.Priority, At: e.At}
			}
		case chat.TicketAssigned:
			c.Do = chat.AssignTicket{Assignee: e.Assignee}
		case chat.TicketEscalated:
			c.Do = chat.EscalateTicket{Priority: e.Priority, Reason: e.Reason, At: escalatedAt(e, r.OccurredAt)}
		case chat.TicketResolved:
			c.Do = chat.ResolveTicket{At: e.At}
		case chat.TicketReopened:
			c.Do = chat.ReopenTicket{Reason: e.Reason, At: e.At}
		case chat.HandedBack:
			c.Do = chat.HandBack{}
		}
	}
	if c.At.IsZero() {
		c.At = d[0].OccurredAt
	}
	return c
}

// tellOperator puts what operators did in words.
func tellOperator(event any, add func(kind Kind, format string, args ...any)) {
	switch e := event.(type) {
	case chat.OperatorActed:
		add(Person, "%s by %s", e.Act, e.Operator)
	case chat.TicketClaimed:
		add(Person, "claimed by %s%s", e.Operator, marks(e.From != "", "from "+e.From))
	case chat.ClaimReleased:
		add(Person, "released by %s", e.Operator)
	case chat.NoteAdded:
		add(Person, "noted by %s: %s", e.Operator, e.Text)
	case chat.TicketTagged:
		add(Person, "tags on %v, off %v", e.Added, e.Removed)
	case chat.TicketPrioritized:
		add(Person, "priority %s, due %s", e.Priority, e.Due.UTC().Format(time.RFC3339))
	}
}
