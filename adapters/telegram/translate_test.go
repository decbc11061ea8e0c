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

// golden holds the result for each fixture: its stream, then its event as tell prints it.
const golden = `
business_connection              bot-demo                     kept business_connection 870000036
business_message                 chat-demo:5000000001         kept business_message 870000037
callback_query                   chat-demo:5000000001         pressed 870000045 query 21474836480000000003 below 127 data order:4411:confirm by 5000000001
callback_query-inaccessible      chat-demo:5000000001         pressed 870000047 query 21474836480000000005 below 17 data order:4390:cancel by 5000000001
callback_query-inline            bot-demo                     kept callback_query 870000046
channel_post                     chat-demo:-1001900000002     kept channel_post 870000034
chat_boost                       chat-demo:-1001900000002     kept chat_boost 870000058
chat_join_request                chat-demo:-1001900000001     kept chat_join_request 870000057
chat_member                      chat-demo:-1001900000001     kept chat_member 870000056
chosen_inline_result             bot-demo                     kept chosen_inline_result 870000044
deleted_business_messages        chat-demo:5000000001         kept deleted_business_messages 870000039
edited_business_message          chat-demo:5000000001         kept edited_business_message 870000038
edited_channel_post              chat-demo:-1001900000002     kept edited_channel_post 870000035
edited_message                   chat-demo:5000000001         edited 870000032 message 108 at 00:34:00 by 5000000001 "The kettle arrived with two dents, order"
edited_message-text              chat-demo:5000000001         edited 870000033 message 102 at 00:35:00 by 5000000001 "Please send three blue kettles to the ha"
guest_message                    chat-demo:-1001900000009     kept guest_message 870000040
inline_query                     bot-demo                     kept inline_query 870000043
managed_bot                      bot-demo                     kept managed_bot 870000060
message                          chat-demo:5000000001         received 870000001 message 101 at 00:01:00 in private by 5000000001 "Hello, is the blue kettle back in stock?"
message-album-part-1             chat-demo:5000000001         received 870000017 message 116 at 00:17:00 in private by 5000000001 "Three photos of the kettle" photo(AgACAgQAAxkBAAFixtureAlbum104AAIBAQ, 142907 bytes) album 14000000000000001
message-album-part-2             chat-demo:5000000001         received 870000018 message 117 at 00:17:00 in private by 5000000001 photo(AgACAgQAAxkBAAFixtureAlbum204AAIBAQ, 142907 bytes) album 14000000000000001
message-album-part-3             chat-demo:5000000001         received 870000019 message 118 at 00:17:00 in private by 5000000001 photo(AgACAgQAAxkBAAFixtureAlbum304AAIBAQ, 142907 bytes) album 14000000000000001
message-big-ids                  chat-demo:4503599627370495   received 870000008 message 101 at 00:08:00 in private by 4503599627370495 "My identifiers need 52 bits."
message-caption-entities         chat-demo:5000000001         received 870000031 message 125 at 00:33:00 in private by 5000000001 "📦 Dented kettle, order 4411, #returns" photo(AgACAgQAAxkBAAFixtureCapEnt04AAIBAQ, 142907 bytes)
message-command-start            chat-demo:5000000001         received 870000029 message 123 at 00:31:00 in private by 5000000001 "/start ref_42"
message-contact                  chat-demo:5000000001         received 870000015 message 114 at 00:15:00 in private by 5000000001 contact
message-dice                     chat-demo:5000000001         received 870000016 message 115 at 00:16:00 in private by 5000000001 dice
message-document                 chat-demo:5000000001         received 870000010 message 109 at 00:10:00 in private by 5000000001 document(AgACAgQAAxkBAAFixtureDocument01AAIBAQ, 248113 bytes application/pdf Rechnung März 2026 – 4411.pdf)
message-emoji                    chat-demo:5000000001         received 870000004 message 104 at 00:04:00 in private by 5000000001 "Family 👨‍👩‍👧‍👦, scientist 👩🏽‍🔬, flags 🇰🇪"
message-entities                 chat-demo:5000000001         received 870000030 message 124 at 00:32:00 in private by 5000000001 "Bold, a link, https://example.com, @noor"
message-forum-topic              chat-demo:-1001900000003     received 870000023 message 103 at 00:25:00 in supergroup "Fern & Salt support" by 5000000002 "How do I return a kettle?" reply to 102 thread 102
message-forward                  chat-demo:5000000001         received 870000021 message 121 at 00:22:00 in private by 5000000001 "The harbour office is closed on Friday."
message-group                    chat-demo:-4000000001        received 870000024 message 101 at 00:26:00 in group "Fern & Salt orders" by 5000000002 "Who takes the morning shift?"
message-location                 chat-demo:5000000001         received 870000014 message 113 at 00:14:00 in private by 5000000001 location
message-lone-surrogate           chat-demo:5000000001         received 870000007 message 107 at 00:07:00 in private by 5000000001 "broken � emoji"
message-new-chat-members         chat-demo:-1001900000003     kept message 870000022
message-nul                      chat-demo:5000000001         received 870000006 message 106 at 00:06:00 in private by 5000000001 "order\x00number 4411"
message-photo                    chat-demo:5000000001         received 870000009 message 108 at 00:09:00 in private by 5000000001 "The kettle arrived with a dent, order 44" photo(AgACAgQAAxkBAAFixturePhoto04AAIBAQ, 142907 bytes)
message-poll                     chat-demo:-1001900000001     received 870000027 message 102 at 00:29:00 in supergroup "Fern & Salt orders" by 5000000002 poll
message-reply                    chat-demo:5000000001         received 870000020 message 120 at 00:21:00 in private by 5000000001 "When will it arrive?" reply to 119
message-rtl                      chat-demo:5000000001         received 870000005 message 105 at 00:05:00 in private by 5000000001 "مرحبا، أريد غلايتين زرقاوين من المتجر.\nש"
message-sticker                  chat-demo:5000000001         received 870000013 message 112 at 00:13:00 in private by 5000000001 sticker(AgACAgQAAxkBAAFixtureSticker01AAIBAQ, 21877 bytes)
message-supergroup-migrate-from  chat-demo:-1001900000001     kept message 870000026 moved from -4000000001
message-supergroup-migrate-to    chat-demo:-4000000001        kept message 870000025 moved to -1001900000001
message-text                     chat-demo:5000000001         received 870000002 message 102 at 00:02:00 in private by 5000000001 "Please send two blue kettles to the harb"
message-text-4096                chat-demo:5000000001         received 870000003 message 103 at 00:03:00 in private by 5000000001 "Line 001: the café on Größe Street — déj"
message-unknown-fields           chat-demo:5000000001         received 870000028 message 122 at 00:30:00 in private by 5000000001 "Fields from tomorrow"
message-video-note               chat-demo:5000000001         received 870000012 message 111 at 00:12:00 in private by 5000000001 video_note(AgACAgQAAxkBAAFixtureVideoNote01AAIBAQ, 733102 bytes) of 9 s
message-voice                    chat-demo:5000000001         received 870000011 message 110 at 00:11:00 in private by 5000000001 voice(AgACAgQAAxkBAAFixtureVoice01AAIBAQ, 28114 bytes audio/ogg) of 7 s
message_reaction                 chat-demo:-1001900000001     kept message_reaction 870000041
message_reaction_count           chat-demo:-1001900000002     kept message_reaction_count 870000042
my_chat_member                   chat-demo:-1001900000001     membership 870000053 administrator at 00:46:00
my_chat_member-blocked           chat-demo:5000000001         membership 870000054 kicked at 00:47:00 blocked
my_chat_member-unblocked         chat-demo:5000000001         membership 870000055 member at 00:48:00
poll                             bot-demo                     kept poll 870000051
poll_answer                      bot-demo                     kept poll_answer 870000052
pre_checkout_query               bot-demo                     kept pre_checkout_query 870000049
purchased_paid_media             bot-demo                     kept purchased_paid_media 870000050
removed_chat_boost               chat-demo:-1001900000002     kept removed_chat_boost 870000059
shipping_query                   bot-demo                     kept shipping_query 870000048
unknown-kind                     chat-demo:5000000001         kept telepathy 870000061
`

