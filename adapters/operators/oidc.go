package operators

import (
	"context"
	"errors"
	"net/http"

	"github.com/chatledger/chatledger/commands"
)

// Operators may log in at a provider of OpenID Connect instead of with a password here. The provider
// says who somebody is; an administrator has said which operator that is.

// Provider logs people in at another place. Its methods return ErrNoProvider when none is configured.
type Provider interface {
	// Start returns the address to which the browser goes, and a secret that it must keep until Finish.
	Start(ctx context.Context) (address, secret string, err error)
	// Finish returns the name of a person at the provider. A login that is not valid has an empty name;
	// an error means that the provider could not be asked.
	Finish(ctx context.Context, secret, state, code string) (login string, err error)
}

const (
	// attemptCookie keeps the secret of a login between its two steps. A browser sends it when the
	// provider sends it back, which SameSite=Strict would forbid.
	attemptCookie = "__Host-chatledger-login"
	// attemptLasts is how long somebody may take at the provider, in seconds.
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

// finishLogin opens a session for whom the provider has sent back.
func (a *API) finishLogin(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	if wait := a.Guard.Limited(r); wait > 0 {
		return limited(wait)
	}
	cookie, err := r.Cookie(attemptCookie)
	if err != nil {
		return a.deny(r, "this login was not begun in this browser, or too long ago: begin again")
	}
	http.SetCookie(w, newAttemptCookie("", -1))
	query := r.URL.Query()
	login, err := a.Provider.Finish(r.Context(), cookie.Value, query.Get("state"), query.Get("code"))
	if err != nil {
		return a.providerAway(err)
	}
	if login == "" {
		return a.deny(r, "the provider did not confirm this login: begin again")
	}
	operator, known, err := a.Accounts.OperatorByLogin(r.Context(), login)
	if err != nil {
		return err
	}
	if !known {
		a.Log.Warn("operator request rejected: nobody has this login of the provider", "path", template(r))
		return problem{
			Status: http.StatusForbidden,
			Detail: "no operator has the login " + login + ": ask your administrator to run `chatledger operator oidc`",
		}
	}
	return a.begin(w, r, operator.Name)
}

// providerAway answers that the provider could not be asked. A client that has gone is not answered.
func (a *API) providerAway(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrNoProvider) {
		return err
	}
	a.Log.Error("the OpenID Connect provider cannot be asked", "error", err)
	return problem{
		Status: http.StatusServiceUnavailable, Detail: "the provider cannot be asked: try again, or use a token", after: awayFor,
	}
}
