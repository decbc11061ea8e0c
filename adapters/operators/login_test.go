package operators

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/chatledger/chatledger/adapters/guard"
)

func loginAs(name, password string) *http.Request {
	body, err := json.Marshal(map[string]string{"name": name, "password": password})
	if err != nil {
		panic(err)
	}
	return request("POST", "/session", "", string(body))
}

// After the guard has limited a source, its logins are rejected without a lookup and a hash.
func TestLogin_LimitedSource_NotHashed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the guard's counts decrease with time
		o := newOffice()
		o.Guard = guard.New(guard.Config{Log: slog.New(slog.DiscardHandler)})
		statuses := map[int]int{}
		for n := range 60 {
			name := fmt.Sprint("name", n)
			o.password[name] = hashOf("right")
			statuses[o.serve(loginAs(name, "wrong")).Code]++
		}
		if o.asked != 20 || statuses[http.StatusUnauthorized] != 20 || statuses[http.StatusTooManyRequests] != 40 {
			t.Errorf("%d of 60 wrong logins were checked, want 20; answers by status: %v", o.asked, statuses)
		}
	})
}

// The number of logins that hash a password or wait for that is bounded. The next one gets 503 and Retry-After.
func TestLogin_HashingBusy_RetryAfter(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.logIn(t)
	for range maxHashing {
		if !o.hashing.enter() {
			t.Fatal("hashing has fewer than maxHashing places")
		}
	}
	if w := o.must(t, loginAs("jo", "right"), http.StatusServiceUnavailable); w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	o.hashing.leave()
	o.must(t, loginAs("jo", "right"), http.StatusOK)
}

// An invalid name gets the same answer as a wrong password, without a hash.
func TestLogin_InvalidName_NotHashed(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.logIn(t)
	wrong := o.must(t, loginAs("jo", "wrong"), http.StatusUnauthorized)
	for range maxHashing {
		o.hashing.enter() // a login that needs a hash now gets 503
	}
	for _, name := range []string{"", "Jo", "jo ", "jo\x00", "ј" + "o", strings.Repeat("j", 65), "../jo", "-jo"} {
		w := o.must(t, loginAs(name, "wrong"), http.StatusUnauthorized)
		if w.Body.String() != wrong.Body.String() || len(w.Header()) != len(wrong.Header()) {
			t.Errorf("%q: %s %v, a wrong password: %s %v", name, w.Body, w.Header(), wrong.Body, wrong.Header())
		}
	}
}

// After a name is limited, further guesses for it still count against their source.
func TestLogin_LimitedName_SourceCounted(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.password["jo"] = hashOf("right")
	for range 3 * maxFailures {
		o.serve(loginAs("jo", "wrong"))
	}
	if o.refused != 3*maxFailures {
		t.Errorf("%d of %d failed logins were counted against the source", o.refused, 3*maxFailures)
	}
}
