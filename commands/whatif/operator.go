package whatif

import (
	"cmp"
	"time"

	"github.com/chatledger/chatledger/domain/chat"
)

// operateOf is what an operator did, told by the events that it led to. A canned reply is
// repeated in the words that it had then: they were a person's.
func operateOf(d decision) chat.Operate {
	var c chat.Operate
	canned, lease := "", time.Duration(0)
	for _, r := range d {
		switch e := r.Event.(type) {
		case chat.OperatorActed:
			c.Key, c.Fingerprint, c.Operator, c.Fence, c.Force, c.At, canned = e.Key, e.Fingerprint, e.Operator,
				e.Fence, e.Force, e.At, e.Canned
			c.Do = chat.Already{Act: e.Act}
		case chat.TicketClaimed:
			lease = e.Until.Sub(e.At)
			c.Do = chat.Claim{For: lease}
			c.Operator, c.At = cmp.Or(c.Operator, e.Operator), e.At
		case chat.ClaimReleased:
			c.Do, c.Operator = chat.Release{}, cmp.Or(c.Operator, e.Operator)
		case chat.NoteAdded:
			c.Do, c.Operator, c.At = chat.AddNote{Text: e.Text}, cmp.Or(c.Operator, e.Operator), e.At
		case chat.TicketTagged:
			c.Do = chat.Tag{Add: e.Added, Remove: e.Removed}
		case chat.TicketPrioritized:
			c.Do = chat.SetPriority{Priority: e.Priority, At: e.At}
		case chat.ReplyQueued:
			reply := replyOf(d)
			c.Lease = lease // of the claim that the reply took, if it did
			if c.Do = reply; canned != "" {
				c.Do = chat.CannedReply{Name: canned, Words: reply.Text}
			}
		case chat.TicketOpened:
			c.Do = chat.OpenTicket{Reason: e.Reason, Priority: e.Priority, At: e.At} // or a claim follows
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
