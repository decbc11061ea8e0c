package server

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/adapters/wait"
)

// askTelegramEvery is how often getWebhookInfo is called: often enough for an operator to act on,
// and rarely enough not to delay an answer to a customer.
const askTelegramEvery = time.Minute

// watchWebhook exposes what Telegram reports about the bot's webhook: only Telegram knows of
// updates that never arrived here. Without an answer the metrics are hidden.
func (s *Server) watchWebhook(ctx context.Context, b *bot) {
	if b.config.PublicURL == "" {
		return
	}
	defer s.metrics.TelegramSilent(b.name)
	ask := func() {
		stopped, err := s.limiter.Suspended(ctx)
		if err != nil || stopped[b.name].Cause != "" { // a call would prolong the wait of a suspended bot
			s.metrics.TelegramSilent(b.name)
			return
		}
		info, err := b.client.WebhookInfo(ctx)
		if err != nil {
			s.log.Debug("cannot read the bot's webhook info from Telegram", "bot", b.name, "error", err)
			s.metrics.TelegramSilent(b.name)
			return
		}
		s.metrics.TelegramSays(b.name, info.Pending, info.ErrorAt, info.OutOfSyncAt)
	}
	ask()
	wait.Every(ctx, askTelegramEvery, ask)
}
