package operators

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatledger/chatledger/commands"
)

// Attacks on the API, from outside and by operators.

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "CLAIM"}

func TestRoutes_EveryRole_Authorized(t *testing.T) {
	t.Parallel()
	tokens := map[string]commands.Role{"": "", "wrong": "", "vera": commands.Viewer, "jo": commands.Agent,
		"boss": commands.Admin}
	routes := newOffice().API.routes()
	for _, one := range routes {
		path := strings.NewReplacer("{chat}", "demo:42", "{bot}", "demo").Replace(one.path)
		served := map[string]commands.Role{}
		for _, other := range routes {
			if other.path == one.path {
				served[other.method] = other.needs
			}
		}
		for _, method := range methods {
			needs, there := served[method]
			for name, role := range tokens {
				o := newOffice()
				before := len(o.streams["chat-demo:42"])
				code := o.serve(request(method, path, name, `{}`)).Code
				switch {
				case !there:
					if code != http.StatusMethodNotAllowed {
						t.Errorf("%s %s as %q: %d", method, path, name, code)
					}
				case needs == noLogin:
				case role == "" && code != http.StatusUnauthorized,
					role != "" && !role.Includes(needs) && code != http.StatusForbidden,
					role != "" && role.Includes(needs) &&
						(code == http.StatusUnauthorized || code == http.StatusForbidden):
					t.Errorf("%s %s as %q: %d", method, path, name, code)
				}
				if n := len(o.streams["chat-demo:42"]); n > before && !(there && role.Includes(commands.Agent)) {
					t.Errorf("%s %s as %q wrote %d events", method, path, name, n-before)
				}
			}
		}
	}
}

// An operator of one bot, with any role, can neither read nor change chats of another bot.
func TestRoutes_OtherBot_Forbidden(t *testing.T) {
	t.Parallel()
	for _, one := range newOffice().API.routes() {
		if one.needs == noLogin {
			continue
		}
		for bot, mine := range map[string]bool{"demo": false, "shop": true} {
			o := newOffice()
			o.record("chat-shop:42", "customer", o.streams["chat-demo:42"][0].Event)
			path := strings.NewReplacer("{chat}", bot+":42", "{bot}", bot).Replace(one.path)
			named := path != one.path
			if !named {
				path += "?bot=" + bot
			}
			w := o.serve(request(one.method, path, "kim", `{}`))
			if denied := w.Code == http.StatusForbidden; denied == mine {
				t.Errorf("%s %s: %d %s", one.method, path, w.Code, w.Body)
			}
			if logged := strings.Contains(o.log.String(), "not an operator of this bot"); logged == mine {
				t.Errorf("%s %s: log %q", one.method, path, o.log.String())
			}
			if !mine && len(o.streams["chat-demo:42"]) > 1 {
				t.Errorf("%s %s appended events", one.method, path)
			}
		}
	}
	o := newOffice()
	if w := o.must(t, request("GET", "/queue", "kim", ""), http.StatusOK); strings.Contains(w.Body.String(), "demo") {
		t.Errorf("the queue has another bot's tickets: %s", w.Body)
	}
	if w := o.must(t, request("GET", "/queue", "jo", ""), http.StatusOK); !strings.Contains(w.Body.String(), "demo") {
		t.Errorf("an operator of all bots sees the queue %s", w.Body)
	}
}

// A browser sends the cookie with requests of any site's page. Only our page can set the header.
func TestWrite_CookieWithoutCSRFToken_Forbidden(t *testing.T) {
	t.Parallel()
	for _, one := range newOffice().API.routes() {
		if one.method == http.MethodGet || one.needs == noLogin {
			continue
		}
		o := newOffice()
		cookie, _ := o.logIn(t)
		_, another := o.logIn(t) // another session's token is not valid here
		for _, csrf := range []string{"", "x", another} {
			o.must(t, inBrowser(cookie, csrf, one.method, strings.Replace(one.path, "{chat}", "demo:42", 1), `{}`),
				http.StatusForbidden)
		}
		o.must(t, inBrowser(cookie, "", "GET", "/me", ""), http.StatusOK)
	}
}

func TestLogin_FormContentType_Rejected(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.logIn(t)
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded",
		"multipart/form-data; boundary=x", "text/plain; application/json"} {
		r := request("POST", "/session", "", `{"name": "jo", "password": "right"}`)
		r.Header.Set("Content-Type", kind)
		if w := o.must(t, r, http.StatusUnsupportedMediaType); len(w.Result().Cookies()) > 0 {
			t.Errorf("%q: a session was opened", kind)
		}
	}
}

