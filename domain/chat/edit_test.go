package chat_test

import (
	"testing"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// editedQuestion is a question that was answered in passing, and edited since.
func editedQuestion(edits ...chat.MessageEdited) []domain.Event {
	history := []domain.Event{wrote(1, "where is my order 1001?"), understood(1, "order_status")}
	for _, e := range edits {
		history = append(history, e)
	}
	return history
}

func TestEdit_AnsweredQuestion_AnsweredAnew(t *testing.T) {
	edit := edited(2, 1, "where is my order 1002?")
	o := given(t, editedQuestion(edit)...).When(equipped(respond(3, edit)))
	if call := only[chat.ToolRequested](t, o); call.Input["number"] != "1002" || call.For != chat.ForQuestion {
		t.Errorf("requested %+v", call)
	}
	if u := only[chat.Understood](t, o); u.Intent != dialog.Corrected || u.Edited != 1 {
		t.Errorf("understood %+v", u)
	}
	again := edited(3, 1, "Where is my order 1002, please?")
	history := append(editedQuestion(edit),
		chat.Understood{Answer: chat.Answer{To: 3}, Intent: dialog.Corrected, Edited: 1}, again)
	if o := given(t, history...).When(equipped(respond(5, again))); len(all[chat.ToolRequested](o)) > 0 {
		t.Errorf("the same question is answered twice: %+v", o.Events)
	}
}

// Of two edits that wait the last is answered.
func TestEdit_EditedAgain_LastIsAnswered(t *testing.T) {
	first, second := edited(2, 1, "where is my order 1002?"), edited(3, 1, "where is my order 1002? Thanks")
	o := given(t, editedQuestion(first, second)...).When(equipped(respond(3, first)))
	if len(all[chat.ToolRequested](o)) > 0 {
		t.Errorf("answered %+v", o.Events)
	}
	o = given(t, append(editedQuestion(first, second), o.Events...)...).When(equipped(respond(4, second)))
	if call := only[chat.ToolRequested](t, o); call.Input["number"] != "1002" {
		t.Errorf("requested %+v", call)
	}
}

func TestEdit_ForgottenMessage_NotAnswered(t *testing.T) {
	edit := edited(9, 1, "where is my order 1002?")
	history := []domain.Event{wrote(1, "where is my order 1001?")}
	for n := int64(2); n < 7; n++ {
		history = append(history, wrote(n, "hello"))
	}
	o := given(t, append(history, edit)...).When(equipped(respond(7, edit)))
	if len(o.Events) != 1 {
		t.Errorf("%+v", o.Events)
	}
}

func TestRequests_OfOneMessage_AreNumbered(t *testing.T) {
	private := wrote(1, "where is my order 1001, and 1002?")
	private.ChatType = "private"
	o := given(t, private).When(equipped(respond(1, private)))
	calls := all[chat.ToolRequested](o)
	if len(calls) != 3 {
		t.Fatalf("requested %+v", calls)
	}
	for i, want := range []chat.Purpose{chat.ForQuestion, chat.ForQuestion, chat.ForCustomer} {
		if calls[i].For != want || calls[i].Call != i+1 {
			t.Errorf("request %d is %+v", i, calls[i])
		}
	}
}
