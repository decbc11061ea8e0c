package whatif_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/commands/whatif"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
	"github.com/chatledger/chatledger/domain/llm"
)

// replay fails on an error.
func replay(t rapid.TB, c whatif.Chat, s whatif.Settings) whatif.Outcome {
	t.Helper()
	out, err := whatif.Replay(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The promise that everything else rests on.
func TestWhatIf_SameSettings_NoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := lives.Draw(t, "life")
		recorded := l.recorded()
		if n := len(recorded.History); n > 0 && rapid.Bool().Draw(t, "since") {
			recorded.Since = recorded.History[rapid.IntRange(0, n-1).Draw(t, "since")].RecordedAt
		}
		asRecorded := l.settings()
		asRecorded.Limit, asRecorded.Order, asRecorded.With.Tools, asRecorded.Desk = nil, nil, nil, nil
		for name, settings := range map[string]whatif.Settings{"same": l.settings(), "as recorded": asRecorded,
			"typed events": {Limit: &l.bot.Limit, With: asRecorded.With}} {
			out := replay(t, recorded, settings)
			if len(out.Differences) > 0 {
				t.Fatalf("%s: %+v", name, out.Differences[0])
			}
			if !reflect.DeepEqual(recorded.History, out.Events) && len(recorded.History)+len(out.Events) > 0 {
				t.Fatalf("%s (-recorded +replayed):\n%s", name, cmp.Diff(recorded.History, out.Events))
			}
		}
	})
}

// A new event must be replayed, and drawn in the tests, before this passes.
func TestGenerate_Chats_HaveEveryEvent(t *testing.T) {
	codec := chat.NewCodec()
	missing := codec.Names()
	delete(missing, codec.Name(chat.WebhookMoved{})) // of a bot's own stream, which is no chat
	for seed := range 400 {
		for _, r := range lives.Example(seed).chat.History {
			delete(missing, codec.Name(r.Event))
		}
	}
	maps.DeleteFunc(missing, func(name string, _ int) bool { return codec.Former(name) })
	if len(missing) > 0 {
		t.Errorf("none has any of %v", missing)
	}
}

// However a chat was decided, deciding it again ends, and leads to a history that is
// whole: what is answered was received before, and outcomes are of what was asked.
func TestWhatIf_AnySettings_CompleteHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := lives.Draw(t, "life")
		settings, tools, desk := l.settings(),
			rapid.SampledFrom([]map[string]bool{nil, {}, dialogtest.AllTools}).
				Draw(t, "tools"), rapid.SampledFrom([]string{"", chat.DeskZendesk}).Draw(t, "desk")
		settings.With.Tools, settings.Desk = tools, &desk
		settings.Limit = &chat.Limit{Count: rapid.IntRange(0, 3).Draw(t, "new limit"), Window: 2 * time.Hour}
		if rapid.Bool().Draw(t, "catalogue") {
			settings.Order = func(number string) (dialog.Order, bool) { return shop[number], true }
		}
		out := replay(t, l.recorded(), settings)
		owed := 0
		for i, r := range out.Events {
			if r.Version != domain.Version(i+1) || r.Stream != stream {
				t.Fatalf("event %d is version %d of %s", i+1, r.Version, r.Stream)
			}
			if e, ok := r.Event.(chat.Understood); ok && (e.To < 1 || e.To > domain.Version(i)) {
				t.Fatalf("event %d answers event %d", i+1, e.To)
			}
			if _, owes := commands.Enqueue(r); owes {
				owed++
			}
			switch r.Event.(type) {
			case chat.DeliverySucceeded, chat.DeliveryFailed, chat.ToolReturned, chat.TicketFiled:
				owed--
			case chat.DeliveryRetried:
				owed++
			}
			if owed < 0 {
				t.Fatalf("event %d is the outcome of nothing", i+1)
			}
		}
		for i, d := range out.Differences {
			if d.Root != (i == 0) || len(d.Fields) == 0 {
				t.Fatalf("difference %d: %+v", i, d)
			}
		}
	})
}

