package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/domain/dialog"
)

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
