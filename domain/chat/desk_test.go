package chat_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Tickets that another desk keeps, too.

var (
	refer    = chat.ReferTicket{Desk: chat.DeskZendesk}
	referred = chat.TicketReferred{Ticket: "#1", Desk: "zendesk", Reason: "asked", Priority: dialog.Normal}
	filed    = chat.TicketFiled{
		Delivery: uuid.MustParse("0192c3a4-0000-7000-8000-000000000009"), Ticket: "#1", Desk: "zendesk", Number: "35",
	}
)

// told is what the desk is to be told of ticket #1.
func told(u chat.DeskUpdateQueued) chat.DeskUpdateQueued {
	u.Ticket, u.Desk = "#1", "zendesk"
	return u
}

func acts(act chat.AgentAct, text string) chat.RecordAgent {
	return chat.RecordAgent{
		ID: string(act) + " 7", Ticket: "#1", Desk: "zendesk", Act: act, Agent: "Maria", Text: text, At: noon,
	}
}

func acted(c chat.RecordAgent, refused string) chat.AgentActed {
	return chat.AgentActed{
		ID: c.ID, Ticket: c.Ticket, Desk: c.Desk, Act: c.Act, Agent: c.Agent, Text: c.Text, At: c.At, Refused: refused,
	}
}

func TestDesk_OpenTicket_ReferredOnceWithText(t *testing.T) {
	o := given(t, wrote(1, "where is my lamp?"),
		chat.TicketOpened{Ticket: "#1", Reason: "angry", Subject: "where is my lamp?", Priority: dialog.Normal},
		wrote(2, "anybody there?"), chat.ReplyQueued{Text: "yes", Author: chat.Author{Kind: chat.Person, Name: "ann"}},
		chat.TicketEscalated{Ticket: "#1", Priority: dialog.High}).When(refer)
	o.Then(chat.TicketReferred{Ticket: "#1", Desk: "zendesk", Reason: "angry", Subject: "where is my lamp?",
		Customer: "Anna", Priority: dialog.High,
		Said: []string{"Anna: where is my lamp?", "Anna: anybody there?", "ann: yes"}})

	given(t, opened, referred).When(refer).Then()
	given(t, opened, resolved).When(refer).Then()
	given(t, wrote(1, "hi")).When(refer).Then()
	given(t, opened).When(chat.ReferTicket{}).Then()
	given(t, opened, referred, resolved, chat.TicketOpened{Ticket: "#2"}).When(refer).
		Then(chat.TicketReferred{Ticket: "#2", Desk: "zendesk"})
}