// tell prints an event in one line: all fields that decisions use, except the key.
func tell(event any) string {
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
				say("(%s)", strings.Join(strings.Fields(fmt.Sprintf("%s, %d bytes %s %s", m.FileID, m.Size, m.MimeType, m.FileName)), " "))
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
		say(`edited %d message %d at %s by %d "%s"`, e.ID, e.MessageID, e.EditedAt.Format(time.TimeOnly), e.From.ID, start(e.Text))
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

func TestTranslate_Fixtures_Golden(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	for line := range strings.Lines(strings.TrimSpace(golden)) {
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
		got[name] = strings.Join(strings.Fields(string(r.Stream)+" "+tell(received(r))), " ")
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
			t.Errorf(
				"%s: kept bot %q, id %d and %d bytes of %d",
				name,
				r.Update.Bot,
				r.Update.ID,
				len(r.Update.Raw),
				len(body),
			)
		}
		receive := r.Command.(chat.Receive)
		if receive.Limit != demo.Limit || !receive.At.Equal(noon) || !r.At.Equal(noon) {
			t.Errorf("%s: limit %v, at %v and %v", name, receive.Limit, receive.At, r.At)
		}
		_, inChat := r.Stream.Chat()
		if wait := r.Wait > 0; wait != inChat {
			t.Errorf("%s: stream %s waits %v: only chats have an order to wait for", name, r.Stream, r.Wait)
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
		`"photo": [{"file_id": "s", "file_size": 1}, {"file_id": "f", "file_size": 2}]`:                      {Kind: "photo", FileID: "f", Size: 2},
		`"live_photo": {"file_id": "f", "file_size": 2}, "photo": [{"file_id": "s"}]`:                        {Kind: "live_photo", FileID: "f", Size: 2},
		`"document": {"file_id": "f", "file_name": "a.pdf", "mime_type": "application/pdf", "file_size": 2}`: {Kind: "document", FileID: "f", FileName: "a.pdf", MimeType: "application/pdf", Size: 2},
		`"voice": {"file_id": "f", "duration": 3, "mime_type": "audio/ogg", "file_size": 2}`:                 {Kind: "voice", FileID: "f", MimeType: "audio/ogg", Size: 2, Duration: 3},
		`"audio": {"file_id": "f", "duration": 3, "file_name": "a.mp3", "title": "A"}`:                       {Kind: "audio", FileID: "f", FileName: "a.mp3", Duration: 3},
		`"video": {"file_id": "f", "duration": 3, "file_name": "a.mp4", "file_size": 5000000000}`:            {Kind: "video", FileID: "f", FileName: "a.mp4", Size: 5000000000, Duration: 3},
		`"video_note": {"file_id": "f", "duration": 3, "length": 240}`:                                       {Kind: "video_note", FileID: "f", Duration: 3},
		`"animation": {"file_id": "f", "duration": 3, "file_name": "a.gif"}, "document": {"file_id": "f"}`:   {Kind: "animation", FileID: "f", FileName: "a.gif", Duration: 3},
		`"sticker": {"file_id": "f", "emoji": "👍"}`:                                                          {Kind: "sticker", FileID: "f"},
		`"location": {"latitude": 1.5, "longitude": 2.5}, "venue": {"title": "Shop"}`:                        {Kind: "location"},
		`"contact": {"phone_number": "1"}`:                                                                   {Kind: "contact"}, `"poll": {"id": "1"}`: {Kind: "poll"}, `"dice": {"value": 6}`: {Kind: "dice"},
		`"story": {"id": 1}`: {Kind: "story"}, `"game": {"title": "G"}`: {Kind: "game"}, `"checklist": {"title": "C"}`: {Kind: "checklist"},
		`"paid_media": {"star_count": 1}`: {Kind: "paid_media"}, `"giveaway": {}`: {Kind: "giveaway"}, `"rich_message": {}`: {Kind: "rich_message"},
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
			t.Errorf("%s: %s\n%s", fields, tell(received(r)), diff)
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
		{`{"update_id":1,"callback_query":{"id":"9","from":{"id":7},"inline_message_id":"x","data":"d"}}`, "bot-demo", "callback_query"},
		{`{"update_id":1,"callback_query":{"from":{"id":7},"message":{"message_id":1,"chat":{"id":7}}}}`, "chat-demo:7", "callback_query"},
		{`{"update_id":1,"my_chat_member":{"chat":{"id":7}}}`, "chat-demo:7", "my_chat_member"},
	} {
		r := translate(t, c.body)
		kept, ok := received(r).(chat.UpdateKept)
		if !ok || kept.Kind != c.kind || string(r.Stream) != c.stream || string(r.Update.Raw) != c.body {
			t.Errorf("%s: %s on %s, want kept %s on %s", c.body, tell(received(r)), r.Stream, c.kind, c.stream)
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
			t.Errorf("%s is taken for %q, want %q", body, kept.Kind, want)
		}
	}
}

// The list of kinds is that of the Bot API's type Update: each has a fixture.
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
		if got, want := tell(received(translate(t, string(beside)))), tell(received(translate(t, string(body)))); got != want {
			t.Errorf("%s beside an unknown field: %s, want %s", name, got, want)
		}
	}
}

