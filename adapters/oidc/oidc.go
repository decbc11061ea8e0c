// Package oidc logs people in at a provider of OpenID Connect, by the authorization code flow with
// PKCE. A login counts only in the browser that began it. Nothing is kept between its two steps but
// what that browser keeps.
package oidc

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// timeout bounds each call of the provider, for which a browser waits.
	timeout = 10 * time.Second
	// maxLogin bounds a login, in bytes.
	maxLogin = 255
)

// ErrRejected is returned for a login that is not valid. Other errors mean that the provider could not
// be asked.
var ErrRejected = errors.New("login rejected")

// Config is a client at a provider.
type Config struct {
	Issuer       string // such as https://login.example.com/realms/team
	ClientID     string
	ClientSecret string
	RedirectURL  string // where the provider sends browsers back to
	Claim        string // of the ID token, that names people; "" means sub
}

// Provider logs people in. It is safe for concurrent use.
type Provider struct {
	config Config
	http   *http.Client

	mu         sync.Mutex
	discovered *oidc.Provider // nil until the provider has answered
}

// New returns a provider. It is asked when the first login begins.
func New(c Config) *Provider {
	return &Provider{config: c, http: &http.Client{Timeout: timeout}}
}

// discover reads what the provider says of itself, until it has answered once.
func (p *Provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.discovered == nil {
		// The keys are read later with this context: it must not end with a request.
		found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.http), p.config.Issuer)
		if err != nil {
			return nil, fmt.Errorf("ask the provider %s: %w", p.config.Issuer, err)
		}
		p.discovered = found
	}
	return p.discovered, nil
}

func (p *Provider) client(found *oidc.Provider) oauth2.Config {
	return oauth2.Config{
		ClientID: p.config.ClientID, ClientSecret: p.config.ClientSecret, RedirectURL: p.config.RedirectURL,
		Endpoint: found.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "email", "profile"},
	}
}

// Start begins a login. It returns the provider's address, to which the browser goes, and a secret,
// which that browser must keep until Finish.
func (p *Provider) Start(ctx context.Context) (address, secret string, err error) {
	found, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	client := p.client(found)
	address = client.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))
	return address, strings.Join([]string{state, nonce, verifier}, "."), nil
}

// Finish ends a login with what the provider sent the browser back with, and returns the claim that
// names the person.
func (p *Provider) Finish(ctx context.Context, secret, state, code string) (login string, err error) {
	kept := strings.Split(secret, ".")
	if len(kept) != 3 || kept[0] == "" || subtle.ConstantTimeCompare([]byte(kept[0]), []byte(state)) != 1 || code == "" {
		return "", fmt.Errorf("%w: it was not begun in this browser", ErrRejected)
	}
	found, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	ctx = oidc.ClientContext(ctx, p.http)
	client := p.client(found)
	token, err := client.Exchange(ctx, code, oauth2.VerifierOption(kept[2]))
	if err != nil {
		return "", judge(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := found.Verifier(&oidc.Config{ClientID: p.config.ClientID}).Verify(ctx, raw)
	if err != nil {
		return "", fmt.Errorf("%w: ID token: %w", ErrRejected, err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(kept[1])) != 1 {
		return "", fmt.Errorf("%w: the ID token is of another login", ErrRejected)
	}
	return p.claim(id)
}

// judge tells a code that the provider rejected from a provider that could not be asked. A wrong
// client secret is the server's mistake, not the person's.
func judge(err error) error {
	var answered *oauth2.RetrieveError
	if errors.As(err, &answered) && answered.ErrorCode == "invalid_grant" {
		return fmt.Errorf("%w: the provider does not know the code", ErrRejected)
	}
	return fmt.Errorf("exchange a code at the provider: %w", err)
}

// claim returns the claim that names the person. An e-mail address counts only if the provider has
// checked it: an account can claim to have any address.
func (p *Provider) claim(id *oidc.IDToken) (string, error) {
	name := cmp.Or(p.config.Claim, "sub")
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return "", fmt.Errorf("%w: ID token: %w", ErrRejected, err)
	}
	login, _ := claims[name].(string)
	if verified, _ := claims["email_verified"].(bool); name == "email" {
		if !verified {
			return "", fmt.Errorf("%w: the provider has not checked the e-mail address", ErrRejected)
		}
	}
	if login == "" || len(login) > maxLogin {
		return "", fmt.Errorf("%w: the ID token has no usable claim %s", ErrRejected, name)
	}
	return login, nil
}
