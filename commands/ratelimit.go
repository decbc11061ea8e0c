package commands

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/domain"
)

// PermitRequest asks a rate limiter whether a bot may make a call now. Chat has no name when
// the call concerns no chat.
type PermitRequest struct{ Bot, Chat Share }

// Share is the part of a rate limit that one call uses.
type Share struct {
	Name  domain.StreamID // the bot or chat that the limit is for
	Every time.Duration   // the call uses the limit up for this long; 0 is no limit
	Slack time.Duration   // and may, when it is used up for no longer than this
}

// Permit is a rate limiter's answer to a PermitRequest.
type Permit struct {
	Wait   time.Duration // 0: the call may be made; otherwise ask again after this time
	Chat   bool          // the chat has to wait, not the bot
	Cause  Cause         // the reason for the wait or the probe; empty for a plain rate limit
	Reason string        // what Telegram said
	Probe  bool          // the call tests whether the bot may be called again
}

// Cause is the reason for which a chat or a bot must not be called.
type Cause string

// Causes.
const (
	CauseFlood   Cause = "flood"   // Telegram asked to wait
	CauseToken   Cause = "token"   // Telegram does not know the bot by its token
	CauseBlocked Cause = "blocked" // the customer does not want messages
)

// Typing returns the delivery that shows the customer that an answer is being prepared.
func Typing(stream domain.StreamID) Claimed {
	return Claimed{Delivery: Delivery{Stream: stream, Kind: domain.KindTyping, Priority: PriorityTyping}, Closed: true}
}

// CallsTo returns the chat that a delivery's call concerns. For a message it is the chat of
// the ordering key, which changes when a group gets another chat id.
func (c Claimed) CallsTo() domain.StreamID {
	key := domain.StreamID(c.OrderingKey)
	if _, ok := key.Chat(); ok && c.Kind == domain.KindSendMessage {
		return key
	}
	return c.Stream
}

// ProbeInterval is the time between calls that test whether a suspended bot may be called
// again. Only an operator can correct a rejected token, and a call during a flood may prolong
// it, so the interval is long; a bot that was suspended by mistake waits no longer than this.
const ProbeInterval = time.Minute

// Blocked reports whether the customer has blocked the bot.
func (h *Handler) Blocked(ctx context.Context, stream domain.StreamID) (bool, error) {
	state, _, err := h.State(ctx, stream)
	return state.Blocked, err
}
