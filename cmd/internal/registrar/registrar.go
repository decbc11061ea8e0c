// Package registrar tells Telegram where to post a bot's updates: it registers, moves and
// inspects webhooks. All processes share the addresses of a webhook through the database.
package registrar

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

const (
	// RotationOverlap is how long the secret and address before a rotation are right: what
	// Telegram is sending meanwhile goes to the new ones within seconds, and a process
	// that was cut off from the database is long heard of.
	RotationOverlap = time.Hour
	// RotateAtMost is how often strangers can have a secret rotated.
	RotateAtMost = time.Hour
	// learned is how long a new address is open before Telegram is told: every receiver
	// has read it by then.
	learned = 2*AddressesEvery + AddressesEvery/2
	// settleTimeout bounds what is left to do when Telegram was told: two small writes.
	settleTimeout = 5 * time.Second
	// PathLength makes an address as hard to guess as it needs to be: 26 letters and
	// digits of base 32 are 130 bits.
	PathLength = 26
)

// ValidPath is what may stand below a bot's own address.
var ValidPath = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Registrar tells Telegram where to post a bot's updates. Whatever it does, it does under
// the bot's lock, so that of all processes one speaks about a webhook at a time.
type Registrar struct {
	Store   *webhooks.Store
	Handler Handler
	API     string // address of the Bot API server
	Now     func() time.Time
}

// Handler records moves of webhooks: commands.Handler.
type Handler interface {
	Handle(context.Context, commands.Request) (commands.Result, error)
}

// Move is how a webhook gets another address.
type Move struct {
	Path    string // "" is the bot's own
	Cause   chat.MovingCause
	Actor   domain.Actor
	Overlap time.Duration
	// least is how long the last move must have been ago; a younger one is enough.
	Least time.Duration
}

// NewPath is an address that nobody guesses.
func NewPath() string { return strings.ToLower(rand.Text()[:PathLength]) }

var ErrNoPublicURL = errors.New("it has no public_url: give the bots file the https address at which Telegram reaches this bot's webhook")

// Set registers the address again where Telegram posts, with the bots file's settings of
// today. The first time that is the bot's own. What a move left open that was cut off
// ends; it returns these addresses.
func (r Registrar) Set(ctx context.Context, name string, b config.Bot) (wanted telegram.Registration, left []webhooks.Address, err error) {
	if b.PublicURL == "" {
		return wanted, nil, ErrNoPublicURL
	}
	unlock, err := r.Store.LockWebhook(ctx, name)
	if err != nil {
		return wanted, nil, err
	}
	defer unlock()
	info, all, err := r.Info(ctx, name, b)
	if err != nil {
		return wanted, nil, err
	}
	path, left := Standing(all, name, b, info.URL)
	wanted = b.Registration(path)
	if path != "" { // the secret of the bots file is right there without a row
		if err := r.open(ctx, name, b, path, all, nil); err != nil {
			return wanted, nil, err
		}
	}
	if err := r.tell(ctx, b, path); err != nil || len(left) == 0 {
		return wanted, nil, err
	}
	return wanted, left, r.settle(ctx, name, b, Move{Path: path, Cause: chat.WebhookResumed, Actor: domain.ActorSystem, Overlap: RotationOverlap})
}

// Standing is where Telegram is to post by what is open, and by where it posts, which is
// what counts when a move was cut off; left is what else is open without an end.
func Standing(all []webhooks.Address, name string, b config.Bot, posts string) (path string, left []webhooks.Address) {
	for _, a := range all {
		if a.Bot == name && a.Until.IsZero() {
			left = append(left, a)
		}
	}
	if len(left) > 0 {
		path = left[len(left)-1].Path
	}
	for _, a := range left {
		if b.Address(a.Path) == posts {
			path = a.Path
		}
	}
	return path, slices.DeleteFunc(left, func(a webhooks.Address) bool {
		return a.Path == path && a.Secret == telegram.DigestOf(b.SecretAt(path))
	})
}

// Info is what Telegram says of a bot's webhook, and all addresses there are.
func (r Registrar) Info(ctx context.Context, name string, b config.Bot) (info telegram.WebhookInfo, all []webhooks.Address, err error) {
	client, err := telegram.NewClient(r.API, b.Token)
	if err != nil {
		return info, nil, err
	}
	if info, err = client.WebhookInfo(ctx); err != nil {
		return info, nil, err
	}
	all, err = r.Store.Addresses(ctx)
	return info, all, err
}

