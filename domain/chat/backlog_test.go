package chat_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

// limit is the age up to which the shop's bot answers a message by itself.
var limit = dialogtest.Shop.Backlog

// caughtUp is a chat that is come to after an outage: the customer wrote these texts from noon
// on, a second apart, and all are given their turn so much later.
func caughtUp(t *testing.T, before []domain.Event, after time.Duration, texts ...string) (history []domain.Event) {
	t.Helper()
	history = slices.Clip(before)
	var messages []chat.MessageReceived
	first := domain.Version(len(history))
	for i, text := range texts {
		m := wrote(int64(i), text)
		m.Update = chat.Update{ID: int64(i + 1), Key: uint64(i + 1)}
		if text == "" {
			m.Media = []chat.Media{{Kind: "photo", FileID: "f"}}
		}
		messages, history = append(messages, m), append(history, m)
	}
	for i, m := range messages {
		o := given(t, history...).When(chat.Respond{To: first + domain.Version(i+1), Event: m, At: noon.Add(after)})
		history = append(history, o.Events...)
	}
	return history
}

// gathered is when a backlog that is come to after so long is answered.
func gathered(after time.Duration) chat.Elapse { return elapse(after + 3*time.Second) }

func TestBacklog_OldMessages_AnsweredTogether(t *testing.T) {
	const outage = 2 * time.Hour
	history := caughtUp(t, nil, outage, "where is my order 1001?", "hello?", "is anybody there?")
	for _, e := range history[3:] {
		if e, ok := e.(chat.Understood); !ok || e.Waits == nil || e.Intent != dialog.Waited {
			t.Errorf("before that there is %+v", e)
		}
	}
	given(t, history...).When(elapse(outage + 3*time.Second - 1)).ThenNothing()
	o := given(t, history...).When(equipped(gathered(outage)))
	if taken := only[chat.BacklogTaken](t, o); taken.Messages != 3 || taken.Intent != "order_status" || taken.To != 3 {
		t.Errorf("taken is %+v", taken)
	}
	if call := only[chat.ToolRequested](t, o); call.Input["number"] != "1001" {
		t.Errorf("looked up is %+v", call)
	}
	said := only[chat.ReplyQueued](t, o)
	for _, want := range []string{"sorry", "meanwhile:\n• where is my order 1001?\n• hello?\n• is anybody there?"} {
		if !strings.Contains(said.Text, want) {
			t.Errorf("the bot does not say %q, but %q", want, said.Text)
		}
	}
	if o.State.Backlog.Count != 0 {
		t.Errorf("there waits %+v", o.State.Backlog)
	}
	given(t, after(history, o.Events...)...).When(equipped(elapse(outage + time.Minute))).ThenNothing()
}

func TestBacklog_FreshMessages_WaitOnlyBehindOld(t *testing.T) {
	history := caughtUp(t, nil, limit, "hello") // on the limit
	if o := given(t, history...).
		When(gathered(limit)); o.State.Backlog.Count != 0 || len(all[chat.BacklogTaken](o)) != 0 {
		t.Errorf("there are %+v", o.Events)
	}

	history = caughtUp(t, nil, limit+time.Second, "hello")
	fresh := wrote(int64(limit/time.Second), "where is my invoice?")
	history = append(history, fresh)
	o := given(t, history...).When(chat.Respond{To: 3, Event: fresh, At: noon.Add(limit + 2*time.Second)})
	if o.State.Backlog.Count != 2 {
		t.Errorf("behind it there are %+v", o.Events)
	}
	wakes(t, o.State, limit+5*time.Second)

	anyAge := dialogtest.Shop
	anyAge.Backlog = 0
	old := wrote(1, "hello")
	o = given(t, old).When(under{chat.Respond{To: 1, Event: old, At: noon.Add(1000 * time.Hour)},
		chat.Settings{Knowledge: &anyAge}})
	if only[chat.Understood](t, o).Intent != "greeting" {
		t.Errorf("without a limit there are %+v", o.Events)
	}
}

