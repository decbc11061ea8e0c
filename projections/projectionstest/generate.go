//go:build unix

package projectionstest

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

// History has the events of one chat.
type History struct {
	Stream domain.StreamID
	Events []commands.NewEvent
}

// texts has values that a program easily stores incorrectly.
var texts = []string{"", "where is my order 1042?", "I want to change my billing address",
	"12 Elm Street, 1234 AB Springfield", "a person please!!", "nul \x00 inside",
	"grüß dich 👋", "👩‍👩‍👧 'quoted' \"twice\" \\ {} $1 %s", "yes", "cancel", "\u202eright to left"}

// Generate makes the histories of some chats from random commands of customers, the bot and
// operators. The clock sometimes goes backwards, as the clocks of two machines do.
func Generate(rng *rand.Rand, chats, steps int) []History {
	histories := make([]History, chats)
	for i := range histories {
		h := &histories[i]
		h.Stream = domain.ChatStream([]string{"demo", "other:bot"}[rng.IntN(2)], int64(1000+i)*int64(1-2*rng.IntN(2)))
		if i%20 == 0 {
			h.Stream = domain.BotStream(fmt.Sprint("bot", i))
		}
		g := Generator{
			Rand: rng, History: h, Now: time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC), state: chat.Decider.Initial(),
		}
		for n := 1 + rng.IntN(steps); n > 0 || len(h.Events) == 0; n-- {
			g.step()
		}
	}
	return histories
}

// Generator makes the history of one chat.
type Generator struct {
	*History
	Rand   *rand.Rand
	Now    time.Time
	state  chat.State
	update int64
}

func (g *Generator) text() string { return texts[g.Rand.IntN(len(texts))] }

// step gives the chat a random command; a refused command adds no event.
func (g *Generator) step() {
	g.Now = g.Now.Add(time.Duration(g.Rand.Int64N(int64(20*time.Minute))) - 8*time.Minute)
	if g.Rand.IntN(20) == 0 {
		g.Now = g.Now.Add(2 * time.Hour) // a workflow expires
	}
	g.update++
	update := chat.Update{ID: g.update, Key: g.Rand.Uint64()}
	from := chat.Sender{ID: 7, Name: g.text(), Username: "ann", Language: []string{"", "en", "de"}[g.Rand.IntN(3)]}
	if _, inChat := g.Stream.Chat(); !inChat {
		g.Ask("customer", chat.Receive{Event: chat.UpdateKept{Update: update, Kind: "poll"}, At: g.Now})
		return
	}
	delivery := g.delivery()
	switch g.Rand.IntN(20) {
	case 0, 1, 2, 3, 4:
		m := chat.MessageReceived{
			Update: update, MessageID: g.update, Date: g.Now, ChatType: "private", From: from, Text: g.text(),
		}
		if g.Rand.IntN(4) == 0 {
			m.Media, m.ChatTitle = []chat.Media{{Kind: "photo"}}, "Family"
		}
		if g.Rand.IntN(6) == 0 {
			m.Date = g.Now.Add(-time.Hour) // Telegram delivered it late
		}
		g.Ask("customer", chat.Receive{Event: m, Limit: chat.Limit{Count: 5, Window: 30 * time.Minute}, At: g.Now})
		g.respond(m)
	case 5:
		m := chat.MessageEdited{Update: update, MessageID: g.update - 1, EditedAt: g.Now, From: from, Text: g.text()}
		g.Ask("customer", chat.Receive{Event: m, At: g.Now})
		g.respond(m)
	case 6:
		m := chat.ButtonPressed{
			Update: update, QueryID: fmt.Sprint(g.update), MessageID: g.update - 1, Date: g.Now, From: from,
			Data: "address:yes",
		}
		g.Ask("customer", chat.Receive{Event: m, At: g.Now})
		g.respond(m)
	case 7:
		m := chat.MembershipChanged{Update: update, Date: g.Now, Status: "kicked", Blocked: g.Rand.IntN(2) == 0}
		g.Ask("customer", chat.Receive{Event: m, At: g.Now})
	case 8:
		reason := g.text()
		priority := []dialog.Priority{dialog.Low, dialog.Normal, dialog.High}[g.Rand.IntN(3)]
		g.Ask("operator:bo", chat.OpenTicket{Reason: reason, Priority: priority, At: g.Now})
	case 9:
		g.Ask("operator:bo", chat.AssignTicket{Assignee: []string{"bo", "cy \x00"}[g.Rand.IntN(2)]})
	case 10:
		g.Ask("operator:bo", chat.EscalateTicket{Priority: dialog.Urgent, Reason: g.text(), At: g.Now})
	case 11:
		g.Ask("operator:bo", chat.ResolveTicket{At: g.Now})
	case 12:
		g.Ask("operator:bo", chat.ReopenTicket{Reason: g.text(), At: g.Now})
	case 13:
		if g.Rand.IntN(2) == 0 {
			g.Ask("operator:bo", chat.HandBack{})
		} else {
			kind := []chat.AuthorKind{chat.Person, chat.Person, "model"}[g.Rand.IntN(3)]
			g.Ask("operator:bo", chat.Reply{Author: chat.Author{Kind: kind, Name: "bo"}, Text: g.text()})
		}
	case 14:
		if g.Rand.IntN(4) == 0 {
			g.Ask("operator:bo", []chat.Command{
				chat.RetryDelivery{Delivery: delivery, Kind: domain.KindSendMessage, Was: "dead"},
				chat.SkipDelivery{Delivery: delivery, Kind: domain.KindSendMessage, Was: "waiting", Reason: g.text()},
			}[g.Rand.IntN(2)])
			break
		}
		g.Ask("delivery",
			chat.RecordDelivery{Delivery: delivery,
				Kind:      []domain.DeliveryKind{domain.KindSendMessage, domain.KindAnswerButton}[g.Rand.IntN(2)],
				Outcome:   []domain.DeliveryState{"done", "refused", "unknown", "dead"}[g.Rand.IntN(4)],
				MessageID: g.Rand.Int64N(2), Reason: g.text(), Blocked: g.Rand.IntN(4) == 0})
	case 15:
		g.use(delivery)
	case 16:
		g.file()
	case 17:
		g.Ask("operator:cy",
			chat.RecordAgent{ID: fmt.Sprint(g.Rand.IntN(50)), Ticket: "#1", Desk: "zendesk", Agent: "cy",
				Text: g.text(), At: g.Now,
				Act: []chat.AgentAct{chat.AgentSolved, chat.AgentReopened, chat.AgentReplied}[g.Rand.IntN(3)]})
	case 18, 19:
		g.operate()
	}
}

