package chat_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
	"github.com/chatledger/chatledger/domain/domaintest"
)

// noon is when the stories below begin.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

var anna = chat.Sender{ID: 42, Name: "Anna"}

// wrote is a message of the customer, its ids and key drawn from one number.
func wrote(n int64, text string) chat.MessageReceived {
	return chat.MessageReceived{
		Update: chat.Update{ID: n, Key: uint64(n)}, MessageID: n,
		Date: noon.Add(time.Duration(n) * time.Second), From: anna, Text: text,
	}
}

func edited(n, message int64, text string) chat.MessageEdited {
	return chat.MessageEdited{Update: chat.Update{ID: n, Key: uint64(n)}, MessageID: message,
		EditedAt: noon.Add(time.Duration(n) * time.Second), From: anna, Text: text}
}

func pressed(n int64, data string) chat.ButtonPressed {
	return chat.ButtonPressed{Update: chat.Update{ID: n, Key: uint64(n)}, QueryID: "query", MessageID: 900,
		Date: noon.Add(time.Duration(n) * time.Second), From: anna, Data: data}
}

func understood(to domain.Version, intent dialog.Intent) chat.Understood {
	return chat.Understood{Answer: chat.Answer{To: to}, Intent: intent, Confidence: 1, Language: "en",
		Knowledge: "shop"}
}

// walked is the address change on its way from step to step.
func walked(at time.Time, steps ...dialog.Step) (events []domain.Event) {
	from := dialog.Step("")
	for _, step := range steps {
		move := chat.WorkflowMoved{Workflow: dialogtest.AddressChange, From: from, Step: step, Source: 1, At: at}
		if step == dialogtest.ValidatingAddress {
			move.Set = map[string]string{"address": "12 Baker Street, London NW1 6XE"}
		}
		events, from = append(events, move), step
	}
	return events
}

var (
	collecting = walked(noon, dialog.Initial, dialogtest.CollectingAddress)
	confirming = walked(noon, dialog.Initial, dialogtest.CollectingAddress, dialogtest.ValidatingAddress,
		dialogtest.ConfirmingChanges)
	opened = chat.TicketOpened{Ticket: "#1", Reason: "asked", Priority: dialog.Normal, At: noon,
		Due: noon.Add(4 * time.Hour), Resolve: noon.Add(24 * time.Hour)}
	assigned   = chat.TicketAssigned{Ticket: "#1", Assignee: "maria"}
	resolved   = chat.TicketResolved{Ticket: "#1", At: noon}
	handedBack = chat.HandedBack{Ticket: "#1"}
)

type outcome = domaintest.Outcome[chat.State]

// settings are those of the small shop's bot, which has no tools unless a command says so.
var settings = chat.Settings{Knowledge: &dialogtest.Shop}

// under is a command and the settings that it is decided under, instead of the small shop's.
type under struct {
	chat.Command
	settings chat.Settings
}

// decider decides commands under the settings of the small shop's bot, or under their own.
var decider = domain.Decider[chat.State, chat.Command, chat.Settings]{Initial: chat.Decider.Initial,
	Evolve: chat.Decider.Evolve,
	Decide: func(s chat.State, c chat.Command, with chat.Settings) ([]domain.Event, error) {
		if own, ok := c.(under); ok {
			c, with = own.Command, own.settings
		}
		return chat.Decider.Decide(s, c, with)
	}}

func given(t *testing.T, events ...domain.Event) domaintest.History[chat.State, chat.Command, chat.Settings] {
	return domaintest.Of(t, decider, settings).Given(events...)
}

// equipped puts a command to a bot that has every tool.
func equipped(c chat.Command) chat.Command {
	return under{c, chat.Settings{Knowledge: &dialogtest.Shop, Tools: dialogtest.AllTools}}
}

func receive(e domain.Event) chat.Receive { return chat.Receive{Event: e, At: noon} }

func respond(to domain.Version, e domain.Event) chat.Respond {
	return chat.Respond{To: to, Event: e, At: noon.Add(time.Minute)}
}

