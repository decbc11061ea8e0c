package server

import (
	"context"
	"time"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/domain/dialog"
)

// learnEvery is how often a folder of knowledge is checked for changes: a change takes effect
// while its author still looks.
const learnEvery = time.Second

// followKnowledge reloads a bot's knowledge when its folder changes; it applies from the next
// decision on. A folder with mistakes changes nothing.
func (s *Server) followKnowledge(ctx context.Context, b *bot) {
	folder := b.config.Knowledge
	if folder == "" {
		return
	}
	options := config.ReadOptions(s.log)
	hash := b.library.Of(b.name).Hash
	knowledge.Watch(ctx, knowledge.Dir(folder), hash, learnEvery, options, func(k *dialog.Knowledge, err error) {
		if err == nil {
			k, err = b.config.Prefer(k)
		}
		if err != nil {
			s.log.Error("knowledge rejected; keeping the previous knowledge",
				"bot", b.name, "folder", folder, "error", err)
			return
		}
		b.library.Put(b.name, k)
		s.log.Info("knowledge reloaded", "bot", b.name, "folder", folder, "knowledge", k.Hash)
	})
}
