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
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/chatledger/chatledger/commands"
)

// Operators log in with a password and get a session cookie that scripts cannot read. A
// browser sends the cookie with requests of any page (cross-site request forgery), so each
// write also needs the X-CSRF-Token header, whose value only a page of the same origin has.

const (
	// cookieName has the prefix by which browsers restrict the cookie to this host and HTTPS.
	cookieName = "__Host-chatledger"
	csrfHeader = "X-CSRF-Token"
	// sessionLasts is the lifetime of a session: a working day with its breaks.
	sessionLasts = 12 * time.Hour
	// maxLogin bounds the body of a login, in bytes.
	maxLogin = 2 << 10
)

// OperatorName matches valid operator names.
var OperatorName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// login opens a session. It takes the same time for unknown names as for known ones. It computes no hash if
// the source or the name has failed too often.
func (a *API) login(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	// An HTML form cannot send JSON, so a page of another site cannot log in a visitor.
	if err := wantJSON(r); err != nil {
		return err
	}
	if wait := a.Guard.Limited(r); wait > 0 {
		return limited(wait)
	}
	var given credentials
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogin))
	if err != nil {
		return err
	}
	if json.Unmarshal(text, &given) != nil {
		return problem{Status: http.StatusBadRequest, Detail: "send a JSON object with name and password"}
	}
	right, err := a.areRight(r, given)
	if err != nil {
		return err
	}
	if !right {
		return a.deny(r, "wrong name, password or code; `chatledger operator password` creates a new password")
	}
	return a.begin(w, r, given.Name)
}

// begin opens a session for an operator who has logged in, and ends the browser's previous session.
func (a *API) begin(w http.ResponseWriter, r *http.Request, name string) error {
	a.Guard.Authenticated(r)
	if err := a.closeSession(r); err != nil {
		return err
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	value := base64.RawURLEncoding.EncodeToString(secret)
	if err := a.Accounts.OpenSession(r.Context(), name, sha256.Sum256([]byte(value)), sessionLasts); err != nil {
		return err
	}
	http.SetCookie(w, sessionCookie(value, int(sessionLasts.Seconds())))
	return write(w, struct {
		Name string `json:"name"`
		CSRF string `json:"csrf_token"`
	}{name, csrfOf(value)})
}

// sessionCookie returns the cookie of a session; maxAge is in seconds, -1 deletes it.
func sessionCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name:     cookieName,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
	}
}

// credentials are the body of a login.
type credentials struct {
	Name     string
	Password string
	Code     string // one-time password, if the operator needs one
}

// areRight reports whether the credentials are those of an operator. An invalid name is not looked up: the
// rules for names are public, so the shorter time reveals nothing.
func (a *API) areRight(r *http.Request, given credentials) (right bool, err error) {
	name := given.Name
	if !OperatorName.MatchString(name) {
		return false, nil
	}
	if full, wait := a.logins.count(name, a.Now()); full {
		a.Guard.Failed(r, "")
		return false, problem{
			Status: http.StatusTooManyRequests,
			Detail: "too many failed logins under this name: wait, or use a token",
			after:  wait,
		}
	}
	defer func() {
		if err != nil || right {
			a.logins.forgive(name)
		}
	}()
	if !a.hashing.enter() {
		return false, problem{
			Status: http.StatusServiceUnavailable, Detail: "too many logins at the same time: try again", after: busyFor,
		}
	}
	defer a.hashing.leave()
	hash, secret, err := a.Accounts.Password(r.Context(), name)
	if err != nil {
		return false, err
	}
	select {
	case verifying <- struct{}{}:
		right = a.verify(hash, given.Password)
		<-verifying
	case <-r.Context().Done():
		return false, r.Context().Err()
	}
	if !right || secret == nil {
		return right, nil
	}
	// A code counts as used only after a login with the right password.
	step, right := totpStepOf(secret, given.Code, a.Now())
	if !right {
		return false, nil
	}
	return a.Accounts.UseCode(r.Context(), name, step)
}

// logout ends the session of the request's cookie.
func (a *API) logout(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	if err := a.closeSession(r); err != nil {
		return err
	}
	http.SetCookie(w, sessionCookie("", -1))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// closeSession ends the session of the request's cookie, if there is one.
func (a *API) closeSession(r *http.Request) error {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	return a.Accounts.CloseSession(r.Context(), sha256.Sum256([]byte(cookie.Value)))
}

// csrfOf derives a session's X-CSRF-Token from its cookie. The cookie cannot be derived
// from the token.
func csrfOf(session string) string {
	sum := sha256.Sum256([]byte("chatledger csrf " + session))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func sameSecret(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// The cost of hashing a password, as OWASP recommends for Argon2id: 19 MiB, 2 iterations,
// 1 core. Each hash contains its parameters, so they can be raised later.
const (
	argonMemory = 19 << 10 // KiB
	argonTimes  = 2
	argonLength = 32 // bytes
	saltLength  = 16 // bytes
	// maxVerifying bounds the passwords that are hashed at once, and so the memory for it.
	maxVerifying = 2
	// maxHashing bounds the logins that hash a password or wait for that, and so the time that a login
	// waits: a hash takes some 50 ms.
	maxHashing = 16
)

var verifying = make(chan struct{}, maxVerifying)

// hashing counts the logins that hash a password or wait for that.
type hashing struct{ logins atomic.Int64 }

// enter counts one more login. It returns false, without counting it, if there are maxHashing.
func (h *hashing) enter() bool {
	if h.logins.Add(1) <= maxHashing {
		return true
	}
	h.leave()
	return false
}

func (h *hashing) leave() { h.logins.Add(-1) }

// NewPassword returns a random password and the hash under which it is stored.
func NewPassword() (password, hash string) {
	password = rand.Text()
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(password), salt, argonTimes, argonMemory, 1, argonLength)
	return password, fmt.Sprintf("argon2id$%d$%d$%s$%s", argonMemory, argonTimes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

// verify reports whether a password has this hash. It takes the same time if hash is empty.
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
			a.Log.Error("stored password hash is invalid: "+
				"create a new password with `chatledger operator password`", "error", err)
			return false
		}
	}
	got := argon2.IDKey([]byte(password), salt, times, memory, 1, argonLength)
	return len(want) > 0 && subtle.ConstantTimeCompare(got, want) == 1
}
