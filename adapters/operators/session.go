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

// login opens a session. It takes the same time for unknown names as for known ones.
func (a *API) login(w http.ResponseWriter, r *http.Request, _ commands.Operator) error {
	// HTML forms cannot send JSON, so a foreign page cannot log anybody in.
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
		return problem{
			Status: http.StatusTooManyRequests,
			Detail: "too many failed logins under this name: wait, or use a token",
			after:  wait,
		}
	}
	right, err := a.isPassword(r.Context(), given.Name, given.Password)
	if err != nil || right {
		a.logins.forgive(given.Name)
	}
	if err != nil {
		return err
	}
	if !right {
		return a.deny(r, "wrong name or password; `chatledger operator password` creates a new password")
	}
	a.Guard.Authenticated(r)
	if err := a.closeSession(r); err != nil {
		return err
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	value := base64.RawURLEncoding.EncodeToString(secret)
	if err := a.Accounts.OpenSession(r.Context(), given.Name, sha256.Sum256([]byte(value)), sessionLasts); err != nil {
		return err
	}
	http.SetCookie(w, sessionCookie(value, int(sessionLasts.Seconds())))
	return write(w, struct {
		Name string `json:"name"`
		CSRF string `json:"csrf_token"`
	}{given.Name, csrfOf(value)})
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

// isPassword reports whether password is the operator's. It waits until one of the
// maxVerifying slots for hashing is free.
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
	// maxVerifying bounds how many passwords are hashed at once, and so the memory.
	maxVerifying = 2
)

var verifying = make(chan struct{}, maxVerifying)

// NewPassword returns a random password and the hash under which it is stored.
func NewPassword() (password, hash string) {
	password = rand.Text()
	salt := make([]byte, saltLength)
	rand.Read(salt) // never fails
	sum := argon2.IDKey([]byte(password), salt, argonTimes, argonMemory, 1, argonLength)
	return password, fmt.Sprintf("argon2id$%d$%d$%s$%s", argonMemory, argonTimes,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum))
}

// verify reports whether a password has this hash. It takes the same time when hash is empty.
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