// A login never adopts a planted cookie (session fixation) and ends the previous session.
func TestLogin_ExistingCookie_NewSession(t *testing.T) {
	t.Parallel()
	o := newOffice()
	former, _ := o.logIn(t)
	for _, planted := range []*http.Cookie{former, {Name: cookieName, Value: "planted"}} {
		r := request("POST", "/session", "", `{"name": "jo", "password": "right"}`)
		r.AddCookie(planted)
		fresh := o.must(t, r, http.StatusOK).Result().Cookies()[0]
		if fresh.Value == planted.Value {
			t.Errorf("the login adopted the cookie %s", planted.Value)
		}
		o.must(t, inBrowser(planted, "", "GET", "/me", ""), http.StatusUnauthorized)
		o.must(t, inBrowser(fresh, "", "GET", "/me", ""), http.StatusOK)
	}
}

func TestToken_InURLOrBody_Ignored(t *testing.T) {
	t.Parallel()
	o := newOffice()
	for _, query := range []string{"?token=jo", "?access_token=jo", "?authorization=Bearer+jo", "?" + cookieName + "=jo"} {
		o.must(t, request("GET", "/me"+query, "", ""), http.StatusUnauthorized)
	}
	o.must(t, request("POST", "/chats/demo:42/notes?access_token=jo", "", `{"text": "hm", "access_token": "jo"}`),
		http.StatusUnauthorized)
	for _, header := range []string{"jo", "Basic jo", "bearer jo", "Bearer", "Bearer  jo", "Bearer jo "} {
		r := request("GET", "/me", "", "")
		r.Header.Set("Authorization", header)
		o.must(t, r, http.StatusUnauthorized)
	}
	if strings.Contains(o.log.String(), "=jo") {
		t.Error("the log contains a query string")
	}
}

// Concurrent guesses get no more attempts than guesses in sequence.
func TestLogin_ConcurrentGuesses_Limited(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.logIn(t)
	const many = 200
	codes := make(chan int, many)
	var guessing sync.WaitGroup
	o.Guard = unlimited{}
	for range many {
		guessing.Go(func() { codes <- o.serve(loginAs("jo", "guess")).Code })
	}
	guessing.Wait()
	close(codes)
	tried := 0
	for code := range codes {
		if code == http.StatusUnauthorized {
			tried++
		}
	}
	if tried == 0 || tried > maxFailures {
		t.Errorf("%d of %d guesses were checked, want 1 to %d", tried, many, maxFailures)
	}
}

// Neither successful logins nor logins during a database outage count as failures.
func TestLogin_NotFailed_NotCounted(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.logIn(t)
	for range 3 * maxFailures {
		o.must(t, request("POST", "/session", "", `{"name": "jo", "password": "right"}`), http.StatusOK)
	}
	o.down = true
	for range 3 * maxFailures {
		o.must(t, request("POST", "/session", "", `{"name": "jo", "password": "right"}`), http.StatusServiceUnavailable)
	}
	o.down = false
	o.must(t, request("POST", "/session", "", `{"name": "jo", "password": "right"}`), http.StatusOK)
}

// A chat can be named as in the queue, or by its stream.
func TestChat_StreamName_SameChat(t *testing.T) {
	t.Parallel()
	o := newOffice()
	var bodies []string
	for _, name := range []string{"demo:42", "chat-demo:42"} {
		r := httptest.NewRequest("GET", "http://x"+prefix+"/chats/"+name, nil)
		r.Header.Set("Authorization", "Bearer jo")
		w := o.serve(r)
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		bodies = append(bodies, w.Body.String())
	}
	if bodies[0] != bodies[1] {
		t.Errorf("the names lead to different answers: %q", bodies)
	}
}

// No name of a chat can lead to a stream that is not a chat, such as a bot's.
func TestChat_InvalidName_NotFound(t *testing.T) {
	t.Parallel()
	o := newOffice()
	o.record("bot-demo", "customer", o.streams["chat-demo:42"][0].Event)
	for _, name := range []string{"bot-demo", "chat-bot-demo", "chat-chat-demo:42", "demo:42:42", "..%2Fdemo:42",
		"demo:42%00", "demo:42%0a", "demo:+42", "demo: 42", "demo:٤٢", "-demo:42"} {
		r := httptest.NewRequest("GET", "http://x"+prefix+"/me", nil)
		r.Header.Set("Authorization", "Bearer jo")
		r.URL.Path, r.URL.RawPath, r.RequestURI = "", "", ""
		u, err := r.URL.Parse(prefix + "/chats/" + strings.ReplaceAll(name, " ", "%20"))
		if err != nil {
			t.Fatal(err)
		}
		r.URL = u
		if w := o.serve(r); w.Code == http.StatusOK {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
}

// unlimited is a guard that never limits.
type unlimited struct{}

func (unlimited) Authenticated(*http.Request)                {}
func (unlimited) Failed(*http.Request, string) time.Duration { return 0 }
func (unlimited) Limited(*http.Request) time.Duration        { return 0 }