// differ compares differences with lines like "3 intent: [a] -> [b]"; a star marks
// the root.
func differ(t *testing.T, out whatif.Outcome, want ...string) {
	t.Helper()
	var got []string
	for _, d := range out.Differences {
		place := fmt.Sprint(d.Version)
		if d.Root {
			place += "*"
		}
		for _, f := range d.Fields {
			got = append(got, fmt.Sprintf("%s %s: %s -> %s", place, f.Kind, f.Was, f.Now))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("differences (-want +got):\n%s", diff)
	}
}

// names are the stored names of a history.
func names(history []domain.Recorded) string {
	codec := chat.NewCodec()
	var list []string
	for _, r := range history {
		list = append(list, codec.Name(r.Event))
	}
	return strings.Join(list, " ")
}

var (
	unlimited = chat.Limit{}
	oneAnHour = chat.Limit{Count: 1, Window: time.Hour}
)

func TestWhatIf_HigherLimit_AnswersMore(t *testing.T) {
	l := newLife(oneAnHour, shop)
	l.say("hello")
	l.rest()
	l.say("thanks")
	l.say("where is my order 1001?")
	l.rest()
	settings := l.settings()
	settings.Limit = &unlimited
	out := replay(t, l.recorded(), settings)
	differ(t, out,
		"5* received: [message, over the limit, too fast] -> [message]",
		"6 received: [message, over the limit] -> [message]",
		"7 intent: [too_fast 1] -> [thanks 0.99]",
		"7 reply: [You are writing faster than I can answer. I've kept everything; please give me a minute.] "+
			"-> [You're welcome!]",
		"6 intent: [] -> [order_status 0.99]",
		"6 asked: [] -> [order_status, number = 1001]",
		"6 answered: [] -> [order_status, number = 1001, detail = It should arrive tomorrow., found = true, "+
			"number = 1001, status = shipped]",
		"6 reply: [] -> [Order 1001: shipped. It should arrive tomorrow.]")
	if got, want := names(out.Events[4:]), "message_received message_received understood reply_queued "+
		"understood tool_requested tool_returned reply_queued delivery_succeeded delivery_succeeded"; got != want {
		t.Errorf("the sandbox's chat went on with %s", got)
	}
	if last := out.Differences[3]; last.Said != "where is my order 1001?" || !last.At.Equal(noon) ||
		last.Stream != stream {
		t.Errorf("%+v", last)
	}
	var tally whatif.Tally
	tally.Add(out)
	tally.Add(replay(t, l.recorded(), l.settings()))
	want := whatif.Tally{Chats: 2, Inputs: 10, Decisions: 11, ChatsThatDiffer: 1, DecisionsThatDiffer: 4,
		Kinds: map[whatif.Kind]int{whatif.Received: 2, whatif.Intent: 2, whatif.Asked: 1, whatif.Answered: 1,
			whatif.Reply: 2},
		Intents: map[string]int{"too_fast -> thanks": 1, "none -> order_status": 1}, Sent: 1, Reworded: 1}
	if diff := cmp.Diff(want, tally); diff != "" {
		t.Errorf("tally (-want +got):\n%s", diff)
	}
}

func TestWhatIf_LowerLimit_FewerTickets(t *testing.T) {
	l := newLife(unlimited, nil)
	l.say("hello")
	l.rest()
	l.say("I want to talk to a person")
	l.rest()
	for _, act := range []chat.Command{chat.AssignTicket{Assignee: "ann"},
		chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "ann"}, Text: "Hi"}, chat.ResolveTicket{At: l.now}} {
		if err := l.person(act); err != nil {
			t.Fatal(err)
		}
	}
	l.rest()
	settings := l.settings()
	settings.Limit = &oneAnHour
	out := replay(t, l.recorded(), settings)
	differ(t, out,
		"5* received: [message] -> [message, over the limit, too fast]",
		"6 intent: [person 0.99] -> [too_fast 1]",
		"6 reply: [A colleague will answer you here.] -> [You are writing faster than I can answer. I've "+
			"kept everything; please give me a minute.]",
		"6 ticket: [asked, high, due 2026-01-31T13:00:00Z] -> []",
		"10 person: [assigned to ann] -> [refused: assign ticket: this chat has no open ticket]",
		"12 person: [resolved] -> [refused: resolve ticket: this chat has no open ticket]")
	if got, want := names(out.Events[4:]),
		"message_received understood reply_queued delivery_succeeded reply_queued delivery_succeeded"; got != want {
		t.Errorf("the sandbox's chat went on with %s", got)
	}
	var tally whatif.Tally
	if tally.Add(out); tally.Unsent != 0 || tally.Sent != 0 || tally.Reworded != 1 {
		t.Errorf("%+v", tally)
	}
}

func TestWhatIf_OtherCatalogue_OtherOrders(t *testing.T) {
	l := newLife(unlimited, shop)
	l.say("where is my order 1001?")
	l.rest()
	settings := l.settings()
	settings.Order = func(number string) (dialog.Order,
		bool) {
		return dialog.Order{Number: number, Status: "lost"}, true
	}
	out := replay(t, l.recorded(), settings)
	differ(t, out,
		"4* answered: [order_status, number = 1001, detail = It should arrive tomorrow., found = true, "+
			"number = 1001, status = shipped] -> "+
			"[order_status, number = 1001, detail = , found = true, number = 1001, status = lost]",
		"4* reply: [Order 1001: shipped. It should arrive tomorrow.] -> [Order 1001: lost.]")
	var tally whatif.Tally
	if tally.Add(out); tally.Reworded != 1 {
		t.Errorf("%+v", tally)
	}
}

