package chat_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

const group, supergroup = -4000000001, -1001900000001

var (
	toSupergroup = chat.Migrate{To: supergroup, At: noon.Add(time.Minute)}
	asked        = chat.TicketOpened{Ticket: "#1", Reason: "asked", Subject: "hi", Priority: dialog.High,
		At: noon, Due: noon.Add(time.Hour), Resolve: noon.Add(8 * time.Hour)}
)

// inSupergroup is what a chat is told when another has become it.
func inSupergroup(left chat.Unfinished) chat.Continue {
	return chat.Continue{From: group, Version: 9, Unfinished: left, At: noon.Add(time.Minute)}
}

func TestMigrate_OpenTicket_LeftToSupergroup(t *testing.T) {
	given(t, wrote(1, "hi"), asked, chat.TicketAssigned{Ticket: "#1", Assignee: "maria"}).When(toSupergroup).Then(
		chat.ChatMigrated{To: supergroup, Unfinished: chat.Unfinished{Ticket: &asked, Assignee: "maria"},
			At: toSupergroup.At},
		chat.TicketResolved{Ticket: "#1", At: toSupergroup.At})
}

func TestMigrate_Ticket_KeepsItsState(t *testing.T) {
	urgent := chat.TicketEscalated{Ticket: "#1", Priority: dialog.Urgent, Due: noon.Add(time.Second)}
	again := chat.TicketReopened{Ticket: "#1", Reason: "again", At: noon.Add(time.Second), Due: noon.Add(time.Minute)}
	o := given(t, wrote(1, "hi"), asked, urgent, resolved, again).When(toSupergroup)
	want := chat.TicketOpened{Ticket: "#1", Reason: "again", Subject: "hi", Priority: dialog.Urgent,
		At: again.At, Due: again.Due}
	if got := only[chat.ChatMigrated](t, o).Ticket; *got != want {
		t.Errorf("left %+v, want %+v", got, want)
	}
}

func TestMigrate_ReportedTwice_MovedOnce(t *testing.T) {
	moved := chat.ChatMigrated{To: supergroup, At: noon}
	given(t, wrote(1, "hi")).When(toSupergroup).Then(chat.ChatMigrated{To: supergroup, At: toSupergroup.At})
	given(t, wrote(1, "hi"), moved).When(toSupergroup).ThenNothing()
	given(t).When(toSupergroup).ThenNothing() // a group that nobody ever wrote in
}

func TestMigrate_OpenedAfterwards_LeftToo(t *testing.T) {
	o := given(t, wrote(1, "hi"), chat.ChatMigrated{To: supergroup, At: noon}, asked).When(toSupergroup)
	if got := only[chat.ChatMigrated](t, o); got.Ticket == nil {
		t.Errorf("left %+v", got)
	}
}

func TestMigrate_RunningWorkflow_Left(t *testing.T) {
	address := map[string]string{"address": "12 Baker Street, London NW1 6XE"}
	saving := append(walked(noon, dialog.Initial, dialogtest.CollectingAddress, dialogtest.ValidatingAddress,
		dialogtest.ConfirmingChanges, dialogtest.SavingChanges), updateOf(1, 1, 42, baker))
	for name, c := range map[string]struct {
		history []domain.Event
		at      time.Time
		want    chat.Unfinished
		ends    bool
	}{
		"collecting": {collecting, noon,
			chat.Unfinished{Workflow: dialogtest.AddressChange, Step: dialogtest.CollectingAddress,
				Path: []dialog.Step{dialog.Initial}}, true},
		"confirming": {confirming, noon,
			chat.Unfinished{Workflow: dialogtest.AddressChange, Step: dialogtest.ConfirmingChanges,
				Path: []dialog.Step{dialog.Initial, dialogtest.CollectingAddress, dialogtest.ValidatingAddress},
				Data: address}, true},
		"left for an hour":     {confirming, noon.Add(dialog.DefaultIdle), chat.Unfinished{}, true},
		"saved at this moment": {saving, noon, chat.Unfinished{}, false},
		"none":                 {nil, noon, chat.Unfinished{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := given(t, append([]domain.Event{wrote(1, "hi")}, c.history...)...).
				When(chat.Migrate{To: supergroup, At: c.at})
			want := []domain.Event{chat.ChatMigrated{To: supergroup, Unfinished: c.want, At: c.at}}
			if moves := all[chat.WorkflowMoved](o); c.ends != (len(moves) == 1 && moves[0].Step == dialog.HandedOver) {
				t.Errorf("moves %+v", moves)
			} else if c.ends {
				want = append(want, moves[0])
			}
			o.Then(want...)
		})
	}
}