// only is the event of a type that an outcome holds; it fails the test when
// there is none, or more than one.
func only[E domain.Event](t *testing.T, o outcome) E {
	t.Helper()
	found := all[E](o)
	if len(found) != 1 {
		t.Fatalf("want one %T, got %d in %+v", *new(E), len(found), o.Events)
	}
	return found[0]
}

func all[E domain.Event](o outcome) (found []E) {
	for _, event := range o.Events {
		if e, ok := event.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// Receiving

func TestReceive_EveryKind_KeptUnchanged(t *testing.T) {
	edit := edited(7, 3, "hello!")
	edit.Ahead = true // its message has not come
	for name, event := range map[string]domain.Event{
		"message": wrote(7, "hello"),
		"edit":    edit,
		"button":  pressed(7, "x"),
		"membership": chat.MembershipChanged{Update: chat.Update{ID: 7, Key: 7}, Date: noon, Status: "kicked",
			Blocked: true},
		"other": chat.UpdateKept{Update: chat.Update{ID: 7, Key: 7}, Kind: "message_reaction", Date: noon},
	} {
		t.Run(name, func(t *testing.T) {
			given(t).When(receive(event)).Then(event)
		})
	}
}

func TestReceive_RepeatedUpdate_StoredOnce(t *testing.T) {
	for name, event := range map[string]domain.Event{
		"message":    wrote(7, "hello"),
		"edit":       edited(7, 3, "hello!"),
		"button":     pressed(7, "x"),
		"membership": chat.MembershipChanged{Update: chat.Update{ID: 7, Key: 7}, Date: noon},
		"other":      chat.UpdateKept{Update: chat.Update{ID: 7, Key: 7}, Kind: "poll"},
	} {
		t.Run(name, func(t *testing.T) {
			given(t, event).When(receive(event)).ThenNothing()
		})
	}
}

func TestReceive_SameMessageOtherID_IsRepeat(t *testing.T) {
	again := wrote(7, "hello")
	again.ID = 5000
	given(t, wrote(7, "hello")).When(receive(again)).ThenNothing()
}

func TestReceive_SameWordsNewMessage_IsNew(t *testing.T) {
	given(t, wrote(7, "hello")).When(receive(wrote(8, "hello"))).Then(wrote(8, "hello"))
}

// manyMessages is more of them than the state remembers.
func manyMessages(n int64) (events []domain.Event) {
	for i := range n {
		events = append(events, wrote(i+1, "hello"))
	}
	return events
}

func TestReceive_OlderThanMemory_LookedUpInStore(t *testing.T) {
	overtaken := wrote(5, "x") // message 5, after message 100
	overtaken.Key, overtaken.Late = 1000, true
	state := chat.Decider.Fold(chat.State{}, append(manyMessages(100), overtaken)...)
	tests := map[string]struct {
		event domain.Event
		may   bool
	}{
		"forgotten message":        {wrote(1, "hello"), true},
		"message still remembered": {wrote(100, "hello"), false},
		"message above all others": {wrote(101, "hello"), false},
		"new content, old message id": {chat.MessageReceived{Update: chat.Update{ID: 101, Key: 999},
			MessageID: 50}, true},
		"edit":   {edited(101, 1, "x"), false},
		"button": {pressed(101, "x"), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			key, may := chat.MayRepeat(state, receive(test.event))
			if may != test.may {
				t.Errorf("MayRepeat = %v, want %v", may, test.may)
			}
			if m, ok := test.event.(chat.MessageReceived); ok && may && key != m.Key {
				t.Errorf("key = %d, want %d", key, m.Key)
			}
		})
	}
}

func TestReceive_CompleteMemory_NoLookUp(t *testing.T) {
	state := chat.Decider.Fold(chat.State{}, manyMessages(63)...)
	if _, may := chat.MayRepeat(state,
		receive(chat.MessageReceived{Update: chat.Update{ID: 1, Key: 999}, MessageID: 1})); may {
		t.Error("a state that remembers every update asks the store about a repeat")
	}
}

// Limits

func limited(e chat.MessageReceived) chat.Receive {
	return chat.Receive{Event: e, At: e.Date, Limit: chat.Limit{Count: 3, Window: time.Minute}}
}

func at(e chat.MessageReceived, seconds int) chat.MessageReceived {
	e.Date = noon.Add(time.Duration(seconds) * time.Second)
	return e
}

func TestLimit_Exceeded_KeptAndMarked(t *testing.T) {
	history := []domain.Event{at(wrote(1, "a"), 0), at(wrote(2, "b"), 10), at(wrote(3, "c"), 20)}
	tests := map[string]struct {
		seconds int
		over    bool
	}{
		"fourth within the window":         {30, true},
		"a second before the first lapses": {59, true},
		"the first has lapsed":             {60, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := at(wrote(4, "d"), test.seconds)
			got := want
			want.OverLimit, want.TooFast = test.over, test.over
			given(t, history...).When(limited(got)).Then(want)
		})
	}
}

