package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// learnEvery is how often a folder of knowledge is looked at for changes: who saves a
// file there does not wait longer to see what it does.
const learnEvery = time.Second

// knows reads what a bot knows: its folder, or the shop that comes with the program.
func (b botConfig) knows(log *slog.Logger) (*dialog.Knowledge, error) {
	if b.Knowledge == "" {
		k, err := shopKnowledge()
		if err != nil {
			return nil, err
		}
		return b.prefers(k)
	}
	if _, err := os.Stat(b.Knowledge); err != nil {
		return nil, in(fmt.Errorf("knowledge: %w", advise(err)), "knowledge")
	}
	k, err := knowledge.Read(os.DirFS(b.Knowledge), readWith(log))
	if err != nil {
		return nil, in(fmt.Errorf("knowledge %s: %w", b.Knowledge, err), "knowledge")
	}
	return b.prefers(k)
}

// prefers is the knowledge with the bot's own language first, which it speaks with
// whoever speaks none of them.
func (b botConfig) prefers(k *dialog.Knowledge) (*dialog.Knowledge, error) {
	if b.Language == "" {
		return k, nil
	}
	if !slices.Contains(k.Languages, b.Language) {
		return nil, in(fmt.Errorf("language: the bot's knowledge is not in %s, but in %s", b.Language, list(k.Languages)), "language")
	}
	preferring := *k
	preferring.Languages = append([]dialog.Language{b.Language}, slices.DeleteFunc(slices.Clone(k.Languages), func(l dialog.Language) bool { return l == b.Language })...)
	return &preferring, nil
}

// shopKnowledge is the shop's, which never changes while the program runs.
var shopKnowledge = sync.OnceValues(func() (*dialog.Knowledge, error) {
	return knowledge.Read(knowledge.Shop, readWith(slog.New(slog.DiscardHandler)))
})

// readWith keeps trained models where the user's caches are; where there is no such
// place, each start trains them.
func readWith(log *slog.Logger) knowledge.Options {
	options := knowledge.Options{Unkept: func(err error) { log.Warn("what was trained is not kept; each start trains it anew", "error", err) }}
	if caches, err := os.UserCacheDir(); err == nil {
		options.Models.Dir = filepath.Join(caches, "chatledger", "models")
	}
	return options
}

// aware is a command that decides something for a bot: it must know what the bot knows.
type aware struct {
	Bots string `env:"CHATLEDGER_BOTS" placeholder:"FILE" help:"The bots file: business hours and workflows are those of the bot's knowledge. Without it they are the shop's."`
}

// with is what a bot's decisions are taken with.
func (c aware) with(e *env) (func(bot string) chat.Settings, error) {
	if c.Bots == "" {
		shop, err := shopKnowledge()
		return func(string) chat.Settings { return chat.Settings{Knowledge: shop} }, err
	}
	bots, err := readBotSettings(c.Bots)
	if err != nil {
		return nil, err
	}
	all := map[string]chat.Settings{}
	for name, b := range bots {
		s, err := b.decidesWith(name, e.log)
		if err != nil {
			return nil, fmt.Errorf("bots file %s: bot %s: %w", c.Bots, name, err)
		}
		all[name] = s.With
	}
	return func(bot string) chat.Settings { return all[bot] }, nil
}

// relearn follows a bot's folder: what is saved there counts from the next decision on. A
// folder with mistakes changes nothing.
func (a *app) relearn(ctx context.Context, b *bot) {
	folder := b.config.Knowledge
	if folder == "" {
		return
	}
	knowledge.Watch(ctx, os.DirFS(folder), b.shelf.Of(b.name).Hash, learnEvery, readWith(a.log), func(k *dialog.Knowledge, err error) {
		if err == nil {
			k, err = b.config.prefers(k)
		}
		if err != nil {
			a.log.Error("the knowledge is not read; the bot keeps what it knew", "bot", b.name, "folder", folder, "error", err)
			return
		}
		b.shelf.Put(b.name, k)
		a.log.Info("the bot learned", "bot", b.name, "folder", folder, "knowledge", k.Hash)
	})
}
