package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/cmd/internal/text"
	"github.com/chatledger/chatledger/domain/dialog"
)

// ReadKnowledge reads a bot's knowledge: its folder, or the built-in shop.
func (b Bot) ReadKnowledge(log *slog.Logger) (*dialog.Knowledge, error) {
	if b.Knowledge == "" {
		k, err := ShopKnowledge()
		if err != nil {
			return nil, err
		}
		return b.Prefer(k)
	}
	if _, err := os.Stat(b.Knowledge); err != nil {
		return nil, In(fmt.Errorf("knowledge: %w", Advise(err)), "knowledge")
	}
	k, err := knowledge.Read(knowledge.Dir(b.Knowledge), ReadOptions(log))
	if err != nil {
		return nil, In(fmt.Errorf("knowledge %s: %w", b.Knowledge, err), "knowledge")
	}
	return b.Prefer(k)
}

// Prefer returns the knowledge with the bot's own language first. The bot uses the first language for
// customers whose language it does not know.
func (b Bot) Prefer(k *dialog.Knowledge) (*dialog.Knowledge, error) {
	if b.Language == "" {
		return k, nil
	}
	if !slices.Contains(k.Languages, b.Language) {
		return nil, In(fmt.Errorf("language: the bot's knowledge is not in %s, but in %s",
			b.Language, text.Join(k.Languages)), "language")
	}
	preferring := *k
	preferring.Languages = append([]dialog.Language{b.Language},
		slices.DeleteFunc(slices.Clone(k.Languages), func(l dialog.Language) bool { return l == b.Language })...)
	return &preferring, nil
}

// ShopKnowledge returns the knowledge of the built-in shop.
var ShopKnowledge = sync.OnceValues(func() (*dialog.Knowledge, error) {
	return knowledge.Read(knowledge.Shop, ReadOptions(slog.New(slog.DiscardHandler)))
})

// ReadOptions caches trained models in the user's cache folder. Without such a folder, each start
// trains them.
func ReadOptions(log *slog.Logger) knowledge.Options {
	options := knowledge.Options{Unkept: func(err error) {
		log.Warn("cannot cache the trained classifier; each start trains it again", "error", err)
	}}
	if caches, err := os.UserCacheDir(); err == nil {
		options.Models.Dir = filepath.Join(caches, "chatledger", "models")
	}
	return options
}
