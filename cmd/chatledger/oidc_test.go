package main

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/oidc/oidctest"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// browser keeps cookies, whether or not the connection is encrypted, and follows no redirect.
type browser struct {
	t       *testing.T
	cookies map[string]string
}

func (b *browser) get(address string) (status int, header http.Header, body string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range answer.Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return answer.StatusCode, answer.Header, string(text)
}

// logIn logs in at the provider and returns to the API.
func (b *browser) logIn(api string) (status int, body string) {
	b.t.Helper()
	status, header, body := b.get(api + "/session/oidc")
	if status != http.StatusSeeOther {
		b.t.Fatalf("to the provider: %d %s", status, body)
	}
	_, header, _ = b.get(header.Get("Location"))
	back, err := url.Parse(header.Get("Location"))
	if err != nil {
		b.t.Fatal(err)
	}
	status, _, body = b.get(api + "/session/oidc/callback?" + back.RawQuery)
	return status, body
}

// A person whom the provider knows logs in as the operator that an administrator has assigned to the
// login. All other logins are rejected.
func TestOIDC_LoginAtProvider_IsOperator(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	provider.Claim("email", "maria@example.com")
	provider.Claim("email_verified", true)
	m := newTeamWith(t, func(c *server.Config) {
		c.Server.OIDC = &config.OIDC{
			Issuer: provider.URL, ClientID: oidctest.ClientID, ClientSecret: oidctest.ClientSecret,
			RedirectURL: "https://desk.example.com" + config.OIDCCallback, Claim: "email",
		}
	}, "maria")
	b := &browser{t, map[string]string{}}
	if status, body := b.logIn(m.api); status != http.StatusForbidden || !strings.Contains(body, "maria@example.com") {
		t.Fatalf("of no operator: %d %s", status, body)
	}
	code, said, errs := m.cli("operator", "oidc", "maria", "maria@example.com")
	if code != 0 || !strings.Contains(said, "maria@") {
		t.Fatalf("%d %s%s", code, said, errs)
	}
	if status, body := b.logIn(m.api); status != http.StatusOK || !strings.Contains(body, "csrf_token") {
		t.Fatalf("%d %s", status, body)
	}
	if status, _, body := b.get(m.api + "/me"); status != http.StatusOK || !strings.Contains(body, `"maria"`) {
		t.Errorf("in her session: %d %s", status, body)
	}
	if code, _, errs := m.cli("operator", "oidc", "maria", "--off"); code != 0 {
		t.Errorf("%d %s", code, errs)
	}
	if status, _, _ := b.get(m.api + "/me"); status != http.StatusUnauthorized {
		t.Errorf("after she may not log in there: %d", status)
	}
	if status, _ := b.logIn(m.api); status != http.StatusForbidden {
		t.Errorf("she logs in again: %d", status)
	}
}

// A client secret that was rotated is used without a restart, and a provider can be taken away.
func TestOIDC_BotsFileChanged_Followed(t *testing.T) {
	t.Parallel()
	provider := oidctest.New(t)
	w := newBotsTown(t, "shop")
	secret := saved(t, w.file+".secret", "not yet the secret")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := "http://" + listener.Addr().String() + "/api/v1"
	saved(t, w.file, "bots:\n"+plain("shop", 0))
	file, err := config.Read(w.file)
	if err != nil {
		t.Fatal(err)
	}
	w.start(w.dsn, func(c *server.Config) {
		c.Bots, c.Server, c.BotsFile, c.Operators = file.Bots, file.Server, w.file, listener
	})
	settings := "server: {oidc: {issuer: '" + provider.URL + "', client_id: " + oidctest.ClientID +
		", client_secret: 'file:" + secret + "', redirect_url: 'https://desk.example.com" + config.OIDCCallback + "'}}\n"
	b := &browser{t, map[string]string{}}
	status := func() int {
		got, _, _ := b.get(api + "/session/oidc")
		return got
	}
	if got := status(); got != http.StatusNotFound {
		t.Errorf("without a provider: %d", got)
	}
	saved(t, w.file, "bots:\n"+plain("shop", 0)+settings)
	w.eventually("there is a provider", func() string { return unless(status() == http.StatusSeeOther, "none") })
	if got, _ := b.logIn(api); got != http.StatusServiceUnavailable {
		t.Errorf("with another secret: %d", got)
	}
	saved(t, secret, oidctest.ClientSecret)
	w.eventually("the rotated secret is used", func() string {
		got, body := b.logIn(api)
		return unless(got == http.StatusForbidden, "%d %s", got, body) // of no operator
	})
}
