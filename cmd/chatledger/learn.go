package main

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
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
		return shopKnowledge()
	}
	k, err := knowledge.Read(os.DirFS(b.Knowledge), readWith(log))
	if err != nil {
		return nil, fmt.Errorf("knowledge %s: %w", b.Knowledge, err)
	}
	return k, nil
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

// learn reads what each bot knows.
func (a *app) learn(c appConfig) error {
	known := map[string]*dialog.Knowledge{}
	for name, b := range c.Bots {
		k, err := b.knows(c.Log)
		if err != nil {
			return fmt.Errorf("bot %s: %w", name, err)
		}
		known[name] = k
	}
	a.shelf = knowledge.NewShelf(known)
	return nil
}

// relearn follows the folders: what is saved there counts from the next decision on. A
// folder with mistakes changes nothing.
func (a *app) relearn(ctx context.Context) {
	var folders sync.WaitGroup
	for name, b := range a.bots {
		if b.Knowledge == "" {
			continue
		}
		var folder fs.FS = os.DirFS(b.Knowledge)
		folders.Go(func() {
			knowledge.Watch(ctx, folder, a.shelf.Of(name).Hash, learnEvery, readWith(a.log), func(k *dialog.Knowledge, err error) {
				if err != nil {
					a.log.Error("the knowledge is not read; the bot keeps what it knew", "bot", name, "folder", b.Knowledge, "error", err)
					return
				}
				a.shelf.Put(name, k)
				a.log.Info("the bot learned", "bot", name, "folder", b.Knowledge, "knowledge", k.Hash)
			})
		})
	}
	folders.Wait()
}
