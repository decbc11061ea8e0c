package server

import (
	"context"
	"os"
	"time"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/domain/dialog"
)

// learnEvery is how often a folder of knowledge is looked at for changes: who saves a
// file there does not wait longer to see what it does.
const learnEvery = time.Second

// relearn follows a bot's folder: what is saved there counts from the next decision on. A
// folder with mistakes changes nothing.
func (a *Server) relearn(ctx context.Context, b *bot) {
	folder := b.config.Knowledge
	if folder == "" {
		return
	}
	knowledge.Watch(ctx, os.DirFS(folder), b.library.Of(b.name).Hash, learnEvery, config.ReadOptions(a.log), func(k *dialog.Knowledge, err error) {
		if err == nil {
			k, err = b.config.Prefer(k)
		}
		if err != nil {
			a.log.Error("knowledge rejected; keeping the previous knowledge", "bot", b.name, "folder", folder, "error", err)
			return
		}
		b.library.Put(b.name, k)
		a.log.Info("knowledge reloaded", "bot", b.name, "folder", folder, "knowledge", k.Hash)
	})
}