func TestLimit_ExcessMessages_DoNotProlongIt(t *testing.T) {
	history := []domain.Event{at(wrote(1, "a"), 0), at(wrote(2, "b"), 1), at(wrote(3, "c"), 2)}
	for n := int64(4); n < 40; n++ {
		excess := at(wrote(n, "x"), 3+int(n))
		excess.OverLimit = true
		history = append(history, excess)
	}
	given(t, history...).When(limited(at(wrote(99, "y"), 60))).Then(at(wrote(99, "y"), 60))
}

func TestLimit_Exceeded_CustomerToldOnce(t *testing.T) {
	history := []domain.Event{at(wrote(1, "a"), 0), at(wrote(2, "b"), 1), at(wrote(3, "c"), 2)}
	excess := only[chat.MessageReceived](t, given(t, history...).When(limited(at(wrote(4, "d"), 3))))
	o := given(t, append(history, excess)...).When(respond(4, excess))
	if text := only[chat.ReplyQueued](t, o).Text; text != dialog.Words()[dialog.WordTooFast] {
		t.Errorf("says %q", text)
	}
	more := only[chat.MessageReceived](t, given(t, append(history, excess)...).When(limited(at(wrote(5, "e"), 4))))
	if !more.OverLimit || more.TooFast {
		t.Errorf("the next one is %+v", more)
	}
	given(t, append(history, excess, more)...).When(respond(5, more)).ThenNothing()
	given(t, append(history, excess, opened)...).When(respond(4, excess)).ThenNothing()
}

// At twice the limit every other message is answered.
func TestLimit_StillExceeded_ToldOncePerWindow(t *testing.T) {
	history := []domain.Event{at(wrote(1, "a"), 0), at(wrote(2, "b"), 20), at(wrote(3, "c"), 40)}
	told := 0
	for n := int64(4); n < 64; n++ {
		message := only[chat.MessageReceived](t, given(t, history...).When(limited(at(wrote(n, "x"), 40+10*int(n-3)))))
		if history = append(history, message); message.TooFast {
			told++
		}
	}
	if told != 10 {
		t.Errorf("within ten minutes of too many messages the customer is told %d times, want once in each", told)
	}
}

func TestLimit_Zero_IsUnlimited(t *testing.T) {
	given(t, manyMessages(200)...).When(receive(wrote(201, "x"))).Then(wrote(201, "x"))
}

func TestLimit_AboveMemory_CountsRemembered(t *testing.T) {
	next := chat.Receive{Event: wrote(chat.MaxLimit+1, "x"), Limit: chat.Limit{Count: 1000, Window: time.Hour}}
	o := given(t, manyMessages(chat.MaxLimit)...).When(next)
	if !only[chat.MessageReceived](t, o).OverLimit {
		t.Errorf("a limit of 1000 let more than %d messages through", chat.MaxLimit)
	}
}

func TestLimit_Exceeded_NotAnswered(t *testing.T) {
	over := wrote(1, "hello")
	over.OverLimit = true
	given(t, over).When(respond(1, over)).ThenNothing()
}

// The bot's turn

