package whatif

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Placeholders for the results of deliveries that were never made: a message id, a receipt,
// a number.
const (
	neverSent = math.MaxInt64
	neverDone = "none"
)

// outcome is what comes of what an event asked for; recorded is what came of it then,
// nil when it was not asked for. It is nil when nobody can tell.
func (b *sandbox) outcome(asked domain.Recorded, recorded domain.Event, at time.Time) chat.Command {
	switch e := recorded.(type) {
	case chat.DeliverySucceeded:
		return chat.RecordDelivery{
			Delivery: asked.ID, Kind: e.Kind, Outcome: "done", MessageID: e.MessageID, Unsure: e.Unsure,
		}
	case chat.DeliveryFailed:
		return chat.RecordDelivery{
			Delivery: asked.ID, Kind: e.Kind, Outcome: e.Outcome, Reason: e.Reason, Blocked: e.Blocked,
			Unsure: e.Unsure, Held: e.Held,
		}
	}
	switch e := asked.Event.(type) {
	case chat.ToolRequested:
		if found, known := b.use(e, asked.ID, recorded); known {
			return chat.RecordTool{Delivery: asked.ID, To: e.To, Call: e.Call, For: e.For, Tool: e.Tool,
				Input: e.Input, About: e.About,
				Output: found.Output, Receipt: found.Receipt, Account: found.Account, Reason: found.Reason, At: at}
		}
	case chat.ModelAsked:
		if was, known := b.then.to(e, recorded); known {
			return chat.RecordModel{Delivery: asked.ID, Ask: e.Ask, Text: was.Text, Calls: was.Calls,
				TokensIn: was.TokensIn, TokensOut: was.TokensOut,
				Cost: was.Cost, Took: time.Duration(was.Took) * time.Millisecond, Reason: was.Reason, Spent: was.Spent, At: at}
		}
	case chat.TicketReferred:
		was, _ := recorded.(chat.TicketFiled)
		return chat.RecordFiling{
			Delivery: asked.ID, Ticket: e.Ticket, Desk: e.Desk, Number: cmp.Or(was.Number, neverDone),
		}
	default:
		effect, _ := commands.Enqueue(asked)
		return chat.RecordDelivery{Delivery: asked.ID, Kind: effect.Kind, Outcome: "done", MessageID: neverSent}
	}
	b.out.Unanswered++
	return nil
}

// use is what comes of a tool: the catalogue's order, what came of this very request, or
// what was last found in this chat. What nobody did then is taken for done as it was
// asked.
func (b *sandbox) use(
	e chat.ToolRequested, id uuid.UUID, recorded domain.Event,
) (found chat.ToolReturned, known bool) {
	if e.Tool == dialog.OrderStatus && b.Order != nil {
		order, there := b.Order(e.Input["number"])
		return chat.ToolReturned{Output: order.Output(there)}, true
	}
	was, answered := recorded.(chat.ToolReturned)
	switch {
	case answered && was.Tool == e.Tool && maps.Equal(was.Input, e.Input):
		return was, true
	case e.Writes && answered && was.Tool == e.Tool:
		return chat.ToolReturned{Output: e.Input, Receipt: was.Receipt, Reason: was.Reason}, true
	case e.Writes:
		return chat.ToolReturned{Output: e.Input, Receipt: neverDone}, true
	}
	found, known = b.then.found[finding(e.Tool, e.Input)]
	return found, known
}

// finding names what goes into a tool.
func finding(tool string, input map[string]string) string {
	text, _ := json.Marshal(input)
	return tool + string(text)
}

// replyOf is the reply that a person's messages were made of.
func replyOf(d decision) chat.Reply {
	var c chat.Reply
	var texts []string
	for _, r := range d {
		if e, ok := r.Event.(chat.ReplyQueued); ok {
			c.Author, c.Format = e.Author, e.Format
			c.Media = append(c.Media, e.Media...)
			if e.Text != "" {
				texts = append(texts, e.Text)
			}
		}
	}
	c.Text = strings.Join(texts, "\n\n") // parted there, as between paragraphs, it falls into the same messages
	return c
}

// commandedAt is the time in the command that led to a decision: a moment before that
// of the event, where it matters and is kept.
func commandedAt(d decision) time.Time {
	for _, r := range d {
		switch e := r.Event.(type) {
		case chat.WorkflowMoved:
			return e.At
		case chat.ExchangeEnded:
			return e.At
		case chat.ConfirmationAsked:
			return e.At
		case chat.TicketOpened:
			return e.At
		case chat.ModelAsked:
			if !r.OccurredAt.Before(e.Until) { // the time for it had not run out
				return e.Until.Add(-time.Nanosecond)
			}
		}
	}
	return d[0].OccurredAt
}

// escalatedAt is the time from which the due times count; where it is not kept, it is
// the event's.
func escalatedAt(e chat.TicketEscalated, occurred time.Time) time.Time {
	if e.At.IsZero() {
		return occurred
	}
	return e.At
}
