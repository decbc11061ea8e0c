package chat_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

// sent is a message with its update id, its message id, and its date in seconds after noon.
func sent(update, message int64, seconds int, text string) chat.MessageReceived {
	return chat.MessageReceived{
		Update: chat.Update{ID: update, Key: uint64(update)}, MessageID: message,
		Date: noon.Add(time.Duration(seconds) * time.Second), From: anna, Text: text,
	}
}

// Late is judged by message id and date; update ids of other kinds may cross, and start anew.
func TestReceive_OrderOfMessages_LateByIDAndDate(t *testing.T) {
	t.Parallel()
	reaction := chat.UpdateKept{Update: chat.Update{ID: 991000003, Key: 1}, Kind: "message_reaction",
		Date: noon.Add(time.Minute)}
	for name, c := range map[string]struct {
		before []domain.Event
		then   chat.MessageReceived
		late   bool
	}{
		"overtaken":                    {[]domain.Event{sent(9, 9, 9, "b")}, sent(8, 8, 8, "a"), true},
		"overtaken in the same second": {[]domain.Event{sent(9, 9, 9, "b")}, sent(8, 8, 9, "a"), true},
		"in order":                     {[]domain.Event{sent(8, 8, 8, "a")}, sent(9, 9, 9, "b"), false},
		"lower update id after a move": {[]domain.Event{sent(950000001, 10, 0, "a")}, sent(120000001, 12, 40, "b"), false},
		"message ids of a new bot":     {[]domain.Event{sent(950000001, 1000, 0, "a")}, sent(17, 3, 40, "b"), false},
		"after a reaction with a higher": {[]domain.Event{sent(991000001, 1, 0, "a"), reaction},
			sent(991000002, 3, 4, "b"), false},
		"after a button": {[]domain.Event{sent(8, 8, 8, "a"), pressed(99, "x")}, sent(9, 9, 9, "b"), false},
	} {
		t.Run(name, func(t *testing.T) {
			o := given(t, c.before...).When(receive(c.then))
			if got := only[chat.MessageReceived](t, o).Late; got != c.late {
				t.Fatalf("late = %v, want %v", got, c.late)
			}
			if top := o.State.TopMessage; !c.late && top != c.then.MessageID {
				t.Errorf("the newest message is %d, want %d", top, c.then.MessageID)
			}
		})
	}
}

func TestReceive_AfterNewNumbering_NotLate(t *testing.T) {
	t.Parallel()
	given(t, sent(900, 1000, 0, "a"), sent(17, 3, 40, "b")).When(receive(sent(18, 4, 50, "c"))).
		Then(sent(18, 4, 50, "c"))
}

// A late message is never met by silence, and never moves a workflow.
func TestRespond_LateInWorkflow_StepAsksAgain(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"hello", "cancel", "yes", "12 Baker Street, London NW1 6XE"} {
		late := wrote(3, text)
		late.Late = true
		o := given(t, append(collecting, late)...).When(respond(3, late))
		only[chat.ReplyQueued](t, o)
		if moved := all[chat.WorkflowMoved](o); len(moved) > 0 || !o.State.Run.Active() {
			t.Errorf("late %q moves the workflow: %+v", text, moved)
		}
	}
}

// Deciding is bounded: of a text that is longer than any written in Telegram, the rest is not read.
func TestRespond_TextBeyondLimit_RestNotRead(t *testing.T) {
	t.Parallel()
	const wish = "I want to talk to a person"
	near := wrote(1, wish+strings.Repeat(" x", 500_000))
	only[chat.TicketOpened](t, given(t, near).When(respond(1, near)))
	far := wrote(1, strings.Repeat("x ", 500_000)+wish)
	if opened := all[chat.TicketOpened](given(t, far).When(respond(1, far))); len(opened) > 0 {
		t.Errorf("the end of %d bytes was read: %+v", len(far.Text), opened)
	}
}

func TestRespond_LateWishForOperator_HandedOver(t *testing.T) {
	t.Parallel()
	late := wrote(3, "I want to talk to a person")
	late.Late = true
	only[chat.TicketOpened](t, given(t, append(collecting, late)...).When(respond(3, late)))
}