func TestTurn_Repeated_AnsweredOnce(t *testing.T) {
	hello := wrote(1, "hello")
	first := given(t, hello).When(respond(1, hello))
	answer := chat.Answer{To: 1}
	first.Then(
		chat.Understood{Answer: answer, Intent: "greeting", Confidence: 0.99, Language: "en", Knowledge: "shop"},
		chat.ReplyQueued{Answer: answer, Text: "Hello!", Author: chat.Author{Kind: chat.Bot}},
	)
	given(t, append([]domain.Event{hello}, first.Events...)...).When(respond(1, hello)).ThenNothing()
}

func TestTurn_OutOfOrder_TakenOnce(t *testing.T) {
	given(t, wrote(1, "hello"), wrote(2, "hi"), understood(2, "greeting")).When(respond(2, wrote(2, "hi"))).
		ThenNothing()
}

func TestTurn_FirstEvent_MarksItTaken(t *testing.T) {
	for name, event := range map[string]domain.Event{
		"message":    wrote(1, "I want to change my billing address"),
		"edit":       edited(1, 9, "x"),
		"button":     pressed(1, "x"),
		"gibberish":  wrote(1, "qwertz"),
		"order":      wrote(1, "where is my order 1001"),
		"for person": wrote(1, "I want to talk to a person"),
	} {
		t.Run(name, func(t *testing.T) {
			o := given(t, event).When(respond(1, event))
			if u, ok := o.Events[0].(chat.Understood); !ok || u.To != 1 {
				t.Fatalf("the first event is %+v", o.Events[0])
			}
			if o.State.Answered != 1 {
				t.Errorf("answered up to %d, want 1", o.State.Answered)
			}
			if len(all[chat.Understood](o)) != 1 {
				t.Error("a turn is marked twice")
			}
		})
	}
}

func TestTurn_NotACustomersAct_Ignored(t *testing.T) {
	bot := wrote(1, "hello")
	bot.From.Bot = true
	botEdit := edited(1, 1, "hello")
	botEdit.From.Bot = true
	lateEdit := edited(1, 1, "hello")
	lateEdit.Late = true
	for name, event := range map[string]domain.Event{
		"another bot's message": bot,
		"another bot's edit":    botEdit,
		"late edit":             lateEdit,
		"membership":            chat.MembershipChanged{Update: chat.Update{ID: 1}},
		"other update":          chat.UpdateKept{Update: chat.Update{ID: 1}},
		"our own event":         understood(1, dialog.Help),
	} {
		t.Run(name, func(t *testing.T) {
			given(t, event).When(respond(1, event)).ThenNothing()
		})
	}
}

func TestALateMessageIsAnswered(t *testing.T) {
	late := wrote(3, "hello")
	late.Late = true
	only[chat.ReplyQueued](t, given(t, wrote(5, "x"), late).When(respond(2, late)))
}

func TestTurn_LatePress_Answered(t *testing.T) {
	late := pressed(3, "x")
	late.Late = true
	only[chat.ButtonAnswered](t, given(t, wrote(5, "x"), late).When(respond(2, late)))
}

func TestReply_Topic_IsThatOfTheMessage(t *testing.T) {
	first, second := wrote(1, "hello"), wrote(2, "hi")
	first.Thread, second.Thread = 11, 22
	o := given(t, first, second).When(respond(1, first))
	if got := only[chat.ReplyQueued](t, o).Thread; got != 11 {
		t.Errorf("the reply goes to topic %d, want 11", got)
	}
	o = given(t, first, second).
		When(chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "Good day"})
	if got := only[chat.ReplyQueued](t, o).Thread; got != 22 {
		t.Errorf("an operator's reply goes to topic %d, want 22, the last one", got)
	}
}

func TestReply_LateMessage_KeepsTopic(t *testing.T) {
	late := wrote(1, "earlier")
	late.Late, late.Thread = true, 11
	now := wrote(2, "now")
	now.Thread = 22
	o := given(t, now, late).When(chat.OpenTicket{Priority: dialog.Low, At: noon})
	if o.State.Thread != 22 || only[chat.TicketOpened](t, o).Subject != "now" {
		t.Errorf("topic %d, subject %q", o.State.Thread, only[chat.TicketOpened](t, o).Subject)
	}
}