// Move has Telegram post to another address with another secret. Until the overlap is
// over the former ones are right as well: nothing that is on its way is lost. It reports
// false when the last move is too young for another.
//
// Wherever it is cut off, the address where Telegram posts is open: the new one before
// Telegram hears of it, and the former ones until it is recorded that they end.
func (r Registrar) Move(ctx context.Context, name string, b config.Bot, m Move) (moved bool, err error) {
	if b.PublicURL == "" {
		return false, ErrNoPublicURL
	}
	unlock, err := r.Store.LockWebhook(ctx, name)
	if err != nil {
		return false, err
	}
	defer unlock()
	all, err := r.Store.Addresses(ctx)
	if err != nil || m.Least > 0 && movedSince(all, name, r.Now().Add(-m.Least)) {
		return false, err
	}
	if m.Path == "" && replaced(all, name, b) {
		return false, errReplaced
	}
	if err := r.open(ctx, name, b, m.Path, all, b.Written()); err != nil {
		return false, err
	}
	if err := r.tell(ctx, b, m.Path); err != nil {
		return false, fmt.Errorf("%w; %s", err, Unended)
	}
	// Whoever stops this now is too late.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := r.settle(ctx, name, b, m); err != nil {
		return false, fmt.Errorf("%s is where Telegram posts, but %w; %s", b.Address(m.Path), err, Unended)
	}
	return true, nil
}

// Unended is what to do about a move that was cut off.
const Unended = "no address has ended: run it again, or `chatledger webhook set` to stay where Telegram posts"

// movedSince reports whether a move of the bot's webhook has come to its end since: one
// address below the bot's own stands, and nothing else is open without an end.
func movedSince(all []webhooks.Address, name string, since time.Time) bool {
	var open []webhooks.Address
	for _, a := range all {
		if a.Bot == name && a.Until.IsZero() {
			open = append(open, a)
		}
	}
	return len(open) == 1 && open[0].Path != "" && open[0].From.After(since)
}

var errReplaced = errors.New("the secret in the bots file was replaced: write another one there first, and have every process read it")

// replaced reports whether the secret in the bots file is one that was rotated away.
func replaced(all []webhooks.Address, name string, b config.Bot) bool {
	return slices.ContainsFunc(all, func(a webhooks.Address) bool {
		return a.Bot == name && a.Path == "" && a.Secret == telegram.DigestOf(b.Secret) && !a.Until.IsZero()
	})
}

// open makes an address known to every receiver, where it is not. own is what is open
// without a row.
func (r Registrar) open(ctx context.Context, name string, b config.Bot, path string, all []webhooks.Address, own [][32]byte) error {
	secret := telegram.DigestOf(b.SecretAt(path))
	if slices.ContainsFunc(all, func(a webhooks.Address) bool {
		return a.Bot == name && a.Path == path && a.Secret == secret && a.Until.IsZero()
	}) {
		return nil
	}
	if err := r.Store.OpenAddress(ctx, name, path, secret, own); err != nil {
		return err
	}
	select { // for every receiver to have read it
	case <-time.After(learned):
		return nil
	case <-ctx.Done():
		return errors.New("stopped before Telegram was told of another address; " + Unended)
	}
}

func (r Registrar) tell(ctx context.Context, b config.Bot, path string) error {
	client, err := telegram.NewClient(r.API, b.Token)
	if err != nil {
		return err
	}
	return client.SetWebhook(ctx, b.Registration(path))
}

// settle records where Telegram posts, and lets all other addresses end. Nothing ends
// that is not recorded.
func (r Registrar) settle(ctx context.Context, name string, b config.Bot, m Move) error {
	at := r.Now()
	_, err := r.Handler.Handle(ctx, commands.Request{Stream: domain.BotStream(name), Actor: m.Actor, At: at,
		Command: chat.MoveWebhook{Path: m.Path, Cause: m.Cause, At: at, Until: at.Add(m.Overlap)}})
	if err != nil {
		return err
	}
	return r.Store.EndOthers(ctx, name, m.Path, telegram.DigestOf(b.SecretAt(m.Path)), m.Overlap)
}

// LeftOpen is what is wrong about an address that a move left open.
func LeftOpen(b config.Bot, left webhooks.Address) string {
	return fmt.Sprintf("%s is open as well and has no end: a move is under way, or was cut off", b.Address(left.Path))
}

// Differences are how what Telegram says of a webhook differs from what it should.
func Differences(said, should telegram.Registration) (list []string) {
	if said.URL != should.URL {
		list = append(list, fmt.Sprintf("Telegram posts to %q and should post to %q", said.URL, should.URL))
	}
	if said.URL == "" {
		return list
	}
	if said.MaxConnections != should.MaxConnections {
		list = append(list,
			fmt.Sprintf("max_connections is %d at Telegram and %d here", said.MaxConnections, should.MaxConnections))
	}
	if !slices.Equal(slices.Sorted(slices.Values(said.AllowedUpdates)), slices.Sorted(slices.Values(should.AllowedUpdates))) {
		list = append(list, "allowed_updates at Telegram are others than here")
	}
	return list
}

// What it means that Telegram was out of sync, and what to do.
const (
	OutOfSync   = "Telegram's own machines last failed to hand updates on"
	UntilInSync = "wait: they come later, and nothing here is at fault; if the time goes on moving and updates wait for hours, tell Telegram's @BotSupport"
)

// AddressesEvery is how often receivers read where Telegram may post to.
const AddressesEvery = time.Second
