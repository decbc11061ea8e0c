package server

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
)

// addresses are the paths at which the bots receive updates, with the secrets that are valid
// there: each bot at its own path with the secrets of the bots file, and at the paths that the
// database lists.
type addresses struct {
	store *webhooks.Store
	bots  *fleet
	log   *slog.Logger

	receivers atomic.Pointer[map[address]telegram.Bot]
	mu        sync.Mutex         // held while receivers are put together
	stored    []webhooks.Address // as last read from the database
}

// address is the path of a bot's webhook: path is what follows /webhook/<bot>/.
type address struct{ bot, path string }

// newAddresses reads the stored addresses.
func newAddresses(
	ctx context.Context, store *webhooks.Store, bots *fleet, log *slog.Logger,
) (*addresses, error) {
	a := &addresses{store: store, bots: bots, log: log}
	a.receivers.Store(&map[address]telegram.Bot{})
	return a, a.read(ctx)
}

// Find implements telegram.Receivers.
func (a *addresses) Find(bot, path string) (telegram.Bot, bool) {
	found, ok := (*a.receivers.Load())[address{bot, path}]
	return found, ok
}

// update puts the receivers together again, after the bots or the stored addresses have changed.
// A secret of the bots file that the database lists as ended is left out.
func (a *addresses) update() {
	a.mu.Lock()
	defer a.mu.Unlock()
	receivers := map[address]telegram.Bot{}
	add := func(b *bot, path string, secret telegram.Digest) {
		at := address{b.name, path}
		receiver, ok := receivers[at]
		if !ok {
			receiver = b.config.Receiver(b.name)
		}
		receiver.Secrets = append(receiver.Secrets, secret)
		receivers[at] = receiver
	}
	for name, b := range a.bots.All() {
		for _, secret := range b.config.Written() {
			if !slices.ContainsFunc(a.stored, func(s webhooks.Address) bool {
				return s.Ended && s.Bot == name && s.Path == "" && s.Secret == secret
			}) {
				add(b, "", secret)
			}
		}
	}
	for _, s := range a.stored {
		if b := a.bots.All()[s.Bot]; b != nil && !s.Ended {
			add(b, s.Path, s.Secret)
		}
	}
	a.receivers.Store(&receivers)
}

// read reads the stored addresses and applies them if they have changed.
func (a *addresses) read(ctx context.Context) error {
	found, err := a.store.Addresses(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	changed := !slices.Equal(a.stored, found)
	a.stored = found
	a.mu.Unlock()
	if changed {
		a.update()
	}
	return nil
}

// follow reads the stored addresses periodically until ctx ends. While the database is
// unreachable, the known addresses stay valid.
func (a *addresses) follow(ctx context.Context) {
	wait.Every(ctx, registrar.AddressesEvery, func() {
		// Without a limit, a read over a dead connection would wait until TCP gives up.
		bounded, cancel := context.WithTimeout(ctx, readyTimeout)
		defer cancel()
		if err := a.read(bounded); err != nil && ctx.Err() == nil {
			a.log.Debug("cannot read webhook addresses; keeping those known", "error", err)
		}
	})
}
