package chat_test

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

func elapse(after time.Duration) chat.Elapse { return chat.Elapse{At: noon.Add(after)} }

// wakes asserts when time brings something about next, counted from noon; 0 is never.
func wakes(t *testing.T, s chat.State, want time.Duration) {
	t.Helper()
	at := chat.Wake(s, settings)
	if want == 0 && !at.IsZero() || want != 0 && !at.Equal(noon.Add(want)) {
		t.Errorf("time next brings something about at %s, want %s after noon", at, want)
	}
}

// texts of the replies in an outcome.
func heard(o outcome) (said []string) {
	for _, r := range all[chat.ReplyQueued](o) {
		said = append(said, r.Text)
	}
	return said
}

func TestTime_SilentWorkflow_RemindedThenExpires(t *testing.T) {
	wakes(t, given(t, collecting...).When(elapse(0)).State, 45*time.Minute)
	given(t, collecting...).When(elapse(45*time.Minute - 1)).ThenNothing()

	reminded := given(t, collecting...).When(elapse(45 * time.Minute))
	if e := only[chat.WorkflowReminded](t, reminded); e.Step != dialogtest.CollectingAddress ||
		!e.At.Equal(noon.Add(45*time.Minute)) {
		t.Errorf("reminded of %+v", e)
	}
	if said := only[chat.ReplyQueued](t, reminded); len(said.Buttons) != 2 {
		t.Errorf("the reminder is %+v", said)
	}
	wakes(t, reminded.State, time.Hour)

	history := after(collecting, reminded.Events...)
	given(t, history...).When(elapse(time.Hour - 1)).ThenNothing()
	expired := given(t, history...).When(elapse(time.Hour))
	if e := only[chat.WorkflowMoved](t, expired); e.Step != dialog.Expired || len(heard(expired)) != 1 {
		t.Errorf("then there are %+v", expired.Events)
	}
	wakes(t, expired.State, 0)
	given(t, after(history, expired.Events...)...).When(elapse(2 * time.Hour)).ThenNothing()
}

func TestTime_BlockedOrGone_ExpiresSilently(t *testing.T) {
	waiting := caughtUp(t, collecting, 2*time.Hour, "where is my order 1001?")
	asked := chat.ModelAsked{Answer: chat.Answer{To: 1}, Ask: 1, Round: 1, Until: noon.Add(time.Minute)}
	for name, c := range map[string]struct {
		past []domain.Event
		at   time.Duration
		want []domain.Event
	}{
		"nothing is due": {collecting, time.Minute, nil},
		"a reminder":     {collecting, 45 * time.Minute, []domain.Event{chat.WorkflowReminded{}}},
		"a workflow":     {collecting, 5 * time.Hour, []domain.Event{chat.WorkflowMoved{}}},
		"a ticket": {[]domain.Event{opened}, 100 * time.Hour,
			[]domain.Event{chat.DueBreached{}, chat.DueBreached{}}},
		"messages, and all": {waiting, 9 * time.Hour, []domain.Event{chat.BacklogTaken{}, chat.WorkflowMoved{}}},
		"an album": {[]domain.Event{partOf("a", 1, ""),
			chat.Understood{Answer: chat.Answer{To: 1}, Wordless: &chat.Wordless{Album: "a", At: noon}}},
			time.Minute, []domain.Event{chat.AlbumTaken{}}},
		"a model's answer": {[]domain.Event{wrote(1, "hm"), asked}, time.Hour, []domain.Event{chat.ExchangeEnded{}}},
	} {
		o := given(t, c.past...).When(equipped(chat.Elapse{At: noon.Add(c.at), Quiet: true}))
		if o.Err() != nil || len(o.Events) != len(c.want) {
			t.Errorf("%s: %+v, %v", name, o.Events, o.Err())
			continue
		}
		for i, e := range o.Events {
			if reflect.TypeOf(e) != reflect.TypeOf(c.want[i]) {
				t.Errorf("%s: event %d is %+v", name, i, e)
			}
			if m, moved := e.(chat.WorkflowMoved); moved && m.Step != dialog.Expired {
				t.Errorf("%s: it goes on with %+v", name, m)
			}
		}
		// Whoever looks again finds nothing left of it.
		if again := given(t, after(c.past, o.Events...)...).When(equipped(elapse(c.at))); len(again.Events) > 0 {
			t.Errorf("%s: afterwards there are %+v", name, again.Events)
		}
	}
}

func TestTime_LongSilence_ExpiresUnreminded(t *testing.T) {
	o := given(t, collecting...).When(elapse(5 * time.Hour))
	if only[chat.WorkflowMoved](t, o).
		Step != dialog.Expired || len(heard(o)) != 1 || len(all[chat.WorkflowReminded](o)) != 0 {
		t.Errorf("there are %+v", o.Events)
	}
}

// A customer who asks something else, or says that they are still there, is active.
func TestTime_ActiveCustomer_NotExpired(t *testing.T) {
	question := wrote(30*60, "where is my invoice?") // half an hour after noon
	history := after(collecting, question)
	answered := given(t, history...).When(chat.Respond{To: 3, Event: question, At: question.Date})
	if len(all[chat.WorkflowMoved](answered)) != 0 || len(heard(answered)) != 1 {
		t.Fatalf("in passing there are %+v", answered.Events)
	}
	wakes(t, answered.State, 75*time.Minute)

	history = after(history, answered.Events...)
	reminded := given(t, history...).When(elapse(75 * time.Minute))
	button := only[chat.ReplyQueued](t, reminded).Buttons[0].Data
	history = after(history, reminded.Events...)
	goOn := chat.ButtonPressed{Update: chat.Update{ID: 1900, Key: 1900}, QueryID: "q",
		Date: noon.Add(80 * time.Minute), From: anna, Data: button}
	history = append(history, goOn)
	pressed := given(t, history...).When(chat.Respond{To: domain.Version(len(history)), Event: goOn, At: goOn.Date})
	if len(heard(pressed)) != 1 {
		t.Errorf("the button leads to %+v", pressed.Events)
	}
	wakes(t, pressed.State, 125*time.Minute)
}