// operate makes an operator act, with or without a claim.
func (g *Generator) operate() {
	operator := []string{"bo", "cy"}[g.Rand.IntN(2)]
	tags := func() []string { return [][]string{nil, {"vip"}, {"late", "a"}}[g.Rand.IntN(3)] }
	do := []chat.Command{chat.Claim{For: time.Hour}, chat.Claim{For: time.Minute}, chat.Release{},
		chat.Reply{Text: g.text()}, chat.AddNote{Text: g.text()}, chat.Tag{Add: tags(), Remove: tags()},
		chat.SetPriority{Priority: []dialog.Priority{dialog.Urgent, dialog.Low}[g.Rand.IntN(2)], At: g.Now},
		chat.ResolveTicket{At: g.Now}}[g.Rand.IntN(8)]
	g.Ask(domain.OperatorActor(operator), chat.Operate{
		Key: fmt.Sprint(g.Rand.IntN(100)), Fingerprint: 1, Operator: operator,
		Force: g.Rand.IntN(3) == 0, Do: do, At: g.Now,
	})
}

// delivery returns the delivery of a message of the chat, of any age, or one that does not exist.
func (g *Generator) delivery() uuid.UUID {
	if n := len(g.Events); n > 0 {
		for _, e := range g.Events[g.Rand.IntN(n):] {
			if _, ok := e.Event.(chat.ReplyQueued); ok {
				return e.ID
			}
		}
	}
	return uuid.Must(uuid.NewRandomFromReader(source{g.Rand}))
}

// use records the result of the tool that the chat waits for, and lets time pass.
func (g *Generator) use(delivery uuid.UUID) {
	reason := []string{"", "", "down \x00"}[g.Rand.IntN(3)]
	g.Ask("delivery",
		chat.RecordTool{Delivery: delivery, To: g.state.Awaited.To, Call: g.state.Awaited.Call, For: chat.ForWorkflow,
			Tool:   g.state.Awaited.Tool,
			Output: map[string]string{"found": "true", "valid": "true", "address": g.text(), "number": "1042"},
			Reason: reason, At: g.Now})
	g.Ask("time", chat.Elapse{At: g.Now.Add(time.Duration(g.Rand.IntN(3)) * time.Hour)})
}

// file asks for the ticket to be created in an external system, or records the outcome of that.
func (g *Generator) file() {
	g.Ask("bot", chat.ReferTicket{Desk: "zendesk"})
	for _, e := range g.Events {
		if referred, ok := e.Event.(chat.TicketReferred); ok && g.Rand.IntN(3) == 0 {
			g.Ask("delivery", []chat.Command{
				chat.RecordFiling{Delivery: e.ID, Ticket: referred.Ticket, Desk: referred.Desk, Number: g.text()},
				chat.RecordDelivery{Delivery: e.ID, Kind: domain.KindCreateTicket, Outcome: "dead", Reason: g.text()},
				chat.RetryDelivery{Delivery: e.ID, Kind: domain.KindCreateTicket},
				chat.SkipDelivery{Delivery: e.ID, Kind: domain.KindCreateTicket},
			}[g.Rand.IntN(4)])
		}
	}
}

func (g *Generator) respond(event domain.Event) {
	if g.Rand.IntN(4) > 0 {
		g.Ask("bot", chat.Respond{To: domain.Version(len(g.Events)), Event: event, At: g.Now})
	}
}

// Ask gives the chat a command and stores the events that it decides. A refused command changes nothing.
func (g *Generator) Ask(actor domain.Actor, command chat.Command) {
	events, err := chat.Decider.Decide(g.state, command,
		chat.Settings{Knowledge: &dialogtest.Shop, Tools: dialogtest.AllTools})
	if err != nil {
		return
	}
	g.state = chat.Decider.Fold(g.state, events...)
	for _, e := range events {
		id := uuid.Must(uuid.NewRandomFromReader(source{g.Rand}))
		g.Events = append(g.Events,
			commands.NewEvent{ID: id, Event: e, Correlation: id, Actor: actor, OccurredAt: g.Now})
	}
}

// source makes random bytes from random numbers.
type source struct{ *rand.Rand }

func (s source) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s.Uint32())
	}
	return len(b), nil
}
