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
	// RotationOverlap is how long the old secret and address stay valid after a rotation.
	// Telegram switches within seconds; a process that cannot reach the database for an hour
	// is noticed before.
	RotationOverlap = time.Hour
	// RotateAtMost is the shortest time between two rotations that an attack causes.
	RotateAtMost = time.Hour
	// learned is the time from opening an address to setWebhook: every receiver has read the
	// address by then.
	learned = 2*AddressesEvery + AddressesEvery/2
	// settleTimeout bounds the two small writes that follow setWebhook.
	settleTimeout = 5 * time.Second
	// PathLength is the length of a random path, in characters: 26 of base 32 are 130 bits,
	// too many to guess.
	PathLength = 26
)

// ValidPath matches a valid path below /webhook/<bot>/.
var ValidPath = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Registrar registers and moves webhooks. It holds the bot's lock meanwhile, so that only one
// process at a time changes a webhook.
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

// Move describes a move of a webhook to another address.
type Move struct {
	Path    string // "" means the bot's own address
	Cause   chat.MovingCause
	Actor   domain.Actor
	Overlap time.Duration
	// Least is the shortest time since the last move: after a more recent one nothing moves.
	Least time.Duration
}

// NewPath returns a random path.
func NewPath() string { return strings.ToLower(rand.Text()[:PathLength]) }

// ErrNoPublicURL rejects changes to the webhook of a bot whose address is unknown.
var ErrNoPublicURL = errors.New("the bot has no public_url: " +
	"add the https address at which Telegram reaches its webhook to the bots file")

// Set registers the address to which Telegram posts again, with the current settings of the bots
// file. The first time, that is the bot's own address. Addresses that an interrupted move left open
// end; Set returns them.
func (r Registrar) Set(
	ctx context.Context, name string, b config.Bot,
) (wanted telegram.Registration, left []webhooks.Address, err error) {
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
	if path != "" { // at the bot's own address the secret of the bots file is valid without a row
		if err := r.open(ctx, name, b, path, all, nil); err != nil {
			return wanted, nil, err
		}
	}
	if err := r.setWebhook(ctx, b, path); err != nil || len(left) == 0 {
		return wanted, nil, err
	}
	return wanted, left, r.settle(ctx, name, b, Move{
		Path: path, Cause: chat.WebhookResumed, Actor: domain.ActorSystem, Overlap: RotationOverlap,
	})
}

// Standing returns the path to which Telegram should post: the one it posts to if that is open,
// also after an interrupted move, or else the one opened last. left are the other open addresses
// that have no end.
func Standing(
	all []webhooks.Address, name string, b config.Bot, posts string,
) (path string, left []webhooks.Address) {
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

// Info returns what Telegram reports about a bot's webhook, and the stored addresses of all bots.
func (r Registrar) Info(
	ctx context.Context, name string, b config.Bot,
) (info telegram.WebhookInfo, all []webhooks.Address, err error) {
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

// Move makes Telegram post to another address with another secret. The former address and secret
// stay valid until the overlap ends, so that no update in flight is lost. It returns false when the
// last move was less than m.Least ago.
//
// Wherever it is interrupted, the address to which Telegram posts is open: the new one before
// setWebhook, and the former ones until their end is recorded.
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
	if err := r.setWebhook(ctx, b, m.Path); err != nil {
		return false, fmt.Errorf("%w; %s", err, Unended)
	}
	// From here on the move is completed even if the caller cancels it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := r.settle(ctx, name, b, m); err != nil {
		return false, fmt.Errorf("%s is where Telegram posts, but %w; %s", b.Address(m.Path), err, Unended)
	}
	return true, nil
}

// Unended is the advice after an interrupted move.
const Unended = "no address has ended: run it again, or `chatledger webhook set` to stay where Telegram posts"

// movedSince reports whether a move of the bot's webhook has been completed since: one address
// below the bot's own is open without an end, and no other.
func movedSince(all []webhooks.Address, name string, since time.Time) bool {
	var open []webhooks.Address
	for _, a := range all {
		if a.Bot == name && a.Until.IsZero() {
			open = append(open, a)
		}
	}
	return len(open) == 1 && open[0].Path != "" && open[0].From.After(since)
}

var errReplaced = errors.New("the secret in the bots file was replaced by a rotation: " +
	"write another one there first, and have every process read it")

// replaced reports whether the secret in the bots file is one that was rotated away.
func replaced(all []webhooks.Address, name string, b config.Bot) bool {
	return slices.ContainsFunc(all, func(a webhooks.Address) bool {
		return a.Bot == name && a.Path == "" && a.Secret == telegram.DigestOf(b.Secret) && !a.Until.IsZero()
	})
}

// open stores an address, unless it is open already, and waits until every receiver has read it.
// own are the secrets that are valid without a row.
func (r Registrar) open(
	ctx context.Context, name string, b config.Bot, path string, all []webhooks.Address, own [][32]byte,
) error {
	secret := telegram.DigestOf(b.SecretAt(path))
	if slices.ContainsFunc(all, func(a webhooks.Address) bool {
		return a.Bot == name && a.Path == path && a.Secret == secret && a.Until.IsZero()
	}) {
		return nil
	}
	if err := r.Store.OpenAddress(ctx, name, path, secret, own); err != nil {
		return err
	}
	select {
	case <-time.After(learned):
		return nil
	case <-ctx.Done():
		return errors.New("interrupted before setWebhook; " + Unended)
	}
}

func (r Registrar) setWebhook(ctx context.Context, b config.Bot, path string) error {
	client, err := telegram.NewClient(r.API, b.Token)
	if err != nil {
		return err
	}
	return client.SetWebhook(ctx, b.Registration(path))
}

// settle records the address to which Telegram posts as an event, and then sets the end of all
// others.
func (r Registrar) settle(ctx context.Context, name string, b config.Bot, m Move) error {
	at := r.Now()
	_, err := r.Handler.Handle(ctx, commands.Request{Stream: domain.BotStream(name), Actor: m.Actor, At: at,
		Command: chat.MoveWebhook{Path: m.Path, Cause: m.Cause, At: at, Until: at.Add(m.Overlap)}})
	if err != nil {
		return err
	}
	return r.Store.EndOthers(ctx, name, m.Path, telegram.DigestOf(b.SecretAt(m.Path)), m.Overlap)
}

// LeftOpen describes the problem of an address that a move left open.
func LeftOpen(b config.Bot, left webhooks.Address) string {
	return fmt.Sprintf("%s is open as well and has no end: a move is in progress, or was interrupted",
		b.Address(left.Path))
}

// Differences lists how the registration at Telegram differs from the wanted one.
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
	sorted := func(kinds []string) []string { return slices.Sorted(slices.Values(kinds)) }
	if !slices.Equal(sorted(said.AllowedUpdates), sorted(should.AllowedUpdates)) {
		list = append(list, "allowed_updates differ between Telegram and the bots file")
	}
	return list
}

// What an out-of-sync time in getWebhookInfo means, and the advice.
const (
	OutOfSync   = "Telegram's own machines last failed to hand updates on"
	UntilInSync = "wait: the updates come later, and this server is not the cause; " +
		"if the time keeps changing and updates wait for hours, tell Telegram's @BotSupport"
)

// AddressesEvery is how often receivers read the stored addresses: learned waits for two of these.
const AddressesEvery = time.Second