func TestWhatIf_LookUps_ReturnRecorded(t *testing.T) {
	l := newLife(unlimited, shop)
	l.say("where is my order 1001?")
	l.rest()
	l.orders = catalogue{"1001": {Number: "1001", Status: "delivered"}}
	l.say("where is my order 1001?")
	l.rest()
	settings := l.settings()
	settings.Order = nil
	differ(t, replay(t, l.recorded(), settings))
}

// A look-up that was not made then gets the answer recorded elsewhere in the chat, or
// none if the chat has no such look-up.
func TestWhatIf_UnansweredLookUp_Unknown(t *testing.T) {
	l := newLife(chat.Limit{Count: 4, Window: time.Hour}, shop)
	l.crm = true
	for _, text := range []string{"where is my order 1002?", "I want to change my billing address",
		"12 Baker Street, London NW1 6XE", "cancel",
		// From here over the limit.
		"where is my order 1002?", "where is my order 1003?"} {
		l.say(text)
		l.rest()
	}
	settings := l.settings()
	settings.Limit, settings.Order = &unlimited, nil
	out := replay(t, l.recorded(), settings)
	var answers []string
	for _, d := range out.Differences {
		for _, f := range d.Fields {
			if f.Kind == whatif.Asked || f.Kind == whatif.Answered {
				answers = append(answers, f.Now...)
			}
		}
	}
	if diff := cmp.Diff([]string{
		"order_status, number = 1002",
		"order_status, number = 1002, detail = , found = true, number = 1002, status = delivered",
		"order_status, number = 1003",
	}, answers); diff != "" {
		t.Errorf("asked and answered (-want +got):\n%s", diff)
	}
	if out.Unanswered != 1 {
		t.Errorf("%d questions unanswered", out.Unanswered)
	}
}

// That a customer has blocked the bot is found out by writing to them.
func TestWhatIf_NothingSent_NoRefusal(t *testing.T) {
	l := newLife(unlimited, nil)
	for _, text := range []string{"hello", "thanks"} { // with a limit of one the second is told so
		l.say(text)
		l.rest()
	}
	l.say("thanks")
	for range 5 {
		l.turn()
	}
	l.settle(0, func(asked domain.Recorded) chat.Command {
		return chat.RecordDelivery{Delivery: asked.ID, Kind: domain.KindSendMessage, Outcome: "refused",
			Reason: "blocked", Blocked: true}
	})
	write := chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "ann"}, Text: "Hi"}
	if err := l.person(write); !errors.Is(err, chat.ErrBlocked) {
		t.Fatalf("then: %v", err)
	}
	blocked := func(history []domain.Recorded) bool {
		state := chat.Decider.Initial()
		for _, r := range history {
			state = chat.Decider.Evolve(state, r.Event)
		}
		return state.Blocked
	}
	settings := l.settings()
	if out := replay(t, l.recorded(), settings); !blocked(out.Events) {
		t.Error("the message that is sent today too is not refused")
	}
	settings.Limit = &oneAnHour
	if out := replay(t, l.recorded(), settings); blocked(out.Events) {
		t.Error("a message that is not sent today is refused")
	}
}

// The program of then had nothing to say to the first message; it was overtaken.
func TestWhatIf_SilentTurn_TakenAtOnce(t *testing.T) {
	l := newLife(unlimited, nil)
	l.say("hello")
	l.responder++ // without a word
	l.now = l.now.Add(time.Minute)
	l.say("thanks")
	l.rest()
	out := replay(t, l.recorded(), l.settings())
	differ(t, out, "1* intent: [] -> [greeting 0.99]", "1* reply: [] -> [Hello!]")
	if got, want := names(out.Events), "message_received understood reply_queued delivery_succeeded "+
		"message_received understood reply_queued delivery_succeeded"; got != want {
		t.Errorf("the sandbox's chat is %s", got)
	}
	if to := out.Events[5].Event.(chat.Understood).To; to != 5 {
		t.Errorf("the second turn answers version %d", to)
	}
}

func TestWhatIf_PendingUpdate_NoDifference(t *testing.T) {
	l := newLife(unlimited, nil)
	l.say("hello")
	l.rest()
	l.say("thanks")
	out := replay(t, l.recorded(), l.settings())
	if differ(t, out); out.Waiting != 1 {
		t.Errorf("%d updates wait", out.Waiting)
	}
}