func TestTurn_OperatorHasChat_BotSilent(t *testing.T) {
	for name, history := range map[string][]domain.Event{
		"open":     {opened},
		"assigned": {opened, assigned},
		"reopened": {opened, assigned, resolved, chat.TicketReopened{Ticket: "#1"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, event := range []domain.Event{wrote(9, "hello"), wrote(9, "/start"),
				wrote(9, "where is my order 1001"), edited(9, 3, "x")} {
				given(t, append(history, event)...).When(respond(9, event)).ThenNothing()
			}
		})
	}
}

func TestTurn_OperatorDone_BotAnswers(t *testing.T) {
	for name, history := range map[string][]domain.Event{
		"resolved":    {opened, assigned, resolved},
		"handed back": {opened, assigned, handedBack},
	} {
		t.Run(name, func(t *testing.T) {
			hello := wrote(9, "hello")
			only[chat.ReplyQueued](t, given(t, append(history, hello)...).When(respond(9, hello)))
		})
	}
}

func TestButton_OperatorHasChat_StillAnswered(t *testing.T) {
	press := pressed(9, "w:4:yes")
	given(t, append(confirming, opened, press)...).When(respond(9, press)).Then(
		chat.Understood{Answer: chat.Answer{To: 9}, Intent: dialog.Pressed, Confidence: 1, Knowledge: "shop"},
		chat.ButtonAnswered{Answer: chat.Answer{To: 9}, QueryID: "query"},
	)
}

func TestTurn_SecondMisunderstanding_HandsOver(t *testing.T) {
	first, second := wrote(1, "qwertz"), wrote(2, "asdf jkl")
	o := given(t, first).When(respond(1, first))
	if len(all[chat.TicketOpened](o)) != 0 {
		t.Fatal("the first message that is not understood opens a ticket")
	}
	o = given(t, first, understood(1, dialog.Unknown), second).When(respond(3, second))
	if got := only[chat.TicketOpened](t, o).Reason; got != dialog.ReasonNotUnderstood {
		t.Errorf("reason %q", got)
	}
	o = given(t, first, understood(1, dialog.Unknown), wrote(3, "hi"), understood(3, "greeting"), second).
		When(respond(5, second))
	if len(all[chat.TicketOpened](o)) != 0 {
		t.Error("misunderstandings are counted across messages that were understood")
	}
}

func TestTurn_ButtonsAndEdits_KeepIntent(t *testing.T) {
	for _, intent := range []dialog.Intent{dialog.Pressed, dialog.Corrected, dialog.Waited} {
		only[chat.TicketOpened](t, given(t, understood(1, dialog.Unknown), understood(2, intent)).
			When(respond(5, wrote(5, "qwertz"))))
	}
}

func TestTurn_AddressInWorkflow_Understood(t *testing.T) {
	var history []domain.Event
	say := func(text string) outcome {
		n := int64(len(history) + 1)
		o := given(t, append(history, wrote(n, text))...).When(respond(domain.Version(n), wrote(n, text)))
		history = append(append(history, wrote(n, text)), o.Events...)
		return o
	}
	say("I want to change my billing address")
	say("Elm Row")
	say("12 Elm Row, Leeds")
	say("12 Elm Row, Leeds LS1 4AP")
	say("yes")
	if o := say("qwertz"); len(all[chat.TicketOpened](o)) != 0 {
		t.Error("the first message that is not understood after an address change opens a ticket")
	}
}

func TestHandOver_Workflow_Ends(t *testing.T) {
	person := wrote(9, "I want to talk to a person")
	ended := func(to domain.Version, at time.Time) chat.WorkflowMoved {
		return chat.WorkflowMoved{Answer: chat.Answer{To: to}, Workflow: dialogtest.AddressChange,
			From: dialogtest.ConfirmingChanges, Step: dialog.HandedOver, At: at}
	}
	tests := map[string]struct {
		command chat.Command
		want    chat.WorkflowMoved
	}{
		"by the customer's wish": {respond(9, person), ended(9, noon.Add(time.Minute))},
		"by an operator":         {chat.OpenTicket{Priority: dialog.Low, At: noon}, ended(0, noon)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := given(t, append(confirming, person)...).When(test.command)
			if got := only[chat.WorkflowMoved](t, o); got.Answer != test.want.Answer ||
				got.Step != test.want.Step || got.From != test.want.From || !got.At.Equal(test.want.At) {
				t.Errorf("moved %+v, want %+v", got, test.want)
			}
			if o.State.Run.Active() || !o.State.WithPerson() {
				t.Errorf("run %+v, ticket %+v", o.State.Run, o.State.Ticket)
			}
		})
	}
}