func TestDesk_TicketChanges_Reported(t *testing.T) {
	person := chat.Author{Kind: chat.Person, Name: "ann"}
	photo := wrote(2, "look")
	photo.Media = []chat.Media{{Kind: "photo"}}
	bots := wrote(2, "I am a bot")
	bots.From.Bot = true
	for name, c := range map[string]struct {
		after   []domain.Event // since the ticket was referred
		command chat.Command
		want    []chat.DeskUpdateQueued
	}{
		"a message":          {nil, receive(wrote(2, "hello?")), []chat.DeskUpdateQueued{{Text: "Anna: hello?"}}},
		"a photo":            {nil, receive(photo), []chat.DeskUpdateQueued{{Text: "Anna: look [photo]"}}},
		"a message of a bot": {nil, receive(bots), nil},
		"a correction": {
			nil, receive(edited(2, 1, "hello!")), []chat.DeskUpdateQueued{{Text: "Anna: corrected: hello!"}},
		},
		"a pressed button": {nil, receive(pressed(2, "x")), nil},
		"a person's reply": {
			nil, chat.Reply{Author: person, Text: "hi"}, []chat.DeskUpdateQueued{{Text: "ann: hi", Public: true}},
		},
		"a formatted reply": {
			nil, chat.Reply{Author: person, Text: "<b>hi</b> &amp; bye", Format: dialog.HTML}, []chat.DeskUpdateQueued{
				{Text: "ann: hi & bye", Public: true},
			},
		},
		"a photo for them": {
			nil, chat.Reply{Author: person, Media: []chat.Media{{Kind: "photo", FileID: "AgAC"}}},
			[]chat.DeskUpdateQueued{{Text: "ann: [photo]", Public: true}},
		},
		"an escalation": {
			nil, chat.EscalateTicket{Priority: dialog.Urgent}, []chat.DeskUpdateQueued{{Priority: dialog.Urgent}},
		},
		"an assignment": {nil, chat.AssignTicket{Assignee: "ann"}, nil},
		"the end":       {nil, chat.ResolveTicket{}, []chat.DeskUpdateQueued{{Status: "solved"}}},
		"no end": {
			[]domain.Event{resolved}, chat.ReopenTicket{}, []chat.DeskUpdateQueued{{Status: "open"}},
		},
		"the bot has it again": {
			nil, chat.HandBack{}, []chat.DeskUpdateQueued{{Text: "The chat was handed back to the bot."}},
		},
		"the bot is written to": {[]domain.Event{handedBack}, receive(wrote(2, "hello")), nil},
		"a word after the end": {
			[]domain.Event{resolved}, chat.Reply{Author: person, Text: "bye"}, []chat.DeskUpdateQueued{
				{Text: "ann: bye", Public: true},
			},
		},
		"a ticket of today": {[]domain.Event{resolved}, chat.OpenTicket{Priority: dialog.Low}, nil},
		"a message that failed": {
			nil, chat.RecordDelivery{Kind: "telegram.sendMessage", Outcome: "refused", Reason: "blocked"},
			[]chat.DeskUpdateQueued{{Text: "A message to the customer: refused, blocked."}},
		},
		"a comment that failed": {
			nil, chat.RecordDelivery{Kind: "zendesk.comment", Outcome: "dead", Reason: "down"}, nil,
		},
		"a message that arrived": {nil, chat.RecordDelivery{Kind: "telegram.sendMessage", Outcome: "done"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			since := append([]domain.Event{opened}, c.after...)
			alone := given(t, since...).When(c.command).Events // of a ticket that is kept here only
			var want []domain.Event
			for _, u := range c.want {
				want = append(want, told(u))
			}
			o := given(t, slices.Insert(since, 1, domain.Event(referred))...).When(c.command)
			o.Then(append(slices.Clip(alone), want...)...)
		})
	}
}

func TestDesk_AgentActs_AppliedNotEchoed(t *testing.T) {
	reply, solve, reopen := acts(chat.AgentReplied, "on its way"), acts(chat.AgentSolved, ""), acts(chat.AgentReopened,
		"")
	kept := []domain.Event{wrote(1, "hi"), opened, referred, filed}
	given(t, kept...).When(reply).Then(acted(reply, ""),
		chat.ReplyQueued{Text: "on its way", Author: chat.Author{Kind: chat.Person, Name: "Maria"}})
	given(t, kept...).When(solve).Then(acted(solve, ""), resolved)
	given(t, append(kept, resolved)...).When(reopen).
		Then(acted(reopen, ""),
			chat.TicketReopened{
				Ticket: "#1", Reason: "reopened at zendesk", At: noon, Due: opened.Due, Resolve: opened.Resolve,
			})
	// It is so already.
	given(t, append(kept, resolved)...).When(solve).Then(acted(solve, ""))
	given(t, kept...).When(reopen).Then(acted(reopen, ""))
}

