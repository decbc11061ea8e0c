package operators

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/commands"
)

// Accounts stores the operators, their tokens and their sessions.
type Accounts interface {
	// OperatorOf returns the operator whose token has this hash, and whether there is one.
	OperatorOf(ctx context.Context, token [32]byte) (commands.Operator, bool, error)
	// SawOperator stores the current time as when the operator was last seen.
	SawOperator(ctx context.Context, name string) error
	// Password returns the hash of an operator's password, or "" if there is none, and the secret of
	// their one-time passwords, or nil if they need none.
	Password(ctx context.Context, name string) (hash string, totp []byte, err error)
	// OperatorByLogin returns the operator with a login at the provider, and whether there is one.
	OperatorByLogin(ctx context.Context, login string) (commands.Operator, bool, error)
	// UseCode records that the one-time password of a step was used; false if it, or a later one, was
	// used before.
	UseCode(ctx context.Context, name string, step int64) (bool, error)
	// OpenSession starts an operator's session under the hash of its cookie.
	OpenSession(ctx context.Context, name string, session [32]byte, lasts time.Duration) error
	// SessionOf returns the operator of a session, and whether there is such a session.
	SessionOf(ctx context.Context, session [32]byte) (commands.Operator, bool, error)
	// CloseSession ends a session.
	CloseSession(ctx context.Context, session [32]byte) error
}

// seenEvery is the resolution of an operator's last-seen time. It avoids a write for every
// request.
const seenEvery = time.Minute

// NewToken returns a random token and the hash under which it is stored. The token has 256
// random bits, so the hash needs no salt.
func NewToken() (token string, hash [32]byte) {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	token = "clop_" + base64.RawURLEncoding.EncodeToString(secret)
	return token, sha256.Sum256([]byte(token))
}

// operator authenticates a request by its token or its session cookie. Both are looked up by their hashes,
// so the duration of the lookup reveals nothing about them.
func (a *API) operator(r *http.Request) (operator commands.Operator, err error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	cookie, _ := r.Cookie(cookieName)
	known := false
	switch {
	case ok:
		operator, known, err = a.Accounts.OperatorOf(r.Context(), sha256.Sum256([]byte(token)))
	case cookie != nil:
		operator, known, err = a.Accounts.SessionOf(r.Context(), sha256.Sum256([]byte(cookie.Value)))
	}
	switch {
	case err != nil:
		return operator, err
	case !known:
		return operator, a.deny(r, "not authenticated: send Authorization: Bearer and a token, or log in. "+
			"`chatledger operator add` creates a token")
	case !ok && r.Method != http.MethodGet && !sameSecret(r.Header.Get(csrfHeader), csrfOf(cookie.Value)):
		a.Log.Warn("operator request rejected: X-CSRF-Token missing or wrong",
			"operator", operator.Name, "path", template(r))
		return operator, problem{
			Status: http.StatusForbidden,
			Detail: "send the header " + csrfHeader + " with the csrf_token of the login",
		}
	}
	a.Guard.Authenticated(r)
	if a.Now().Sub(operator.LastSeen) >= seenEvery {
		if err := a.Accounts.SawOperator(r.Context(), operator.Name); err != nil {
			a.Log.Warn("last-seen time of the operator not stored", "operator", operator.Name, "error", err)
		}
	}
	return operator, nil
}

// deny rejects a request without valid credentials. A source that keeps failing gets 429,
// which is not logged here. Requests with a valid token are served from any source.
func (a *API) deny(r *http.Request, detail string) error {
	if wait := a.Guard.Failed(r, ""); wait > 0 {
		return limited(wait)
	}
	a.Log.Warn("operator request rejected: not authenticated", "source", r.RemoteAddr, "path", template(r))
	return problem{Status: http.StatusUnauthorized, Detail: detail}
}

func limited(wait time.Duration) problem {
	return problem{
		Status: http.StatusTooManyRequests,
		Detail: "rate limit: too many requests without a valid token or password",
		after:  wait,
	}
}

const (
	// maxFailures is the number of failed logins for one name within failureWindow, from all sources
	// together. An operator who mistypes a password has fewer.
	maxFailures   = 20
	failureWindow = 5 * time.Minute
	// maxNames bounds the number of counted names. With more names in a window the counts are reset; the
	// guard has limited most of the sources by then.
	maxNames = 10_000
)

// failures counts failed logins by name within a window.
type failures struct {
	mu      sync.Mutex
	begun   time.Time
	counted map[string]int
}

// count counts a login as failed before it is checked, so that concurrent guesses cannot exceed the limit. It
// reports whether the name has too many failures, and how long until the window ends.
func (f *failures) count(name string, now time.Time) (full bool, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renew(now)
	if full = f.counted[name] >= maxFailures; !full {
		f.counted[name]++
	}
	return full, max(f.begun.Add(failureWindow).Sub(now), time.Second)
}

// forgive subtracts a login that did not fail.
func (f *failures) forgive(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counted[name] > 0 { // false if the window has ended meanwhile
		f.counted[name]--
	}
}

func (f *failures) renew(now time.Time) {
	if f.counted == nil || now.Sub(f.begun) >= failureWindow || len(f.counted) >= maxNames {
		f.begun, f.counted = now, map[string]int{}
	}
}

// template returns the path template of a request's route, for the log. The path itself is chosen by the
// client.
func template(r *http.Request) string {
	route := mux.CurrentRoute(r)
	if route == nil {
		return ""
	}
	path, _ := route.GetPathTemplate() // every route has one
	return path
}