func TestReopen_RunningWorkflow_Ends(t *testing.T) {
	o := given(t, append([]domain.Event{opened, resolved}, collecting...)...).
		When(chat.ReopenTicket{Reason: "not solved", At: noon})
	if only[chat.WorkflowMoved](t, o).Step != dialog.HandedOver || o.State.Run.Active() {
		t.Errorf("the workflow goes on: %+v", o.State.Run)
	}
}

func TestExpiry_DelayedTurn_CountsCustomersTime(t *testing.T) {
	address := wrote(9, "12 Baker Street, London NW1 6XE")
	tests := map[string]struct {
		sent, handled time.Duration
		expired       bool
	}{
		"at once":                          {59 * time.Minute, 59 * time.Minute, false},
		"sent in time, handled much later": {10 * time.Minute, 5 * time.Hour, false},
		"sent after an hour":               {time.Hour, time.Hour, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			address.Date = noon.Add(test.sent)
			o := given(t, append(collecting, address)...).
				When(chat.Respond{To: 3, Event: address, At: noon.Add(test.handled)})
			if got := o.State.Run.Step == dialog.Expired; got != test.expired {
				t.Errorf("the workflow stands at %s", o.State.Run.Step)
			}
		})
	}
}

func TestAddressChange_Steps_RecordedAsEvents(t *testing.T) {
	ask, send := wrote(1, "please change my billing address"), wrote(2, "12 Baker Street\nLondon NW1 6XE")
	o := given(t, ask).When(respond(1, ask))
	var steps []dialog.Step
	for _, m := range all[chat.WorkflowMoved](o) {
		steps = append(steps, m.Step)
	}
	history := append([]domain.Event{ask}, o.Events...)
	o = given(t, append(history, send)...).When(respond(6, send))
	for _, m := range all[chat.WorkflowMoved](o) {
		steps = append(steps, m.Step)
	}
	history = append(append(history, send), o.Events...)
	buttons := only[chat.ReplyQueued](t, o).Buttons
	press := pressed(3, buttons[0].Data)
	o = given(t, append(history, press)...).When(respond(20, press))
	for _, m := range all[chat.WorkflowMoved](o) {
		steps = append(steps, m.Step)
	}
	want := []dialog.Step{dialog.Initial, dialogtest.CollectingAddress, dialogtest.ValidatingAddress,
		dialogtest.ConfirmingChanges, dialogtest.SavingChanges, dialog.Completed}
	if len(steps) != len(want) {
		t.Fatalf("walked %v, want %v", steps, want)
	}
	for i := range want {
		if steps[i] != want[i] {
			t.Fatalf("walked %v, want %v", steps, want)
		}
	}
	if got := only[chat.ButtonAnswered](t, o); got.QueryID != "query" || got.Text == "" {
		t.Errorf("the button is answered with %+v", got)
	}
	if got := o.State.Run.Data["address"]; got != "12 Baker Street, London NW1 6XE" {
		t.Errorf("the address changed to %q", got)
	}
}

// Deliveries and blocks

