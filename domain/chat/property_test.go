package chat_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

// texts are messages that lead to every part of the dialogue.
var texts = []string{"", "hello", "qwertz", "I want to change my billing address",
	"12 Baker Street, London NW1 6XE", "Elm Row", "yes", "no", "cancel",
	"/start", "/help", "where is my order 1001", "I want to talk to a person", "This is outrageous",
	"my order came damaged", "broken", "lost", "back", "1001", "hallo, ich bin es",
	"please cancel my order", "where is my invoice", "\x00", "🙂", strings.Repeat("x", 4096)}

var buttons = []string{"w:4:yes", "w:4:change", "w:4:cancel", "w:2:damaged", "w:3:switch", "w:3:stay",
	"w:4:switch", "w:9:go_on", "i:order_status", "i:change_address", "x", ":"}

var priorities = []dialog.Priority{dialog.Urgent, dialog.High, dialog.Normal, dialog.Low, "none"}

// chatter draws the life of a chat: updates that come, some again and some out of
// order, turns that are asked for, some twice and some late, and operators at work.
type chatter struct {
	now     time.Time
	crm     bool // the bot has one
	history []domain.Event
	updates []chat.Receive
}

func (c *chatter) draw(t *rapid.T) chat.Command {
	c.now = c.now.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "seconds")) * time.Second)
	switch rapid.IntRange(0, 11).Draw(t, "what") {
	case 0, 1, 2:
		return c.receive(t)
	case 3:
		if len(c.updates) > 0 {
			return rapid.SampledFrom(c.updates).Draw(t, "again")
		}
		return c.receive(t)
	case 4, 5, 6:
		if len(c.history) == 0 {
			return c.receive(t)
		}
		to := rapid.IntRange(1, len(c.history)).Draw(t, "to")
		return chat.Respond{To: domain.Version(to), Event: c.history[to-1], At: c.now}
	case 7:
		return chat.Elapse{At: c.now, Quiet: rapid.Bool().Draw(t, "quiet")}
	case 8:
		return chat.RecordDelivery{Outcome: rapid.SampledFrom([]domain.DeliveryState{"done", "refused",
			"unknown", "dead"}).Draw(t, "outcome"), Blocked: rapid.Bool().Draw(t, "blocked")}
	case 9, 10:
		return c.answer(t)
	default:
		priority := rapid.SampledFrom(priorities).Draw(t, "priority")
		return rapid.SampledFrom([]chat.Command{
			chat.OpenTicket{Reason: "r", Priority: priority, At: c.now}, chat.AssignTicket{Assignee: "maria"},
			chat.EscalateTicket{Priority: priority, At: c.now},
			c.operate(t, priority), c.operate(t, priority), c.operate(t, priority), c.operate(t, priority),
			chat.ResolveTicket{At: c.now}, chat.ReopenTicket{Reason: "r", At: c.now}, chat.HandBack{},
			chat.ReferTicket{Desk: "zendesk"}, chat.RecordFiling{Ticket: "#1"},
			chat.RecordAgent{ID: fmt.Sprint(rapid.IntRange(0, 50).Draw(t, "act")),
				Ticket: rapid.SampledFrom([]string{"#1", "#2", "#0", ""}).Draw(t, "ticket"), Desk: "zendesk",
				Act: rapid.SampledFrom([]chat.AgentAct{chat.AgentSolved, chat.AgentReopened, chat.AgentReplied,
					"?"}).Draw(t, "act"), Agent: "Maria", Text: "hello", At: c.now},
			chat.RetryDelivery{Was: "dead"}, chat.Migrate{To: -1001, At: c.now},
			chat.Continue{From: -5, Version: 1, Unfinished: chat.Unfinished{Ticket: &asked}, At: c.now},
			chat.SkipDelivery{Was: "dead"},
			chat.SkipDelivery{Kind: chat.KindOf(dialog.ChangeAddress), Was: "waiting", At: c.now},
			chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hello"},
		}).Draw(t, "operator")
	}
}

// answer is that of one of the last tools that were asked for, or of none.
func (c *chatter) answer(t *rapid.T) chat.Command {
	record := chat.RecordTool{To: 1, For: chat.ForWorkflow, Tool: dialog.ChangeAddress, At: c.now}
	back := rapid.IntRange(0, 1).Draw(t, "back")
	for _, event := range slices.Backward(c.history) {
		if e, ok := event.(chat.ToolRequested); ok {
			if back--; back < 0 {
				record = chat.RecordTool{To: e.To, Call: e.Call, For: e.For, Tool: e.Tool, Input: e.Input, At: c.now}
				break
			}
		}
	}
	if record.Reason = rapid.SampledFrom([]string{"", "", "", "down"}).Draw(t, "reason"); record.Reason == "" {
		well := rapid.SampledFrom([]string{"true", "true", "false"}).Draw(t, "well")
		record.Output = map[string]string{"found": well, "valid": well, "address": record.Input["address"],
			"number": "1001", "status": "shipped", "case": "C-1", "name": "Ada"}
	}
	return record
}

