package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// A delivery that Telegram rejects is refused with Telegram's reason, which analysts and operators see. It
// is not retried, and does not delay the next one.
func TestDelivery_CannotBeSent_RefusedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cases := map[int64]struct {
		reply  chat.ReplyQueued
		reason string
	}{
		7: {chat.ReplyQueued{}, "bad request, Bad Request: message text is empty"},
		8: {chat.ReplyQueued{Text: "<b>never closed", Format: dialog.HTML}, "bad request, Bad Request: can't parse entities"},
		9: {chat.ReplyQueued{Text: "Is anybody there?"}, "bad request, Bad Request: chat not found"},
	}
	for chat, c := range cases {
		if chat != 9 {
			w.openChat(chat)
		}
		w.queue(chat, c.reply)
	}
	w.settle()
	w.stop() // nor by the next process
	w.running = w.start(w.dsn)
	w.register()
	w.settle()
	for chat, c := range cases {
		stream := string(domain.ChatStream("demo", chat))
		w.wantRows("refused, 1, 0, true, true", `select state, attempts, unsure, finished_at is not null,
			starts_with(reason, $2) from eventstore.deliveries where stream_id = $1`, stream, c.reason)
		w.wantRows("1, true, 0, 0", `select failed_deliveries, starts_with(last_failure, $2), awaiting_delivery, replies
			from readmodel.conversations where chat_id = $1`, chat, c.reason)
		if list := w.must("deliveries", "list", "--state", "refused", "--chat",
			fmt.Sprint("demo:", chat)); strings.Count(list, "\n") != 2 || !strings.Contains(list, c.reason) {
			t.Errorf("the list says\n%s", list)
		}
	}
	if calls := w.Stats().Calls["sendMessage"]; calls["400"] != int64(len(cases)) || len(calls) != 1 {
		t.Errorf("calls %v", calls)
	}
	w.queue(7, chat.ReplyQueued{Text: "Hello!"})
	w.settle()
	if said := w.texts(7, "bot"); len(said) != 1 || said[0] != "Hello!" {
		t.Errorf("the bot says %q", said)
	}
	w.clean()
}

// queue appends any reply as an operator's, without a command that decides it.
func (w *world) queue(id int64, reply chat.ReplyQueued) {
	w.t.Helper()
	store, err := eventstore.Open(w.t.Context(), w.dsn, "desk", chat.NewCodec())
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	stream, reply := domain.ChatStream("demo", id), reply
	reply.Author = chat.Author{Kind: chat.Person, Name: "ann"}
	var version domain.Version
	if err := w.db.QueryRow(w.t.Context(), `select count(*) from eventstore.events where stream_id = $1`,
		stream).Scan(&version); err != nil {
		w.t.Fatal(err)
	}
	event := uuid.Must(uuid.NewV7())
	errs, err := store.Append(w.t.Context(), []commands.Append{{Stream: stream, Expected: version,
		Events: []commands.NewEvent{{ID: event, Event: reply, Correlation: event, Actor: "operator:ann",
			OccurredAt: clock.Now()}}}})
	if err != nil || errs[0] != nil {
		w.t.Fatal(err, errs)
	}
}

const (
	// takenMost limits how many bytes of one answer chatledger receives: what it reads, and what the sockets
	// buffer.
	takenMost = 32 << 20
	// reasonMost is the longest reason in a read-model table, in characters.
	reasonMost = 500
)