// A field of an unexpected type costs that field, not the message.
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
		if got := tell(received(translate(t, start+fields))); got != want {
			t.Errorf("%s:\n%s, want\n%s", fields, got, want)
		}
	}
	button := `{"update_id":1,"callback_query":{"id":"9","from":7,"message":{"message_id":1.5,"chat":{"id":7}},"data":"d"}}`
	if pressed, ok := received(translate(t, button)).(chat.ButtonPressed); !ok || pressed.Data != "d" {
		t.Errorf("%s is not read: %+v", button, pressed)
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
			t.Errorf("one key for\n%s\n%s", before, body)
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
	for _, body := range []string{``, `{}`, `{"update_id":"1"}`, `{"update_id":1,"message":{"chat":{"id":1},"message_id":1,"photo":[]}}`,
		`{"update_id":-1,"callback_query":{"id":"q","message":{"chat":{"id":-1}}}}`, "{\"update_id\":1,\"\\u0000\":{}}"} {
		f.Add([]byte(body))
	}
	codec := chat.NewCodec()
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := telegram.Translate(demo, body, noon)
		if err != nil {
			if r.Command != nil || r.Update != nil {
				t.Fatalf("an error and a request: %v, %+v", err, r)
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
			t.Fatalf("what would be stored cannot be read: %v", err)
		}
	})
}