// equip returns the command under the settings of a bot that has every tool, or none.
func (c *chatter) equip(command chat.Command) chat.Command {
	if c.crm {
		return equipped(command)
	}
	return under{command, settings}
}

func (c *chatter) receive(t *rapid.T) chat.Receive {
	id := rapid.Int64Range(1, 500).Draw(t, "update id")
	u := chat.Update{ID: id, Key: rapid.Uint64Range(1, 300).Draw(t, "key")}
	message := rapid.Int64Range(1, 50).Draw(t, "message id")
	text := rapid.SampledFrom(texts).Draw(t, "text")
	var event domain.Event
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		event = chat.MessageEdited{Update: u, MessageID: message, EditedAt: c.now, Text: text}
	case 1:
		event = chat.ButtonPressed{Update: u, QueryID: fmt.Sprint("query", id), MessageID: message, Date: c.now,
			Data: rapid.SampledFrom(buttons).Draw(t, "button")}
	case 2:
		event = chat.MembershipChanged{Update: u, Date: c.now, Blocked: rapid.Bool().Draw(t, "blocked")}
	case 3:
		event = chat.UpdateKept{Update: u, Kind: "poll"}
	default:
		event = chat.MessageReceived{Update: u, MessageID: message, Date: c.now, Text: text,
			Album:  rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, "album"),
			Thread: rapid.Int64Range(0, 3).Draw(t, "thread")}
	}
	r := chat.Receive{Event: event, At: c.now,
		Limit: chat.Limit{Count: rapid.IntRange(0, 100).Draw(t, "limit"), Window: time.Hour}}
	c.updates = append(c.updates, r)
	return r
}

// life is a chat after some commands, with the events they led to.
func life(t *rapid.T, each func(chat.State, chat.Command, []domain.Event)) (chat.State, *chatter) {
	c := &chatter{now: noon, crm: rapid.Bool().Draw(t, "crm")}
	state := chat.Decider.Initial()
	for range rapid.IntRange(1, 120).Draw(t, "commands") {
		command := c.draw(t)
		events, err := decider.Decide(state, c.equip(command), settings)
		if err != nil && len(events) > 0 {
			t.Fatalf("%T is refused (%v) and yet leads to %+v", command, err, events)
		}
		if each != nil {
			each(state, c.equip(command), events)
		}
		state = chat.Decider.Fold(state, events...)
		c.history = append(c.history, events...)
	}
	return state, c
}

func TestFold_InParts_SameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state, c := life(t, nil)
		at := rapid.IntRange(0, len(c.history)).Draw(t, "parted at")
		first := chat.Decider.Fold(chat.Decider.Initial(), c.history[:at]...)
		if diff := cmp.Diff(state, chat.Decider.Fold(first, c.history[at:]...)); diff != "" {
			t.Fatalf("parted at %d (-at once +in parts):\n%s", at, diff)
		}
		if diff := cmp.Diff(state, chat.Decider.Fold(chat.Decider.Initial(), c.history...)); diff != "" {
			t.Fatalf("told again (-then +now):\n%s", diff)
		}
	})
}

func TestFold_AfterRoundTrip_SameState(t *testing.T) {
	codec := chat.NewCodec()
	rapid.Check(t, func(t *rapid.T) {
		state, c := life(t, nil)
		var read []domain.Event
		for _, event := range c.history {
			name, version, payload, err := codec.Encode(event)
			if err != nil {
				t.Fatal(err)
			}
			again, err := codec.Decode(name, version, payload)
			if err != nil {
				t.Fatal(err)
			}
			read = append(read, again)
		}
		if diff := cmp.Diff(state, chat.Decider.Fold(chat.Decider.Initial(), read...)); diff != "" {
			t.Fatalf("(-decided +read back):\n%s", diff)
		}
	})
}