func TestDelivery_Outcome_Recorded(t *testing.T) {
	id := uuid.MustParse("0192c3a4-0000-7000-8000-000000000002")
	given(t).When(chat.RecordDelivery{Delivery: id, Kind: "telegram.sendMessage", Outcome: "done", MessageID: 5,
		Unsure: 1}).
		Then(chat.DeliverySucceeded{Delivery: id, Kind: "telegram.sendMessage", MessageID: 5, Unsure: 1})
	for _, outcome := range []domain.DeliveryState{"refused", "unknown", "dead"} {
		given(t).When(chat.RecordDelivery{Delivery: id, Kind: "telegram.sendMessage", Outcome: outcome,
			Reason: "why", Blocked: true, Unsure: 2, Held: true}).
			Then(chat.DeliveryFailed{Delivery: id, Kind: "telegram.sendMessage", Outcome: outcome,
				Reason: "why", Blocked: true, Unsure: 2, Held: true})
	}
	given(t).When(chat.RetryDelivery{Delivery: id, Kind: "telegram.sendMessage", Was: "dead", Reason: "mended"}).
		Then(chat.DeliveryRetried{Delivery: id, Kind: "telegram.sendMessage", Was: "dead", Reason: "mended"})
	given(t).When(chat.SkipDelivery{Delivery: id, Kind: "telegram.sendMessage", Was: "unknown", Reason: "called"}).
		Then(chat.DeliverySkipped{Delivery: id, Kind: "telegram.sendMessage", Was: "unknown", Reason: "called"})
}

func TestReply_CustomerBlockedBot_Refused(t *testing.T) {
	member := func(blocked bool) chat.MembershipChanged {
		return chat.MembershipChanged{Update: chat.Update{ID: 3, Key: 3}, Date: noon, Blocked: blocked}
	}
	forbidden := chat.DeliveryFailed{Outcome: "refused", Blocked: true}
	late := wrote(2, "sent before the block")
	late.Late = true
	tests := map[string]struct {
		history []domain.Event
		blocked bool
	}{
		"never blocked":                     {[]domain.Event{wrote(1, "hi")}, false},
		"blocked":                           {[]domain.Event{wrote(1, "hi"), member(true)}, true},
		"a delivery was forbidden":          {[]domain.Event{wrote(1, "hi"), forbidden}, true},
		"another failure after":             {[]domain.Event{forbidden, chat.DeliveryFailed{Outcome: "dead"}}, true},
		"unblocked":                         {[]domain.Event{wrote(1, "hi"), member(true), member(false)}, false},
		"wrote again":                       {[]domain.Event{member(true), wrote(9, "I am back")}, false},
		"a message from before the block":   {[]domain.Event{member(true), late}, true},
		"a delivery failed without a block": {[]domain.Event{chat.DeliveryFailed{Outcome: "refused"}}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := given(t, test.history...).
				When(chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "Good day"})
			if test.blocked {
				o.ThenRefused(chat.ErrBlocked)
			} else {
				o.Then(chat.ReplyQueued{Text: "Good day", Author: chat.Author{Kind: chat.Person, Name: "maria"}})
			}
		})
	}
}

func TestReply_Empty_Refused(t *testing.T) {
	for _, text := range []string{"", " ", "\n\t "} {
		given(t).When(chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: text}).
			ThenRefused(chat.ErrEmpty)
	}
}

func TestReply_WithoutTicket_Allowed(t *testing.T) {
	given(t, wrote(1, "hi")).When(chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "Good day"}).
		Then(chat.ReplyQueued{Text: "Good day", Author: chat.Author{Kind: chat.Person, Name: "maria"}})
}

func TestTurn_RepeatBeforeAnswer_NotInsistent(t *testing.T) {
	const same = "where is the invoice"
	var history []domain.Event
	say := func() (last int64) {
		last = int64(len(history) + 1)
		history = append(history, wrote(last, same))
		return last
	}
	answered := func(to int64) (reason string) {
		o := given(t, history...).
			When(chat.Respond{To: domain.Version(to), Event: history[to-1], At: noon.Add(time.Minute)})
		history = append(history, o.Events...)
		for _, opened := range all[chat.TicketOpened](o) {
			reason = opened.Reason
		}
		return reason
	}
	first, second, third := say(), say(), say()
	for _, to := range []int64{first, second, third} {
		if reason := answered(to); reason != "" {
			t.Fatalf("message %d brought a person: %s", to, reason)
		}
	}
	if reason := answered(say()); reason != "" {
		t.Fatalf("the second time behind an answer brought a person: %s", reason)
	}
	if reason := answered(say()); reason != "insistent" {
		t.Errorf("the third time behind an answer brought a person for %q", reason)
	}
}
