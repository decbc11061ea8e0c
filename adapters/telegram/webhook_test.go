package telegram_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

const (
	token  = "X-Telegram-Bot-Api-Secret-Token"
	hello  = `{"update_id":17,"message":{"message_id":1,"date":100,"chat":{"id":7,"type":"private"},"text":"hello"}}`
	within = 5 * time.Second
)

// receiver is a webhook that only records what it should store.
type receiver struct {
	*httptest.Server
	taken atomic.Int64 // bytes read from all connections

	mu          sync.Mutex
	handled     []commands.Request
	quarantined []string
	observed    []string
	fail        error // of Handle and Quarantine
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	rc := &receiver{}
	wh := &telegram.Webhook{
		Receivers: rc, Handler: rc, Inbox: rc, Quarantine: rc, Observer: rc, Log: slog.New(slog.DiscardHandler),
	}
	routes := mux.NewRouter()
	wh.Routes(routes)
	rc.Server = httptest.NewUnstartedServer(routes)
	rc.Listener = counting{rc.Listener, &rc.taken}
	rc.Start()
	t.Cleanup(rc.Close)
	return rc
}

// Find implements telegram.Receivers.
func (rc *receiver) Find(bot, path string) (telegram.Bot, bool) {
	secrets := func(all ...string) (digests []telegram.Digest) {
		for _, secret := range all {
			digests = append(digests, telegram.DigestOf(secret))
		}
		return digests
	}
	found, ok := map[string]telegram.Bot{
		"demo/":    {Name: "demo", Secrets: secrets("new-secret", "old-secret")},
		"demo/v2":  {Name: "demo", Secrets: secrets("v2-secret")},
		"relayed/": {Name: "relayed", RelayKey: "relay-key"},
		"closed/":  {Name: "closed"},
		"blank/":   {Name: "blank", Secrets: secrets("")},
	}[bot+"/"+path]
	return found, ok
}

// Handle implements telegram.Handler.
func (rc *receiver) Handle(_ context.Context, r commands.Request) (commands.Result, error) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.fail != nil {
		return commands.Result{}, rc.fail
	}
	rc.handled = append(rc.handled, r)
	for _, before := range rc.handled[:len(rc.handled)-1] {
		if before.Update.ID == r.Update.ID {
			return commands.Result{}, nil
		}
	}
	return commands.Result{First: 1, Events: []domain.Event{r.Command.(chat.Receive).Event}}, nil
}

// Differs implements telegram.Inbox.
func (rc *receiver) Differs(_ context.Context, _ string, id int64, body []byte) (bool, error) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for _, before := range rc.handled {
		if before.Update.ID == id {
			return string(before.Update.Raw) != string(body), nil
		}
	}
	return false, nil
}

// Add implements telegram.Quarantine.
func (rc *receiver) Add(_ context.Context, bot string, body []byte, reason string) error {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.fail != nil {
		return rc.fail
	}
	if reason == "" {
		return errors.New("quarantined without a reason")
	}
	rc.quarantined = append(rc.quarantined, bot+" "+string(body))
	return nil
}

// Webhook implements telegram.Observer.
func (rc *receiver) Webhook(bot string, status int, _ time.Duration) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.observed = append(rc.observed, fmt.Sprintf("%s %d", bot, status))
}

// counting counts the bytes read from the connections of a listener.
type counting struct {
	net.Listener
	read *atomic.Int64
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	return countedConn{conn, c.read}, err
}

type countedConn struct {
	net.Conn
	read *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// post sends a body as Telegram does, after change has modified the request.
func (rc *receiver) post(t *testing.T, body string, change func(*http.Request)) *http.Response {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, rc.URL+"/webhook/demo", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(token, "new-secret")
	if change != nil {
		change(r)
	}
	answer, err := rc.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if said, err := io.ReadAll(answer.Body); err != nil || len(said) > 0 {
		t.Errorf("%s: the answer has a body (%q, %v): Telegram would run it as a method", r.URL.Path, said, err)
	}
	return answer
}

// kept waits until n requests were observed and returns what was stored and observed. A
// request is observed after its answer.
func (rc *receiver) kept(t *testing.T, n int) (handled []commands.Request, quarantined, observed []string) {
	t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(time.Millisecond) {
		rc.mu.Lock()
		handled, quarantined, observed = rc.handled, rc.quarantined, rc.observed
		rc.mu.Unlock()
		if len(observed) >= n {
			return handled, quarantined, observed
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d requests observed, want %d", len(observed), n)
		}
	}
}

func path(p string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = p } }
func secret(s string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(token, s) }
}
func content(kind string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Content-Type", kind) }
}

