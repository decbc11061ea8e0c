package whatif

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/llm"
)

// Difference is a decision that comes out otherwise.
type Difference struct {
	Stream  domain.StreamID `json:"stream"`
	Version domain.Version  `json:"version"` // of the recorded decision, or of the update to which the bot was silent
	At      time.Time       `json:"at"`
	Said    string          `json:"said,omitempty"` // by the customer; empty when it is not about that
	Root    bool            `json:"root"`           // the first of its chat; those that follow may only follow from it
	Fields  []Field         `json:"fields"`
}

// Field is one kind of thing decided, with what it was and what it is now, each a
// line for every event of that kind; none when nothing was decided.
type Field struct {
	Kind Kind     `json:"kind"`
	Was  []string `json:"was"`
	Now  []string `json:"now"`
}

// Kind is what a decision is about.
type Kind string

// Kinds of decisions.
const (
	Received Kind = "received" // what an update was taken for, with its marks
	Intent   Kind = "intent"   // what the customer was taken to want, and how sure that was
	Workflow Kind = "workflow" // moves
	Button   Kind = "button"   // the answer to a pressed button
	Asked    Kind = "asked"    // what another system was asked for
	Answered Kind = "answered" // what it answered
	Reply    Kind = "reply"    // a message to the customer
	Ticket   Kind = "ticket"   // reason, priority and due time of one that was opened
	Desk     Kind = "desk"     // what the other desk is told
	Person   Kind = "person"   // what a person's act led to
)

// Kinds are all of them, in the order in which they are reported.
var Kinds = []Kind{Received, Intent, Workflow, Button, Asked, Answered, Reply, Ticket, Desk, Person}

// told is one line about a decision.
type told struct {
	kind Kind
	text string
}

// compare notes whether what was decided then is decided now. place is the recorded
// event at which it is reported, said the one that holds the customer's words.
func (b *sandbox) compare(then decision, now []told, place, said domain.Recorded) {
	was := tell(then, nil)
	if len(was)+len(now) == 0 {
		return
	}
	b.out.Decisions++
	d := Difference{
		Stream: place.Stream, Version: place.Version, At: place.OccurredAt.UTC(), Said: words(said.Event),
		Root: len(b.out.Differences) == 0,
	}
	for _, kind := range Kinds {
		if f := (Field{kind, of(kind, was), of(kind, now)}); !slices.Equal(f.Was, f.Now) {
			d.Fields = append(d.Fields, f)
		}
	}
	if len(d.Fields) > 0 {
		b.out.Differences = append(b.out.Differences, d)
	}
}

func of(kind Kind, lines []told) []string {
	texts := []string{}
	for _, l := range lines {
		if l.kind == kind {
			texts = append(texts, l.text)
		}
	}
	return texts
}

