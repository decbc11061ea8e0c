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

func TestTicket_Opened_NumberedAndDue(t *testing.T) {
	resolved := map[dialog.Priority]time.Duration{
		dialog.Urgent: 4 * time.Hour, dialog.High: 8 * time.Hour, dialog.Normal: 24 * time.Hour,
		dialog.Low: 72 * time.Hour,
	}
	due := map[dialog.Priority]time.Duration{
		dialog.Urgent: 15 * time.Minute, dialog.High: time.Hour, dialog.Normal: 4 * time.Hour,
		dialog.Low: 24 * time.Hour,
	}
	for priority, within := range due {
		given(t, wrote(1, "the lamp is missing")).
			When(chat.OpenTicket{Reason: "seen in the shop", Priority: priority, At: noon}).Then(
			chat.TicketOpened{Ticket: "#1", Reason: "seen in the shop", Subject: "the lamp is missing",
				Priority: priority, At: noon, Due: noon.Add(within), Resolve: noon.Add(resolved[priority])})
	}
}

func TestTicket_Subject_IsOneShortLine(t *testing.T) {
	o := given(t, wrote(1, strings.Repeat("é", 4096))).When(chat.OpenTicket{Priority: dialog.Low, At: noon})
	if got := []rune(only[chat.TicketOpened](t, o).Subject); len(got) != 121 || got[120] != '…' {
		t.Errorf("a subject of %d characters, ending in %q", len(got), got[len(got)-1])
	}
}

func TestTicket_Subject_IsCausingMessage(t *testing.T) {
	wish := wrote(1, "I want to talk to a person")
	o := given(t, wish, wrote(2, "anybody there?")).When(respond(1, wish))
	if got := only[chat.TicketOpened](t, o).Subject; got != wish.Text {
		t.Errorf("subject %q", got)
	}
}

func TestTicket_Next_GetsNextNumber(t *testing.T) {
	o := given(t, opened, assigned, resolved).When(chat.OpenTicket{Priority: dialog.Low, At: noon})
	if got := only[chat.TicketOpened](t, o).Ticket; got != "#2" {
		t.Errorf("the second ticket is %s", got)
	}
	if o.State.Ticket.Assignee != "" || o.State.Ticket.Status != chat.Open {
		t.Errorf("the new ticket begins as %+v", o.State.Ticket)
	}
}

func TestTicket_EveryCommand_InEveryStatus(t *testing.T) {
	reopened := chat.TicketReopened{Ticket: "#1", Reason: "again", At: noon, Due: noon.Add(4 * time.Hour),
		Resolve: noon.Add(24 * time.Hour)}
	escalated := chat.TicketEscalated{Ticket: "#1", Reason: "vip", Priority: dialog.High, At: noon,
		Due: noon.Add(time.Hour), Resolve: noon.Add(8 * time.Hour)}
	statuses := map[string][]domain.Event{
		"none":        {wrote(1, "hi")},
		"open":        {opened},
		"assigned":    {opened, assigned},
		"resolved":    {opened, assigned, resolved},
		"handed back": {opened, assigned, handedBack},
		"reopened":    {opened, assigned, resolved, reopened},
	}
	type led struct {
		events []domain.Event
		err    error
	}
	does := func(events ...domain.Event) led { return led{events: events} }
	nothing, refused := led{}, func(err error) led { return led{err: err} }
	open := chat.TicketOpened{Ticket: "#2", Reason: "seen", Priority: dialog.Normal, At: noon,
		Due: noon.Add(4 * time.Hour), Resolve: noon.Add(24 * time.Hour)}
	first := open
	first.Ticket, first.Subject = "#1", "hi"

	tests := map[string]struct {
		command chat.Command
		in      map[string]led
	}{
		"open": {chat.OpenTicket{Reason: "seen", Priority: dialog.Normal, At: noon}, map[string]led{
			"none": does(first), "open": refused(chat.ErrTicketOpen), "assigned": refused(chat.ErrTicketOpen),
			"resolved": does(open), "handed back": does(open), "reopened": refused(chat.ErrTicketOpen)}},
		"assign": {chat.AssignTicket{Assignee: "jo"}, map[string]led{
			"none": refused(chat.ErrNoTicket), "open": does(chat.TicketAssigned{Ticket: "#1", Assignee: "jo"}),
			"assigned": does(chat.TicketAssigned{Ticket: "#1", Assignee: "jo"}),
			"resolved": refused(chat.ErrNoTicket), "handed back": refused(chat.ErrNoTicket),
			"reopened": does(chat.TicketAssigned{Ticket: "#1", Assignee: "jo"})}},
		"assign to who has it": {chat.AssignTicket{Assignee: "maria"}, map[string]led{
			"none": refused(chat.ErrNoTicket), "open": does(assigned), "assigned": nothing,
			"resolved": refused(chat.ErrNoTicket), "handed back": refused(chat.ErrNoTicket), "reopened": nothing}},
		"assign to nobody": {chat.AssignTicket{Assignee: " "}, map[string]led{
			"none": refused(chat.ErrNoTicket), "open": refused(chat.ErrNobody), "assigned": refused(chat.ErrNobody),
			"resolved": refused(chat.ErrNoTicket), "handed back": refused(chat.ErrNoTicket),
			"reopened": refused(chat.ErrNobody)}},
		"escalate": {chat.EscalateTicket{Priority: dialog.High, Reason: "vip", At: noon}, map[string]led{
			"none": refused(chat.ErrNoTicket), "open": does(escalated), "assigned": does(escalated),
			"resolved": refused(chat.ErrNoTicket), "handed back": refused(chat.ErrNoTicket),
			"reopened": does(escalated)}},
		"resolve": {chat.ResolveTicket{At: noon}, map[string]led{
			"none": refused(chat.ErrNoTicket), "open": does(resolved), "assigned": does(resolved),
			"resolved": nothing, "handed back": refused(chat.ErrNoTicket), "reopened": does(resolved)}},
		"reopen": {chat.ReopenTicket{Reason: "again", At: noon}, map[string]led{
			"none": refused(chat.ErrNothingToReopen), "open": refused(chat.ErrNothingToReopen),
			"assigned": refused(chat.ErrNothingToReopen),
			"resolved": does(reopened), "handed back": does(reopened), "reopened": refused(chat.ErrNothingToReopen)}},
		"hand back": {chat.HandBack{}, map[string]led{
			"none": refused(chat.ErrNoTicket), "open": does(handedBack), "assigned": does(handedBack),
			"resolved": refused(chat.ErrNoTicket), "handed back": nothing, "reopened": does(handedBack)}},
	}
	for command, test := range tests {
		for status, history := range statuses {
			t.Run(command+" when "+status, func(t *testing.T) {
				want, told := test.in[status]
				if !told {
					t.Fatal("the table does not say")
				}
				o := given(t, history...).When(test.command)
				if want.err != nil {
					o.ThenRefused(want.err)
					return
				}
				o.Then(want.events...)
			})
		}
	}
}

