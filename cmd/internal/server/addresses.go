package server

import (
	"context"
	"slices"

	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
)

// where is an address of a bot's webhook: the path is what follows /webhook/<bot>/.
type where struct{ bot, path string }

// find is who receives at an address.
func (a *Server) find(bot, path string) (telegram.Bot, bool) {
	found, ok := (*a.doors.Load())[where{bot, path}] // newApp has put it there
	return found, ok
}

// readdress puts together who receives where: each bot at its own address, with the
// secrets of the bots file except those that have ended, and where the database says.
func (a *Server) readdress() {
	a.addressing.Lock()
	defer a.addressing.Unlock()
	doors := map[where]telegram.Bot{}
	open := func(b *bot, path string, secret telegram.Digest) {
		at := where{b.name, path}
		door, ok := doors[at]
		if !ok {
			door = b.config.Receiver(b.name)
		}
		door.Secrets = append(door.Secrets, secret)
		doors[at] = door
	}
	for name, b := range a.Bots.All() {
		for _, secret := range b.config.Written() {
			if !slices.ContainsFunc(a.addresses, func(d webhooks.Address) bool {
				return d.Ended && d.Bot == name && d.Path == "" && d.Secret == secret
			}) {
				open(b, "", secret)
			}
		}
	}
	for _, d := range a.addresses {
		if b := a.Bots.All()[d.Bot]; b != nil && !d.Ended {
			open(b, d.Path, d.Secret)
		}
	}
	a.doors.Store(&doors)
}

// readAddresses reads where Telegram may post to.
func (a *Server) readAddresses(ctx context.Context) error {
	found, err := webhooks.New(a.Store.DB).Addresses(ctx)
	if err != nil {
		return err
	}
	a.addressing.Lock()
	changed := !slices.Equal(a.addresses, found)
	a.addresses = found
	a.addressing.Unlock()
	if changed {
		a.readdress()
	}
	return nil
}

// followAddresses reads it again and again. While the database is away, what was known
// goes on to count.
func (a *Server) followAddresses(ctx context.Context) {
	wait.Every(ctx, registrar.AddressesEvery, func() {
		// A connection whose other end has vanished would be waited for until TCP gives up.
		bounded, cancel := context.WithTimeout(ctx, readyTimeout)
		defer cancel()
		if err := a.readAddresses(bounded); err != nil && ctx.Err() == nil {
			a.log.Debug("cannot read webhook addresses; keeping those known", "error", err)
		}
	})
}