func TestWebhook_BadInput_RejectedAndCounted(t *testing.T) {
	t.Parallel()
	long := `{"update_id":17,"message":{"text":"` + strings.Repeat("x", 1<<20) + `"}}`
	for name, c := range map[string]struct {
		body     string
		change   func(*http.Request)
		status   int
		observed string
	}{
		"wrong secret":           {hello, secret("guess"), 401, "demo 401"},
		"the secret in capitals": {hello, secret("NEW-SECRET"), 401, "demo 401"},
		"the secret and more":    {hello, secret("new-secret1"), 401, "demo 401"},
		"no secret":              {hello, func(r *http.Request) { r.Header.Del(token) }, 401, "demo 401"},
		"empty secret":           {hello, secret(""), 401, "demo 401"},
		"another bot's secret":   {hello, path("/webhook/closed"), 401, "closed 401"},
		"bot without a secret, none sent": {hello, func(r *http.Request) {
			r.URL.Path = "/webhook/closed"
			r.Header.Del(token)
		}, 401, "closed 401"},
		"bot with an empty secret": {hello, func(r *http.Request) { r.URL.Path = "/webhook/blank"; r.Header.Set(token, "") },
			401, "blank 401"},
		"unknown bot": {hello, path("/webhook/nobody"), 404, " 404"},
		"unknown bot, no secret": {hello, func(r *http.Request) { r.URL.Path = "/webhook/nobody"; r.Header.Del(token) },
			404, " 404"},
		"GET":                  {"", func(r *http.Request) { r.Method = http.MethodGet }, 405, "demo 405"},
		"PUT":                  {hello, func(r *http.Request) { r.Method = http.MethodPut }, 405, "demo 405"},
		"a form":               {hello, content("application/x-www-form-urlencoded"), 415, "demo 415"},
		"text":                 {hello, content("text/plain"), 415, "demo 415"},
		"almost JSON":          {hello, content("application/jsonp"), 415, "demo 415"},
		"no content type":      {hello, func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "demo 415"},
		"over 1 MiB":           {long, nil, 413, "demo 413"},
		"over 1 MiB in chunks": {long, func(r *http.Request) { r.ContentLength = -1 }, 413, "demo 413"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rc := newReceiver(t)
			answer := rc.post(t, c.body, c.change)
			if answer.StatusCode != c.status {
				t.Errorf("answered %d, want %d", answer.StatusCode, c.status)
			}
			if allow := answer.Header.Get("Allow"); (c.status == 405) != (allow == "POST") {
				t.Errorf("Allow: %q with %d", allow, answer.StatusCode)
			}
			handled, quarantined, observed := rc.kept(t, 1)
			if len(handled) > 0 || len(quarantined) > 0 {
				t.Errorf("kept %d updates and %d bodies", len(handled), len(quarantined))
			}
			if len(observed) != 1 || observed[0] != c.observed {
				t.Errorf("counted as %q, want %q", observed, c.observed)
			}
		})
	}
}

func TestWebhook_Update_Accepted(t *testing.T) {
	t.Parallel()
	almost := strings.Replace(hello, "hello", strings.Repeat("x", 1<<20-len(hello)+len("hello")), 1)
	for name, c := range map[string]struct {
		body   string
		change func(*http.Request)
	}{
		"as it is":         {hello, nil},
		"with a charset":   {hello, content("application/json; charset=utf-8")},
		"in capitals":      {hello, content("Application/JSON")},
		"the old secret":   {hello, secret("old-secret")},
		"in chunks":        {hello, func(r *http.Request) { r.ContentLength = -1 }},
		"1 MiB to a byte":  {almost, nil},
		"with HTTP/1.0 on": {hello, func(r *http.Request) { r.Close = true }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rc := newReceiver(t)
			if answer := rc.post(t, c.body, c.change); answer.StatusCode != http.StatusOK {
				t.Fatalf("answered %d", answer.StatusCode)
			}
			handled, quarantined, observed := rc.kept(t, 1)
			if len(handled) != 1 || len(quarantined) != 0 || observed[0] != "demo 200" {
				t.Fatalf("%d updates, %d bodies, counted as %q", len(handled), len(quarantined), observed)
			}
			if r := handled[0]; r.Stream != "chat-demo:7" || string(r.Update.Raw) != c.body || r.At.IsZero() {
				t.Errorf("stream %s, at %v, kept %d of %d bytes", r.Stream, r.At, len(r.Update.Raw), len(c.body))
			}
		})
	}
}

