package operators

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// returning returns the request after the provider has redirected the browser back.
func returning(query, secret string) *http.Request {
	r := request("GET", "/session/oidc/callback"+query, "", "")
	if secret != "" {
		r.AddCookie(&http.Cookie{Name: attemptCookie, Value: secret})
	}
	return r
}

func cookieOf(w *httptest.ResponseRecorder, name string) *http.Cookie {
	for _, c := range w.Result().Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func TestProviderLogin_BothSteps_SessionOpened(t *testing.T) {
	t.Parallel()
	o := newOffice()
	w := o.must(t, request("GET", "/session/oidc", "", ""), http.StatusSeeOther)
	kept := cookieOf(w, attemptCookie)
	if w.Header().Get("Location") != "https://login.example.com/auth?state=s" || kept == nil || kept.Value != "kept" ||
		!kept.HttpOnly || !kept.Secure || kept.SameSite != http.SameSiteLaxMode || kept.MaxAge != attemptLasts {
		t.Errorf("the redirect to the provider has the headers %v", w.Header())
	}
	w = o.must(t, returning("?state=s&code=jo@example.com", "kept"), http.StatusOK)
	session, gone := cookieOf(w, cookieName), cookieOf(w, attemptCookie)
	if session == nil || session.SameSite != http.SameSiteStrictMode || gone == nil || gone.MaxAge >= 0 ||
		!strings.Contains(w.Body.String(), `"csrf_token"`) {
		t.Fatalf("the login is answered with %v %s", w.Header(), w.Body)
	}
	if w := o.must(t, inBrowser(session, "", "GET", "/me", ""), 200); !strings.Contains(w.Body.String(), `"jo"`) {
		t.Errorf("%s", w.Body)
	}
}

// A session is opened only for a login that was started in this browser, and whose login name is assigned to
// an operator.
func TestProviderLogin_NotValid_NoSession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		query, secret string
		status        int
	}{
		"no cookie":                             {"?state=s&code=jo@example.com", "", 401},
		"another cookie":                        {"?state=s&code=jo@example.com", "other", 401},
		"another state":                         {"?state=x&code=jo@example.com", "kept", 401},
		"no code":                               {"?state=s&error=access_denied", "kept", 401},
		"no operator":                           {"?state=s&code=eve@example.com", "kept", 403},
		"an operator's name instead of a login": {"?state=s&code=jo", "kept", 403},
	} {
		o := newOffice()
		w := o.must(t, returning(c.query, c.secret), c.status)
		if cookieOf(w, cookieName) != nil || len(o.sessions) > 0 {
			t.Errorf("%s: a session was opened", name)
		}
		if c.status == 401 && o.refused != 1 {
			t.Errorf("%s: not counted as a failure", name)
		}
	}
}

func TestProviderLogin_NoneConfigured_NotFound(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.Provider = noProvider{}
	o.must(t, request("GET", "/session/oidc", "", ""), http.StatusNotFound)
	o.must(t, returning("?state=s&code=jo@example.com", "kept"), http.StatusNotFound)
}

// noProvider is the Provider of an API without OpenID Connect.
type noProvider struct{}

func (noProvider) Start(context.Context) (address, secret string, err error) {
	return "", "", ErrNoProvider
}
func (noProvider) Finish(context.Context, string, string, string) (string, error) {
	return "", ErrNoProvider
}
