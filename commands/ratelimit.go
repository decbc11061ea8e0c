package commands

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Ask asks whether a call by a bot may be made now. Chat has no name when the call
// concerns no chat.
type PermitRequest struct{ Bot, Chat Share }

// Share is what one call takes of a limit.
type Share struct {
	Name  domain.StreamID // whose limit it is
	Every time.Duration   // the call uses the limit up for this long; 0 is no limit
	Slack time.Duration   // and may, when it is used up for no longer than this
}

// Leave answers an Ask.
type Permit struct {
	Wait   time.Duration // 0: the call may be made. Else it must not be asked for sooner
	Chat   bool          // it is the chat that has to wait, and not the bot
	Cause  Cause         // why; empty when it is only a limit
	Reason string        // what Telegram said
	Probe  bool          // the call finds out whether the bot's token is right again
}

// Cause is why a chat or a bot is not to be called.
type Cause string

// Causes.
const (
	CauseFlood   Cause = "flood"   // Telegram asked to wait
	CauseToken   Cause = "token"   // Telegram does not know the bot by its token
	CauseBlocked Cause = "blocked" // the customer does not want messages
)

// Typing is shown to a customer while something that the answer needs is made.
func Typing(stream domain.StreamID) Claimed {
	return Claimed{Delivery: Delivery{Stream: stream, Kind: domain.KindTyping, Priority: PriorityTyping}, Closed: true}
}

// CallsTo is the chat that a delivery's call concerns: for a message that of its lane,
// which goes along when a group moves to another chat id.
func (c Claimed) CallsTo() domain.StreamID {
	lane := domain.StreamID(c.OrderingKey)
	if _, ok := lane.Chat(); ok && c.Kind == domain.KindSendMessage {
		return lane
	}
	return c.Stream
}

// ProbeEvery is how far apart calls are that try whether a wrong token is right again:
// only a person can mend it.
const ProbeInterval = time.Minute

// Blocked tells whether a chat does not want messages, by all that is stored of it:
// another process may know better than the memory of this one.
func (h *Handler) Blocked(ctx context.Context, stream domain.StreamID) (bool, error) {
	known, _ := h.states.Peek(stream)
	if known.version == 0 {
		known.state = chat.Decider.Initial()
	}
	histories, err := h.store.Load(ctx, []Cursor{{stream, known.version}})
	if err != nil {
		return false, err
	}
	return chat.Decider.Fold(known.state, histories[0].Events...).Blocked, histories[0].Err
}