func TestWebhook_NotAnUpdate_Quarantined(t *testing.T) {
	t.Parallel()
	for _, body := range []string{``, `not JSON`, `{"update_id":`, `[1]`, `{}`, `{"message":{"text":"hi"}}`,
		`{"update_id":"17"}`, `{"update_id":17.5}`, "\x00\xff\xfe"} {
		rc := newReceiver(t)
		if answer := rc.post(t, body, nil); answer.StatusCode != http.StatusOK {
			t.Errorf("%q: answered %d; Telegram would retry it for a day", body, answer.StatusCode)
		}
		handled, quarantined, _ := rc.kept(t, 1)
		if len(handled) != 0 || len(quarantined) != 1 || quarantined[0] != "demo "+body {
			t.Errorf("%q: %d updates, quarantine %q", body, len(handled), quarantined)
		}
	}
}

func TestWebhook_StoreFails_RetryAfter(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{"an update": hello, "a body for quarantine": "not JSON"} {
		rc := newReceiver(t)
		rc.fail = errors.New("no connection to the database")
		answer := rc.post(t, body, nil)
		after, err := strconv.Atoi(answer.Header.Get("Retry-After"))
		if answer.StatusCode != http.StatusServiceUnavailable || err != nil || after < 1 || after > 60 {
			t.Errorf("%s: answered %d, Retry-After %q", name, answer.StatusCode, answer.Header.Get("Retry-After"))
		}
	}
}

// An unauthorized body of 10 MB is not read: the answer is sent first, and then the
// connection is closed.
func TestWebhook_UnauthorizedLargeBody_Unread(t *testing.T) {
	t.Parallel()
	const size = 10_000_000
	for name, c := range map[string]struct {
		target, framing string
		status          int
		most            int64
	}{
		"wrong secret": {"/webhook/demo", fmt.Sprintf("Content-Length: %d", size), 401, 64 << 10},
		"unknown bot":  {"/webhook/nobody", fmt.Sprintf("Content-Length: %d", size), 404, 64 << 10},
		"in chunks":    {"/webhook/demo", "Transfer-Encoding: chunked", 401, 512 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rc := newReceiver(t)
			conn, err := net.Dial("tcp", rc.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(within))
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s: guess\r\n%s\r\n\r\n",
				c.target, token, c.framing)
			sending := make(chan struct{})
			go func() {
				defer close(sending)
				body := bytes.Repeat([]byte{'x'}, size)
				if strings.HasSuffix(c.framing, "chunked") {
					fmt.Fprintf(conn, "%x\r\n", size)
				}
				conn.Write(body) // ends when the server closes the connection
			}()
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != c.status || !answer.Close {
				t.Errorf("answered %d, closing: %v", answer.StatusCode, answer.Close)
			}
			conn.Close()
			<-sending
			rc.Close() // waits for the connection's end
			if taken := rc.taken.Load(); taken > c.most {
				t.Errorf("the server read %d bytes, want at most %d", taken, c.most)
			}
		})
	}
}

// A bot with an outdated secret sends small bodies: its connection stays open.
func TestWebhook_UnauthorizedSmallBody_StaysOpen(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t)
	for range 3 {
		if answer := rc.post(t, hello, secret("guess")); answer.StatusCode != 401 || answer.Close {
			t.Fatalf("answered %d, closing: %v", answer.StatusCode, answer.Close)
		}
	}
}

// A repeated update_id with another content is kept in quarantine; a redelivery is not.
func TestWebhook_SameIDOtherContent_Quarantined(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t)
	const first = `{"update_id":950000010,"message":{"message_id":10,"date":1796072111,"chat":{"id":6302},"text":"1001?"}}`
	const second = `{"update_id":950000010,"message":{"message_id":77,"date":1796072141,` +
		`"chat":{"id":6303},"text":"1002?"}}`
	for _, body := range []string{first, first, second} {
		if answer := rc.post(t, body, nil); answer.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", body, answer.StatusCode)
		}
	}
	if got := strings.Join(rc.quarantined, "\n"); got != "demo "+second {
		t.Errorf("in quarantine: %s", got)
	}
}
