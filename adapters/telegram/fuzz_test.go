package telegram_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// FuzzWebhook: what comes with a valid secret or signature is stored as an update or in quarantine, and
// acknowledged; what comes without is neither.
func FuzzWebhook(f *testing.F) {
	for _, body := range fixtures(f) {
		f.Add(body, "wrong", "sha256=00", "0")
	}
	for _, body := range []string{hello, ``, `null`, `[]`, `{"update_id":1e999}`,
		`{"update_id":1,"message":{"chat":{"id":9223372036854775808}}}`,
		"{\"update_id\":5,\"message\":{\"text\":\"\xff\\u0000\\ud800\"}}"} {
		f.Add([]byte(body), "", "", "99999999999999999999")
	}
	f.Fuzz(func(t *testing.T, body []byte, secret, signature, at string) {
		post := func(bot string, header func(*http.Request)) (*receiver, int) {
			rc := &receiver{}
			wh := &telegram.Webhook{
				Receivers: rc, Handler: rc, Inbox: rc, Quarantine: rc, Observer: rc, Log: slog.New(slog.DiscardHandler),
			}
			routes := mux.NewRouter()
			wh.Routes(routes)
			r := httptest.NewRequest(http.MethodPost, "/webhook/"+bot, strings.NewReader(string(body)))
			r.Header.Set("Content-Type", "application/json")
			header(r)
			answer := httptest.NewRecorder()
			routes.ServeHTTP(answer, r)
			return rc, answer.Code
		}
		for bot, header := range map[string]func(*http.Request){
			"demo":    func(r *http.Request) { r.Header.Set(token, "new-secret") },
			"relayed": func(r *http.Request) { signed(r, "relay-key", string(body), time.Now()) },
		} {
			rc, status := post(bot, header)
			if status != http.StatusOK || len(rc.handled)+len(rc.quarantined) != 1 {
				t.Fatalf("%s: answered %d, %d handled, %d quarantined", bot, status, len(rc.handled), len(rc.quarantined))
			}
			for _, r := range rc.handled {
				if string(r.Update.Raw) != string(body) || r.Stream.Bot() != bot {
					t.Fatalf("handled as %+v", r)
				}
			}
		}
		for _, bot := range []string{"demo", "relayed", "closed", "blank"} {
			rc, status := post(bot, func(r *http.Request) {
				r.Header[token] = []string{secret}
				r.Header["X-Signature-256"] = []string{signature}
				r.Header["X-Signature-Timestamp"] = []string{at}
			})
			if secret != "new-secret" && secret != "old-secret" &&
				(status != http.StatusUnauthorized || len(rc.handled)+len(rc.quarantined) > 0) {
				t.Fatalf("%s with secret %q, signature %q: answered %d", bot, secret, signature, status)
			}
		}
	})
}

// answering is a transport that answers every call in the same way.
type answering func() *http.Response

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	answer := a()
	answer.Request = r
	return answer, nil
}

// FuzzAnswer: whatever stands where the Bot API should answer, the attempt is judged: done only when it
// says so, and otherwise with a short reason without the token, and a wait that has an end.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":7}}}`, `{"ok":true,"result":true}`,
		`{"ok":true,"result":null}`, `{"ok":true}`,
		`{"ok":true,"result":[{"message_id":1},{"message_id":2}]}`,
		`{"ok":false,"error_code":429,"parameters":{"retry_after":99999999999}}`,
		`{"ok":false,"error_code":400,"description":"message thread not found"}`,
		`{"ok":false,"error_code":400,"parameters":{"migrate_to_chat_id":-100}}`,
		`{"ok":false,"error_code":403,"description":"bot was blocked \u0000 by the user"}`, `{"ok":"yes"}`, `<html>`, ``,
		`null`, `{"ok":true,"result":{"message_id":1e99}}`, "\xff",
		`{"ok":false,"error_code":401,"description":"/bot4242:token/sendMessage"}`,
	} {
		for _, status := range []int{200, 400, 403, 404, 429, 500, 502} {
			f.Add(status, body, "application/json")
		}
		f.Add(200, body, "text/html; charset=\"")
		f.Add(502, body, strings.Repeat("\xb4 4242:token", 200))
	}
	f.Fuzz(func(t *testing.T, status int, body, kind string) {
		if status < 200 || status > 599 { // the transport's own
			return
		}
		c := client(t, "http://telegram.test", botToken)
		c.Through(func(http.RoundTripper) http.RoundTripper {
			return telegram.Bounded(answering(func() *http.Response {
				return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}},
					Body: io.NopCloser(strings.NewReader(body))}
			}))
		})
		senders := telegram.Clients{"demo": c}
		for _, d := range []commands.Claimed{
			claimed(t, "demo", domain.KindSendMessage, message("hello")),
			claimed(t, "demo", domain.KindSendMessage, commands.SendMessage{ChatID: 7, Thread: 5, Text: "hello"}),
			claimed(t, "demo", domain.KindSendMessage,
				commands.SendMessage{ChatID: 7, Media: []chat.Media{{Kind: "photo", FileID: "f"}, {Kind: "photo", FileID: "g"}}}),
			claimed(t, "demo", domain.KindAnswerButton, commands.AnswerButton{QueryID: "q"}),
			claimed(t, "demo", domain.KindTyping, message("")),
		} {
			outcome := senders.Send(t.Context(), d)
			switch outcome.State {
			case domain.DeliveryDone:
				if !strings.Contains(body, "ok") && !strings.Contains(body, "not modified") {
					t.Errorf("%d %q is taken for done", status, body)
				}
			case domain.DeliveryRetry, domain.DeliveryUnknown, domain.DeliveryRefused:
				if outcome.Reason == "" || utf8.RuneCountInString(outcome.Reason) > 400 ||
					strings.Contains(outcome.Reason, botToken) {
					t.Errorf("%d %q: the reason is %q", status, body, outcome.Reason)
				}
			default:
				t.Errorf("%d %q is %q", status, body, outcome.State)
			}
			if outcome.After < 0 || outcome.After > 24*time.Hour {
				t.Errorf("%d %q: it waits for %v", status, body, outcome.After)
			}
		}
		_ = senders.Probe(t.Context(), "demo")
	})
}
