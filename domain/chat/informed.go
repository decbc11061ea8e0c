package chat

import (
	"maps"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// informed is a chat together with what its bot knows and has: what a decision that
// speaks for the bot is made of.
type informed struct {
	State
	Settings
}

func (b Settings) knowledge() *dialog.Knowledge {
	if b.Knowledge == nil {
		return &dialog.Bare
	}
	return b.Knowledge
}

// context is the conversation as the dialogue sees it, about something that somebody did.
func (s informed) context(from Sender) dialog.Context {
	customer := maps.Clone(s.Known.Fields)
	if customer == nil {
		customer = map[string]string{}
	}
	if s.Customer != "" {
		customer["name"] = s.Customer // as they call themselves here
	}
	return dialog.Context{Knowledge: s.knowledge(), Tools: s.Tools, Model: s.Model != "", Language: s.Language,
		Prefers: dialog.Language(from.Language),
		Run:     s.Run, Misunderstood: s.Misunderstood, Recent: s.repeatable(), Last: s.LastIntent, Customer: customer}
}

// does is what a turn leads to, in this order: moves, a question to another system, and
// what the customer hears. They hear nothing of a turn that no act of theirs led to
// while a person has the chat, or when they do not want to hear from us.
func (s informed) does(to Answer, turn dialog.Turn, by int64, at time.Time) []domain.Event {
	if s.WithPerson() || s.Blocked {
		turn.Replies, turn.TakeUp = nil, dialog.TakeUp{}
	}
	events := s.moves(to, turn, at)
	if turn.Offer.Intent != "" {
		events = append(events, SwitchOffered{to, turn.Offer})
	}
	if turn.TakeUp.Step != "" {
		events = append(events, TakeUpOffered{to, s.Run.Workflow, turn.TakeUp})
	}
	if turn.Reminded {
		events = append(events, WorkflowReminded{s.Run.Workflow, s.Run.Step, at})
	}
	if turn.Call.Tool != "" {
		events = append(events, s.request(to, ForWorkflow, turn.Call, by))
		s.Calls++
	}
	for _, call := range turn.Asides {
		events = append(events, s.request(to, ForQuestion, call, by))
		s.Calls++
	}
	for _, reply := range turn.Replies {
		events = append(events, s.reply(to, reply)...)
	}
	if turn.Think && !s.WithPerson() && !s.Blocked {
		if turn.Language != "" {
			s.Language = turn.Language
		}
		events = append(events, s.think(to, turn.About, by, at)...)
	}
	if turn.HandOver.Reason != "" && !s.WithPerson() {
		events = append(events, s.open(turn.HandOver, at))
	}
	return events
}

// request is the chat's next request of a tool.
func (s informed) request(to Answer, purpose Purpose, call dialog.ToolCall, by int64) ToolRequested {
	return ToolRequested{
		Answer: to, Call: s.Calls + 1, For: purpose, Tool: call.Tool, Input: call.Input, About: call.About,
		Customer: by, Account: s.Known.ID, Writes: dialog.Toolbox[call.Tool].Writes,
	}
}

// moves are the steps that a turn takes in workflows.
func (s informed) moves(to Answer, turn dialog.Turn, at time.Time) (events []domain.Event) {
	for _, m := range turn.Moves {
		switch m.Kind {
		case dialog.Paused:
			events = append(events, WorkflowPaused{to, m.Workflow, m.To, at})
		case dialog.Resumed:
			events = append(events, WorkflowResumed{to, m.Workflow, m.To, at})
		default:
			events = append(events,
				WorkflowMoved{
					Answer: to, Workflow: m.Workflow, From: m.From, Step: m.To, Set: m.Set, Cleared: m.Cleared,
					Source: m.Source, By: m.By, At: at,
				})
		}
	}
	return events
}

// endRun ends what is running and what was set aside for it, because a person takes over.
func (s informed) endRun(answer Answer, at time.Time) []domain.Event {
	if !s.Run.Active() {
		return nil
	}
	return []domain.Event{
		WorkflowMoved{Answer: answer, Workflow: s.Run.Workflow, From: s.Run.Step, Step: dialog.HandedOver, At: at},
	}
}

// repeatable are the texts that count when a customer says the same thing again.
func (s State) repeatable() (texts []string) {
	for _, said := range s.Recent {
		if !said.Again {
			texts = append(texts, said.Text)
		}
	}
	return texts
}
