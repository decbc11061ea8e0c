package chat_test

import (
	"strings"
	"testing"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

var maria = chat.Author{Kind: chat.Person, Name: "maria"}

func file(kind, id string) chat.Media { return chat.Media{Kind: kind, FileID: id} }

// said are the texts of the replies that were queued.
func said(o outcome) (texts []string) {
	for _, reply := range all[chat.ReplyQueued](o) {
		texts = append(texts, reply.Text)
	}
	return texts
}

func TestReply_Long_SentInOrderedParts(t *testing.T) {
	one, two := strings.Repeat("one ", 1000), strings.Repeat("two ", 1000)
	o := given(t, wrote(1, "hi")).When(chat.Reply{Author: maria, Text: one + "\n\n" + two})
	o.Then(
		chat.ReplyQueued{Text: strings.TrimSpace(one), Author: maria},
		chat.ReplyQueued{Text: strings.TrimSpace(two), Author: maria})
}

func TestReply_LongMarkup_TagsInEachPart(t *testing.T) {
	o := given(t, wrote(1, "hi")).
		When(chat.Reply{Author: maria, Format: dialog.HTML, Text: "<b>" + strings.Repeat("word ", 1000) + "</b>"})
	replies := all[chat.ReplyQueued](o)
	if len(replies) != 2 {
		t.Fatalf("%d parts", len(replies))
	}
	for _, r := range replies {
		if !strings.HasPrefix(r.Text, "<b>word") || !strings.HasSuffix(r.Text, "word</b>") || r.Format != dialog.HTML {
			t.Errorf("a part in format %q: %.10s ... %s", r.Format, r.Text, r.Text[len(r.Text)-10:])
		}
	}
}

func TestReply_InvalidMarkup_Refused(t *testing.T) {
	eleven := make([]chat.Media, 11)
	for i := range eleven {
		eleven[i] = file("photo", "f")
	}
	for name, c := range map[string]struct {
		reply chat.Reply
		want  error
	}{
		"a tag it does not know": {chat.Reply{Text: "a<br>b", Format: dialog.HTML}, chat.ErrHTML},
		"a tag left open":        {chat.Reply{Text: "<b>a", Format: dialog.HTML}, chat.ErrHTML},
		"tags around nothing":    {chat.Reply{Text: "<b> </b>", Format: dialog.HTML}, chat.ErrEmpty},
		"21 messages":            {chat.Reply{Text: strings.Repeat("x", 20*dialog.MaxText+1)}, chat.ErrTooLong},
		"a wrong caption": {chat.Reply{Text: "<b>a", Format: dialog.HTML,
			Media: []chat.Media{file("photo", "f")}}, chat.ErrHTML},
		"a kind that is not sent": {chat.Reply{Media: []chat.Media{file("sticker", "f")}}, chat.ErrMedia},
		"no file id":              {chat.Reply{Media: []chat.Media{file("photo", "")}}, chat.ErrMedia},
		"an address": {chat.Reply{Media: []chat.Media{file("photo", "https://e.org/a.jpg")}},
			chat.ErrMedia},
		"an attachment": {chat.Reply{Media: []chat.Media{file("photo", "attach://a")}}, chat.ErrMedia},
		"an endless file id": {chat.Reply{Media: []chat.Media{file("photo",
			strings.Repeat("f", 1000))}}, chat.ErrMedia},
		"eleven photos": {chat.Reply{Media: eleven}, chat.ErrMedia},
		"a photo with a document": {chat.Reply{Media: []chat.Media{file("photo", "f"),
			file("document", "g")}}, chat.ErrMedia},
		"two voices in one album": {chat.Reply{Media: []chat.Media{file("voice", "f"),
			file("voice", "g")}}, chat.ErrMedia},
		"a photo for who is not there": {chat.Reply{Media: []chat.Media{file("photo", "f")}}, chat.ErrBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			history := []domain.Event{wrote(1, "hi")}
			if c.want == chat.ErrBlocked {
				history = append(history, chat.MembershipChanged{Blocked: true})
			}
			c.reply.Author = maria
			given(t, history...).When(c.reply).ThenRefused(c.want)
		})
	}
}

func TestReply_File_SentWithCaption(t *testing.T) {
	photos := []chat.Media{file("photo", "f"), file("photo", "g")}
	given(t, wrote(1, "hi")).When(chat.Reply{Author: maria, Media: photos, Text: " <i>Both</i> "}).
		Then(chat.ReplyQueued{Author: maria, Media: photos, Text: "<i>Both</i>"})
	given(t, wrote(1, "hi")).When(chat.Reply{Author: maria, Media: photos[:1]}).
		Then(chat.ReplyQueued{Author: maria, Media: photos[:1]})
}

func TestReply_LongCaption_FollowsFile(t *testing.T) {
	long := strings.Repeat("x", dialog.MaxCaption+1)
	voice := []chat.Media{file("voice", "f")}
	topic := wrote(1, "hi")
	topic.Thread = 12
	given(t, topic).When(chat.Reply{Author: maria, Media: voice, Text: long}).
		Then(chat.ReplyQueued{Author: maria, Media: voice, Thread: 12},
			chat.ReplyQueued{Author: maria, Text: long, Thread: 12})
	fits := long[1:]
	given(t, topic).When(chat.Reply{Author: maria, Media: voice, Text: fits}).
		Then(chat.ReplyQueued{Author: maria, Media: voice, Text: fits, Thread: 12})
}

func TestReply_LongBotAnswer_SentInParts(t *testing.T) {
	street := strings.Repeat("Very Long Street Name ", 190) // a reply may hold what a customer wrote
	order := dialog.Order{Number: "1001", Status: "shipped", Detail: street}
	asking := []domain.Event{wrote(1, "where is order 1001?"), understood(1, "order_status"),
		chat.WorkflowMoved{Workflow: dialogtest.OrderQuestion, Step: dialog.Initial, At: noon},
		chat.WorkflowMoved{Workflow: dialogtest.OrderQuestion, From: dialog.Initial, Step: dialogtest.LookingUp,
			At: noon},
		chat.ToolRequested{Answer: chat.Answer{To: 1}, Call: 1, For: chat.ForWorkflow, Tool: dialog.OrderStatus,
			Input: map[string]string{"number": "1001"}}}
	o := given(t, asking...).
		When(chat.RecordTool{To: 1, Call: 1, For: chat.ForWorkflow, Tool: dialog.OrderStatus,
			Output: order.Output(true), At: noon})
	replies := all[chat.ReplyQueued](o)
	if len(replies) != 2 || strings.Join(said(o), " ") != strings.TrimSpace("Order 1001: shipped. "+street) {
		t.Errorf("%d parts: %q", len(replies), said(o))
	}
	for _, r := range replies {
		if r.Answer.To != 1 || r.Author.Kind != chat.Bot {
			t.Errorf("a part that answers %d, by %+v", r.Answer.To, r.Author)
		}
	}
}
