//go:build unix

package projections_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

// history is what happened in one chat.
type history struct {
	stream domain.StreamID
	events []commands.NewEvent
}

// texts that are easy to store wrongly.
var texts = []string{"", "where is my order 1042?", "I want to change my billing address", "12 Elm Street, 1234 AB Springfield", "a person please!!", "nul \x00 inside",
	"grüß dich 👋", "👩‍👩‍👧 'quoted' \"twice\" \\ {} $1 %s", "yes", "cancel", "\u202eright to left"}

// generate makes the histories of some chats by asking the chats for things at
// random, as customers, the bot and operators would. A clock now and then goes
// backwards, as clocks of two machines do.
func generate(rng *rand.Rand, chats, steps int) []history {
	histories := make([]history, chats)
	for i := range histories {
		h := &histories[i]
		h.stream = domain.ChatStream([]string{"demo", "other:bot"}[rng.IntN(2)], int64(1000+i)*int64(1-2*rng.IntN(2)))
		if i%20 == 0 {
			h.stream = domain.BotStream(fmt.Sprint("bot", i))
		}
		g := generator{rng: rng, history: h, now: time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC), state: chat.Decider.Initial()}
		for n := 1 + rng.IntN(steps); n > 0 || len(h.events) == 0; n-- {
			g.step()
		}
	}
	return histories
}

type generator struct {
	*history
	rng    *rand.Rand
	now    time.Time
	state  chat.State
	update int64
}

func (g *generator) text() string { return texts[g.rng.IntN(len(texts))] }

// step asks the chat for something; what it refuses does not happen.
func (g *generator) step() {
	g.now = g.now.Add(time.Duration(g.rng.Int64N(int64(20*time.Minute))) - 8*time.Minute)
	if g.rng.IntN(20) == 0 {
		g.now = g.now.Add(2 * time.Hour) // a workflow expires
	}
	g.update++
	update := chat.Update{ID: g.update, Key: g.rng.Uint64()}
	from := chat.Sender{ID: 7, Name: g.text(), Username: "ann", Language: []string{"", "en", "de"}[g.rng.IntN(3)]}
	if _, inChat := g.stream.Chat(); !inChat {
		g.ask("customer", chat.Receive{Event: chat.UpdateKept{Update: update, Kind: "poll"}, At: g.now})
		return
	}
	delivery := g.delivery()
	switch g.rng.IntN(20) {
	case 0, 1, 2, 3, 4:
		m := chat.MessageReceived{Update: update, MessageID: g.update, Date: g.now, ChatType: "private", From: from, Text: g.text()}
		if g.rng.IntN(4) == 0 {
			m.Media, m.ChatTitle = []chat.Media{{Kind: "photo"}}, "Family"
		}
		if g.rng.IntN(6) == 0 {
			m.Date = g.now.Add(-time.Hour) // it waited for us
		}
		g.ask("customer", chat.Receive{Event: m, Limit: chat.Limit{Count: 5, Window: 30 * time.Minute}, At: g.now})
		g.respond(m)
	case 5:
		m := chat.MessageEdited{Update: update, MessageID: g.update - 1, EditedAt: g.now, From: from, Text: g.text()}
		g.ask("customer", chat.Receive{Event: m, At: g.now})
		g.respond(m)
	case 6:
		m := chat.ButtonPressed{Update: update, QueryID: fmt.Sprint(g.update), MessageID: g.update - 1, Date: g.now, From: from, Data: "address:yes"}
		g.ask("customer", chat.Receive{Event: m, At: g.now})
		g.respond(m)
	case 7:
		g.ask("customer", chat.Receive{Event: chat.MembershipChanged{Update: update, Date: g.now, Status: "kicked", Blocked: g.rng.IntN(2) == 0}, At: g.now})
	case 8:
		g.ask("person:bo", chat.OpenTicket{Reason: g.text(), Priority: []dialog.Priority{dialog.Low, dialog.Normal, dialog.High}[g.rng.IntN(3)], At: g.now})
	case 9:
		g.ask("person:bo", chat.AssignTicket{Assignee: []string{"bo", "cy \x00"}[g.rng.IntN(2)]})
	case 10:
		g.ask("person:bo", chat.EscalateTicket{Priority: dialog.Urgent, Reason: g.text(), At: g.now})
	case 11:
		g.ask("person:bo", chat.ResolveTicket{At: g.now})
	case 12:
		g.ask("person:bo", chat.ReopenTicket{Reason: g.text(), At: g.now})
	case 13:
		if g.rng.IntN(2) == 0 {
			g.ask("person:bo", chat.HandBack{})
		} else {
			g.ask("person:bo", chat.Reply{Author: chat.Author{Kind: []chat.AuthorKind{chat.Person, chat.Person, "model"}[g.rng.IntN(3)], Name: "bo"}, Text: g.text()})
		}
	case 14:
		if g.rng.IntN(4) == 0 {
			g.ask("person:bo", []chat.Command{
				chat.RetryDelivery{Delivery: delivery, Kind: commands.KindSendMessage, Was: "dead"},
				chat.SkipDelivery{Delivery: delivery, Kind: commands.KindSendMessage, Was: "waiting", Reason: g.text()},
			}[g.rng.IntN(2)])
			break
		}
		g.ask("delivery", chat.RecordDelivery{Delivery: delivery, Kind: []string{commands.KindSendMessage, commands.KindAnswerButton}[g.rng.IntN(2)],
			Outcome: []string{"done", "refused", "unknown", "dead"}[g.rng.IntN(4)], MessageID: g.rng.Int64N(2), Reason: g.text(), Blocked: g.rng.IntN(4) == 0})
	case 15:
		g.use(delivery)
	case 16:
		g.file()
	case 17:
		g.ask("person:cy", chat.RecordAgent{ID: fmt.Sprint(g.rng.IntN(50)), Ticket: "#1", Desk: "zendesk", Agent: "cy", Text: g.text(), At: g.now,
			Act: []chat.AgentAct{chat.AgentSolved, chat.AgentReopened, chat.AgentReplied}[g.rng.IntN(3)]})
	case 18, 19:
		g.operate()
	}
}