// tell puts a decision in words. Ids, versions and numbers of tickets are left out:
// they move when anything before them does.
func tell(events []domain.Recorded, refusal error) (lines []told) {
	add := func(kind Kind, format string, args ...any) {
		lines = append(lines, told{kind, fmt.Sprintf(format, args...)})
	}
	if refusal != nil {
		add(Person, "refused: %v", refusal)
	}
	for _, r := range events {
		switch e := r.Event.(type) {
		case chat.MessageReceived:
			add(Received, "message%s",
				marks(e.Late, "late", e.OverLimit, "over the limit", e.TooFast, "too fast", e.Corrected,
					"corrected before it came", e.Continues, "part of an album", e.From.Bot, "by a bot"))
		case chat.MessageEdited:
			add(Received, "edited message%s",
				marks(e.Late, "late", e.Ahead, "before its message", e.From.Bot, "by a bot"))
		case chat.ButtonPressed:
			add(Received, "button%s", marks(e.Late, "late"))
		case chat.MembershipChanged:
			add(Received, "membership %s%s", e.Status, marks(e.Late, "late", e.Blocked, "blocked"))
		case chat.UpdateKept:
			add(Received, "%s, only kept%s", e.Kind, marks(e.Late, "late"))
		case chat.ChatMigrated:
			add(Received, "moved to chat %d", e.To)
		case chat.ChatContinued:
			add(Received, "moved from chat %d", e.From)
		case chat.Understood:
			add(Intent, "%s %g", e.Intent, e.Confidence)
		case chat.WorkflowMoved:
			add(Workflow, "%s", move(e))
		case chat.ButtonAnswered:
			add(Button, "%s", e.Text)
		case chat.WorkflowPaused:
			add(Workflow, "%s: paused at %s", e.Workflow, e.Step)
		case chat.WorkflowResumed:
			add(Workflow, "%s: resumed at %s", e.Workflow, e.Step)
		case chat.WorkflowReminded:
			add(Workflow, "%s: reminded at %s", e.Workflow, e.Step)
		case chat.SwitchOffered:
			add(Workflow, "a switch offered: %s", e.Intent)
		case chat.TakeUpOffered:
			add(Workflow, "%s: offered to take up at %s", e.Workflow, e.Step)
		case chat.BacklogTaken:
			add(Intent, "%s %g, after %d messages", e.Intent, e.Confidence, e.Messages)
		case chat.AlbumTaken:
			add(Intent, "an album%s", marks(e.Words == 0, "without words"))
		case chat.DueBreached:
			add(Ticket, "%s breached, due %s", e.What, e.Due.UTC().Format(time.RFC3339))
		case chat.ToolRequested:
			add(Asked, "%s%s", e.Tool, values(e.Input))
		case chat.ModelAsked:
			add(Asked, "model, round %d: %s", e.Round, e.Messages[len(e.Messages)-1].Text)
		case chat.ModelAnswered:
			add(Answered, "model%s: %s%s",
				marks(e.Outdated, "outdated", e.Reason != "", "failed: "+e.Reason, e.Blocked != "",
					"held back: "+e.Blocked), e.Text, called(e.Calls))
		case chat.ExchangeJoined:
			add(Asked, "model, too: %s", e.Text)
		case chat.ExchangeEnded:
			add(Asked, "model, no more: %s", e.Reason)
		case chat.AttackRefused:
			add(Intent, "an attack: %s", e.Kind)
		case chat.ConfirmationAsked:
			add(Asked, "to confirm %s%s", e.Call.Tool, values(e.Call.Input))
		case chat.ToolConfirmed:
			add(Button, "confirmed: %t", e.Yes)
		case chat.ToolReturned:
			add(Answered, "%s%s%s%s", e.Tool, values(e.Input), marks(e.Reason != "", "failed: "+e.Reason),
				values(e.Output))
		case chat.ReplyQueued:
			add(Reply, "%s", reply(e))
		case chat.TicketOpened:
			add(Ticket, "%s, %s, due %s", e.Reason, e.Priority, e.Due.UTC().Format(time.RFC3339))
		case chat.TicketReferred:
			add(Desk, "%s: %s, %s", e.Desk, e.Reason, e.Priority)
		case chat.DeskUpdateQueued:
			add(Desk, "%s: %s", e.Desk, cmp.Or(e.Text, e.Status, string(e.Priority)))
		case chat.AgentActed:
			add(Person, "%s at %s%s", e.Act, e.Desk, marks(e.Refused != "", e.Refused))
		case chat.TicketAssigned:
			add(Person, "assigned to %s", e.Assignee)
		case chat.TicketEscalated:
			add(Person, "escalated to %s", e.Priority)
		case chat.TicketResolved:
			add(Person, "resolved")
		case chat.TicketReopened:
			add(Person, "reopened")
		case chat.HandedBack:
			add(Person, "handed back")
		default:
			tellOperator(e, add)
		}
	}
	return lines
}

// marks lists the names of what holds.
func marks(pairs ...any) (list string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i].(bool) {
			list += ", " + pairs[i+1].(string)
		}
	}
	return list
}

func move(e chat.WorkflowMoved) string {
	text := fmt.Sprintf("%s: %s to %s", e.Workflow, e.From, e.Step) + values(e.Set)
	for _, field := range e.Cleared {
		text += ", without " + field
	}
	return text
}

// values lists what goes into a tool or comes out of it.
func values(fields map[string]string) (list string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		list += fmt.Sprintf(", %s = %s", name, fields[name])
	}
	return list
}

// called lists the tools that a model wanted.
func called(calls []llm.Call) (list string) {
	for _, c := range calls {
		list += fmt.Sprintf(" [%s%s%s]", c.Tool, values(c.Input), marks(c.Problem != "", c.Problem))
	}
	return list
}

func reply(e chat.ReplyQueued) string {
	text := e.Text
	for _, button := range e.Buttons {
		text += fmt.Sprintf(" [%s = %s]", button.Text, button.Data)
	}
	for _, m := range e.Media {
		text += fmt.Sprintf(" [%s]", m.Kind)
	}
	if e.Thread != 0 {
		text += fmt.Sprintf(" (topic %d)", e.Thread)
	}
	return text
}

// words are the customer's in an event.
func words(event domain.Event) string {
	switch e := event.(type) {
	case chat.MessageReceived:
		if e.Text == "" && len(e.Media) > 0 {
			return "[" + e.Media[0].Kind + "]"
		}
		return e.Text
	case chat.MessageEdited:
		return e.Text
	case chat.ButtonPressed:
		return "[" + e.Data + "]"
	default:
		return ""
	}
}
