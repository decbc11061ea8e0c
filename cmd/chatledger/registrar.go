package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

const (
	// rotationOverlap is how long the secret and address before a rotation are right: what
	// Telegram is sending meanwhile goes to the new ones within seconds, and a process
	// that was cut off from the database is long heard of.
	rotationOverlap = time.Hour
	// rotateAtMost is how often strangers can have a secret rotated.
	rotateAtMost = time.Hour
	// learned is how long a new address is open before Telegram is told: every receiver
	// has read it by then.
	learned = 2*addressesEvery + addressesEvery/2
	// pathLength makes an address as hard to guess as it needs to be: 26 letters and
	// digits of base 32 are 130 bits.
	pathLength = 26
)

// webhookPath is what may stand below a bot's own address.
var webhookPath = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// registrar tells Telegram where to post a bot's updates. Whatever it does, it does under
// the bot's lock, so that of all processes one speaks about a webhook at a time.
type registrar struct {
	store  *postgres.Store
	handle func(context.Context, commands.Request) (commands.Result, error)
	api    string
}

// moving is how a webhook gets another address.
type moving struct {
	path    string // "" is the bot's own
	cause   chat.MovingCause
	actor   string
	overlap time.Duration
	// least is how long the last move must have been ago; a younger one is enough.
	least time.Duration
}

// newPath is an address that nobody guesses.
func newPath() string { return strings.ToLower(rand.Text()[:pathLength]) }

var errNoPublicURL = errors.New("it has no public_url: give the bots file the https address at which Telegram reaches this bot's webhook")

// set registers the address again that Telegram was told last, with the bots file's
// settings of today. The first time that is the bot's own.
func (r registrar) set(ctx context.Context, name string, b botConfig) (telegram.Registration, error) {
	if b.PublicURL == "" {
		return telegram.Registration{}, errNoPublicURL
	}
	unlock, err := r.store.LockWebhook(ctx, name)
	if err != nil {
		return telegram.Registration{}, err
	}
	defer unlock()
	current, err := r.current(ctx, name)
	if err != nil {
		return telegram.Registration{}, err
	}
	wanted := b.registration(current.Path)
	return wanted, r.register(ctx, name, b, current.Path, nil, 0)
}

// current is the address that Telegram was told last; the zero Address when it was told
// none.
func (r registrar) current(ctx context.Context, name string) (current postgres.Address, err error) {
	all, err := r.store.Addresses(ctx)
	for _, a := range all {
		if a.Bot == name && a.Until.IsZero() {
			current = a
		}
	}
	return current, err
}

// move has Telegram post to another address with another secret. Until the overlap is
// over the former ones are right as well: nothing that is on its way is lost. It reports
// false when the last move is too young for another.
func (r registrar) move(ctx context.Context, name string, b botConfig, m moving) (moved bool, err error) {
	if b.PublicURL == "" {
		return false, errNoPublicURL
	}
	unlock, err := r.store.LockWebhook(ctx, name)
	if err != nil {
		return false, err
	}
	defer unlock()
	if m.least > 0 {
		current, err := r.current(ctx, name)
		if err != nil || current.Path != "" && time.Since(current.From) < m.least {
			return false, err
		}
	}
	if m.path == "" {
		if err := r.mayReturn(ctx, name, b); err != nil {
			return false, err
		}
	}
	// Nothing before has ended as long as this is not recorded.
	return true, r.register(ctx, name, b, m.path, func() error {
		at := now()
		_, err := r.handle(ctx, commands.Request{Stream: domain.BotStream(name), Actor: m.actor, At: at,
			Command: chat.MoveWebhook{Path: m.path, Cause: m.cause, At: at, Until: at.Add(m.overlap)}})
		return err
	}, m.overlap)
}

// mayReturn refuses the bot's own address while its secret is one that was rotated away.
func (r registrar) mayReturn(ctx context.Context, name string, b botConfig) error {
	all, err := r.store.Addresses(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(a postgres.Address) bool {
		return a.Bot == name && a.Path == "" && a.Secret == telegram.DigestOf(b.Secret) && !a.Until.IsZero()
	}) {
		return errors.New("the secret in the bots file was replaced: write another one there first, and have every process read it")
	}
	return nil
}

