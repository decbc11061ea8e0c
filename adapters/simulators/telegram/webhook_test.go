package telegramsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/waittest"
)

func TestWebhook_ManyChats_ArriveOnceInOrder(t *testing.T) {
	w := newWorld(t, Options{})
	var got received
	hook := w.webhookFor(func(_ http.ResponseWriter, r *http.Request) { got.read(r) })
	w.mustCall("setWebhook", "url", hook, "max_connections", 20)
	for i := range 1000 {
		w.Say(int64(1+i%100), fmt.Sprint(i/100))
	}
	waittest.Until(t, "all delivered", func() bool { return w.Stats().Updates.Delivered == 1000 })
	last, seen := map[int64]int64{}, map[int64]bool{}
	for _, u := range got.all() {
		if seen[u.UpdateID] {
			t.Errorf("update %d arrived twice", u.UpdateID)
		}
		seen[u.UpdateID] = true
		if u.Message.MessageID != last[u.Message.Chat.ID]+1 {
			t.Errorf("chat %d: message %d after %d", u.Message.Chat.ID, u.Message.MessageID, last[u.Message.Chat.ID])
		}
		last[u.Message.Chat.ID] = u.Message.MessageID
	}
	if len(seen) != 1000 {
		t.Errorf("%d updates arrived", len(seen))
	}
	if stats := w.Stats(); stats.Updates.Pending != 0 || stats.Updates.Retried != 0 || stats.Chats != 100 {
		t.Errorf("stats: %+v", stats)
	}
}

// gate is a webhook that holds every request until release is called.
type gate struct {
	mu       sync.Mutex
	inside   map[int64]int // requests held now, by chat
	most     int
	overlap  bool // two requests of one chat were held at the same time
	open     chan struct{}
	openOnce sync.Once
}

func newGate() *gate { return &gate{inside: map[int64]int{}, open: make(chan struct{})} }

func (g *gate) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var u gotUpdate
	_ = json.NewDecoder(r.Body).Decode(&u)
	chat := u.Message.Chat.ID
	g.mu.Lock()
	g.inside[chat]++
	g.overlap = g.overlap || g.inside[chat] > 1
	g.most = max(g.most, g.count())
	g.mu.Unlock()
	select {
	case <-g.open:
	case <-r.Context().Done():
	}
	g.mu.Lock()
	g.inside[chat]--
	g.mu.Unlock()
}

func (g *gate) count() (n int) {
	for _, each := range g.inside {
		n += each
	}
	return n
}

func (g *gate) held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count()
}

func (g *gate) release() { g.openOnce.Do(func() { close(g.open) }) }

func TestWebhook_Concurrency_IsLimited(t *testing.T) {
	w := newWorld(t, Options{})
	g := newGate()
	defer g.release()
	hook := w.webhookFor(g.ServeHTTP)
	for i := range 40 {
		w.Say(int64(1+i%2), "few chats")
	}
	w.mustCall("setWebhook", "url", hook, "max_connections", 3)
	waittest.Until(t, "one of each chat in flight", func() bool { return g.held() == 2 })
	for i := range 20 {
		w.Say(int64(10+i), "many chats")
	}
	waittest.Until(t, "three in flight", func() bool { return g.held() == 3 })
	g.release()
	waittest.Until(t, "all delivered", func() bool { return w.Stats().Updates.Delivered == 60 })
	if g.overlap {
		t.Error("two updates of one chat were in flight at the same time")
	}
	if g.most != 3 {
		t.Errorf("%d were in flight at the same time, want 3", g.most)
	}
}

func TestWebhook_Button_OvertakesMessage(t *testing.T) {
	w := newWorld(t, Options{})
	g := newGate()
	defer g.release()
	hook := w.webhookFor(g.ServeHTTP)
	w.mustCall("setWebhook", "url", hook)
	w.Say(1, "held")
	w.Press(1, 1, "sent at once")
	waittest.Until(t, "both in flight", func() bool { return g.held() == 2 })
}

func TestWebhook_Secret_IsSentWithEveryUpdate(t *testing.T) {
	w := newWorld(t, Options{})
	var got received
	hook := w.webhookFor(func(_ http.ResponseWriter, r *http.Request) { got.read(r) })
	w.mustCall("setWebhook", "url", hook, "secret_token", "S3cret_-x")
	w.Say(1, "hello")
	waittest.Until(t, "delivery", func() bool { return len(got.all()) == 1 })
	if got.all()[0].secret != "S3cret_-x" {
		t.Errorf("secret header %q", got.all()[0].secret)
	}
	var info map[string]any
	if err := json.Unmarshal(w.mustCall("getWebhookInfo").Result, &info); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"url":                    hook,
		"has_custom_certificate": false,
		"pending_update_count":   0.0,
		"max_connections":        40.0,
		"ip_address":             "127.0.0.1",
	}
	waittest.Until(t, "nothing pending", func() bool { return w.Stats().Updates.Pending == 0 })
	info["pending_update_count"] = 0.0
	if diff := cmp.Diff(want, info); diff != "" {
		t.Error(diff)
	}
}

