package chat

import (
	"time"

	"github.com/chatledger/chatledger/domain"
)

// WebhookMoved: Telegram was asked to post the bot's updates to another address, with
// another secret. It stands in the bot's own stream. Neither secret is in it.
type WebhookMoved struct {
	Path  string      `json:"path,omitempty"` // below the bot's own address; "" for that itself
	Cause MovingCause `json:"cause"`
	At    time.Time   `json:"at"`
	Until time.Time   `json:"until"` // the addresses and secrets before are right until then
}

// MovingCause is why a webhook has another address.
type MovingCause string

// Causes.
const (
	WebhookRotated  MovingCause = "rotated"  // somebody wanted another secret
	WebhookAttacked MovingCause = "attacked" // strangers guessed at the secret
	WebhookSwitched MovingCause = "switched" // another release receives
	WebhookResumed  MovingCause = "resumed"  // a move that was cut off came to its end
)

// MoveWebhook records it.
type MoveWebhook WebhookMoved

func (MoveWebhook) command() {}

func moveWebhook(c MoveWebhook) []domain.Event { return []domain.Event{WebhookMoved(c)} }
