package telegram_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// arrived returns the messages in chat 7 after the customer's first one, without the fields
// that differ each time.
func arrived(sim *telegramsim.Server) []telegramsim.Message {
	messages := sim.Messages(7)[1:]
	for i := range messages {
		messages[i].Date, messages[i].Username = 0, ""
		if messages[i].Album != "" {
			messages[i].Album = "one"
		}
	}
	return messages
}

func TestSend_Media_WithCaption(t *testing.T) {
	t.Parallel()
	media := func(kind string, ids ...string) (files []chat.Media) {
		for _, id := range ids {
			files = append(files, chat.Media{Kind: kind, FileID: id})
		}
		return files
	}
	bold := json.RawMessage(`[{"type":"bold","offset":0,"length":2}]`)
	for name, c := range map[string]struct {
		send commands.SendMessage
		want []telegramsim.Message
	}{
		"a photo": {commands.SendMessage{Media: media("photo", "p1"), Text: "<b>is</b> it", Format: dialog.HTML},
			[]telegramsim.Message{{Text: "is it", Entities: bold, Media: telegramsim.Media{Kind: "photo", FileID: "p1"}}}},
		"a document": {commands.SendMessage{Media: media("document", "d1"), Text: "<b>is</b> it"},
			[]telegramsim.Message{{Text: "<b>is</b> it", Media: telegramsim.Media{Kind: "document", FileID: "d1"}}}},
		"a voice": {commands.SendMessage{Media: media("voice", "v1"), Buttons: []dialog.Button{{Text: "Yes", Data: "y"}}},
			[]telegramsim.Message{{Media: telegramsim.Media{Kind: "voice", FileID: "v1"},
				ReplyMarkup: json.RawMessage(`{"inline_keyboard":[[{"callback_data":"y","text":"Yes"}]]}`)}}},
		"photos": {commands.SendMessage{Media: media("photo", "p1", "p2"), Text: "<b>is</b> it", Format: dialog.HTML},
			[]telegramsim.Message{
				{Text: "is it", Entities: bold, Media: telegramsim.Media{Kind: "photo", FileID: "p1"}, Album: "one"},
				{Media: telegramsim.Media{Kind: "photo", FileID: "p2"}, Album: "one"}}},
		"documents": {commands.SendMessage{Media: media("document", "d1", "d2", "d3"), Text: "all three"},
			[]telegramsim.Message{
				{Media: telegramsim.Media{Kind: "document", FileID: "d1"}, Album: "one"},
				{Media: telegramsim.Media{Kind: "document", FileID: "d2"}, Album: "one"},
				{Text: "all three", Media: telegramsim.Media{Kind: "document", FileID: "d3"}, Album: "one"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, clients := newAPI(t)
			c.send.ChatID = 7
			outcome := clients.Send(t.Context(), claimed(t, "demo", domain.KindSendMessage, c.send))
			for i := range c.want {
				c.want[i].From, c.want[i].MessageID = "bot", int64(i+2)
			}
			if diff := cmp.Diff(c.want, arrived(sim)); diff != "" || outcome.State != domain.DeliveryDone ||
				outcome.MessageID != 2 {
				t.Errorf("outcome %+v; arrived (-want +got):\n%s", outcome, diff)
			}
		})
	}
}

func TestSend_InvalidMedia_Refused(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]commands.SendMessage{
		"an unknown kind":         {Media: []chat.Media{{Kind: "sticker", FileID: "s"}}},
		"an album of voices":      {Media: []chat.Media{{Kind: "voice", FileID: "v"}, {Kind: "voice", FileID: "w"}}},
		"an invalid file id":      {Media: []chat.Media{{Kind: "photo", FileID: "no/id"}}},
		"an unknown HTML tag":     {Text: "<br>", Format: dialog.HTML},
		"a caption of 1025":       {Media: []chat.Media{{Kind: "photo", FileID: "p"}}, Text: strings.Repeat("x", 1025)},
		"a photo with a document": {Media: []chat.Media{{Kind: "photo", FileID: "p"}, {Kind: "document", FileID: "d"}}},
		"tags without text":       {Text: "<b> </b>", Format: dialog.HTML},
		"an unknown format":       {Text: "", Format: "rtf"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, clients := newAPI(t)
			send.ChatID = 7
			got := clients.Send(t.Context(), claimed(t, "demo", domain.KindSendMessage, send))
			if got.State != domain.DeliveryRefused || got.Reason == "" {
				t.Errorf("got %+v", got)
			}
			if got := arrived(sim); len(got) > 0 {
				t.Errorf("arrived: %+v", got)
			}
		})
	}
}

// The parts of a split text are checked against the simulator, which has its own HTML parser.
func TestSend_SplitText_EveryPartAccepted(t *testing.T) {
	t.Parallel()
	sim, clients := newAPI(t)
	pieces := []string{"word ", "line\n", "para\n\n", "👨‍👩‍👧‍👦", "🇩🇪", "שלום ", "مُحَمَّد ", "漢字", "&amp;", "&lt;b&gt;",
		"&#128512;", "&ltx", "&nbsp;", "& ", "\"", "'"}
	tags := [][2]string{{"<b>", "</b>"}, {"<i>", "</i>"}, {"<a href=\"https://e.org/?a>b&amp;c\">", "</a>"},
		{"<blockquote expandable>", "</blockquote>"},
		{"<pre><code class=\"language-go\">", "</code></pre>"}, {"<span class='tg-spoiler'>", "</span>"},
		{"<tg-emoji emoji-id=\"5\">", "</tg-emoji>"}}
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		var open []string
		for range rapid.IntRange(1, 15).Draw(t, "runs") {
			if len(open) < 5 && rapid.Bool().Draw(t, "opens") {
				tag := rapid.SampledFrom(tags).Draw(t, "tag")
				text.WriteString(tag[0])
				open = append(open, tag[1])
			}
			text.WriteString(strings.Repeat(rapid.SampledFrom(pieces).Draw(t, "piece"), rapid.IntRange(1, 300).Draw(t, "times")))
			if len(open) > 0 && rapid.Bool().Draw(t, "closes") {
				text.WriteString(open[len(open)-1])
				open = open[:len(open)-1]
			}
		}
		for i := range open {
			text.WriteString(open[len(open)-1-i])
		}
		parts, err := dialog.SplitHTML(text.String(), dialog.MaxText)
		if err != nil {
			t.Fatal(err)
		}
		want, err := telegramsim.Visible(text.String())
		if err != nil {
			t.Fatal(err)
		}
		before := len(sim.Messages(7))
		for _, part := range parts {
			body, err := json.Marshal(commands.SendMessage{ChatID: 7, Text: part, Format: dialog.HTML})
			if err != nil {
				t.Fatal(err)
			}
			delivery := commands.Delivery{Stream: "chat-demo:7", Kind: domain.KindSendMessage}
			got := clients.Send(t.Context(), commands.Claimed{Delivery: delivery, Body: body})
			if got.State != domain.DeliveryDone {
				t.Fatalf("outcome %+v for part %q", got, part)
			}
		}
		var shown strings.Builder
		for _, m := range sim.Messages(7)[before:] {
			shown.WriteString(m.Text)
		}
		if unspaced(shown.String()) != unspaced(want) {
			t.Fatalf("shown %q, want %q", shown.String(), want)
		}
	})
}

func unspaced(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
}
