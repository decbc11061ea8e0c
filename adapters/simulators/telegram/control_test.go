package telegramsim

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/adapters/waittest"
)

func TestControl_PostedMessages_SentAsCustomer(t *testing.T) {
	w := newWorld(t, Options{FirstUpdateID: 500})
	var got received
	hook := w.webhookFor(func(_ http.ResponseWriter, r *http.Request) { got.read(r) })
	w.mustCall("setWebhook", "url", hook)

	_, said := w.control("POST", "/sim/chats/7/messages",
		map[string]any{"text": "hello", "from": map[string]any{"username": "ann", "first_name": "Ann"}})
	if said["update_id"] != 500.0 || said["message_id"] != 1.0 {
		t.Errorf("posted: %v", said)
	}
	_, answered := w.control("POST", "/sim/chats/7/messages", map[string]any{"text": "me again", "reply_to": 1})
	_, edited := w.control("POST", "/sim/chats/7/messages", map[string]any{"text": "hello!", "edit": 1})
	if answered["message_id"] != 2.0 || edited["message_id"] != 1.0 || edited["update_id"] != 502.0 {
		t.Errorf("answered %v, edited %v", answered, edited)
	}
	waittest.Until(t, "delivery", func() bool { return w.Stats().Updates.Delivered == 3 })
	list := w.Messages(7)
	if len(list) != 2 || list[0].Text != "hello!" || !list[0].Edited || list[0].Username != "ann" {
		t.Errorf("messages: %+v", list)
	}
	if _, chats := w.control("GET", "/sim/chats", nil); len(chats["list"].([]any)) != 1 {
		t.Errorf("chats: %v", chats)
	}
}

func TestControl_Bots_AreKeptApart(t *testing.T) {
	w := newWorld(t, Options{})
	w.control("POST", "/sim/chats/7/messages?bot=second_bot", map[string]any{"text": "hello"})
	if n := len(w.Messages(7)); n != 0 {
		t.Errorf("the first bot sees %d messages of the second", n)
	}
	if _, list := w.control("GET", "/sim/chats/7/messages?bot=@Second_Bot", nil); len(list["list"].([]any)) != 1 {
		t.Errorf("the second bot sees %v", list)
	}
	if status, out := w.control("GET", "/sim/chats?bot=%zz", nil); status != 400 || out["error"] == nil {
		t.Errorf("malformed query: %d %v", status, out)
	}
	if status, out := w.control("GET", "/sim/chats?bot=third", nil); status != 400 || out["error"] == nil {
		t.Errorf("unknown bot: %d %v", status, out)
	}
}

func TestControl_Mistakes_AreExplained(t *testing.T) {
	w := newWorld(t, Options{})
	for _, c := range []struct{ path, body string }{
		{"/sim/chats/abc/messages", `{"text":"x"}`},
		{"/sim/chats/0/messages", `{"text":"x"}`},
		{"/sim/chats/1/messages", `{"text":`},
		{"/sim/chats/1/messages", ``},
		{"/sim/chats/1/messages", `{"text":5}`},
		{"/sim/chats/1/messages", `{"text":"x","repply_to":1}`},
		{"/sim/chats/1/messages", `{"text":"  "}`},
		{"/sim/chats/1/messages", `{"text":"x","reply_to":99}`},
		{"/sim/chats/1/messages", `{"text":"x","edit":99}`},
		{"/sim/chats/1/callbacks", `{"data":"x"}`},
		{"/sim/updates", `[]`},
		{"/sim/updates", `null`},
		{"/sim/updates", `{"update_id":"x","message":{}}`},
	} {
		status, out := w.control("POST", c.path, c.body)
		if text, _ := out["error"].(string); status != 400 || text == "" {
			t.Errorf("%s %s: %d %v", c.path, c.body, status, out)
		}
	}
	if n := w.Stats().Chats; n != 0 {
		t.Errorf("rejected requests created %d chats", n)
	}
}

func TestPage_Content_LoadsNothingFromOutside(t *testing.T) {
	w := newWorld(t, Options{})
	response, err := http.Get(w.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != 200 || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		t.Errorf("GET /: %d %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	for _, want := range []string{
		"chatledger", "Where is my order 1001?", "I want to change my billing address", "My invoice looks wrong",
		"I want to talk to a person",
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	unsafe := regexp.MustCompile(`(?i)https?://|["'(]//|@import|innerHTML|insertAdjacentHTML`)
	if found := unsafe.Find(body); found != nil {
		t.Errorf("the page contains %q", found)
	}
}

func TestPage_EveryChange_SentAsEvent(t *testing.T) {
	w := newWorld(t, Options{})
	response, err := http.Get(w.url + "/sim/events")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	next := func() (e event) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Fatal(err)
				}
				return e
			}
		}
		t.Fatal("the stream ended")
		return e
	}
	if e := next(); e.Kind != "hello" || e.Text != "first_bot" || len(e.Bots) != 2 {
		t.Errorf("first event: %+v", e)
	}
	w.Say(5, "hello")
	if e := next(); e.Kind != "chat" || e.Chat != 5 {
		t.Errorf("after Say: %+v", e)
	}
	w.mustCall("sendChatAction", "chat_id", 5, "action", "typing")
	if e := next(); e.Kind != "typing" || e.Chat != 5 {
		t.Errorf("after sendChatAction: %+v", e)
	}
	_, pressed := w.control("POST", "/sim/chats/5/callbacks", map[string]any{"message_id": 1, "data": "x"})
	if e := next(); e.Kind != "chat" || e.Chat != 5 {
		t.Errorf("after a pressed button: %+v", e)
	}
	w.mustCall("answerCallbackQuery", "callback_query_id", pressed["callback_query_id"], "text", "saved")
	if e := next(); e.Kind != "toast" || e.Chat != 5 || e.Text != "saved" {
		t.Errorf("after answerCallbackQuery: %+v", e)
	}
	w.Close()
	if lines.Scan() && lines.Text() != "" {
		t.Errorf("after Close the stream continues: %q", lines.Text())
	}
}