func TestTime_WaitingForTool_NoReminder(t *testing.T) {
	wakes(t, given(t, checking...).When(elapse(0)).State, 0)
	given(t, checking...).When(elapse(48 * time.Hour)).ThenNothing()
}

func TestTime_CustomerBlockedBot_NothingSent(t *testing.T) {
	for _, when := range []time.Duration{45 * time.Minute, time.Hour} {
		if o := given(t, after(collecting, blocked)...).When(elapse(when)); len(o.Events) == 0 || len(heard(o)) != 0 {
			t.Errorf("after %s there are %+v", when, o.Events)
		}
	}
}

// urgent is a ticket with a first response due after 15 minutes and an end after 4 hours.
var urgent = chat.TicketOpened{Ticket: "#1", Reason: "angry", Priority: dialog.Urgent, At: noon,
	Due: noon.Add(15 * time.Minute), Resolve: noon.Add(4 * time.Hour)}

func breached(what chat.DueWhat, due, at time.Duration) chat.DueBreached {
	return chat.DueBreached{Ticket: "#1", What: what, Due: noon.Add(due), At: noon.Add(at)}
}

func TestTime_TicketOverdue_BreachedOnce(t *testing.T) {
	const quarter, end = 15 * time.Minute, 4 * time.Hour
	replied := chat.ReplyQueued{Author: chat.Author{Kind: chat.Person, Name: "ann"}, Text: "hello"}
	byBot := chat.ReplyQueued{Author: chat.Author{Kind: chat.Bot}, Text: "A colleague will answer."}
	first := breached(chat.DueResponse, quarter, quarter)
	escalated := chat.TicketEscalated{Ticket: "#1", Priority: dialog.Urgent, At: noon.Add(time.Hour),
		Due: noon.Add(75 * time.Minute), Resolve: noon.Add(5 * time.Hour)}
	for name, c := range map[string]struct {
		history []domain.Event
		at      time.Duration
		want    []domain.Event
		next    time.Duration
	}{
		"not before": {[]domain.Event{urgent}, quarter - 1, nil, quarter},
		"in time":    {[]domain.Event{urgent}, quarter, []domain.Event{first}, end},
		"both, when nobody looked sooner": {[]domain.Event{urgent}, 5 * time.Hour,
			[]domain.Event{breached(chat.DueResponse, quarter, 5*time.Hour),
				breached(chat.DueResolution, end, 5*time.Hour)}, 0},
		"once":                         {[]domain.Event{urgent, first}, time.Hour, nil, end},
		"the bot's words are no reply": {[]domain.Event{urgent, byBot}, quarter, []domain.Event{first}, end},
		"not after a reply":            {[]domain.Event{urgent, replied}, quarter, nil, end},
		"but the end is due still": {[]domain.Event{urgent, replied}, end,
			[]domain.Event{breached(chat.DueResolution, end, end)}, 0},
		"not of a closed case":            {[]domain.Event{urgent, resolved}, 5 * time.Hour, nil, 0},
		"not of one that was handed back": {[]domain.Event{urgent, handedBack}, 5 * time.Hour, nil, 0},
		"assigned is not replied":         {[]domain.Event{urgent, assigned}, quarter, []domain.Event{first}, end},
		"escalated, it is due anew": {[]domain.Event{urgent, first, escalated}, 75 * time.Minute,
			[]domain.Event{breached(chat.DueResponse, 75*time.Minute, 75*time.Minute)}, 5 * time.Hour},
		"reopened, it is due anew": {[]domain.Event{urgent, first, replied, resolved,
			chat.TicketReopened{Ticket: "#1", At: noon.Add(time.Hour), Due: noon.Add(2 * time.Hour),
				Resolve: noon.Add(6 * time.Hour)}},
			2 * time.Hour, []domain.Event{breached(chat.DueResponse, 2*time.Hour, 2*time.Hour)}, 6 * time.Hour},
		"a case from before there was an end": {
			[]domain.Event{chat.TicketOpened{Ticket: "#1", Priority: dialog.Low, At: noon, Due: noon.Add(quarter)}},
			time.Hour,
			[]domain.Event{breached(chat.DueResponse, quarter, time.Hour)}, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			wakes(t, given(t, c.history...).When(elapse(c.at)).Then(c.want...).State, c.next)
		})
	}
}

// The timekeeper relies on the due time: nothing happens before it, something happens at it,
// and the series ends.
func TestTime_NextDue_IsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		state, c := life(t, nil)
		with := c.equip(nil).(under).settings
		for round := 0; ; round++ {
			at := chat.Wake(state, with)
			if at.IsZero() {
				break
			}
			if round == 8 {
				t.Fatalf("time brings something about at %s again, in %+v", at, state)
			}
			early, err := decider.Decide(state, c.equip(chat.Elapse{At: at.Add(-1)}), settings)
			if err != nil || len(early) > 0 {
				t.Fatalf("before %s there are %+v (%v)", at, early, err)
			}
			events, err := decider.Decide(state, c.equip(chat.Elapse{At: at}), settings)
			if err != nil || len(events) == 0 {
				t.Fatalf("at %s nothing happens (%v), in %+v", at, err, state)
			}
			state = chat.Decider.Fold(state, events...)
		}
	})
}