// operate has somebody of the team act under whatever claim they hold.
func (g *generator) operate() {
	who := []string{"bo", "cy"}[g.rng.IntN(2)]
	tags := func() []string { return [][]string{nil, {"vip"}, {"late", "a"}}[g.rng.IntN(3)] }
	do := []chat.Command{chat.Claim{For: time.Hour}, chat.Claim{For: time.Minute}, chat.Release{}, chat.Reply{Text: g.text()}, chat.AddNote{Text: g.text()}, chat.Tag{Add: tags(), Remove: tags()},
		chat.SetPriority{Priority: []dialog.Priority{dialog.Urgent, dialog.Low}[g.rng.IntN(2)], At: g.now}, chat.ResolveTicket{At: g.now}}[g.rng.IntN(8)]
	g.ask("person:"+who, chat.Operate{Key: fmt.Sprint(g.rng.IntN(100)), Print: 1, Operator: who, Force: g.rng.IntN(3) == 0, Do: do, At: g.now})
}

// delivery is that of a message of the chat, of any age, or one that nobody knows.
func (g *generator) delivery() uuid.UUID {
	if n := len(g.events); n > 0 {
		for _, e := range g.events[g.rng.IntN(n):] {
			if _, ok := e.Event.(chat.ReplyQueued); ok {
				return e.ID
			}
		}
	}
	return uuid.Must(uuid.NewRandomFromReader(source{g.rng}))
}

// use has a tool answer that is waited for, or time bring about what is due.
func (g *generator) use(delivery uuid.UUID) {
	reason := []string{"", "", "down \x00"}[g.rng.IntN(3)]
	g.ask("delivery", chat.RecordTool{Delivery: delivery, To: g.state.Awaited.To, Call: g.state.Awaited.Call, For: chat.ForWorkflow, Tool: g.state.Awaited.Tool,
		Output: map[string]string{"found": "true", "valid": "true", "address": g.text(), "number": "1042"}, Reason: reason, At: g.now})
	g.ask("time", chat.Elapse{At: g.now.Add(time.Duration(g.rng.IntN(3)) * time.Hour)})
}

// file has another desk keep a ticket, or says what became of that.
func (g *generator) file() {
	g.ask("bot", chat.ReferTicket{Desk: "zendesk"})
	for _, e := range g.events {
		if referred, ok := e.Event.(chat.TicketReferred); ok && g.rng.IntN(3) == 0 {
			g.ask("delivery", []chat.Command{
				chat.RecordFiling{Delivery: e.ID, Ticket: referred.Ticket, Desk: referred.Desk, Number: g.text()},
				chat.RecordDelivery{Delivery: e.ID, Kind: commands.KindCreateTicket, Outcome: "dead", Reason: g.text()},
				chat.RetryDelivery{Delivery: e.ID, Kind: commands.KindCreateTicket},
				chat.SkipDelivery{Delivery: e.ID, Kind: commands.KindCreateTicket},
			}[g.rng.IntN(4)])
		}
	}
}

func (g *generator) respond(event domain.Event) {
	if g.rng.IntN(4) > 0 {
		g.ask("bot", chat.Respond{To: domain.Version(len(g.events)), Event: event, At: g.now})
	}
}

func (g *generator) ask(actor string, command chat.Command) {
	events, err := chat.Decider.Decide(g.state, chat.Told{Command: command, With: chat.Settings{Knowledge: &dialogtest.Shop, Tools: dialogtest.AllTools}})
	if err != nil {
		return
	}
	g.state = chat.Decider.Fold(g.state, events...)
	for _, e := range events {
		id := uuid.Must(uuid.NewRandomFromReader(source{g.rng}))
		g.events = append(g.events, commands.NewEvent{ID: id, Event: e, Correlation: id, Actor: actor, OccurredAt: g.now})
	}
}

// source makes random bytes of random numbers.
type source struct{ *rand.Rand }

func (s source) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.Uint32())
	}
	return len(b), nil
}
