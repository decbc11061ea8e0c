package server

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// registerAgain is the pause before a failed registration is tried again: Telegram was
// unreachable, or the token must be corrected first.
const registerAgain = time.Minute

// registerWebhook registers the bot's webhook when the bot is added, if it has a public
// address. A failure concerns no other bot.
func (s *Server) registerWebhook(ctx context.Context, b *bot) {
	if b.config.PublicURL == "" {
		return
	}
	for ctx.Err() == nil {
		_, left, err := s.Registrar().Set(ctx, b.name, b.config)
		if err == nil && len(left) > 0 {
			s.log.Warn("an interrupted move of the bot's webhook was ended; "+
				"Telegram posts to the same address, the others expire",
				"bot", b.name, "addresses", len(left), "in", registrar.RotationOverlap)
		}
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			s.log.Error("cannot register the bot's webhook; retrying in "+registerAgain.String(),
				"bot", b.name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(registerAgain):
		}
	}
}

// maxAttacks bounds the queue of bots whose secrets are to be rotated: more reports of the same
// attack add nothing.
const maxAttacks = 16

// rotateGuessedSecrets rotates secrets that somebody tries to guess, for bots with rotate_on_attack.
func (s *Server) rotateGuessedSecrets(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-s.guessed:
			b := s.Bots.All()[name]
			if b == nil || !b.config.RotateOnAttack {
				continue
			}
			m := registrar.Move{
				Path: registrar.NewPath(), Cause: chat.WebhookAttacked, Actor: domain.ActorGuard,
				Overlap: registrar.RotationOverlap, Least: registrar.RotateAtMost,
			}
			switch moved, err := s.Registrar().Move(ctx, name, b.config, m); {
			case err != nil && ctx.Err() == nil:
				s.log.Error("cannot rotate a webhook secret under attack: run `chatledger webhook rotate`",
					"bot", name, "error", err)
			case moved:
				s.log.Warn("webhook secret and address rotated; the old ones expire",
					"bot", name, "in", registrar.RotationOverlap)
			}
		}
	}
}