func TestMigrate_Supergroup_ContinuesTicket(t *testing.T) {
	left := chat.Unfinished{Ticket: &asked, Assignee: "maria"}
	o := given(t, wrote(1, "here I am")).When(inSupergroup(left)).Then(
		chat.ChatContinued{From: group, Version: 9, Unfinished: left, At: noon.Add(time.Minute)},
		asked, chat.TicketAssigned{Ticket: "#1", Assignee: "maria"})
	if !o.State.WithPerson() {
		t.Error("the bot goes on to answer")
	}
	given(t, append([]domain.Event{wrote(1, "here I am")}, o.Events...)...).When(inSupergroup(left)).ThenNothing()
}

func TestMigrate_TwoTickets_MergedHigherPriority(t *testing.T) {
	left := chat.Unfinished{Ticket: &asked}
	continued := chat.ChatContinued{From: group, Version: 9, Unfinished: left, At: noon.Add(time.Minute)}
	given(t, wrote(1, "hi"), opened).When(inSupergroup(left)).
		Then(continued, chat.TicketEscalated{Ticket: "#1", Reason: "asked", Priority: dialog.High,
			At: noon.Add(time.Minute), Due: asked.Due, Resolve: asked.Resolve})
	given(t, wrote(1, "hi"), opened, chat.TicketEscalated{Ticket: "#1", Priority: dialog.Urgent}).
		When(inSupergroup(left)).Then(continued)
}

func TestMigrate_Supergroup_AsksQuestionAgain(t *testing.T) {
	address := "12 Baker Street, London NW1 6XE"
	confirm := chat.Unfinished{Workflow: dialogtest.AddressChange, Step: dialogtest.ConfirmingChanges,
		Data: map[string]string{"address": address}}
	o := given(t).When(inSupergroup(confirm))
	if r := only[chat.ReplyQueued](t, o); !strings.Contains(r.Text, address) || len(r.Buttons) != 3 ||
		r.Buttons[0].Data != "w:2:yes" {
		t.Errorf("it asks %+v", r)
	}
	if o.State.Run.Step != dialogtest.ConfirmingChanges || o.State.Run.Data["address"] != address ||
		o.State.Run.Asked != 2 {
		t.Errorf("the run is %+v", o.State.Run)
	}
	yes := pressed(5, "w:2:yes")
	done := given(t, append(o.Events, yes)...).When(respond(domain.Version(len(o.Events)+1), yes))
	if done.State.Run.Step != dialog.Completed {
		t.Errorf("after the answer the run is %+v", done.State.Run)
	}

	collect := chat.Unfinished{Workflow: dialogtest.AddressChange, Step: dialogtest.CollectingAddress}
	o = given(t).When(inSupergroup(collect))
	if o.State.Run.Step != dialogtest.CollectingAddress || len(said(o)) != 1 {
		t.Errorf("the run is %+v, and it says %q", o.State.Run, said(o))
	}
	for name, history := range map[string][]domain.Event{"a run of its own": confirming, "a person": {opened}} {
		if o := given(t, history...).When(inSupergroup(collect)); len(o.Events) != 1 {
			t.Errorf("where there is %s already: %+v", name, o.Events)
		}
	}
}

func TestMigrate_OldGroup_OpensNoTicket(t *testing.T) {
	moved := []domain.Event{wrote(1, "hi"), asked, chat.ChatMigrated{To: supergroup, At: noon}, resolved}
	given(t, moved...).When(chat.OpenTicket{Reason: "r", Priority: dialog.Low, At: noon}).ThenRefused(chat.ErrMoved)
	given(t, moved...).When(chat.ReopenTicket{Reason: "r", At: noon}).ThenRefused(chat.ErrMoved)
}

func TestMigrate_Replies_GoToSupergroup(t *testing.T) {
	topic := wrote(1, "hi")
	topic.Thread = 12
	moved := []domain.Event{topic, chat.ChatMigrated{To: supergroup, At: noon}}
	given(t, moved...).When(chat.Reply{Author: maria, Text: "Good day"}).
		Then(chat.ReplyQueued{Text: "Good day", Author: maria, Chat: supergroup})
}
