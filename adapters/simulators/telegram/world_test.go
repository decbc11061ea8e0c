package telegramsim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

const testToken = "4242:secret"

// within bounds the wait of a test for something that should happen at once.
const within = 5 * time.Second

// world is the simulator behind a real HTTP server, with one bot.
type world struct {
	*Server
	t   *testing.T
	url string
}

func newWorld(t *testing.T, options Options) *world {
	t.Helper()
	if options.Bots == nil {
		options.Bots = []Bot{
			{Token: testToken, Username: "first_bot", Name: "First"},
			{Token: "77:other", Username: "second_bot", Name: "Second"},
		}
	}
	s := New(options)
	front := httptest.NewServer(s)
	t.Cleanup(func() {
		s.Close()
		front.Close()
	})
	return &world{Server: s, t: t, url: front.URL}
}

// reply is the envelope of an answer, decoded as a bot does.
type reply struct {
	OK          bool            `json:"ok"`
	Result      json.RawMessage `json:"result"`
	ErrorCode   int             `json:"error_code"`
	Description string          `json:"description"`
	Parameters  struct {
		RetryAfter      int64 `json:"retry_after"`
		MigrateToChatID int64 `json:"migrate_to_chat_id"`
	} `json:"parameters"`
}

// call makes a Bot API call with a JSON body. args are pairs of name and value.
func (w *world) call(method string, args ...any) reply {
	w.t.Helper()
	out, err := w.tryCall(method, args...)
	if err != nil {
		w.t.Fatalf("%s: %v", method, err)
	}
	return out
}

func (w *world) tryCall(method string, args ...any) (out reply, err error) {
	body := map[string]any{}
	for i := 0; i < len(args); i += 2 {
		body[args[i].(string)] = args[i+1]
	}
	response, err := http.Post(w.url+"/bot"+testToken+"/"+method, "application/json", bytes.NewReader(mustJSON(body)))
	if err != nil {
		return out, err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		return out, err
	}
	if !out.OK && out.ErrorCode != response.StatusCode {
		w.t.Errorf("%s: error_code %d but HTTP status %d", method, out.ErrorCode, response.StatusCode)
	}
	return out, nil
}

// mustCall makes a call that must succeed.
func (w *world) mustCall(method string, args ...any) reply {
	w.t.Helper()
	out := w.call(method, args...)
	if !out.OK {
		w.t.Fatalf("%s: %d %s", method, out.ErrorCode, out.Description)
	}
	return out
}

// control makes a control request and returns the status and the answer.
func (w *world) control(method, path string, body any) (int, map[string]any) {
	w.t.Helper()
	var source io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		source = bytes.NewReader([]byte(b))
	default:
		source = bytes.NewReader(mustJSON(b))
	}
	request, err := http.NewRequest(method, w.url+path, source)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	var out map[string]any
	var list []any
	text, _ := io.ReadAll(response.Body)
	if json.Unmarshal(text, &out) != nil && json.Unmarshal(text, &list) == nil {
		out = map[string]any{"list": list}
	}
	return response.StatusCode, out
}

// webhookFor starts a server with a handler, and returns its URL for setWebhook.
func (w *world) webhookFor(handle http.HandlerFunc) string {
	hook := httptest.NewServer(handle)
	w.t.Cleanup(func() {
		w.Close() // first, or a delivery in flight would block hook.Close
		hook.Close()
	})
	return hook.URL
}

// received collects the updates that a webhook has received.
type received struct {
	mu      sync.Mutex
	updates []gotUpdate
}

type gotUpdate struct {
	UpdateID int64 `json:"update_id"`
	Message  struct {
		MessageID int64  `json:"message_id"`
		Text      string `json:"text"`
		Chat      struct {
			ID int64 `json:"id"`
		} `json:"chat"`
		MigrateTo   int64 `json:"migrate_to_chat_id"`
		MigrateFrom int64 `json:"migrate_from_chat_id"`
	} `json:"message"`
	CallbackQuery struct {
		ID   string `json:"id"`
		Data string `json:"data"`
	} `json:"callback_query"`

	at     time.Time
	secret string
}

func (g *received) read(r *http.Request) gotUpdate {
	var u gotUpdate
	_ = json.NewDecoder(r.Body).Decode(&u)
	u.at, u.secret = time.Now(), r.Header.Get("X-Telegram-Bot-Api-Secret-Token")
	g.mu.Lock()
	defer g.mu.Unlock()
	g.updates = append(g.updates, u)
	return u
}

func (g *received) all() []gotUpdate {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]gotUpdate{}, g.updates...)
}
