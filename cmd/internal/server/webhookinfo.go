package server

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/adapters/wait"
)

// askTelegramEvery is how often Telegram is asked how a webhook does: as often as a person
// can act upon it, and a call that no customer's answer has to wait for.
const askTelegramEvery = time.Minute

// watchWebhook shows what Telegram says of the bot's webhook. Nothing else tells of updates
// that never reach us. What cannot be asked is not shown.
func (a *Server) watchWebhook(ctx context.Context, b *bot) {
	if b.config.PublicURL == "" {
		return
	}
	defer a.metrics.TelegramSilent(b.name)
	ask := func() {
		stopped, err := a.flow.Suspended(ctx)
		if err != nil || stopped[b.name].Cause != "" { // any call makes the wait of a bot longer that is told to wait
			a.metrics.TelegramSilent(b.name)
			return
		}
		info, err := b.client.WebhookInfo(ctx)
		if err != nil {
			a.log.Debug("cannot read the bot's webhook info from Telegram", "bot", b.name, "error", err)
			a.metrics.TelegramSilent(b.name)
			return
		}
		a.metrics.TelegramSays(b.name, info.Pending, info.ErrorAt, info.OutOfSyncAt)
	}
	ask()
	wait.Every(ctx, askTelegramEvery, ask)
}
