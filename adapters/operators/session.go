package operators

import (
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
	var given struct{ Name, Password string }
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogin))
	if err != nil {
		return err
	}
	if json.Unmarshal(text, &given) != nil {
		return problem{Status: http.StatusBadRequest, Detail: "send a JSON object with name and password"}
	}
	if full, wait := a.logins.full(given.Name, a.Now()); full {
		return problem{Status: http.StatusTooManyRequests, Detail: "too many logins of this name failed: wait, or use a token", after: wait}
	}
	hash := ""
	if OperatorName.MatchString(given.Name) {
		if hash, err = a.Accounts.Password(r.Context(), given.Name); err != nil {
			return err
		}
	}
	select {
	case verifying <- struct{}{}:
	case <-r.Context().Done():
		return r.Context().Err()
	}
	right := a.verify(hash, given.Password)
	<-verifying
	if !right {
		a.logins.count(given.Name, a.Now())
		return a.deny(r, "name or password is wrong; `chatledger operator password` makes one")
	}
	a.Door.Admitted(r)
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

// logout ends the session of the cookie that came with it.
func (a *API) logout(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	if cookie, err := r.Cookie(cookieName); err == nil {
		if err := a.Accounts.CloseSession(r.Context(), sha256.Sum256([]byte(cookie.Value))); err != nil {
			return err
		}
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	w.WriteHeader(http.StatusNoContent)
	return nil
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
