package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/cmd/internal/text"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// webhookCmd tells Telegram where to post updates (docs/bots.md).
type webhookCmd struct {
	Set    webhookSetCmd    `cmd:"" help:"Register the bots' webhooks, as their settings are today."`
	Info   webhookInfoCmd   `cmd:"" help:"Print what Telegram has registered; exit with 1 if it should differ."`
	Delete webhookDeleteCmd `cmd:"" help:"Remove a webhook; Telegram keeps new updates for a day."`
	Rotate webhookRotateCmd `cmd:"" help:"Give a webhook a new secret and address; the old ones end after --keep."`
	Switch webhookSwitchCmd `cmd:"" help:"Move a webhook to the address of a new release; the old one ends after --keep."`
}

// aboutBots are the flags of every webhook command.
type aboutBots struct {
	database
	Bots        string `required:"" env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"YAML file of the bots."`
	Bot         string `placeholder:"NAME" help:"The bot; the default is all bots of the file."`
	TelegramURL string `default:"${telegram_url}" env:"CHATLEDGER_TELEGRAM_URL" help:"Bot API server."`
}

// names returns the bot that --bot names, or all bots.
func (c *aboutBots) names(bots map[string]config.Bot) ([]string, error) {
	names := slices.Sorted(maps.Keys(bots))
	if c.Bot == "" {
		return names, nil
	}
	if _, ok := bots[c.Bot]; !ok {
		return nil, fmt.Errorf("bot %s is not in %s, which has %s", c.Bot, c.Bots, text.Join(names))
	}
	return []string{c.Bot}, nil
}

// one does something for one bot: the one that --bot names, or the only one of the file.
func (c *aboutBots) one(e *env, do func(r registrar.Registrar, name string, b config.Bot) error) error {
	bots, err := config.ReadBots(c.Bots)
	if err != nil {
		return err
	}
	if c.Bot == "" && len(bots) > 1 {
		return fmt.Errorf("give --bot: this command works on one bot at a time, and %s has %s", c.Bots,
			text.Join(slices.Sorted(maps.Keys(bots))))
	}
	return c.each(e, do)
}

// each does something for the bots that --bot selects, one after the other. When it fails for one
// bot, it still goes on with the others.
func (c *aboutBots) each(e *env, do func(r registrar.Registrar, name string, b config.Bot) error) error {
	bots, err := config.ReadBots(c.Bots)
	if err != nil {
		return err
	}
	names, err := c.names(bots)
	if err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	handler := commands.NewHandler(store, commands.Config{Committers: 1, Cached: 1})
	defer handler.Close()
	r := registrar.Registrar{Store: webhooks.New(store.DB), Handler: handler, API: c.TelegramURL, Now: e.now}
	var failed []error
	for _, name := range names {
		if err := do(r, name, bots[name]); err != nil {
			failed = append(failed, fmt.Errorf("bot %s: %w", name, err))
		}
	}
	return errors.Join(append(failed, store.NotifyProcesses(e.ctx))...)
}

type webhookSetCmd struct {
	aboutBots
	AsWritten bool `help:"Go back to public_url itself, and to the secret in the bots file."`
}

func (c *webhookSetCmd) Run(e *env) error {
	return c.each(e, func(r registrar.Registrar, name string, b config.Bot) error {
		if c.AsWritten {
			if _, err := r.Move(e.ctx, name, b, registrar.Move{Cause: chat.WebhookRotated, Actor: domain.ActorOperator,
				Overlap: registrar.RotationOverlap}); err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s: Telegram posts to %s\n", name, b.Address(""))
			return nil
		}
		set, left, err := r.Set(e.ctx, name, b)
		if err != nil {
			return err
		}
		for _, a := range left {
			fmt.Fprintf(e.stdout, "%s: %s was left open by a move that was interrupted; it ends in %v\n", name,
				b.Address(a.Path), registrar.RotationOverlap)
		}
		fmt.Fprintf(e.stdout, "%s: Telegram posts to %s, %s of updates, at most %d at once\n", name, set.URL,
			text.Plural(len(set.AllowedUpdates), "kind"), set.MaxConnections)
		return nil
	})
}

type webhookInfoCmd struct{ aboutBots }