func TestWhatIf_Since_OnlyLaterCommands(t *testing.T) {
	l := newLife(unlimited, nil)
	say := func(text string) {
		l.now = l.now.Add(time.Minute)
		l.say(text)
		l.rest()
	}
	say("hello")
	say("thanks")
	since := l.now.Add(time.Second)
	say("hello")
	recorded, settings := l.recorded(), l.settings()
	recorded.Since, settings.Limit = since, &chat.Limit{Count: 2, Window: time.Hour}
	out := replay(t, recorded, settings)
	if len(out.Differences) != 2 || out.Differences[0].Version != 9 || out.Inputs != 2 {
		t.Errorf("%d inputs, %+v", out.Inputs, out.Differences)
	}
	if diff := cmp.Diff(recorded.History[:8], out.Events[:8]); diff != "" {
		t.Errorf("what was before (-recorded +replayed):\n%s", diff)
	}
}

func TestWhatIf_UpdateReadDifferently_Reported(t *testing.T) {
	l := newLife(unlimited, nil)
	l.say("hello")
	l.rest()
	for now, translate := range map[string]func(update []byte, at time.Time) (commands.Request, error){
		"not at all: no update": func([]byte, time.Time) (commands.Request, error) {
			return commands.Request{}, errors.New("no update")
		},
		"as chat.Receive in chat-other:42": func(update []byte, at time.Time) (commands.Request, error) {
			return telegram.Translate(telegram.Bot{Name: "other"}, update, at)
		},
	} {
		out := replay(t, l.recorded(), whatif.Settings{Translate: translate, With: l.with()})
		differ(t, out, "1* received: [message] -> ["+now+"]", "2 intent: [greeting 0.99] -> []",
			"2 reply: [Hello!] -> []")
		if len(out.Events) > 0 {
			t.Errorf("%s: the sandbox's chat is %s", now, names(out.Events))
		}
	}
}

func TestWhatIf_MovesAndButtons_Reported(t *testing.T) {
	l := newLife(unlimited, nil)
	for _, text := range []string{"I want to change my billing address", "12 Baker Street, London NW1 6XE", "yes"} {
		l.now = l.now.Add(time.Minute)
		l.say(text)
		l.rest()
	}
	out := replay(t, l.recorded(), whatif.Settings{Limit: &oneAnHour, With: l.with()})
	var lines []string
	for _, d := range out.Differences {
		for _, f := range d.Fields {
			lines = append(lines, f.Was...)
		}
	}
	for _, want := range []string{
		"billing_address_change: collecting_address to validating_address, address = 12 Baker Street, London NW1 6XE",
		"billing_address_change: validating_address to confirming_changes",
		"12 Baker Street, London NW1 6XE\nIs that right? [Yes, change it = w:4:yes] [Correct it = " +
			"w:4:change] [Cancel = w:4:cancel]",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%q is not among %q", want, lines)
		}
	}
}

// The clock of the event is read after the command's, and their time ends in between.
func TestWhatIf_LastModelCall_AskedAgain(t *testing.T) {
	l := newLife(unlimited, shop)
	l.model = true
	l.say("what is it made of")
	rounds := 0
	l.end(func(asked domain.Recorded) chat.Command {
		switch e := asked.Event.(type) {
		case chat.ToolRequested:
			l.now = l.state.Reasoning.Exchange.Until
		case chat.ModelAsked:
			if rounds = e.Round; rounds == 1 {
				return chat.RecordModel{Delivery: asked.ID, Ask: e.Ask, Calls: []llm.Call{reading}, At: l.now}
			}
		}
		return l.well(asked)
	})
	if rounds != 2 {
		t.Fatalf("it was asked %d times", rounds)
	}
	if out := replay(t, l.recorded(), l.settings()); len(out.Differences) > 0 {
		t.Errorf("%+v", out.Differences[0])
	}
}

func TestWhatIf_UnknownEvent_StopsReplay(t *testing.T) {
	l := newLife(unlimited, nil)
	l.say("hello")
	for _, event := range []domain.Event{struct{ Something int }{1}, chat.WorkflowMoved{}} {
		recorded := l.recorded()
		recorded.History = append(slices.Clip(recorded.History),
			domain.Recorded{Stream: stream, Version: 2, Event: event, Actor: "clock"})
		_, err := whatif.Replay(recorded, l.settings())
		if err == nil || !strings.Contains(err.Error(), "chat-demo:42 version 2: ") {
			t.Errorf("%T: error %v", event, err)
		}
	}
}
