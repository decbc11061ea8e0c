package server

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync/atomic"

	"github.com/chatledger/chatledger/adapters/oidc"
	"github.com/chatledger/chatledger/adapters/operators"
	"github.com/chatledger/chatledger/cmd/internal/config"
)

// logins is the provider at which operators log in. A running server follows the bots file.
type logins struct {
	log     *slog.Logger
	current atomic.Pointer[client]
}

type client struct {
	config   config.OIDC
	provider *oidc.Provider
}

// set replaces the provider, unless the settings are those that it has. Logins that are under way must
// be begun again when the issuer or the client has changed.
func (l *logins) set(settings *config.OIDC) {
	if settings == nil {
		l.current.Store(nil)
		return
	}
	if now := l.current.Load(); now != nil && reflect.DeepEqual(now.config, *settings) {
		return
	}
	l.current.Store(&client{*settings, oidc.New(*settings.Config())})
}

// Start implements operators.Provider.
func (l *logins) Start(ctx context.Context) (address, secret string, err error) {
	c := l.current.Load()
	if c == nil {
		return "", "", operators.ErrNoProvider
	}
	return c.provider.Start(ctx)
}

// Finish implements operators.Provider.
func (l *logins) Finish(ctx context.Context, secret, state, code string) (login string, err error) {
	c := l.current.Load()
	if c == nil {
		return "", operators.ErrNoProvider
	}
	login, err = c.provider.Finish(ctx, secret, state, code)
	if errors.Is(err, oidc.ErrRejected) {
		l.log.Warn("login at the OpenID Connect provider rejected", "error", err)
		return "", nil
	}
	return login, err
}