func TestBacklog_Long_LastListedAllCounted(t *testing.T) {
	var texts []string
	for i := range 25 {
		texts = append(texts, fmt.Sprintf("line %02d", i))
	}
	said := heard(given(t, caughtUp(t, nil, time.Hour, texts...)...).When(gathered(time.Hour)))
	if len(said) == 0 || !strings.Contains(said[0], "• … (+15)") || strings.Contains(said[0], "line 14") ||
		strings.Count(said[0], "• line") != 10 {
		t.Errorf("the bot says %q", said)
	}
}

func TestBacklog_LastRequest_ActedUpon(t *testing.T) {
	for name, c := range map[string]struct {
		texts []string
		want  dialog.Intent
	}{
		"behind courtesies":     {[]string{"where is my invoice?", "hello", "thanks"}, "invoice"},
		"the last of two":       {[]string{"where is my invoice?", "my order 1001 came damaged"}, "delivery_problem"},
		"a courtesy alone":      {[]string{"hello"}, "greeting"},
		"nothing understood":    {[]string{"qwertz", "asdfg"}, dialog.Unknown},
		"for a person":          {[]string{"I want a person", "hello?"}, "person"},
		"beside a photo":        {[]string{"where is my invoice?", ""}, "invoice"},
		"photos and no words":   {[]string{"", ""}, dialog.File},
		"nothing, and a photo":  {[]string{"qwertz", ""}, dialog.Unknown},
		"a command is no thing": {[]string{"where is my invoice?", "/nonsense"}, "invoice"},
	} {
		t.Run(name, func(t *testing.T) {
			o := given(t, caughtUp(t, nil, time.Hour, c.texts...)...).When(gathered(time.Hour))
			if taken := only[chat.BacklogTaken](t, o); taken.Intent != c.want {
				t.Errorf("it is taken for %s", taken.Intent)
			}
		})
	}
}

// The apology is in the language of the answer, though nothing was known of it before.
func TestBacklog_Apology_InCustomersLanguage(t *testing.T) {
	k := dialogtest.Shop
	k.Words = map[dialog.Word]dialog.Text{dialog.WordBacklog: {"en": "Sorry: {list}", "de": "Verzeihung: {list}"}}
	o := given(t, caughtUp(t, nil, time.Hour, "wo ist meine Bestellung")...).
		When(under{gathered(time.Hour), chat.Settings{Knowledge: &k, Tools: dialogtest.AllTools}})
	if said := heard(o); len(said) != 2 || !strings.HasPrefix(said[0], "Verzeihung") ||
		said[1] != "Welche Bestellung?" {
		t.Errorf("the bot says %q", said)
	}
}

// The customer has answered in time: that we were away does not end their workflow.
func TestBacklog_WorkflowAnswer_Continues(t *testing.T) {
	const outage = 3 * time.Hour
	history := caughtUp(t, walked(noon.Add(-time.Minute), dialog.Initial, dialogtest.CollectingAddress), outage, baker)
	given(t, history...).When(elapse(outage + time.Second)).ThenNothing() // and does not expire meanwhile
	o := given(t, history...).When(equipped(gathered(outage)))
	if moved := only[chat.WorkflowMoved](t, o); moved.Step != dialogtest.ValidatingAddress {
		t.Errorf("there are %+v", o.Events)
	}
}

func TestBacklog_HandedOverOrBlocked_NoAnswer(t *testing.T) {
	for name, then := range map[string]domain.Event{"a person has the chat": opened, "the bot is blocked": blocked} {
		t.Run(name, func(t *testing.T) {
			history := append(caughtUp(t, nil, time.Hour, "where is my invoice?"), then)
			o := given(t, history...).When(gathered(time.Hour)).
				Then(chat.BacklogTaken{Answer: chat.Answer{To: 1}, Messages: 1, Intent: dialog.Waited,
					Knowledge: "shop"})
			if o.State.Backlog.Count != 0 {
				t.Errorf("there waits %+v", o.State.Backlog)
			}
		})
	}
}
