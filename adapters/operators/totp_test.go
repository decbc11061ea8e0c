package operators

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// The test vectors of RFC 6238, appendix B, for SHA-1.
func TestTOTP_RFC6238_Vectors(t *testing.T) {
	t.Parallel()
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037",
		20000000000: "65353130",
	} {
		if got := totp(secret, at/30, 8); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
}

func TestTOTP_CodeNearby_Accepted(t *testing.T) {
	t.Parallel()
	secret, uri := NewTOTP("jo")
	code := totp(secret, noon.Unix()/30, totpDigits)
	for after, want := range map[time.Duration]bool{
		0: true, 29 * time.Second: true, 30 * time.Second: true, -time.Second: true,
		-31 * time.Second: false, time.Minute: false,
	} {
		if _, right := totpStepOf(secret, code, noon.Add(after)); right != want {
			t.Errorf("after %v: %v", after, right)
		}
	}
	for _, wrong := range []string{"", "0", code + "0", " " + code, code[:5]} {
		if _, right := totpStepOf(secret, wrong, noon); right {
			t.Errorf("the code %q is accepted", wrong)
		}
	}
	if !strings.HasPrefix(uri, "otpauth://totp/chatledger:jo?") || !strings.Contains(uri, "secret="+TOTPText(secret)) {
		t.Errorf("URI %s", uri)
	}
}

// An operator with a second factor needs the password and a code. Each code works once. The answer does not
// say which of the two is wrong.
func TestLogin_TOTP_PasswordAndCodeOnce(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.logIn(t)
	secret, _ := NewTOTP("jo")
	o.totp["jo"] = secret
	login := func(password, code string, status int) string {
		t.Helper()
		body, err := json.Marshal(map[string]string{"name": "jo", "password": password, "code": code})
		if err != nil {
			t.Fatal(err)
		}
		return o.must(t, request("POST", "/session", "", string(body)), status).Body.String()
	}
	code := totp(secret, noon.Unix()/30, totpDigits)
	answers := map[string]bool{
		login("right", "", http.StatusUnauthorized):       true,
		login("right", "000000", http.StatusUnauthorized): true,
		login("wrong", code, http.StatusUnauthorized):     true,
		login("wrong", "", http.StatusUnauthorized):       true,
	}
	if len(answers) != 1 {
		t.Errorf("the answers differ: %v", answers)
	}
	login("right", code, http.StatusOK)
	login("right", code, http.StatusUnauthorized) // the same code again
	o.now = o.now.Add(totpStep)
	login("right", totp(secret, o.now.Unix()/30, totpDigits), http.StatusOK)
	login("right", code, http.StatusUnauthorized) // an older code, although within the drift
}

// Guesses of a code are limited like those of a password.
func TestLogin_TOTPGuesses_Limited(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.logIn(t)
	o.totp["jo"], _ = NewTOTP("jo")
	for range maxFailures {
		o.must(t, loginAs("jo", "right"), http.StatusUnauthorized)
	}
	o.must(t, loginAs("jo", "right"), http.StatusTooManyRequests)
}
