package telegram_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/adapters/guard/guardtest"
	"github.com/chatledger/chatledger/adapters/telegram"
)

// 900 sources send 1 MiB each with a wrong relay signature. The server holds at most 32 MiB of these
// bodies in memory, and still stores the updates that Telegram sends with the secret and those of a
// relay that has sent a valid signature before.
func TestWebhook_WronglySignedFlood_Bounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rc := &receiver{}
		wh := &telegram.Webhook{
			Receivers: rc, Handler: rc, Inbox: rc, Quarantine: rc, Observer: rc, Log: slog.New(slog.DiscardHandler),
			Guard: guard.New(guard.Config{Log: slog.New(slog.DiscardHandler)}),
		}
		routes := mux.NewRouter()
		wh.Routes(routes)
		post := func(bot, name, value string, body io.Reader) *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/webhook/"+bot, body)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set(name, value)
			return r
		}
		genuine := func(when string) {
			for _, r := range []*http.Request{
				signed(post("relayed", "X", "", strings.NewReader(hello)), "relay-key", hello, time.Now()),
				post("demo", token, "new-secret", strings.NewReader(hello)),
			} {
				w := httptest.NewRecorder()
				if routes.ServeHTTP(w, r); w.Code != http.StatusOK {
					t.Errorf("%s the flood: an update to %s answered %d, want 200", when, r.URL.Path, w.Code)
				}
			}
		}
		genuine("before")
		forged := func(i int, body io.Reader) *http.Request {
			r := signed(post("relayed", "X", "", body), "guess", hello, time.Now())
			r.RemoteAddr = guardtest.Address(i)
			return r
		}
		read, answers := guardtest.Flood(t, routes, 900, 1<<20, forged, func() { genuine("during") })
		if read > 32<<20 || answers[http.StatusServiceUnavailable] < 800 {
			t.Errorf("%d bytes of unverified bodies in memory, want at most 32 MiB; answers by status: %v", read, answers)
		}
	})
}