func TestDecideEvolve_State_NotModified(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life(t, func(state chat.State, command chat.Command, events []domain.Event) {
			before := deepCopy(state)
			if _, err := decider.Decide(state, command, settings); err != nil && len(events) > 0 {
				t.Fatalf("%T is decided differently the second time: %v", command, err)
			}
			after := state
			for _, event := range events {
				after = chat.Decider.Evolve(after, event)
			}
			if diff := cmp.Diff(before, state); diff != "" {
				t.Fatalf("%T changed the state it was given (-before +after):\n%s", command, diff)
			}
			if diff := cmp.Diff(spare(before.Heard), spare(state.Heard)); diff != "" {
				t.Fatalf("%T wrote behind the end of Heard (-before +after):\n%s", command, diff)
			}
			if diff := cmp.Diff(spare(before.Answerable), spare(state.Answerable)); diff != "" {
				t.Fatalf("%T wrote behind the end of Answerable (-before +after):\n%s", command, diff)
			}
		})
	})
}

func TestDecide_SameInput_SameEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life(t, func(state chat.State, command chat.Command, events []domain.Event) {
			again, _ := decider.Decide(state, command, settings)
			if diff := cmp.Diff(events, again); diff != "" {
				t.Fatalf("%T (-first +second):\n%s", command, diff)
			}
		})
	})
}

func TestReceive_RepeatsInAnyOrder_NothingAppended(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state, c := life(t, nil)
		received := c.updates[max(0, len(c.updates)-20):] // fewer than the state remembers
		if len(received) == 0 {
			return
		}
		for _, again := range rapid.Permutation(received).Draw(t, "redelivered") {
			again.At = again.At.Add(time.Minute)
			if events, err := chat.Decider.Decide(state, again, chat.Settings{}); err != nil || len(events) > 0 {
				t.Fatalf("%+v leads to %+v, error %v", again.Event, events, err)
			}
		}
	})
}

func TestTurn_EachMessage_UnderstoodAtMostOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, c := life(t, nil)
		taken := map[domain.Version]int{}
		last := domain.Version(0)
		for _, event := range c.history {
			u, ok := event.(chat.Understood)
			if !ok {
				continue
			}
			if taken[u.To]++; taken[u.To] > 1 {
				t.Fatalf("event %d was answered twice", u.To)
			}
			if u.To <= last {
				t.Fatalf("event %d was answered after event %d", u.To, last)
			}
			last = u.To
			switch c.history[u.To-1].(type) {
			case chat.MessageReceived, chat.MessageEdited, chat.ButtonPressed:
			default:
				t.Fatalf("%T was answered", c.history[u.To-1])
			}
		}
	})
}

func TestProperty_OperatorHasChat_BotSilent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life(t, func(state chat.State, command chat.Command, events []domain.Event) {
			if !state.WithPerson() {
				return
			}
			for _, event := range events {
				if reply, ok := event.(chat.ReplyQueued); ok && reply.Author.Kind == chat.Bot {
					t.Fatalf("%+v led to %+v", command, reply)
				}
			}
		})
	})
}

func TestProperty_OperatorHasChat_NoWorkflow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life(t, func(state chat.State, command chat.Command, events []domain.Event) {
			if after := chat.Decider.Fold(state, events...); after.WithPerson() && after.Run.Active() {
				t.Fatalf("after %+v: ticket %+v, run %+v", command, after.Ticket, after.Run)
			}
		})
	})
}

func TestProperty_WithCRM_ConfirmedOnlyAfterCRM(t *testing.T) {
	const wish = "I want to change my billing address"
	next := map[dialog.Step]string{dialogtest.CollectingAddress: baker,
		dialogtest.ConfirmingChanges: "yes"} // what the customer says there
	said := 0
	rapid.Check(t, func(t *rapid.T) {
		state, c, kept := chat.Decider.Initial(), &chatter{now: noon, crm: true}, map[string]bool{}
		do := func(command chat.Command) {
			events, _ := decider.Decide(state, c.equip(command), settings) // refused: then nothing happened
			state, c.history = chat.Decider.Fold(state, events...), append(c.history, events...)
			for _, event := range events {
				switch e := event.(type) {
				case chat.ToolReturned:
					kept[e.Output["address"]] = e.Tool == dialog.ChangeAddress && e.Reason == "" ||
						kept[e.Output["address"]]
				case chat.ReplyQueued:
					address, claim := strings.CutPrefix(e.Text, "Your address is now ")
					if claim && !kept[strings.TrimSuffix(address, ".")] {
						t.Fatalf("%+v led to %q, of %v", command, e.Text, kept)
					} else if claim {
						said++
					}
				}
			}
		}
		for n := range rapid.Int64Range(20, 60).Draw(t, "acts") {
			switch c.now = c.now.Add(time.Minute); rapid.SampledFrom([]string{"go on", "go on", "go on",
				"anything", "the CRM answers", "the CRM answers"}).Draw(t, "act") {
			case "anything":
				do(c.draw(t))
			case "the CRM answers":
				do(c.answer(t))
			default:
				text := rapid.SampledFrom(texts).Draw(t, "text")
				if sensible := rapid.SampledFrom([]bool{true, true, true, false}).
					Draw(t, "sensible"); sensible && state.Run.Active() {
					text = next[state.Run.Step]
				} else if sensible {
					text = wish
				}
				message := wrote(1000+n, text)
				message.Date = c.now
				do(receive(message))
				do(respond(domain.Version(len(c.history)), message))
			}
		}
	})
	if said == 0 && !t.Failed() {
		t.Error("no address was changed")
	}
}

