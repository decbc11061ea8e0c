package operators

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/domain/chat"
)

// logIn logs jo in and returns the session cookie and its CSRF token.
func (o *office) logIn(t *testing.T) (*http.Cookie, string) {
	t.Helper()
	o.password["jo"] = hashOf("right")
	w := o.must(t, request("POST", "/session", "", `{"name": "jo", "password": "right"}`), 200)
	var answer struct {
		CSRF string `json:"csrf_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(w.Result().Cookies()) != 1 {
		t.Fatalf("%s %v", w.Body, err)
	}
	return w.Result().Cookies()[0], answer.CSRF
}

// inBrowser returns a request as a browser sends it.
func inBrowser(cookie *http.Cookie, csrf, method, path, body string) *http.Request {
	r := request(method, path, "", body)
	r.AddCookie(cookie)
	if csrf != "" {
		r.Header.Set(csrfHeader, csrf)
	}
	return r
}

func TestSession_LoginActLogout_Works(t *testing.T) {
	t.Parallel()
	o := newOffice()
	cookie, csrf := o.logIn(t)
	if !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" ||
		!strings.HasPrefix(cookie.Name, "__Host-") {
		t.Errorf("cookie %s", cookie)
	}
	if w := o.must(t, inBrowser(cookie, "", "GET", "/me", ""), 200); !strings.Contains(w.Body.String(), `"jo"`) {
		t.Errorf("%s", w.Body)
	}
	for _, wrong := range []string{"", "x", cookie.Value} {
		o.must(t, inBrowser(cookie, wrong, "POST", "/chats/demo:42/notes", `{"text": "hm"}`), 403)
	}
	o.must(t, inBrowser(cookie, csrf, "POST", "/chats/demo:42/notes", `{"text": "hm"}`), 200)
	o.must(t, inBrowser(cookie, csrf, "DELETE", "/session", ""), 204)
	o.must(t, inBrowser(cookie, csrf, "GET", "/me", ""), 401)
}

func TestLogin_RepeatedFailures_Limited(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.logIn(t)
	for range maxFailures {
		o.must(t, request("POST", "/session", "", `{"name": "jo", "password": "wrong"}`), 401)
	}
	w := o.must(t, request("POST", "/session", "", `{"name": "jo", "password": "right"}`), 429)
	if after := w.Header().Get("Retry-After"); after != "300" {
		t.Errorf("Retry-After %q, want 300", after)
	}
	o.must(t, request("POST", "/session", "", `{"name": "ann", "password": "wrong"}`), 401)
	o.now = o.now.Add(failureWindow)
	o.must(t, request("POST", "/session", "", `{"name": "jo", "password": "right"}`), 200)
}

func TestToken_RepeatedFailures_Limited(t *testing.T) {
	t.Parallel()
	o := newOffice()
	for n := range 5 * maxFailed {
		o.serve(request("GET", "/me", fmt.Sprint("guess", n), ""))
	}
	o.must(t, request("GET", "/me", "guess", ""), 429)
	o.must(t, request("POST", "/session", "", `{"name": "guess", "password": "guess"}`), 429)
	o.must(t, request("GET", "/me", "jo", ""), 200)
	if lines := strings.Count(o.log.String(), "not authenticated"); lines != maxFailed ||
		strings.Contains(o.log.String(), "guess") {
		t.Errorf("%d lines in the log, want %d without a token:\n%s", lines, maxFailed, o.log.String())
	}
}

func TestPassword_Hash_Verified(t *testing.T) {
	t.Parallel()
	o := newOffice()
	password, hash := NewPassword()
	other, otherHash := NewPassword()
	if password == other || hash == otherHash || strings.Contains(hash, password) || len(password) < 20 {
		t.Errorf("%s %s", password, hash)
	}
	for _, c := range []struct {
		hash, password string
		right          bool
	}{
		{hash, password, true}, {hash, other, false}, {hash, "", false}, {"", "", false}, {"", password, false},
		{"argon2id$x$y$z$", "", false}, {"argon2id$64$1$$", "", false},
	} {
		if got := o.verify(c.hash, c.password); got != c.right {
			t.Errorf("hash %q, password %q: %v", c.hash, c.password, got)
		}
	}
}

func TestAnswers_SecurityHeaders_Set(t *testing.T) {
	t.Parallel()
	o := newOffice()
	for path, status := range map[string]int{"/me": 200, "/chats/demo:7": 404, "/nowhere": 404} {
		w := o.must(t, request("GET", path, "jo", ""), status)
		for name, want := range map[string]string{
			"Cache-Control":           "no-store",
			"X-Content-Type-Options":  "nosniff",
			"X-Frame-Options":         "DENY",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			"Referrer-Policy":         "no-referrer",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s: %q", path, name, got)
			}
		}
	}
	w := o.must(t, request("PUT", "/me", "jo", ""), http.StatusMethodNotAllowed)
	if w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s", w.Body)
	}
}

// The answer to an act is made from the state on which the act was decided. So the work does not grow with
// the chat.
func TestAct_LongChat_ReadsOneEvent(t *testing.T) {
	t.Parallel()
	o := newOffice()
	for range 100 {
		o.record("chat-demo:42", "customer", chat.MessageReceived{Date: noon, Text: "hello"})
	}
	o.must(t, request("POST", "/chats/demo:42/claim", "jo", `{}`), http.StatusOK)
	if o.read != 1 {
		t.Errorf("an act read %d events, want the first one only", o.read)
	}
}

// The retry of an act gets the first answer, even if the chat has changed since.
func TestAct_SameKey_SameAnswer(t *testing.T) {
	t.Parallel()
	o := newOffice()
	send := func(path, key, body string, status int) *httptest.ResponseRecorder {
		r := request("POST", "/chats/demo:42/"+path, "jo", body)
		r.Header.Set("Idempotency-Key", key)
		return o.must(t, r, status)
	}
	first := map[string]string{}
	acts := [][2]string{
		{"claim", `{}`},
		{"notes", `{"text": "hm"}`},
		{"tags", `{"add": ["vip"]}`},
		{"priority", `{"priority": "high"}`},
		{"assign", `{"assignee": "ann"}`},
		{"reply", `{"fence": 1, "text": "hi"}`},
		{"resolve", `{"fence": 1}`},
		{"resolve", `{}`},
		{"reopen", `{}`},
		{"hand-back", `{}`},
	}
	for n, act := range acts {
		first[fmt.Sprint(n)] = send(act[0], fmt.Sprint(n), act[1], 200).Body.String()
		o.now = o.now.Add(10 * time.Second)
	}
	events := len(o.streams["chat-demo:42"])
	for n, act := range acts {
		again := send(act[0], fmt.Sprint(n), strings.ReplaceAll(act[1], " ", "\n"), 200).Body.String()
		if again != first[fmt.Sprint(n)] {
			t.Errorf("the retry of %s is answered %s\nfirst: %s", act[0], again, first[fmt.Sprint(n)])
		}
	}
	if len(o.streams["chat-demo:42"]) != events {
		t.Error("the retries appended events")
	}
	send("reopen", "0", `{}`, 422) // the key of the claim
}

func TestEntries_Pages_EveryEntryOnce(t *testing.T) {
	t.Parallel()
	o := newOffice()
	for n := range 1234 {
		o.record("chat-demo:42", "customer", chat.Understood{}, chat.MessageReceived{Text: fmt.Sprint(n), Date: noon})
	}
	var texts []string
	for path := "/chats/demo:42/entries?limit=100"; path != ""; {
		var page struct {
			Entries []struct{ Text string }
			Before  int64
		}
		if err := json.Unmarshal(o.must(t, request("GET", path, "vera", ""), 200).Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		for i := len(page.Entries) - 1; i >= 0; i-- {
			texts = append(texts, page.Entries[i].Text)
		}
		if path = ""; page.Before > 0 {
			path = fmt.Sprint("/chats/demo:42/entries?limit=100&before=", page.Before)
		}
	}
	if len(texts) != 1235 || texts[0] != "1233" || texts[1234] != "hello" {
		t.Fatalf("%d entries, from %s to %s", len(texts), texts[0], texts[len(texts)-1])
	}
	for n, text := range texts[:1234] {
		if text != fmt.Sprint(1233-n) {
			t.Fatalf("entry %d is %s", n, text)
		}
	}
}
