// Package whatif decides recorded chats again. It gives all inputs of a recorded chat (the
// customer's updates, operators' acts and the outcomes of deliveries) to a chat in memory, with
// the program and the settings of today, and reports the decisions that differ. The package reads,
// writes and sends nothing: the caller supplies the input and gets the result.
package whatif

import (
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Chat is the record of one chat.
type Chat struct {
	History []domain.Recorded         // all of it, oldest first
	Updates map[domain.Version][]byte // as Telegram sent them, by the event that received them
	Since   time.Time                 // earlier decisions are kept as recorded; zero decides all again
	Turned  domain.Position           // position up to which the bot has taken its turns, with or without a reply
}

// Settings are the settings for the new decisions.
type Settings struct {
	// Translate converts an update to a request; nil uses the recorded event.
	Translate func(update []byte, at time.Time) (commands.Request, error)
	// Limit is the rate of messages that are answered; nil keeps the recorded result of the limit.
	Limit *chat.Limit
	// Order finds an order; with nil a look-up returns the recorded answer.
	Order func(number string) (dialog.Order, bool)
	// With is the bot's knowledge and tools. Without Tools, the bot has the tools of the record,
	// with the recorded answers.
	With chat.Settings
	// Desk is the other system for tickets; "" for none, nil for the recorded one. A desk that
	// the record does not have gets only tickets that the record does not have either.
	Desk *string
}

// Outcome is the result of a replay.
type Outcome struct {
	Events      []domain.Recorded // the whole history of the chat in memory, from version 1
	Differences []Difference      // in the order of the recorded chat
	Inputs      int               // inputs that were decided again
	Decisions   int               // decisions that were compared: about the inputs, and in the bot's turns
	Waiting     int               // updates for which the bot has not taken its turn yet
	Unanswered  int               // calls of other systems without an answer in the replay
}

// Replay decides a chat again, with the recorded inputs at their recorded times. Each turn of the
// bot follows the same inputs as in the record, at the same time. With the program and the settings
// that decided the recorded chat, nothing differs, and events have their recorded ids and positions.
// The error names an event that Replay cannot reproduce.
func Replay(c Chat, s Settings) (Outcome, error) {
	then := decisions(c.History)
	first := 0
	for first < len(then) && then[first][0].RecordedAt.Before(c.Since) {
		first++
	}
	sandbox := newSandbox(c, s)
	for _, d := range then[:first] {
		sandbox.adopt(d)
	}
	silent, waiting := silences(then, first, c.Turned, s.With)
	sandbox.out.Waiting = waiting
	for i, d := range then[first:] {
		if err := sandbox.again(d); err != nil {
			return sandbox.out, err
		}
		for _, message := range silent[first+i] {
			sandbox.turn(message.Version, nil)
		}
	}
	return sandbox.out, nil
}

// decision is the events of one command.
type decision []domain.Recorded

// decisions splits a history into decisions.
func decisions(history []domain.Recorded) []decision {
	var parts []decision
	begin := 0
	for i := range history {
		if i+1 == len(history) || !together(history[i], history[i+1]) {
			parts = append(parts, history[begin:i+1])
			begin = i + 1
		}
	}
	return parts
}

// together reports whether an event belongs to the same decision as the one before it. The events
// of one decision have the same causation and correlation. Two decisions may share both, for example
// when an operator skips a delivery and retries it; the second then begins with one of these events:
func together(before, r domain.Recorded) bool {
	switch r.Event.(type) {
	case chat.Understood, chat.BacklogTaken, chat.ToolReturned, chat.ModelAnswered, chat.TicketFiled,
		chat.DeliverySucceeded, chat.DeliveryFailed, chat.DeliveryRetried, chat.DeliverySkipped, chat.TicketReferred,
		chat.AgentActed, chat.OperatorActed,
		chat.ChatMigrated, chat.ChatContinued:
		return false
	}
	return before.Causation == r.Causation && before.Correlation == r.Correlation
}

// silences finds the turns that left no event because the bot had nothing to say, by the index of
// the decision that each follows. Such a turn took place before the turn of any later update, at a
// moment when the recorded chat had nothing to say; silences chooses the first such moment. If today's
// program has something to say at every such moment, the turn follows its update directly. waiting
// counts the updates that had no turn yet.
func silences(
	then []decision, first int, turned domain.Position, with chat.Settings,
) (turns map[int]decision, waiting int) {
	states := make([]chat.State, len(then)) // of the recorded chat, after each decision
	state, answered := chat.Decider.Initial(), map[domain.Version]bool{}
	for i, d := range then {
		for _, r := range d {
			state = chat.Decider.Evolve(state, r.Event)
			if e, ok := r.Event.(chat.Understood); ok {
				answered[e.To] = true
			}
		}
		states[i] = state
	}
	turns = map[int]decision{}
	for i, d := range then[first:] {
		i += first
		message := d[0]
		switch _, received := updateOf(message.Event); {
		case !received || answered[message.Version]:
		case !turned.Before(message.Position):
			turn, found := i, false
			for j := i; j < len(then) && !(j > i && answers(then[j]) > message.Version); j++ {
				if to := answers(then[j]); to > 0 && to < message.Version {
					turn, found = j, false // turns are taken in order
				}
				if !found && silent(states[j], message, with) {
					turn, found = j, true
				}
			}
			turns[turn] = append(turns[turn], message)
		case !silent(states[i], message, with):
			waiting++
		}
	}
	return turns, waiting
}

// answers returns the version of the update whose turn the decision is; 0 if it is no turn.
func answers(d decision) domain.Version {
	e, _ := d[0].Event.(chat.Understood)
	return e.To
}

// silent reports whether the bot has nothing to say about an event in this state.
func silent(state chat.State, r domain.Recorded, with chat.Settings) bool {
	request, called := commands.Turn(r, r.OccurredAt) // with other tools it would say something else, but something
	if !called {
		return true
	}
	events, err := chat.Decider.Decide(state, request.Command, with)
	return err == nil && len(events) == 0
}