func (c *webhookInfoCmd) Run(e *env) error {
	return c.each(e, func(r registrar.Registrar, name string, b config.Bot) error {
		info, all, err := r.Info(e.ctx, name, b)
		if err != nil {
			return err
		}
		fmt.Fprintf(e.stdout,
			"%s\n  url              %s\n  waiting          %s\n  max connections  %d\n  allowed updates  %s\n",
			name, text.OrNone(info.URL), text.Plural(info.Pending, "update"), info.MaxConnections,
			text.OrNone(text.Join(info.AllowedUpdates)))
		if info.LastError != "" {
			fmt.Fprintf(e.stdout, "  last error       %s: %s\n", info.ErrorAt.Format(time.RFC3339), info.LastError)
		}
		if !info.OutOfSyncAt.IsZero() {
			fmt.Fprintf(e.stdout, "  out of sync      %s: %s; %s\n",
				info.OutOfSyncAt.UTC().Format(time.RFC3339), registrar.OutOfSync, registrar.UntilInSync)
		}
		printAddresses(e.stdout, name, b, all)
		path, left := registrar.Standing(all, name, b, info.URL)
		wrong := registrar.Differences(info.Registration, b.Registration(path))
		for _, a := range left {
			wrong = append(wrong, registrar.LeftOpen(b, a))
		}
		if len(wrong) > 0 {
			return fmt.Errorf("%s; run `chatledger webhook set --bot %s`", strings.Join(wrong, "; "), name)
		}
		return nil
	})
}

// printAddresses prints the addresses that are open.
func printAddresses(out io.Writer, name string, b config.Bot, all []webhooks.Address) {
	for _, a := range all {
		switch {
		case a.Bot != name || a.Ended:
		case a.Until.IsZero():
			fmt.Fprintf(out, "  open             %s since %s\n", b.Address(a.Path), a.From.UTC().Format(time.RFC3339))
		default:
			fmt.Fprintf(out, "  open             %s until %s\n", b.Address(a.Path), a.Until.UTC().Format(time.RFC3339))
		}
	}
}

type webhookDeleteCmd struct{ aboutBots }

func (c *webhookDeleteCmd) Run(e *env) error {
	return c.one(e, func(r registrar.Registrar, name string, b config.Bot) error {
		unlock, err := r.Store.LockWebhook(e.ctx, name)
		if err != nil {
			return err
		}
		defer unlock()
		client, err := telegram.NewClient(r.API, b.Token)
		if err != nil {
			return err
		}
		if err := client.DeleteWebhook(e.ctx); err != nil {
			return err
		}
		fmt.Fprintf(e.stdout,
			"%s: webhook removed; `chatledger webhook set` or the next start of serve registers it again\n",
			name)
		return nil
	})
}

type webhookRotateCmd struct {
	aboutBots
	Keep time.Duration `default:"${rotation_overlap}" help:"How long the old address and secret stay valid."`
}

func (c *webhookRotateCmd) Run(e *env) error {
	return c.one(e, func(r registrar.Registrar, name string, b config.Bot) error {
		m := registrar.Move{
			Path: registrar.NewPath(), Cause: chat.WebhookRotated, Actor: domain.ActorOperator, Overlap: c.Keep,
		}
		if _, err := r.Move(e.ctx, name, b, m); err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "%s: Telegram posts to %s with a new secret; the old address and secret end in %v\n",
			name, b.Address(m.Path), c.Keep)
		return nil
	})
}

// webhookSwitchCmd moves a webhook to the address of a new release.
type webhookSwitchCmd struct {
	aboutBots
	Release string        `arg:"" help:"Its address below the bot's own, such as v2."`
	Ready   string        `placeholder:"URL" help:"The new release's readiness URL; the default is its own address."`
	Keep    time.Duration `default:"5m" help:"How long the old address stays valid."`
}

// Help is what --help prints below the usage.
func (webhookSwitchCmd) Help() string {
	return "Without --ready, the new release must answer at its own address, as another version than the old one."
}

func (c *webhookSwitchCmd) Run(e *env) error {
	if !registrar.ValidPath.MatchString(c.Release) {
		return fmt.Errorf("%q is not a valid address: use 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit",
			c.Release)
	}
	return c.one(e, func(r registrar.Registrar, name string, b config.Bot) error {
		if b.PublicURL == "" {
			return registrar.ErrNoPublicURL
		}
		if c.Ready != "" {
			if _, err := registrar.Ready(e.ctx, c.Ready); err != nil {
				return fmt.Errorf("nothing is switched: the new release is not ready: %w", err)
			}
		} else if err := r.TakesOver(e.ctx, name, b, c.Release); err != nil {
			return fmt.Errorf("nothing is switched: %w", err)
		}
		if _, err := r.Move(e.ctx, name, b, registrar.Move{Path: c.Release, Cause: chat.WebhookSwitched,
			Actor: domain.ActorOperator, Overlap: c.Keep}); err != nil {
			return err
		}
		fmt.Fprintf(e.stdout, "%s: Telegram posts to %s; the old address ends in %v\n", name,
			b.Address(c.Release), c.Keep)
		return nil
	})
}