func TestTicket_UnknownPriority_Refused(t *testing.T) {
	for _, priority := range []dialog.Priority{"", "urgentest", "Urgent"} {
		given(t).When(chat.OpenTicket{Priority: priority}).ThenRefused(chat.ErrPriority)
		given(t, opened).When(chat.EscalateTicket{Priority: priority}).ThenRefused(chat.ErrPriority)
	}
}

func TestTicket_Escalate_OnlyUpwards(t *testing.T) {
	given(t, opened).When(chat.EscalateTicket{Priority: dialog.Normal}).ThenRefused(chat.ErrNotMoreUrgent)
	given(t, opened).When(chat.EscalateTicket{Priority: dialog.Low}).ThenRefused(chat.ErrNotMoreUrgent)
	toHigh := chat.TicketEscalated{Ticket: "#1", Priority: dialog.High}
	given(t, opened, toHigh).When(chat.EscalateTicket{Priority: dialog.High}).ThenRefused(chat.ErrNotMoreUrgent)
	given(t, opened, toHigh).When(chat.EscalateTicket{Priority: dialog.Urgent, At: noon}).
		Then(chat.TicketEscalated{Ticket: "#1", Priority: dialog.Urgent, At: noon,
			Due: noon.Add(15 * time.Minute), Resolve: noon.Add(4 * time.Hour)})
}

func TestTicket_Reopened_KeepsAssigneeAndPriority(t *testing.T) {
	urgent := chat.TicketEscalated{Ticket: "#1", Priority: dialog.Urgent}
	o := given(t, opened, assigned, urgent, resolved).When(chat.ReopenTicket{Reason: "again", At: noon})
	o.Then(chat.TicketReopened{Ticket: "#1", Reason: "again", At: noon, Due: noon.Add(15 * time.Minute),
		Resolve: noon.Add(4 * time.Hour)})
	if got := o.State.Ticket; got.ID != "#1" || got.Status != chat.Assigned || got.Priority != dialog.Urgent ||
		got.Assignee != "maria" {
		t.Errorf("reopened as %+v", got)
	}
	o = given(t, opened, resolved).When(chat.ReopenTicket{Reason: "again", At: noon})
	if o.State.Ticket.Status != chat.Open {
		t.Errorf("nobody had it, and it is %s", o.State.Ticket.Status)
	}
}

func TestTicket_Resolved_BotStartsAfresh(t *testing.T) {
	o := given(t, understood(1, dialog.Unknown), opened, resolved, wrote(9, "qwertz")).
		When(respond(9, wrote(9, "qwertz")))
	if len(all[chat.TicketOpened](o)) != 0 {
		t.Error("misunderstandings before the ticket still count after it")
	}
}

func TestTicket_HandOverReason_SetsPriority(t *testing.T) {
	tests := map[string]dialog.Priority{
		"This is outrageous":         dialog.Urgent,
		"I want to talk to a person": dialog.High,
		"please cancel my order":     dialog.High,
	}
	for text, want := range tests {
		o := given(t, wrote(1, text)).When(respond(1, wrote(1, text)))
		got := only[chat.TicketOpened](t, o)
		due, resolve := dialogtest.Shop.Due(want, noon.Add(time.Minute))
		if got.Priority != want || !got.Due.Equal(due) || !got.Resolve.Equal(resolve) {
			t.Errorf("%q: %s, due %s", text, got.Priority, got.Due)
		}
	}
}