// An act that comes again after so many others that it is forgotten is not applied again.
func TestDesk_ForgottenActReplayed_Refused(t *testing.T) {
	solve, reply := acts(chat.AgentSolved, ""), acts(chat.AgentReplied, "on its way")
	since := []domain.Event{opened, referred, acted(solve, ""), acted(reply, ""), resolved}
	for n := range 70 {
		another := acts(chat.AgentReplied, "still on its way")
		another.ID, another.At = fmt.Sprint("another ", n), noon.Add(time.Duration(n)*time.Second)
		since = append(since, acted(another, ""))
	}
	since = append(since, chat.TicketReopened{Ticket: "#1", At: noon})
	const refused = "acts as old as this one are not applied any more"
	given(t, since...).When(solve).Then(acted(solve, refused))
	given(t, since...).When(reply).Then(acted(reply, refused),
		told(chat.DeskUpdateQueued{Text: "This did not reach the customer: " + refused + "."}))
}

// An act that arrives after a later one of the same kind does not undo it. A reply reaches the
// customer all the same.
func TestDesk_ActsOutOfOrder_LastWins(t *testing.T) {
	solve, reopen, reply := acts(chat.AgentSolved, ""), acts(chat.AgentReopened, ""), acts(chat.AgentReplied, "soon")
	reopen.At = noon.Add(time.Second)
	since := []domain.Event{opened, referred, acted(reopen, "")}
	given(t, since...).When(solve).Then(acted(solve, "a later act has changed the ticket"))
	given(t, since...).When(reply).Then(acted(reply, ""),
		chat.ReplyQueued{Text: "soon", Author: chat.Author{Kind: chat.Person, Name: "Maria"}})
}

func TestDesk_RepeatedAct_CountsOnce(t *testing.T) {
	for _, c := range []chat.RecordAgent{
		acts(chat.AgentReplied, "on its way"), acts(chat.AgentSolved, ""), acts(chat.AgentReopened, ""),
	} {
		o := given(t, opened, referred).When(c)
		again := append([]domain.Event{opened, referred}, o.Events...)
		for n := range 20 { // others come in between
			again = append(again, chat.AgentActed{ID: fmt.Sprint(n)}, wrote(int64(n+2), "hello?"))
		}
		given(t, append(again, resolved)...).When(c).Then()
	}
}

func TestDesk_ImpossibleAct_KeptWithReason(t *testing.T) {
	reply, solve := acts(chat.AgentReplied, "on its way"), acts(chat.AgentSolved, "")
	blocked := chat.MembershipChanged{Update: chat.Update{ID: 7, Key: 7}, Date: noon, Blocked: true}
	o := given(t, opened, referred, blocked).When(reply)
	if a := only[chat.AgentActed](t, o); !strings.Contains(a.Refused, chat.ErrBlocked.Error()) {
		t.Errorf("%+v", a)
	}
	if u := only[chat.DeskUpdateQueued](t, o); u.Public || !strings.Contains(u.Text, chat.ErrBlocked.Error()) {
		t.Errorf("the agent is told %+v", u)
	}
	if len(o.Events) != 2 {
		t.Errorf("%+v", o.Events)
	}
	// A ticket that another has followed stays as it is.
	o = given(t, opened, referred, resolved, chat.TicketOpened{Ticket: "#2"}).When(solve)
	if a := only[chat.AgentActed](t, o); !strings.Contains(a.Refused, chat.ErrOldTicket.Error()) ||
		len(o.Events) != 1 {
		t.Errorf("%+v", o.Events)
	}
	// Its customer gets the agent's words all the same.
	o = given(t, opened, referred, resolved, chat.TicketOpened{Ticket: "#2"}).When(reply)
	if r := only[chat.ReplyQueued](t, o); r.Text != "on its way" {
		t.Errorf("%+v", r)
	}
	for _, ticket := range []string{"#2", "#0", "#-1", "", "x"} {
		c := solve
		c.Ticket = ticket
		given(t, opened, referred).When(c).ThenRefused(chat.ErrNoSuchTicket)
	}
	given(t).When(solve).ThenRefused(chat.ErrNoSuchTicket)
}

func TestDesk_ExternalNumber_Recorded(t *testing.T) {
	o := given(t, opened, referred).When(chat.RecordFiling(filed))
	if diff := cmp.Diff([]domain.Event{filed}, o.Events); diff != "" {
		t.Error(diff)
	}
}
