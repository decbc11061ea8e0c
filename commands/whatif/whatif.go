// Package whatif decides chats again: it puts all that came to a recorded chat, the
// customer's updates, people's acts and the outcomes of deliveries, once more to a
// chat that exists in memory only, through the program and the settings of today,
// and tells which decisions come out otherwise. It is given everything and gives
// everything back; nothing in here reads, writes or sends.
package whatif

import (
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Chat is what was recorded of one chat.
type Chat struct {
	History []domain.Recorded         // all of it, oldest first
	Updates map[domain.Version][]byte // as Telegram sent them, by the event that received them
	Since   time.Time                 // what was recorded before is taken as it was; zero decides all again
	Turned  domain.Position           // updates up to here have had the bot's turn, whether it said something or not
}

// Settings are what the chat is decided with.
type Settings struct {
	// Translate makes a request of an update; nil takes the recorded event.
	Translate func(update []byte, at time.Time) (commands.Request, error)
	// Limit is of the messages that are answered; nil leaves over the limit what was.
	Limit *chat.Limit
	// Order finds an order; with nil a look-up finds what it found then.
	Order func(number string) (dialog.Order, bool)
	// With is what the bot knows and has. Without Tools it has those that were used then,
	// and they answer what they answered.
	With chat.Settings
	// Desk is where tickets are kept, too; "" is nowhere, and nil where they were. A desk
	// that was not there then gets only the tickets that were not there either.
	Desk *string
}

// Outcome is what became of the chat.
type Outcome struct {
	Events      []domain.Recorded // the whole history of the chat in memory, from version 1
	Differences []Difference      // in the order of the recorded chat
	Inputs      int               // what was put to the chat again
	Decisions   int               // compared: what was or is decided about the inputs, and in the bot's turns
	Waiting     int               // updates that the bot has not come to yet
	Unanswered  int               // questions to other systems that nobody can answer now
}

// Replay decides a chat again. What comes to it, and when, is what came then, and each
// turn of the bot is taken behind the same inputs as then, at the same time: with the
// program and the settings that decided the recorded chat, nothing differs, and events
// have their recorded ids and positions. The error names an event that Replay does
// not know how to bring about.
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

// decision is the events that one command led to.
type decision []domain.Recorded

// decisions parts a history.
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

// together tells whether an event is of the same decision as the one before it. The
// events of one decision have one cause and are of one chain. So may those of two be,
// such as an operator's who skips a delivery and retries it, which begin with these:
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

// silences finds, by the decision it comes behind, each turn of which nothing is
// recorded because the bot said nothing. It came before the turn of any later update,
// at some moment at which the recorded chat had nothing to say: the first there is.
// Where today's program has something to say at every such moment, the turn comes at
// once. waiting counts the updates that had no turn yet.
func silences(
	then []decision, first int, turned domain.Position, with chat.Settings,
) (turns map[int]decision, waiting int) {
	states := make([]chat.State, len(then)) // of the recorded chat, behind each decision
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

// answers is the update that a decision is the bot's turn about; 0 when it is none.
func answers(d decision) domain.Version {
	e, _ := d[0].Event.(chat.Understood)
	return e.To
}

// silent tells whether the bot has nothing to say to an event in this state.
func silent(state chat.State, r domain.Recorded, with chat.Settings) bool {
	request, called := commands.Turn(r, r.OccurredAt) // with other tools it would say something else, but something
	if !called {
		return true
	}
	events, err := chat.Decider.Decide(state, request.Command, with)
	return err == nil && len(events) == 0
}
