package operators

import (
	"context"
	"errors"
	"net/http"

	"github.com/chatledger/chatledger/commands"
)

// Operators may log in at an OpenID Connect provider instead of with a password. The provider confirms a
// login name; an administrator has assigned that login name to an operator.

// Provider is an OpenID Connect provider. Its methods return ErrNoProvider if none is configured.
type Provider interface {
	// Start returns the address to which the browser is sent, and a secret that it must keep until Finish.
	Start(ctx context.Context) (address, secret string, err error)
	// Finish returns the login name that the provider confirms; "" if the login is not valid. An error
	// means that the provider did not answer.
	Finish(ctx context.Context, secret, state, code string) (login string, err error)
}

const (
	// attemptCookie keeps the secret of a login between its two steps. The browser must send it when the
	// provider redirects back to us, which SameSite=Strict would prevent.
	attemptCookie = "__Host-chatledger-login"
	// attemptLasts is how long a login at the provider may take, in seconds.
	attemptLasts = 600
)

// ErrNoProvider is returned when operators log in with passwords only.
var ErrNoProvider error = problem{
	Status: http.StatusNotFound, Detail: "no provider is configured: log in with a password",
}

func newAttemptCookie(value string, maxAge int) *http.Cookie {
	c := sessionCookie(value, maxAge)
	c.Name, c.SameSite = attemptCookie, http.SameSiteLaxMode
	return c
}

// startLogin sends the browser to the provider.
func (a *API) startLogin(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	if wait := a.Guard.Limited(r); wait > 0 {
		return limited(wait)
	}
	address, secret, err := a.Provider.Start(r.Context())
	if err != nil {
		return a.providerAway(err)
	}
	http.SetCookie(w, newAttemptCookie(secret, attemptLasts))
	w.Header().Set("Location", address)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// finishLogin opens a session for the operator whose login the provider confirms.
func (a *API) finishLogin(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	if wait := a.Guard.Limited(r); wait > 0 {
		return limited(wait)
	}
	cookie, err := r.Cookie(attemptCookie)
	if err != nil {
		return a.deny(r, "this login was not started in this browser, or too long ago: start again")
	}
	http.SetCookie(w, newAttemptCookie("", -1))
	query := r.URL.Query()
	login, err := a.Provider.Finish(r.Context(), cookie.Value, query.Get("state"), query.Get("code"))
	if err != nil {
		return a.providerAway(err)
	}
	if login == "" {
		return a.deny(r, "the provider did not confirm this login: start again")
	}
	operator, known, err := a.Accounts.OperatorByLogin(r.Context(), login)
	if err != nil {
		return err
	}
	if !known {
		a.Log.Warn("operator request rejected: no operator has this login of the provider", "path", template(r))
		return problem{
			Status: http.StatusForbidden,
			Detail: "no operator has the login " + login + ": ask your administrator to run `chatledger operator oidc`",
		}
	}
	return a.begin(w, r, operator.Name)
}

// providerAway returns the answer if the provider does not answer. A client that has disconnected gets none.
func (a *API) providerAway(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrNoProvider) {
		return err
	}
	a.Log.Error("OpenID Connect provider does not answer", "error", err)
	return problem{
		Status: http.StatusServiceUnavailable,
		Detail: "the provider does not answer: try again, or use a token", after: awayFor,
	}
}
