package dialog_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

// fuzzed are texts as people and other programs send them.
var fuzzed = []string{
	"", " ", "Where is my order A-20451?", "1 Main Street, 12345 Springfield",
	"No, my new address is: 5 High St\n12345 York",
	"THIS IS THE THIRD TIME I ASK!!!", "/start@demo_bot now", "yes", "👍🏽", "👨‍👩‍👧‍👦🇩🇪🇩🇪", "مرحبا", "#1001",
	"\x00\u2028\ufeff", "a\xffb", "\xed\xa0\x80",
	"<b>bold <i>both</i></b> &amp; &lt;", `<a href="https://example.com/?a=1&amp;b=2">link</a>`,
	"<pre><code class=\"language-go\">x &gt; 1</code></pre>",
	"<b", "</b>", "<b></i>", "&#x1f44b;", "&#99999999999;", "&nbsp;", "<tg-spoiler>x</tg-spoiler>", "<a href='",
	strings.Repeat("<b>", 200),
}

// FuzzSplit: the parts fit, and nothing but space between them is lost.
func FuzzSplit(f *testing.F) {
	for _, text := range fuzzed {
		f.Add(text, uint16(8))
	}
	f.Fuzz(func(t *testing.T, text string, most uint16) {
		limit := max(int(most), 2)
		parts := dialog.Split(text, limit)
		for _, part := range parts {
			if n := units(part); n > limit || part == "" || strings.TrimSpace(part) != part {
				t.Errorf("a part is %q, %d units of %d", part, n, limit)
			}
		}
		if whole := strings.ToValidUTF8(text, ""); utf8.ValidString(text) &&
			unspaced(strings.Join(parts, "")) != unspaced(whole) {
			t.Errorf("%q became %q", text, parts)
		}
	})
}

// FuzzSplitHTML: what is not refused comes out as parts each of which would come out again
// as it is: it fits, and its tags are closed.
func FuzzSplitHTML(f *testing.F) {
	for _, text := range fuzzed {
		f.Add(text, uint16(8))
	}
	f.Fuzz(func(t *testing.T, text string, most uint16) {
		limit := max(int(most), 2)
		parts, err := dialog.SplitHTML(text, limit)
		if err != nil {
			if len(parts) > 0 {
				t.Errorf("%q is refused (%v), and %q sent", text, err, parts)
			}
			return
		}
		for _, part := range parts {
			if again, err := dialog.SplitHTML(part, limit); err != nil || !slices.Equal(again, []string{part}) {
				t.Errorf("%q of %q is read again as %q (%v)", part, text, again, err)
			}
		}
	})
}

func workflowOf(step dialog.Step) string {
	if step == dialogtest.Describing || step == dialogtest.ChoosingProblem {
		return dialogtest.DeliveryProblem
	}
	return dialogtest.AddressChange
}

// FuzzTake: whatever a customer says, in whatever step, the turn can be stored and sent.
func FuzzTake(f *testing.F) {
	for i, text := range fuzzed {
		f.Add(text, "", byte(i), i%2 == 0)
		f.Add("", text, byte(i), i%2 == 1)
	}
	steps := []dialog.Step{
		"", dialog.Initial, dialogtest.CollectingAddress, dialogtest.ValidatingAddress, dialogtest.ConfirmingChanges,
		dialogtest.SavingChanges, dialogtest.Describing, dialogtest.ChoosingProblem, dialog.Completed,
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text, button string, step byte, crm bool) {
		c := dialog.Context{Knowledge: &dialogtest.Shop}
		if crm {
			c.Tools = dialogtest.AllTools
		}
		if c.Run.Step = steps[int(step)%len(steps)]; c.Run.Step != "" {
			c.Run = dialog.Run{
				Workflow: workflowOf(c.Run.Step), Step: c.Run.Step, Data: map[string]string{"address": text},
				StartedAt: at, LastAt: at,
			}
		}
		turn := dialog.Take(c, dialog.Act{Text: text, Button: button, MessageID: 1, At: at})
		if turn.Confidence < 0 || turn.Confidence > 1 {
			t.Errorf("it is %v sure of %s", turn.Confidence, turn.Intent)
		}
		for _, r := range turn.Replies {
			if strings.TrimSpace(r.Text) == "" {
				t.Errorf("it says nothing: %q", r.Text)
			}
			for _, b := range r.Buttons {
				if len(b.Data) > 64 || b.Data == "" {
					t.Errorf("Telegram refuses button %q", b.Data)
				}
			}
		}
		if len(turn.Asides) > 8 {
			t.Errorf("it asks %d times in passing", len(turn.Asides))
		}
		for _, call := range append(turn.Asides, turn.Call) {
			for _, kept := range call.Input {
				if strings.ContainsRune(kept, 0) {
					t.Errorf("it asks others about %q", kept)
				}
			}
		}
	})
}