// register opens an address, tells Telegram of it, and lets the others end.
func (r registrar) register(ctx context.Context, name string, b botConfig, path string, record func() error, overlap time.Duration) error {
	secret := telegram.DigestOf(b.secretAt(path))
	all, err := r.store.Addresses(ctx)
	if err != nil {
		return err
	}
	open := path == "" || slices.ContainsFunc(all, func(a postgres.Address) bool {
		return a.Bot == name && a.Path == path && a.Secret == secret && a.Until.IsZero()
	})
	if !open {
		if err := r.store.OpenAddress(ctx, name, path, secret); err != nil {
			return err
		}
		select { // for every receiver to have read it
		case <-time.After(learned):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	client, err := telegram.NewClient(r.api, b.Token)
	if err != nil {
		return err
	}
	if err := client.SetWebhook(ctx, b.registration(path)); err != nil {
		return err
	}
	if record == nil {
		if path == "" { // the secret of the bots file is right without a row
			return nil
		}
		return r.store.OpenAddress(ctx, name, path, secret)
	}
	if err := record(); err != nil {
		return err
	}
	if err := r.store.OpenAddress(ctx, name, path, secret); err != nil {
		return err
	}
	return r.store.EndOthers(ctx, name, path, secret, b.written(), overlap)
}

// registration is what Telegram is told of an address.
func (b botConfig) registration(path string) telegram.Registration {
	return telegram.Registration{URL: b.address(path), Secret: b.secretAt(path), AllowedUpdates: b.AllowedUpdates, MaxConnections: b.MaxConnections}.Complete()
}

// differences are how what Telegram says of a webhook differs from what it should.
func differences(said, should telegram.Registration) (list []string) {
	if said.URL != should.URL {
		list = append(list, fmt.Sprintf("Telegram posts to %q and should post to %q", said.URL, should.URL))
	}
	if said.URL == "" {
		return list
	}
	if said.MaxConnections != should.MaxConnections {
		list = append(list, fmt.Sprintf("max_connections is %d at Telegram and %d here", said.MaxConnections, should.MaxConnections))
	}
	if !slices.Equal(slices.Sorted(slices.Values(said.AllowedUpdates)), slices.Sorted(slices.Values(should.AllowedUpdates))) {
		list = append(list, "allowed_updates at Telegram are others than here")
	}
	return list
}

// registerAgain is the pause before a webhook that could not be registered is tried
// again: Telegram was away, or somebody is mending the token.
const registerAgain = time.Minute

// announceWebhook registers the bot's webhook when the bot comes, if it has a public
// address. Whatever is wrong with it concerns no other bot.
func (a *app) announceWebhook(ctx context.Context, b *bot) {
	if b.config.PublicURL == "" {
		return
	}
	for ctx.Err() == nil {
		_, err := a.registrar().set(ctx, b.name, b.config)
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			a.log.Error("the bot's webhook is not registered; trying again in "+registerAgain.String(), "bot", b.name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(registerAgain):
		}
	}
}

// maxAttacks is how many patterns wait to be dealt with; while one is, more say the same.
const maxAttacks = 16

// counterAttacks rotates the secrets that strangers guess at, where the bot wants it.
func (a *app) counterAttacks(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case name := <-a.attacks:
			b := a.bots.all()[name]
			if b == nil || !b.config.RotateOnAttack {
				continue
			}
			m := moving{path: newPath(), cause: chat.WebhookAttacked, actor: "guard", overlap: rotationOverlap, least: rotateAtMost}
			switch moved, err := a.registrar().move(ctx, name, b.config, m); {
			case err != nil && ctx.Err() == nil:
				a.log.Error("the secret that is guessed at is not rotated: run `chatledger webhook rotate`", "bot", name, "error", err)
			case moved:
				a.log.Warn("the bot's webhook has a new secret and a new address; the old ones end", "bot", name, "in", rotationOverlap)
			}
		}
	}
}
