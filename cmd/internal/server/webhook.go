package server

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// registerAgain is the pause before a webhook that could not be registered is tried
// again: Telegram was away, or somebody is mending the token.
const registerAgain = time.Minute

// announceWebhook registers the bot's webhook when the bot comes, if it has a public
// address. Whatever is wrong with it concerns no other bot.
func (a *Server) announceWebhook(ctx context.Context, b *bot) {
	if b.config.PublicURL == "" {
		return
	}
	for ctx.Err() == nil {
		_, left, err := a.Registrar().Set(ctx, b.name, b.config)
		if err == nil && len(left) > 0 {
			a.log.Warn("an interrupted move of the bot's webhook was ended; Telegram posts to the same address, the others expire", "bot", b.name, "addresses", len(left), "in", registrar.RotationOverlap)
		}
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			a.log.Error("cannot register the bot's webhook; retrying in "+registerAgain.String(), "bot", b.name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(registerAgain):
		}
	}
}

// maxAttacks is how many patterns wait to be dealt with; while one is, more say the same.
const maxAttacks = 16

// counterAttacks rotates the secrets that strangers guess at, where the bot wants it.
func (a *Server) counterAttacks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-a.attacks:
			b := a.Bots.All()[name]
			if b == nil || !b.config.RotateOnAttack {
				continue
			}
			m := registrar.Move{Path: registrar.NewPath(), Cause: chat.WebhookAttacked, Actor: domain.ActorGuard, Overlap: registrar.RotationOverlap, Least: registrar.RotateAtMost}
			switch moved, err := a.Registrar().Move(ctx, name, b.config, m); {
			case err != nil && ctx.Err() == nil:
				a.log.Error("cannot rotate a webhook secret under attack: run `chatledger webhook rotate`", "bot", name, "error", err)
			case moved:
				a.log.Warn("webhook secret and address rotated; the old ones expire", "bot", name, "in", registrar.RotationOverlap)
			}
		}
	}
}