func TestWebhook_Failure_RetriesThenBacksOff(t *testing.T) {
	const unit = 10 * time.Millisecond
	w := newWorld(t, Options{RetryUnit: unit})
	var got received
	hook := w.webhookFor(func(rw http.ResponseWriter, r *http.Request) {
		got.read(r)
		if len(got.all()) <= 4 {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	w.mustCall("setWebhook", "url", hook)
	w.Say(1, "first")
	w.Say(1, "second")
	waittest.Until(t, "both acknowledged", func() bool { return w.Stats().Updates.Delivered == 2 })
	list := got.all()
	if len(list) != 6 || list[4].Message.Text != "first" || list[5].Message.Text != "second" {
		t.Fatalf("attempts: %+v", list)
	}
	for i, least := range []time.Duration{0, 2 * unit, 4 * unit, 8 * unit} {
		if gap := list[i+1].at.Sub(list[i].at); gap < least*9/10 { // a tenth less, for the time between sending and receiving
			t.Errorf("retry %d was made after %v, want at least %v", i+1, gap, least)
		}
	}
	if gap := list[1].at.Sub(list[0].at); gap >= 2*unit+time.Second {
		t.Errorf("the first retry was made after %v, want at once", gap)
	}
	if n := w.Stats().Updates.Retried; n != 4 {
		t.Errorf("retried %d, want 4", n)
	}
	var info webhookInfo
	if err := json.Unmarshal(w.mustCall("getWebhookInfo").Result, &info); err != nil {
		t.Fatal(err)
	}
	if info.LastErrorMessage != "Wrong response from the webhook: 503 Service Unavailable" || info.LastErrorDate == 0 {
		t.Errorf("info: %+v", info)
	}
}

func TestWebhook_RetryAfter_IsObeyed(t *testing.T) {
	const unit = 5 * time.Millisecond
	w := newWorld(t, Options{RetryUnit: unit})
	var got received
	hook := w.webhookFor(func(rw http.ResponseWriter, r *http.Request) {
		got.read(r)
		if len(got.all()) == 1 {
			rw.Header().Set("Retry-After", "30")
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	w.mustCall("setWebhook", "url", hook)
	w.Say(1, "hello")
	waittest.Until(t, "acknowledged", func() bool { return w.Stats().Updates.Delivered == 1 })
	list := got.all()
	if gap := list[1].at.Sub(list[0].at); gap < 30*unit*9/10 {
		t.Errorf("retried after %v, want %v", gap, 30*unit)
	}
}

func TestWebhook_Redirect_IsFailure(t *testing.T) {
	w := newWorld(t, Options{RetryUnit: time.Millisecond})
	var got received
	hook := w.webhookFor(func(rw http.ResponseWriter, r *http.Request) {
		got.read(r)
		if len(got.all()) == 1 {
			http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
		} else if r.URL.Path != "/" {
			t.Errorf("the redirect was followed to %s", r.URL.Path)
		}
	})
	w.mustCall("setWebhook", "url", hook+"/")
	w.Say(1, "hello")
	waittest.Until(t, "acknowledged", func() bool { return w.Stats().Updates.Delivered == 1 })
	if n := w.Stats().Updates.Retried; n != 1 {
		t.Errorf("retried %d, want 1", n)
	}
}

func TestWebhook_Timeout_IsFailure(t *testing.T) {
	w := newWorld(t, Options{RetryUnit: time.Millisecond})
	var got received
	hook := w.webhookFor(func(_ http.ResponseWriter, r *http.Request) {
		got.read(r)
		if len(got.all()) == 1 {
			<-r.Context().Done() // until the timeout
		}
	})
	w.mustCall("setWebhook", "url", hook)
	w.Say(1, "hello")
	waittest.Until(t, "acknowledged", func() bool { return w.Stats().Updates.Delivered == 1 })
	if n := len(got.all()); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
}

func TestWebhook_OldUpdate_Expires(t *testing.T) {
	w := newWorld(t, Options{RetryUnit: 100 * time.Microsecond})
	hook := w.webhookFor(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusInternalServerError)
	})
	w.mustCall("setWebhook", "url", hook)
	w.Press(1, 1, "lives 150 s")
	w.Post(map[string]any{
		"inline_query": map[string]any{"id": "1", "from": map[string]any{"id": 1}, "query": "lives 30 s"},
	})
	w.Post(map[string]any{"message": map[string]any{
		"message_id": 1, "date": time.Now().Unix() - messageLife - 1, "chat": map[string]any{"id": 1},
		"text": "is a day old",
	}})
	w.Say(1, "lives a day")
	waittest.Until(t, "three expire", func() bool { return w.Stats().Updates.Expired == 3 })
	if stats := w.Stats().Updates; stats.Pending != 1 || stats.Delivered != 0 {
		t.Errorf("stats: %+v", stats)
	}
}

func TestWebhook_NoneSet_UpdatesWait(t *testing.T) {
	w := newWorld(t, Options{FirstUpdateID: 10})
	var got received
	for range 3 {
		w.Say(1, "hello")
	}
	var info webhookInfo
	if err := json.Unmarshal(w.mustCall("getWebhookInfo").Result, &info); err != nil || info.PendingUpdateCount != 3 {
		t.Errorf("info: %+v %v", info, err)
	}
	hook := w.webhookFor(func(_ http.ResponseWriter, r *http.Request) { got.read(r) })
	w.mustCall("setWebhook", "url", hook)
	waittest.Until(t, "delivery", func() bool { return w.Stats().Updates.Delivered == 3 })
	w.mustCall("deleteWebhook")
	w.Say(1, "waits")
	w.mustCall("deleteWebhook", "drop_pending_updates", true)
	if n := w.Stats().Updates.Pending; n != 0 {
		t.Errorf("%d pending after dropping", n)
	}
	for i, u := range got.all() {
		if u.UpdateID != int64(10+i) {
			t.Errorf("update %d has id %d", i, u.UpdateID)
		}
	}
}

func TestSetWebhook_NewURL_GetsPendingUpdates(t *testing.T) {
	w := newWorld(t, Options{RetryUnit: time.Millisecond})
	g := newGate()
	defer g.release()
	held := w.webhookFor(g.ServeHTTP)
	w.mustCall("setWebhook", "url", held)
	w.Say(1, "first")
	w.Say(1, "second")
	waittest.Until(t, "the first is held", func() bool { return g.held() == 1 })
	var got received
	hook := w.webhookFor(func(_ http.ResponseWriter, r *http.Request) { got.read(r) })
	waittest.Until(t, "a second has passed since setWebhook",
		func() bool { return w.call("setWebhook", "url", hook).OK })
	waittest.Until(t, "delivery", func() bool { return w.Stats().Updates.Delivered == 2 })
	if list := got.all(); len(list) != 2 || list[0].Message.Text != "first" || list[1].Message.Text != "second" {
		t.Errorf("the new URL received %+v", list)
	}
	waittest.Until(t, "the old delivery is cancelled", func() bool { return g.held() == 0 })
}

func TestSetWebhook_NoAllowedUpdates_KeepsThem(t *testing.T) {
	w := newWorld(t, Options{RetryUnit: time.Nanosecond}) // no waiting between setWebhook calls
	allowed := func() []string {
		var info webhookInfo
		if err := json.Unmarshal(w.mustCall("getWebhookInfo").Result, &info); err != nil {
			t.Fatal(err)
		}
		return info.AllowedUpdates
	}
	member := map[string]any{"chat_member": map[string]any{"chat": map[string]any{"id": 1}}}
	if w.Post(member) != 0 {
		t.Error("chat_member was sent although it is not in the default set")
	}
	if w.Post(map[string]any{"invented_last_week": map[string]any{}}) == 0 {
		t.Error("a new kind of update was not sent")
	}
	w.mustCall("setWebhook", "url", "http://127.0.0.1:1/a", "allowed_updates", []string{"message", "chat_member"})
	w.mustCall("setWebhook", "url", "http://127.0.0.1:1/b")
	if diff := cmp.Diff([]string{"chat_member", "message"}, allowed()); diff != "" {
		t.Error(diff)
	}
	if w.Post(member) == 0 {
		t.Error("chat_member was not sent although it is allowed")
	}
	w.mustCall("deleteWebhook")
	w.mustCall("setWebhook", "url", "http://127.0.0.1:1/c", "allowed_updates", "[]")
	if got := allowed(); got != nil {
		t.Errorf("after an empty list: %v", got)
	}
}

func TestSetWebhook_TooOften_IsLimited(t *testing.T) {
	w := newWorld(t, Options{RetryUnit: time.Hour}) // so long that a slow machine does not pass it
	first := w.mustCall("setWebhook", "url", "http://127.0.0.1:1/a", "secret_token", "x")
	if first.Description != "Webhook was set" {
		t.Errorf("first: %+v", first)
	}
	if same := w.call("setWebhook", "url", "http://127.0.0.1:1/a", "secret_token", "x"); !same.OK ||
		same.Description != "Webhook is already set" {
		t.Errorf("identical: %+v", same)
	}
	if other := w.call("setWebhook", "url", "http://127.0.0.1:1/a", "secret_token", "y"); other.ErrorCode != 429 ||
		other.Parameters.RetryAfter != 1 {
		t.Errorf("different: %+v", other)
	}
}

func TestWebhook_MethodInAnswer_IsExecuted(t *testing.T) {
	w := newWorld(t, Options{})
	hook := w.webhookFor(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, `{"method":"sendMessage","chat_id":1,"text":"from the answer"}`)
	})
	w.mustCall("setWebhook", "url", hook)
	w.Say(1, "hello")
	waittest.Until(t, "the reply is in the chat", func() bool { return len(w.Messages(1)) == 2 })
}

func TestPost_RawUpdate_TakesEffect(t *testing.T) {
	w := newWorld(t, Options{})
	var got received
	hook := w.webhookFor(func(_ http.ResponseWriter, r *http.Request) { got.read(r) })
	w.mustCall("setWebhook", "url", hook)
	message := map[string]any{"update_id": 7, "message": map[string]any{
		"message_id": 30, "date": time.Now().Unix(), "chat": map[string]any{"id": 5, "type": "private"},
		"from": map[string]any{"id": 5, "username": "eve"}, "text": "raw",
	}}
	if id := w.Post(message); id != 7 {
		t.Errorf("posted with update_id %d, want the given 7", id)
	}
	w.Post(message) // a test may repeat an update
	waittest.Until(t, "both delivered", func() bool { return w.Stats().Updates.Delivered == 2 })
	for _, u := range got.all() {
		if u.UpdateID != 7 || u.Message.Text != "raw" {
			t.Errorf("got %+v", u)
		}
	}
	if list := w.Messages(5); len(list) != 1 || list[0].MessageID != 30 || list[0].Username != "eve" {
		t.Errorf("messages: %+v", list)
	}
	w.mustCall("sendMessage", "chat_id", 5, "text", "hi")
	member := func(status string) {
		w.Post(map[string]any{"my_chat_member": map[string]any{
			"chat": map[string]any{"id": 5}, "new_chat_member": map[string]any{"status": status},
		}})
	}
	member("kicked")
	if got := w.call("sendMessage", "chat_id", 5, "text", "hi"); got.ErrorCode != 403 {
		t.Errorf("after kicked: %+v", got)
	}
	member("member")
	w.mustCall("sendMessage", "chat_id", 5, "text", "hi")
}

func TestClose_DeliveryInFlight_StaysPending(t *testing.T) {
	w := newWorld(t, Options{})
	g := newGate()
	defer g.release()
	hook := w.webhookFor(g.ServeHTTP)
	w.mustCall("setWebhook", "url", hook)
	w.Say(1, "held")
	waittest.Until(t, "in flight", func() bool { return g.held() == 1 })
	w.Close()
	if stats := w.Stats().Updates; stats.Pending != 1 || stats.Delivered != 0 {
		t.Errorf("stats: %+v", stats)
	}
	if n := len(w.Messages(1)); n != 1 {
		t.Errorf("%d messages", n)
	}
}

// BenchmarkDelivery measures the delivery of an update over HTTP, with 100 chats at a time.
func BenchmarkDelivery(b *testing.B) {
	s := New(Options{Bots: []Bot{{Token: testToken, Username: "b", Name: "B"}}})
	defer s.Close()
	discard := func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	hook := httptest.NewServer(http.HandlerFunc(discard))
	defer hook.Close()
	if _, fault := s.bots[0].setWebhook(params{"url": hook.URL, "max_connections": "100"}); fault != nil {
		b.Fatal(fault.description)
	}
	for i := range b.N {
		s.Say(int64(1+i%10_000), "hello")
	}
	for s.Stats().Updates.Delivered < int64(b.N) {
		time.Sleep(time.Millisecond)
	}
}

func BenchmarkSendMessage(b *testing.B) {
	s := New(Options{Bots: []Bot{{Token: testToken, Username: "b", Name: "B"}}})
	defer s.Close()
	for chat := range int64(10_000) {
		s.Say(chat+1, "hello")
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		result, fault, _ := s.bots[0].call(b.Context(), "sendMessage",
			params{"chat_id": fmt.Sprint(1 + i%10_000), "text": "hi"})
		if fault != nil {
			b.Fatal(fault.description)
		}
		_ = mustJSON(result.result)
	}
}