// However tools answer, a customer who waits for one is not forgotten: each request is of
// the step that waits for its answer.
func TestProperty_WaitingForTool_ToolRequested(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life(t, func(state chat.State, command chat.Command, events []domain.Event) {
			after := chat.Decider.Fold(state, events...)
			if !after.Run.Active() {
				return
			}
			calls := dialogtest.Shop.Uses(after.Run.Workflow, after.Run.Step)
			if calls != after.Run.Calling || calls != "" && (after.Awaited.Tool != calls || after.Awaited.Call == 0) {
				t.Fatalf("%+v led to %s, which uses %q, and %+v is awaited", command, after.Run.Step, calls,
					after.Awaited)
			}
		})
	})
}

// Wake promises that time brings about whatever is due: nothing is left open for ever.
func TestProperty_WorkflowOrTicket_HasDueTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state, c := life(t, nil)
		for range 10 {
			at := chat.Wake(state, settings)
			if at.IsZero() {
				break
			}
			events, err := decider.Decide(state, c.equip(chat.Elapse{At: at}), settings)
			if err != nil || len(events) == 0 {
				t.Fatalf("woken at %s, and nothing happens: %v; run %+v, ticket %+v, backlog %+v", at, err,
					state.Run, state.Ticket, state.Backlog)
			}
			state = chat.Decider.Fold(state, events...)
		}
		if at := chat.Wake(state, settings); !at.IsZero() {
			t.Fatalf("woken again and again, next at %s; run %+v, ticket %+v", at, state.Run, state.Ticket)
		}
		if state.Run.Active() && state.Run.Calling == "" {
			t.Fatalf("a run that waits for its customer for ever: %+v", state.Run)
		}
	})
}

func TestProperty_WorkflowMoves_AreConnected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life(t, func(state chat.State, command chat.Command, events []domain.Event) {
			for _, event := range events {
				if move, ok := event.(chat.WorkflowMoved); ok &&
					(move.Step != dialog.Initial && move.From != state.Run.Step || move.Step == dialog.Initial &&
						state.Run.Active()) {
					t.Fatalf("%+v: moved from %q, but the workflow stood at %q", command, move.From, state.Run.Step)
				}
				state = chat.Decider.Evolve(state, event)
			}
		})
	})
}

func TestProperty_LongChat_StateStaysSmall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state := chat.Decider.Fold(chat.Decider.Initial(), opened)
		text := rapid.SampledFrom(texts).Draw(t, "text")
		for n := range rapid.Int64Range(1, 400).Draw(t, "messages") {
			state = chat.Decider.Fold(state, wrote(n, text), chat.AgentActed{ID: fmt.Sprint(n)},
				chat.Understood{Waits: &chat.Waiting{Text: "x"}},
				chat.WorkflowMoved{Workflow: "w", Step: dialog.Step(fmt.Sprint(n)), At: noon},
				chat.WorkflowPaused{}, chat.WorkflowResumed{})
		}
		if len(state.Heard) > 64 || len(state.Answerable) > chat.MaxLimit || len([]rune(state.LastText)) > 1001 ||
			len(state.Agents.Acts) > 32 || len(state.Ticket.Said) > 5 || len(state.Recent) > 4 ||
			len(state.Backlog.Messages) > 10 || len(state.Run.Path) > 64 {
			t.Fatalf("%d keys, %d times, %d characters", len(state.Heard), len(state.Answerable),
				len([]rune(state.LastText)))
		}
		if cap(state.Heard) > 128 || cap(state.Answerable) > 128 {
			t.Fatalf("room for %d keys and %d times", cap(state.Heard), cap(state.Answerable))
		}
	})
}
