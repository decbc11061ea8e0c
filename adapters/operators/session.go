package operators

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/chatledger/chatledger/commands"
)

// People log in with a password and get a cookie that no script can read. As a browser
// sends it by itself, whatever page asks, each write needs a header beside it that only a
// page of the same origin can know.

const (
	// cookieName has the prefix with which browsers keep it to this host and to HTTPS.
	cookieName = "__Host-chatledger"
	csrfHeader = "X-CSRF-Token"
	// sessionLasts is a working day, with its breaks.
	sessionLasts = 12 * time.Hour
	// maxLogin bounds the body of a login, in bytes.
	maxLogin = 2 << 10
)

// OperatorName is what an operator can be called.
var OperatorName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// login opens a session. A name that nobody has takes as long as one that somebody has.
func (a *API) login(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	// No form can send JSON, so that nobody is logged in by a page of somebody else's.
	if err := wantJSON(r); err != nil {
		return err
	}
	var given struct{ Name, Password string }
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogin))
	if err != nil {
		return err
	}
	if json.Unmarshal(text, &given) != nil {
		return problem{Status: http.StatusBadRequest, Detail: "send a JSON object with name and password"}
	}
	if full, wait := a.logins.count(given.Name, a.Now()); full {
		return problem{Status: http.StatusTooManyRequests, Detail: "too many logins of this name failed: wait, or use a token", after: wait}
	}
	right, err := a.isPassword(r.Context(), given.Name, given.Password)
	if err != nil || right {
		a.logins.forgive(given.Name)
	}
	if err != nil {
		return err
	}
	if !right {
		return a.deny(r, "name or password is wrong; `chatledger operator password` makes one")
	}
	a.Guard.Authenticated(r)
	if err := a.closeSession(r); err != nil {
		return err
	}
	secret := make([]byte, 32)
	rand.Read(secret) // it never fails
	value := base64.RawURLEncoding.EncodeToString(secret)
	if err := a.Accounts.OpenSession(r.Context(), given.Name, sha256.Sum256([]byte(value)), sessionLasts); err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: int(sessionLasts.Seconds()), Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	return write(w, struct {
		Name string `json:"name"`
		CSRF string `json:"csrf_token"`
	}{given.Name, csrfOf(value)})
}

// isPassword tells whether a password is an operator's, when it is its turn to be hashed.
func (a *API) isPassword(ctx context.Context, name, password string) (right bool, err error) {
	hash := ""
	if OperatorName.MatchString(name) {
		if hash, err = a.Accounts.Password(ctx, name); err != nil {
			return false, err
		}
	}
	select {
	case verifying <- struct{}{}:
		defer func() { <-verifying }()
		return a.verify(hash, password), nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// logout ends the session of the cookie that came with it.
func (a *API) logout(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	if err := a.closeSession(r); err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// closeSession ends the session that the browser has, if it has one.
func (a *API) closeSession(r *http.Request) error {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	return a.Accounts.CloseSession(r.Context(), sha256.Sum256([]byte(cookie.Value)))
}

// csrfOf is the token that belongs to a session. It is made of the cookie, and the cookie
// cannot be made of it.
func csrfOf(session string) string {
	sum := sha256.Sum256([]byte("chatledger csrf " + session))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func sameSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// What hashing a password costs, as OWASP advises for Argon2id: 19 MiB, twice, on one
// core. It stands in each hash, so that it can be raised.
const (
	argonMemory = 19 << 10 // KiB
	argonTimes  = 2
	argonLength = 32 // bytes
	saltLength  = 16 // bytes
	// maxVerifying bounds the passwords that are hashed at once, and with them the memory.
	maxVerifying = 2
)

var verifying = make(chan struct{}, maxVerifying)

// NewPassword makes a password that nobody guesses, and the hash that is kept of it.
func NewPassword() (password, hash string) {
	password = rand.Text()
	salt := make([]byte, saltLength)
	rand.Read(salt) // it never fails
	return password, fmt.Sprintf("argon2id$%d$%d$%s$%s", argonMemory, argonTimes, base64.RawStdEncoding.EncodeToString(salt),
		base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte(password), salt, argonTimes, argonMemory, 1, argonLength)))
}

// verify tells whether a password has this hash. It costs the same when there is none.
func (a *API) verify(hash, password string) bool {
	memory, times, salt, want := uint32(argonMemory), uint32(argonTimes), []byte("there is nobody!"), []byte(nil)
	if parts := strings.Split(hash, "$"); len(parts) == 5 {
		var err error
		if _, err = fmt.Sscan(parts[1], &memory); err == nil {
			_, err = fmt.Sscan(parts[2], &times)
		}
		if err == nil {
			salt, err = base64.RawStdEncoding.DecodeString(parts[3])
		}
		if err == nil {
			want, err = base64.RawStdEncoding.DecodeString(parts[4])
		}
		if err != nil {
			a.Log.Error("a password's hash cannot be read: make another", "error", err)
			return false
		}
	}
	got := argon2.IDKey([]byte(password), salt, times, memory, 1, argonLength)
	return len(want) > 0 && subtle.ConstantTimeCompare(got, want) == 1
}
