package oidc_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/oidc"
	"github.com/chatledger/chatledger/adapters/oidc/oidctest"
)

const back = "https://desk.example.com/api/v1/session/oidc/callback"

func newLogin(p *oidctest.Provider, claim string) *oidc.Provider {
	return oidc.New(oidc.Config{
		Issuer: p.URL, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret, RedirectURL: back, Claim: claim,
	})
}

// browse follows the address to the provider, and returns the state and the code it sends back.
func browse(t *testing.T, address string) (state, code string) {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	to, err := url.Parse(answer.Header.Get("Location"))
	if err != nil || answer.StatusCode != http.StatusFound {
		t.Fatalf("%d %v", answer.StatusCode, err)
	}
	return to.Query().Get("state"), to.Query().Get("code")
}

func TestLogin_CodeFlow_ReturnsClaim(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	p.Claim("email", "Jo@example.com")
	p.Claim("email_verified", true)
	for claim, want := range map[string]string{"": "1234", "sub": "1234", "email": "Jo@example.com"} {
		login := newLogin(p, claim)
		address, secret, err := login.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		state, code := browse(t, address)
		if got, err := login.Finish(t.Context(), secret, state, code); got != want || err != nil {
			t.Errorf("claim %q: %q, %v, want %q", claim, got, err, want)
		}
		if got, err := login.Finish(t.Context(), secret, state, code); !errors.Is(err, oidc.ErrRejected) {
			t.Errorf("claim %q: the same code again: %q, %v", claim, got, err)
		}
	}
}

// A login counts only in the browser that began it, and an ID token only if it is for this client and
// this login, and valid now.
func TestLogin_Forged_Rejected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		claims map[string]any
		claim  string
		change func(secret, state, code *string, other [3]string)
	}{
		"another state":     {change: func(_, state, _ *string, _ [3]string) { *state = "forged" }},
		"no state":          {change: func(_, state, _ *string, _ [3]string) { *state = "" }},
		"another browser":   {change: func(secret, _, _ *string, other [3]string) { *secret = other[0] }},
		"no browser":        {change: func(secret, _, _ *string, _ [3]string) { *secret = "" }},
		"a code of another": {change: func(_, _, code *string, other [3]string) { *code = other[2] }},
		"an invented code":  {change: func(_, _, code *string, _ [3]string) { *code = "guess" }},
		"no code":           {change: func(_, _, code *string, _ [3]string) { *code = "" }},
		"another client":    {claims: map[string]any{"aud": "other"}},
		"another issuer":    {claims: map[string]any{"iss": "https://evil.example"}},
		"another login":     {claims: map[string]any{"nonce": "other"}},
		"an old token":      {claims: map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}},
		"an e-mail not checked": {
			claims: map[string]any{"email": "boss@example.com", "email_verified": false}, claim: "email",
		},
		"no e-mail":            {claim: "email"},
		"a claim that is none": {claims: map[string]any{"groups": []string{"x"}}, claim: "groups"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := oidctest.New(t)
			login := newLogin(p, c.claim)
			begin := func() (one [3]string) {
				address, secret, err := login.Start(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				one[0] = secret
				one[1], one[2] = browse(t, address)
				return one
			}
			mine, other := begin(), begin()
			for name, value := range c.claims {
				p.Claim(name, value)
			}
			if c.change != nil {
				c.change(&mine[0], &mine[1], &mine[2], other)
			}
			if got, err := login.Finish(t.Context(), mine[0], mine[1], mine[2]); !errors.Is(err, oidc.ErrRejected) || got != "" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// A provider that does not answer is no reason to reject a login. It is asked again.
func TestLogin_ProviderAway_AskedAgain(t *testing.T) {
	t.Parallel()
	p := oidctest.New(t)
	p.SetDown(true)
	login := newLogin(p, "")
	if _, _, err := login.Start(t.Context()); err == nil || errors.Is(err, oidc.ErrRejected) {
		t.Errorf("without a provider: %v", err)
	}
	p.SetDown(false)
	address, secret, err := login.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	state, code := browse(t, address)
	p.SetDown(true)
	if _, err := login.Finish(t.Context(), secret, state, code); err == nil || errors.Is(err, oidc.ErrRejected) {
		t.Errorf("without a provider: %v", err)
	}
	p.SetDown(false)
	if got, err := login.Finish(t.Context(), secret, state, code); got != "1234" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