// When something else answers in the place of Telegram, little of it is read, the reason says what came,
// and a message that may have arrived is sent once more at most.
func TestAnswer_Nonsense_BoundedAndNamed(t *testing.T) {
	t.Parallel()
	stranger := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed to %s, coming from %s", r.URL, r.Referer())
	}))
	t.Cleanup(stranger.Close)
	// A page in HTML comes from a gateway: the call was most likely not made, and is retried.
	const unknown, again, unlikely = "unknown, 2, 2", "waiting, 1, 0", "waiting, 1, 1"
	cases := []struct {
		name   string
		answer http.HandlerFunc
		end    string // state, attempts, unsure
		reason string // a part of it
	}{
		{"HTML", says(http.StatusOK, "<html><body>It works!</body></html>"), unlikely, "a gateway answered"},
		{"HTML of a gateway", says(http.StatusBadGateway, "<html>\n<center>nginx</center>\n</html>"), unlikely,
			"a gateway answered"},
		{"a page of a megabyte", says(http.StatusOK, "<html>"+strings.Repeat("<p>\u202e\x00</p>", 1<<17)), unlikely,
			"a gateway answered"},
		{"not ok", says(http.StatusOK, `{"ok": false}`), again, "error response"},
		{"not ok, and why", says(http.StatusOK, `{"ok": false, "error_code": 599, "description": "out of order"}`),
			again, "out of order"},
		{"nothing", says(http.StatusOK, ""), unknown, "unexpected end"},
		{"no message", says(http.StatusOK, `{"ok": true}`), unknown, "result"},
		{"a message without an id", says(http.StatusOK, `{"ok": true, "result": {}}`), "done, 1, 0", ""},
		{"a message of another form", says(http.StatusOK, `{"ok": true, "result": [{"message_id": "x"}]}`), unknown,
			"result"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, stranger.URL, http.StatusFound) },
			unknown, "redirect to"},
		{"gigabytes", endless(`{"ok": true, "result": {"text": "`), unknown, "unexpected end"},
		{"endless headers", endless(""), unknown, "header"},
	}
	w := newTown(t, pgtest.Database(t))
	var mu sync.Mutex
	taken := map[string]int64{} // by case, of its longest answer
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/getMe") { // which probes whether there are answers
			says(http.StatusOK, `{"ok": true, "result": {"id": 1, "is_bot": true, "first_name": "Demo"}}`)(rw, r)
			return
		}
		var id int
		if err := json.Unmarshal([]byte(r.PostFormValue("chat_id")), &id); err != nil || id < 1 || id > len(cases) {
			t.Errorf("%s to chat %q", r.URL, r.PostFormValue("chat_id"))
			return
		}
		c := cases[id-1]
		count := &counted{ResponseWriter: rw}
		c.answer(count, r)
		mu.Lock()
		defer mu.Unlock()
		taken[c.name] = max(taken[c.name], count.n)
	}))
	t.Cleanup(front.Close)
	w.running = w.start(w.dsn, func(c *server.Config) { c.TelegramURL = front.URL })
	w.register()
	for i := range cases {
		w.Say(int64(i+1), "hello")
	}
	unknowns := 0
	for i, c := range cases {
		if c.end == unknown {
			unknowns++
		}
		stream := string(domain.ChatStream("demo", int64(i+1)))
		// An attempt without an answer opens the bot's breaker; the pauses of all cases add up.
		eventually(t, 2*patience, c.name, func() string {
			got := w.rows(`select state, least(attempts, case state when 'waiting' then 1 else 3 end),
				least(unsure, case state when 'waiting' then 1 else 3 end) from eventstore.deliveries
				where stream_id = $1 and attempts > 0`, stream)
			return unless(got == c.end, "%s, want %s", got, c.end)
		})
		reason := w.rows(`select reason from eventstore.deliveries where stream_id = $1`, stream)
		waits := strings.HasPrefix(c.end, "waiting") && strings.HasPrefix(reason, "no call was made, because") // since then
		if !waits && !strings.Contains(reason, c.reason) || strings.Contains(reason, dev.Token) ||
			utf8.RuneCountInString(reason) > reasonMost || strings.Contains(reason, "\n") {
			t.Errorf("%s: the reason of %d bytes is %.600q, want %q in it", c.name, len(reason), reason, c.reason)
		}
		mu.Lock()
		t.Logf("%s: %d bytes taken: %.120s", c.name, taken[c.name], reason)
		if taken[c.name] > takenMost {
			t.Errorf("%s: %d bytes were taken", c.name, taken[c.name])
		}
		mu.Unlock()
	}
	w.eventually("analysts read so, too", func() string {
		read := w.rows(`select count(*) from readmodel.conversations where failed_deliveries = 1
			and length(last_failure) between 1 and $1`, reasonMost)
		return unless(read == fmt.Sprint(unknowns), "%s, want %d", read, unknowns)
	})
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		w.Write([]byte(body))
	}
}

// endless answers until the client stops reading: with a body that begins so, or without one with headers.
func endless(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		text, line := "HTTP/1.1 200 OK\r\n", fmt.Sprintf("X-More: %s\r\n", strings.Repeat("x", 1<<10))
		if body != "" {
			text, line = text+"\r\n"+body, strings.Repeat("x", 64<<10)
		}
		for err == nil {
			var n int
			n, err = conn.Write([]byte(text))
			w.(*counted).n += int64(n)
			text = line
		}
	}
}

// counted counts the bytes that the client receives of an answer.
type counted struct {
	http.ResponseWriter
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n += int64(n)
	return n, err
}

func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }
