package telegram_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

var (
	demo = telegram.Bot{
		Name:          "demo",
		Limit:         chat.Limit{Count: 3, Window: time.Minute},
		ReorderWindow: 100 * time.Millisecond,
	}
	noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
)

// fixtures returns complete updates by file name without extension.
func fixtures(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/updates/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	found := map[string][]byte{}
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimSuffix(filepath.Base(path), ".json")] = body
	}
	return found
}

// describe prints an event in one line: all fields that decisions use, except the key.
func describe(event any) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	start := func(text string) string {
		if runes := []rune(text); len(runes) > 40 {
			text = string(runes[:40])
		}
		return strings.NewReplacer("\n", `\n`, "\x00", `\x00`).Replace(text)
	}
	switch e := event.(type) {
	case chat.MessageReceived:
		say("received %d message %d at %s in %s", e.ID, e.MessageID, e.Date.Format(time.TimeOnly), e.ChatType)
		if e.ChatTitle != "" {
			say(" %q", e.ChatTitle)
		}
		say(" by %d", e.From.ID)
		if e.Text != "" {
			say(` "%s"`, start(e.Text))
		}
		for _, m := range e.Media {
			if say(" %s", m.Kind); m.FileID != "" {
				file := fmt.Sprintf("%s, %d bytes %s %s", m.FileID, m.Size, m.MimeType, m.FileName)
				say("(%s)", strings.Join(strings.Fields(file), " "))
			}
			if m.Duration > 0 {
				say(" of %d s", m.Duration)
			}
		}
		if e.Album != "" {
			say(" album %s", e.Album)
		}
		if e.ReplyTo != 0 {
			say(" reply to %d", e.ReplyTo)
		}
		if e.Thread != 0 {
			say(" thread %d", e.Thread)
		}
	case chat.MessageEdited:
		say(`edited %d message %d at %s by %d "%s"`, e.ID, e.MessageID, e.EditedAt.Format(time.TimeOnly), e.From.ID,
			start(e.Text))
	case chat.ButtonPressed:
		say("pressed %d query %s below %d data %s by %d", e.ID, e.QueryID, e.MessageID, e.Data, e.From.ID)
	case chat.MembershipChanged:
		if say("membership %d %s at %s", e.ID, e.Status, e.Date.Format(time.TimeOnly)); e.Blocked {
			say(" blocked")
		}
	case chat.UpdateKept:
		say("kept %s %d", e.Kind, e.ID)
		if e.MigratedTo != 0 {
			say(" moved to %d", e.MigratedTo)
		}
		if e.MigratedFrom != 0 {
			say(" moved from %d", e.MigratedFrom)
		}
	default:
		say("%#v", event)
	}
	return b.String()
}

func translate(t testing.TB, body string) commands.Request {
	t.Helper()
	r, err := telegram.Translate(demo, []byte(body), noon)
	if err != nil {
		t.Fatalf("Translate %s: %v", body, err)
	}
	return r
}

func received(r commands.Request) any { return r.Command.(chat.Receive).Event }

// keyOf returns the key by which a repeat under another update_id is recognised.
func keyOf(event any) uint64 {
	switch e := event.(type) {
	case chat.MessageReceived:
		return e.Key
	case chat.MessageEdited:
		return e.Key
	case chat.ButtonPressed:
		return e.Key
	case chat.MembershipChanged:
		return e.Key
	case chat.UpdateKept:
		return e.Key
	}
	panic(fmt.Sprintf("%T is not received", event))
}

// testdata/updates.golden holds the result for each fixture: its stream, then its event as describe
// prints it.
func TestTranslate_Fixtures_Golden(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("testdata/updates.golden")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(strings.TrimSpace(string(golden))) {
		name, rest, _ := strings.Cut(line, " ")
		want[name] = strings.Join(strings.Fields(rest), " ")
	}
	got := map[string]string{}
	for name, body := range fixtures(t) {
		r, err := telegram.Translate(demo, body, noon)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got[name] = strings.Join(strings.Fields(string(r.Stream)+" "+describe(received(r))), " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestTranslate_Raw_BytesKept(t *testing.T) {
	t.Parallel()
	for name, body := range fixtures(t) {
		r, err := telegram.Translate(demo, body, noon)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var update struct {
			ID int64 `json:"update_id"`
		}
		if err := json.Unmarshal(body, &update); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.Update.Raw, body) || r.Update.ID != update.ID || r.Update.Bot != "demo" {
			t.Errorf("%s: kept bot %q, id %d and %d bytes of %d", name, r.Update.Bot, r.Update.ID, len(r.Update.Raw), len(body))
		}
		receive := r.Command.(chat.Receive)
		if receive.Limit != demo.Limit || !receive.At.Equal(noon) || !r.At.Equal(noon) {
			t.Errorf("%s: limit %v, at %v and %v", name, receive.Limit, receive.At, r.At)
		}
		_, inChat := r.Stream.Chat()
		if wait := r.Wait > 0; wait != inChat {
			t.Errorf("%s: stream %s waits %v, want a wait for streams of chats only", name, r.Stream, r.Wait)
		}
		_, kept := receive.Event.(chat.UpdateKept)
		if actor := map[bool]domain.Actor{true: "telegram", false: "customer"}[kept]; r.Actor != actor {
			t.Errorf("%s: actor %q, want %q", name, r.Actor, actor)
		}
	}
}

func TestTranslate_Text_Unchanged(t *testing.T) {
	t.Parallel()
	all := fixtures(t)
	for _, name := range []string{"message-text-4096", "message-emoji", "message-rtl", "message-nul", "message-entities"} {
		var sent struct{ Message struct{ Text string } }
		if err := json.Unmarshal(all[name], &sent); err != nil {
			t.Fatal(err)
		}
		got := received(translate(t, string(all[name]))).(chat.MessageReceived).Text
		if got != sent.Message.Text || len(got) < 10 {
			t.Errorf("%s: got %q, sent %q", name, got, sent.Message.Text)
		}
		if name == "message-text-4096" && utf8.RuneCountInString(got) != 4096 {
			t.Errorf("%s: %d characters", name, utf8.RuneCountInString(got))
		}
	}
}

func TestTranslate_MediaOfEveryKind_Listed(t *testing.T) {
	for fields, want := range map[string]chat.Media{
		`"photo": [{"file_id": "s", "file_size": 1}, {"file_id": "f", "file_size": 2}]`: {
			Kind: "photo", FileID: "f", Size: 2},
		`"live_photo": {"file_id": "f", "file_size": 2}, "photo": [{"file_id": "s"}]`: {
			Kind: "live_photo", FileID: "f", Size: 2},
		`"document": {"file_id": "f", "file_name": "a.pdf", "mime_type": "application/pdf", "file_size": 2}`: {
			Kind: "document", FileID: "f", FileName: "a.pdf", MimeType: "application/pdf", Size: 2},
		`"voice": {"file_id": "f", "duration": 3, "mime_type": "audio/ogg", "file_size": 2}`: {
			Kind: "voice", FileID: "f", MimeType: "audio/ogg", Size: 2, Duration: 3},
		`"audio": {"file_id": "f", "duration": 3, "file_name": "a.mp3", "title": "A"}`: {
			Kind: "audio", FileID: "f", FileName: "a.mp3", Duration: 3},
		`"video": {"file_id": "f", "duration": 3, "file_name": "a.mp4", "file_size": 5000000000}`: {
			Kind: "video", FileID: "f", FileName: "a.mp4", Size: 5000000000, Duration: 3},
		`"video_note": {"file_id": "f", "duration": 3, "length": 240}`: {
			Kind: "video_note", FileID: "f", Duration: 3},
		`"animation": {"file_id": "f", "duration": 3, "file_name": "a.gif"}, "document": {"file_id": "f"}`: {
			Kind: "animation", FileID: "f", FileName: "a.gif", Duration: 3},
		`"sticker": {"file_id": "f", "emoji": "👍"}`:                                   {Kind: "sticker", FileID: "f"},
		`"location": {"latitude": 1.5, "longitude": 2.5}, "venue": {"title": "Shop"}`: {Kind: "location"},
		`"contact": {"phone_number": "1"}`:                                            {Kind: "contact"},
		`"poll": {"id": "1"}`:                                                         {Kind: "poll"},
		`"dice": {"value": 6}`:                                                        {Kind: "dice"},
		`"story": {"id": 1}`:                                                          {Kind: "story"},
		`"game": {"title": "G"}`:                                                      {Kind: "game"},
		`"checklist": {"title": "C"}`:                                                 {Kind: "checklist"},
		`"paid_media": {"star_count": 1}`:                                             {Kind: "paid_media"},
		`"giveaway": {}`:                                                              {Kind: "giveaway"},
		`"rich_message": {}`:                                                          {Kind: "rich_message"},
	} {
		r, err := telegram.Translate(
			demo,
			[]byte(
				`{"update_id": 1, "message": {"message_id": 1, "date": 1, "chat": {"id": 7}, "caption": "look", `+fields+`}}`,
			),
			noon,
		)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := received(r).(chat.MessageReceived)
		if diff := cmp.Diff([]chat.Media{want}, got.Media); !ok || diff != "" || got.Text != "look" {
			t.Errorf("%s: %s\n%s", fields, describe(received(r)), diff)
		}
	}
}

// An update that does not follow the Bot API is kept complete, in the stream of its chat if
// it names one.
func TestTranslate_UnexpectedShape_UpdateKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, stream, kind string }{
		{`{"update_id":1}`, "bot-demo", "none"},
		{`{"update_id":1,"telepathy":{"strength":3}}`, "bot-demo", "telepathy"},
		{`{"update_id":1,"telepathy":null}`, "bot-demo", "telepathy"},
		{`{"update_id":1,"telepathy":{"chat":{"id":7}}}`, "chat-demo:7", "telepathy"},
		{`{"update_id":1,"telepathy":{"message":{"chat":{"id":7}}}}`, "chat-demo:7", "telepathy"},
		{`{"update_id":1,"message":null}`, "bot-demo", "message"},
		{`{"update_id":1,"message":"hello"}`, "bot-demo", "message"},
		{`{"update_id":1,"message":[]}`, "bot-demo", "message"},
		{`{"update_id":1,"message":{"message_id":5,"text":"no chat"}}`, "bot-demo", "message"},
		{`{"update_id":1,"message":{"message_id":5,"chat":{"id":0},"text":"hi"}}`, "bot-demo", "message"},
		{`{"update_id":1,"message":{"chat":{"id":7},"text":"no message_id"}}`, "chat-demo:7", "message"},
		{`{"update_id":1,"message":{"message_id":"5","chat":{"id":7},"text":"hi"}}`, "chat-demo:7", "message"},
		{`{"update_id":1,"message":{"message_id":5,"chat":{"id":7},"text":42}}`, "chat-demo:7", "message"},
		{`{"update_id":1,"message":{"message_id":5,"chat":{"id":"7"},"text":"hi"}}`, "bot-demo", "message"},
		{`{"update_id":1,"message":{"message_id":5,"chat":{"id":99999999999999999999},"text":"hi"}}`, "bot-demo", "message"},
		{`{"update_id":1,"message":{"message_id":5,"chat":{"id":7},"new_chat_title":"Kettles"}}`, "chat-demo:7", "message"},
		{`{"update_id":1,"edited_message":{"message_id":5,"text":"no chat"}}`, "bot-demo", "edited_message"},
		{`{"update_id":1,"callback_query":{"id":"9","from":{"id":7},"inline_message_id":"x","data":"d"}}`, "bot-demo",
			"callback_query"},
		{`{"update_id":1,"callback_query":{"from":{"id":7},"message":{"message_id":1,"chat":{"id":7}}}}`, "chat-demo:7",
			"callback_query"},
		{`{"update_id":1,"my_chat_member":{"chat":{"id":7}}}`, "chat-demo:7", "my_chat_member"},
	} {
		r := translate(t, c.body)
		kept, ok := received(r).(chat.UpdateKept)
		if !ok || kept.Kind != c.kind || string(r.Stream) != c.stream || string(r.Update.Raw) != c.body {
			t.Errorf("%s: %s on %s, want kept %s on %s", c.body, describe(received(r)), r.Stream, c.kind, c.stream)
		}
	}
}

func TestTranslate_NotAnUpdate_Error(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, says string }{
		{``, "JSON"},
		{`{`, "JSON"},
		{`null`, "JSON"},
		{`[]`, "JSON"},
		{`"update_id"`, "JSON"},
		{`{"update_id":1} {"update_id":2}`, "JSON"},
		{"\xff\xfe", "JSON"},
		{`{}`, "update_id"},
		{`{"message":{}}`, "update_id"},
		{`{"update_id":null}`, "update_id"},
		{`{"update_id":"17"}`, "update_id"},
		{`{"update_id":17.0}`, "update_id"},
		{`{"update_id":1e3}`, "update_id"},
		{`{"update_id":9223372036854775808}`, "update_id"},
		{`{"update_id":true}`, "update_id"},
	} {
		if r, err := telegram.Translate(demo, []byte(c.body), noon); err == nil ||
			!strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: request %+v, error %v; want an error that names %s", c.body, r, err, c.says)
		}
	}
}

// A message or a button press that comes again under another update_id is the same one. Of
// other kinds, equal content is two facts.
func TestKey_OtherUpdateID_SameForMessages(t *testing.T) {
	t.Parallel()
	for name, body := range fixtures(t) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(body, &fields); err != nil {
			t.Fatal(err)
		}
		other := bytes.Replace(body, fields["update_id"], []byte("912345678"), 1)
		a, b := received(translate(t, string(body))), received(translate(t, string(other)))
		kind, _, _ := strings.Cut(name, "-")
		double := slices.Contains([]string{
			"message", "edited_message", "channel_post", "edited_channel_post", "business_message",
			"edited_business_message", "guest_message", "callback_query",
		}, kind) && name != "callback_query-inline"
		if same := keyOf(a) == keyOf(b); bytes.Equal(body, other) || same != double || keyOf(a) == 0 {
			t.Errorf("%s: keys %d and %d under another update_id", name, keyOf(a), keyOf(b))
		}
	}
}

func TestTranslate_FieldBesideKnownKind_KindFound(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"update_id":5,"poll":{"id":"1"},"future_field":{"a":1}}`:          "poll",
		`{"update_id":5,"message_reaction":{"chat":{"id":7}},"about":{}}`:   "message_reaction",
		`{"update_id":5,"message":null,"poll":{"id":"1"}}`:                  "poll",
		`{"update_id":5,"aaa":1,"telepathy":{"strength":1}}`:                "telepathy",
		`{"update_id":5,"managed_bot":{"user":{}},"a_new_field":{"b":"c"}}`: "managed_bot",
	} {
		if kept, ok := received(translate(t, body)).(chat.UpdateKept); !ok || kept.Kind != want {
			t.Errorf("%s is read as kind %q, want %q", body, kept.Kind, want)
		}
	}
}

// The list of kinds is that of the Bot API's type Update: each has a fixture. A new field that stands
// before the kind's does not change how the update is read.
func TestTranslate_EveryFixtureKind_Known(t *testing.T) {
	t.Parallel()
	for name, body := range fixtures(t) {
		kind, _, _ := strings.Cut(name, "-")
		if kind == "unknown" {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(body, &fields); err != nil {
			t.Fatal(err)
		}
		fields["aa_future_field"] = json.RawMessage(`{"a":1}`)
		beside, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		got, want := describe(received(translate(t, string(beside)))), describe(received(translate(t, string(body))))
		if got != want {
			t.Errorf("%s with an unknown field: %s, want %s", name, got, want)
		}
	}
}

// A field of an unexpected type is ignored, and the rest of the message is read.
func TestTranslate_FieldOfOtherType_RestRead(t *testing.T) {
	t.Parallel()
	const start = `{"update_id":1,"message":{"message_id":7,"chat":{"id":6017,"type":"private"},`
	for fields, want := range map[string]string{
		`"date":1767355200.5,"text":"hi"}}`:   `received 1 message 7 at 12:00:00 in private by 0 "hi"`,
		`"date":"soon","text":"hi"}}`:         `received 1 message 7 at 12:00:00 in private by 0 "hi"`,
		`"date":253402300800,"text":"hi"}}`:   `received 1 message 7 at 12:00:00 in private by 0 "hi"`,
		`"date":1767355201,"text":"hi"}}`:     `received 1 message 7 at 12:00:01 in private by 0 "hi"`,
		`"date":-5,"text":"hi","from":"me"}}`: `received 1 message 7 at 12:00:00 in private by 0 "hi"`,
		`"date":1767355201,"caption":"my log","document":{"file_id":"BQ1","file_size":18446744073709551615}}}`: `` +
			`received 1 message 7 at 12:00:01 in private by 0 "my log" document(BQ1, 0 bytes)`,
		`"date":1767355201,"text":"hi","photo":"x","reply_to_message":5,"media_group_id":9}}`: `` +
			`received 1 message 7 at 12:00:01 in private by 0 "hi"`,
	} {
		if got := describe(received(translate(t, start+fields))); got != want {
			t.Errorf("%s:\n%s, want\n%s", fields, got, want)
		}
	}
	button := `{"update_id":1,"callback_query":{"id":"9","from":7,"data":"d",` +
		`"message":{"message_id":1.5,"chat":{"id":7}}}}`
	if pressed, ok := received(translate(t, button)).(chat.ButtonPressed); !ok || pressed.Data != "d" {
		t.Errorf("%s is read as %+v", button, pressed)
	}
}

func TestKey_DifferentUpdates_Differ(t *testing.T) {
	t.Parallel()
	bodies := []string{
		`{"update_id":1,"message":{"message_id":5,"date":100,"chat":{"id":7},"text":"hi"}}`,
		`{"update_id":1,"message":{"message_id":6,"date":100,"chat":{"id":7},"text":"hi"}}`,
		`{"update_id":1,"message":{"message_id":5,"date":101,"chat":{"id":7},"text":"hi"}}`,
		`{"update_id":1,"message":{"message_id":5,"date":100,"chat":{"id":7},"text":"ho"}}`,
		`{"update_id":1,"message":{"message_id":5,"date":100,"chat":{"id":7},"caption":"hi","voice":{"file_id":"a"}}}`,
		`{"update_id":1,"message":{"message_id":5,"date":100,"chat":{"id":7},"caption":"hi","voice":{"file_id":"b"}}}`,
		`{"update_id":1,"edited_message":{"message_id":5,"date":100,"edit_date":100,"chat":{"id":7},"text":"hi"}}`,
		`{"update_id":1,"edited_message":{"message_id":5,"date":100,"edit_date":101,"chat":{"id":7},"text":"hi"}}`,
		`{"update_id":1,"edited_message":{"message_id":5,"date":100,"edit_date":100,"chat":{"id":7},"text":"ho"}}`,
		`{"update_id":1,"callback_query":{"id":"5","message":{"message_id":5,"chat":{"id":7}},"data":"hi"}}`,
		`{"update_id":1,"callback_query":{"id":"6","message":{"message_id":5,"chat":{"id":7}},"data":"hi"}}`,
		`{"update_id":1,"my_chat_member":{"chat":{"id":7},"date":100,"new_chat_member":{"status":"kicked"}}}`,
		`{"update_id":1,"my_chat_member":{"chat":{"id":7},"date":101,"new_chat_member":{"status":"kicked"}}}`,
		`{"update_id":1,"telepathy":{"chat":{"id":7},"strength":1}}`,
		`{"update_id":1,"telepathy":{"chat":{"id":7},"strength":2}}`,
	}
	seen := map[uint64]string{}
	for _, body := range bodies {
		key := keyOf(received(translate(t, body)))
		if before, taken := seen[key]; taken {
			t.Errorf("these have the same key:\n%s\n%s", before, body)
		}
		seen[key] = body
	}
}

// FuzzTranslate checks that every body is either translated, with a stream and its bytes, or
// rejected with an error.
func FuzzTranslate(f *testing.F) {
	for _, body := range fixtures(f) {
		f.Add(body)
	}
	for _, body := range []string{``, `{}`, `{"update_id":"1"}`,
		`{"update_id":1,"message":{"chat":{"id":1},"message_id":1,"photo":[]}}`,
		`{"update_id":-1,"callback_query":{"id":"q","message":{"chat":{"id":-1}}}}`, "{\"update_id\":1,\"\\u0000\":{}}"} {
		f.Add([]byte(body))
	}
	codec := chat.NewCodec()
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := telegram.Translate(demo, body, noon)
		if err != nil {
			if r.Command != nil || r.Update != nil {
				t.Fatalf("both an error and a request: %v, %+v", err, r)
			}
			return
		}
		if r.Stream.Bot() != "demo" || !bytes.Equal(r.Update.Raw, body) || keyOf(received(r)) == 0 {
			t.Fatalf("stream %q, %d of %d bytes", r.Stream, len(r.Update.Raw), len(body))
		}
		name, version, payload, err := codec.Encode(received(r))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := codec.Decode(name, version, payload); err != nil {
			t.Fatalf("the stored event cannot be decoded: %v", err)
		}
	})
}
