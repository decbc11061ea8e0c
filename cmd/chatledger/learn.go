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
