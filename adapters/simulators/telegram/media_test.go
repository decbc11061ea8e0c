package telegramsim

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/waittest"
)

func TestFile_ByID_IsSent(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(1, "hello")
	sent := w.mustCall("sendPhoto", "chat_id", 1, "photo", "AgAC", "caption", "<b>A</b> lamp", "parse_mode", "HTML")
	var m struct {
		Photo    []struct{ FileID string } `json:"photo"`
		Text     string
		Caption  string
		Entities []entity `json:"caption_entities"`
	}
	if err := json.Unmarshal(sent.Result, &m); err != nil || len(m.Photo) != 1 || m.Text != "" ||
		m.Caption != "A lamp" || len(m.Entities) != 1 {
		t.Errorf("sent %s (%v)", sent.Result, err)
	}
	if got := w.Messages(1)[1]; got.Media != (Media{"photo", "AgAC"}) || got.Text != "A lamp" {
		t.Errorf("message %+v", got)
	}
	var album []struct {
		MediaGroupID string `json:"media_group_id"`
	}
	sent = w.mustCall("sendMediaGroup", "chat_id", 1, "media",
		[]map[string]any{{"type": "document", "media": "a"}, {"type": "document", "media": "b", "caption": "both"}})
	if err := json.Unmarshal(sent.Result, &album); err != nil || len(album) != 2 || album[0].MediaGroupID == "" ||
		album[0] != album[1] {
		t.Errorf("sent %s (%v)", sent.Result, err)
	}
}

func TestFile_Invalid_TelegramsError(t *testing.T) {
	w := newWorld(t, Options{})
	w.Say(1, "hello")
	item := func(kind, id string) map[string]any { return map[string]any{"type": kind, "media": id} }
	for _, c := range []struct {
		method string
		args   []any
		says   string
	}{
		{"sendPhoto", nil, "there is no photo in the request"},
		{"sendVoice", []any{"voice", "https://e.org/a.ogg"}, "wrong remote file identifier specified"},
		{"sendDocument", []any{"document", "d", "caption", strings.Repeat("x", 1025)}, "message caption is too long"},
		{"sendDocument", []any{"document", "d", "caption", "<b>", "parse_mode", "HTML"}, "can't parse entities"},
		{"sendMediaGroup", []any{"media", []any{item("photo", "p")}}, "there must be from 2 to 10 messages"},
		{"sendMediaGroup", []any{"media", []any{item("photo", "p"), item("document", "d")}}, "can't mix media"},
		{"sendMediaGroup", []any{"media", []any{item("voice", "v"), item("voice", "w")}}, "can't mix media"},
		{"sendMediaGroup", []any{"media", "x"}, "can't parse media JSON"},
	} {
		got := w.call(c.method, append([]any{"chat_id", 1}, c.args...)...)
		if got.OK || got.ErrorCode != 400 || !strings.HasPrefix(got.Description, "Bad Request: "+c.says) {
			t.Errorf("%s %v: %d %q, want %q", c.method, c.args, got.ErrorCode, got.Description, c.says)
		}
	}
	if n := len(w.Messages(1)); n != 1 {
		t.Errorf("%d messages arrived", n-1)
	}
}

func TestHTML_Text_ParsedAsByTelegram(t *testing.T) {
	for text, want := range map[string]string{
		"a &lt;b&gt; &amp;&quot;":               `a <b> &"`,
		"&amp &ltx &nbsp; &#65;&#x42 &#0;":      "& &ltx &nbsp; AB &#0;",
		"&#128;":                                "\u0080",
		`<a href="a>b">x</a>`:                   "x",
		"<B class=x>x</b ><i>y</>":              "xy",
		`<span class='tg-spoiler'>x</span>`:     "x",
		`<tg-emoji emoji-id=5>x</tg-emoji>`:     "x",
		"<blockquote expandable>x</blockquote>": "x",
	} {
		if plain, err := Visible(text); err != nil || plain != want {
			t.Errorf("%s: %q (%v), want %q", text, plain, err, want)
		}
	}
	for _, text := range []string{
		"<br>", "a < b", "<b", "<b>", "</b>", "<b></i>", "<b></b", "<a href=\"x>", "<a =x></a>", "<a href=x/></a>",
		"<span>x</span>", "<tg-emoji>x</tg-emoji>",
	} {
		if plain, err := Visible(text); err == nil {
			t.Errorf("%s is parsed as %q, want an error", text, plain)
		}
	}
}

func TestMigration_OldID_ErrorWithNewID(t *testing.T) {
	w := newWorld(t, Options{FirstUpdateID: 1})
	w.Say(-5, "hello")
	if status, out := w.control("POST", "/sim/chats/-5/migrate", map[string]any{"to": -1005000000005}); status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	got := w.call("sendMessage", "chat_id", -5, "text", "hi")
	if got.ErrorCode != 400 || got.Parameters.MigrateToChatID != -1005000000005 {
		t.Errorf("to the old id: %+v", got)
	}
	w.mustCall("sendMessage", "chat_id", got.Parameters.MigrateToChatID, "text", "hi")
	for _, path := range []string{"/sim/chats/5/migrate", "/sim/chats/-1005000000005/migrate"} {
		if status, _ := w.control("POST", path, map[string]any{"to": -1005000000006}); status != 400 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestMigration_BothChats_ReportIt(t *testing.T) {
	w := newWorld(t, Options{})
	var got received
	w.mustCall("setWebhook", "url", w.webhookFor(func(_ http.ResponseWriter, r *http.Request) { got.read(r) }))
	w.Migrate(-5, -1005000000005)
	waittest.Until(t, "delivery", func() bool { return w.Stats().Updates.Delivered == 2 })
	ids := map[int64][2]int64{}
	for _, u := range got.all() {
		ids[u.Message.Chat.ID] = [2]int64{u.Message.MigrateTo, u.Message.MigrateFrom}
	}
	want := map[int64][2]int64{-5: {-1005000000005, 0}, -1005000000005: {0, -5}}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Error(diff)
	}
}