// An edit that overtakes its message is answered in its place, once, whether or not the message
// ever comes.
func TestReceive_EditBeforeMessage_AnsweredOnce(t *testing.T) {
	t.Parallel()
	asked := sent(950000020, 20, 0, "I want to change my billing address")
	edit := chat.MessageEdited{
		Update: chat.Update{ID: 950000022, Key: 22}, MessageID: 22, EditedAt: noon.Add(8 * time.Second), From: anna,
		Text: "9 Elm Road, Leeds LS1 4AP",
	}
	message := sent(950000021, 22, 5, "7 Elm Road, Leeds LS1 4AP")

	history := append([]domain.Event{asked}, collecting...)
	edit = only[chat.MessageEdited](t, given(t, history...).When(receive(edit)))
	if !edit.Ahead {
		t.Fatal("an edit that overtook its message is not marked")
	}
	history = append(history, edit)
	o := given(t, history...).When(respond(domain.Version(len(history)), edit))
	moved := all[chat.WorkflowMoved](o)
	if len(moved) == 0 || moved[0].Set["address"] != edit.Text || moved[0].Source != 22 {
		t.Fatalf("the corrected text leads to %+v", o.Events)
	}
	history = append(history, o.Events...)

	message = only[chat.MessageReceived](t, given(t, history...).When(receive(message)))
	if !message.Corrected || message.Late {
		t.Errorf("the message is stored as %+v", message)
	}
	history = append(history, message)
	o = given(t, history...).When(respond(domain.Version(len(history)), message))
	o.ThenNothing()
	if o.State.Run.Data["address"] != edit.Text || o.State.LastText != edit.Text {
		t.Errorf("address %q, last text %q", o.State.Run.Data["address"], o.State.LastText)
	}
}

func TestReceive_EditOfKnownMessage_NotAhead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before []domain.Event
		of     int64
		ahead  bool
	}{
		"received before":             {[]domain.Event{wrote(3, "a"), wrote(4, "b")}, 3, false},
		"from before the first":       {[]domain.Event{wrote(3, "a")}, 2, false},
		"newer than the newest":       {[]domain.Event{wrote(3, "a")}, 5, true},
		"between two that came":       {[]domain.Event{wrote(3, "a"), wrote(5, "b")}, 4, true},
		"edited before it came":       {[]domain.Event{wrote(3, "a"), edited(7, 5, "c")}, 5, false},
		"nothing came in this chat":   {nil, 5, true},
		"without text, for its media": {nil, 0, false},
	} {
		edit := edited(9, c.of, "x")
		if c.of == 0 {
			edit.Text = ""
		}
		if got := only[chat.MessageEdited](t, given(t, c.before...).When(receive(edit))).Ahead; got != c.ahead {
			t.Errorf("%s: ahead = %v, want %v", name, got, c.ahead)
		}
	}
}

// Of two edits of one message, the newer one counts, in whichever order they come.
func TestReceive_OlderEdit_Late(t *testing.T) {
	t.Parallel()
	older, newer := edited(8, 3, "first"), edited(9, 3, "second")
	late := only[chat.MessageEdited](t, given(t, wrote(3, "a"), newer).When(receive(older)))
	if !late.Late {
		t.Error("an edit behind a newer one is not marked late")
	}
	given(t, wrote(3, "a"), newer, late).When(respond(3, late)).ThenNothing()
	if only[chat.MessageEdited](t, given(t, wrote(3, "a"), older).When(receive(newer))).Late {
		t.Error("the newer edit is marked late")
	}
}

// What is remembered of messages is bounded.
func TestState_ManyMessages_WrittenBounded(t *testing.T) {
	t.Parallel()
	state := chat.Decider.Fold(chat.State{}, manyMessages(500)...)
	if len(state.Written) != 32 || state.Written[31].ID != 500 {
		t.Errorf("%d messages are remembered: %+v", len(state.Written), state.Written)
	}
}

// After a move to another server everything is answered, and an operator can be asked for.
func TestRespond_LowerIDsAfterMove_WorkflowGoesOn(t *testing.T) {
	t.Parallel()
	history := append([]domain.Event{sent(950000001, 10, 0, "I want to change my billing address")}, collecting...)
	for i, m := range []chat.MessageReceived{
		sent(120000001, 12, 40, "7 Elm Road, Leeds LS1 4AP"), sent(120000003, 14, 80, "I want to talk to a person"),
	} {
		received := only[chat.MessageReceived](t, given(t, history...).When(receive(m)))
		history = append(history, received)
		o := given(t, history...).When(respond(domain.Version(len(history)), received))
		switch moved := all[chat.WorkflowMoved](o); {
		case i == 0 && (len(moved) == 0 || moved[0].Workflow != dialogtest.AddressChange):
			t.Errorf("the address is ignored: %+v", o.Events)
		case i == 1:
			only[chat.TicketOpened](t, o)
		}
		history = append(history, o.Events...)
	}
}
