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

// Accounts knows who may use the API.
type Accounts interface {
	// OperatorOf is who has the token with this hash; false when nobody has.
	OperatorOf(ctx context.Context, token [32]byte) (commands.Operator, bool, error)
	// SawOperator notes that an operator was here.
	SawOperator(ctx context.Context, name string) error
	// Password is the hash of an operator's password; "" when they have none.
	Password(ctx context.Context, name string) (hash string, err error)
	// OpenSession begins an operator's session under the hash of its cookie.
	OpenSession(ctx context.Context, name string, session [32]byte, lasts time.Duration) error
	// SessionOf is who is logged in by it; false when nobody is.
	SessionOf(ctx context.Context, session [32]byte) (commands.Operator, bool, error)
	// CloseSession ends it.
	CloseSession(ctx context.Context, session [32]byte) error
}

// seenEvery is how exact it is kept when an operator was last here: not a write for
// every request.
const seenEvery = time.Minute

// NewToken makes a token, and the hash by which it is known. The token has 256 random
// bits, so a hash without salt tells nobody anything.
func NewToken() (token string, hash [32]byte) {
	secret := make([]byte, 32)
	rand.Read(secret) // it never fails
	token = "clop_" + base64.RawURLEncoding.EncodeToString(secret)
	return token, sha256.Sum256([]byte(token))
}

// operator is who asks: a program by its token, a person by their session. Both are looked
// up by their hash: how long that takes says nothing of any of them.
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
		return operator, a.deny(r, "send Authorization: Bearer and a token, or log in; `chatledger operator add` makes a token")
	case !ok && r.Method != http.MethodGet && !sameSecret(r.Header.Get(csrfHeader), csrfOf(cookie.Value)):
		a.Log.Warn("an operator's request without its X-CSRF-Token was denied", "operator", operator.Name, "path", template(r))
		return operator, problem{Status: http.StatusForbidden, Detail: "send the header " + csrfHeader + ", as logging in gave it"}
	}
	a.Guard.Authenticated(r)
	if a.Now().Sub(operator.LastSeen) >= seenEvery {
		if err := a.Accounts.SawOperator(r.Context(), operator.Name); err != nil {
			a.Log.Warn("when an operator was here is not kept", "error", err)
		}
	}
	return operator, nil
}

// deny refuses who is not known. A source that keeps on trying hears that it should stop,
// and is not logged here any more; who has a token is served wherever they come from.
func (a *API) deny(r *http.Request, detail string) error {
	if wait := a.Guard.Failed(r, ""); wait > 0 {
		return problem{Status: http.StatusTooManyRequests, Detail: "too many requests without a right token or password: wait", after: wait}
	}
	a.Log.Warn("access to the operators' API was denied", "source", r.RemoteAddr, "path", template(r))
	return problem{Status: http.StatusUnauthorized, Detail: detail}
}

const (
	// maxFailures is how often logins of one name may fail within failureWindow, wherever
	// they come from: a person who mistypes does so less often.
	maxFailures   = 20
	failureWindow = 5 * time.Minute
	// maxNames bounds the memory of them. When more come within a window, all are
	// forgotten; the guard has limited most of the sources by then.
	maxNames = 10_000
	// maxName is as long as an operator's name can be, in bytes.
	maxName = 64
)

// failures counts, by name, within a window.
type failures struct {
	mu      sync.Mutex
	begun   time.Time
	counted map[string]int
}

// count takes a login for failed before it is tried, so that many at once are not tried
// before the first has failed. It tells whether there were too many of its name, and when
// they are forgotten.
func (f *failures) count(name string, now time.Time) (full bool, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renew(now)
	name = name[:min(len(name), maxName)]
	if full = f.counted[name] >= maxFailures; !full {
		f.counted[name]++
	}
	return full, max(f.begun.Add(failureWindow).Sub(now), time.Second)
}

// forgive takes back what was counted of a login that did not fail.
func (f *failures) forgive(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counted[name] > 0 { // they may have been forgotten meanwhile
		f.counted[name]--
	}
}

func (f *failures) renew(now time.Time) {
	if f.counted == nil || now.Sub(f.begun) >= failureWindow || len(f.counted) >= maxNames {
		f.begun, f.counted = now, map[string]int{}
	}
}

// template is a request's path with the names of what may stand there instead of what a
// stranger put there.
func template(r *http.Request) string {
	route := mux.CurrentRoute(r)
	if route == nil {
		return ""
	}
	path, _ := route.GetPathTemplate() // each of ours has one
	return path
}
