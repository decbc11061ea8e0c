package dialog

import (
	"testing"
	"unicode/utf16"
)

func TestAPersonTakesOverWhenOneIsNeeded(t *testing.T) {
	tests := map[string]struct {
		context Context
		text    string
		want    HandOver
		intent  Intent
	}{
		"on request":                   {Context{}, "I want to talk to a person", HandOver{ReasonAsked, High}, Person},
		"in anger":                     {Context{}, "This is unacceptable", HandOver{ReasonAngry, Urgent}, Complaint},
		"in anger about an order":      {Context{}, "WHERE IS MY ORDER 1001", HandOver{ReasonAngry, Urgent}, Complaint},
		"to cancel an order":           {Context{}, "please cancel my order", HandOver{ReasonCancelOrder, High}, CancelOrder},
		"when a tip did not help":      {Context{LastIntent: Troubleshooting}, "no, that didn't do it", HandOver{ReasonNotHelped, Normal}, Troubleshooting},
		"when it still does not work":  {Context{LastIntent: Troubleshooting}, "it still doesn't work", HandOver{ReasonNotHelped, Normal}, Troubleshooting},
		"when not understood twice":    {Context{Misunderstood: 1}, "qwertz", HandOver{ReasonNotUnderstood, Normal}, Unknown},
		"not at the first riddle":      {Context{}, "qwertz", HandOver{}, Unknown},
		"not for a no out of nowhere":  {Context{}, "no", HandOver{}, Unknown},
		"not for another trouble":      {Context{LastIntent: Troubleshooting}, "and I can't log in", HandOver{}, Troubleshooting},
		"not for a wish after a tip":   {Context{LastIntent: Troubleshooting}, "I still wait for a refund", HandOver{}, Billing},
		"not when understood at last":  {Context{Misunderstood: 1}, "hello", HandOver{}, Greeting},
		"not for a thank you in a tip": {Context{LastIntent: Troubleshooting}, "thanks!!!", HandOver{}, Thanks},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			turn := Take(test.context, Act{Text: test.text, At: noon})
			if turn.HandOver != test.want || turn.Intent != test.intent {
				t.Errorf("%s, %+v; want %s, %+v", turn.Intent, turn.HandOver, test.intent, test.want)
			}
			if turn.Confidence < 0 || turn.Confidence > 1 || turn.Intent == Complaint && turn.Confidence != 0.9 {
				t.Errorf("confidence %v", turn.Confidence)
			}
			if len(turn.Replies) != 1 {
				t.Errorf("said %+v", turn.Replies)
			}
		})
	}
}

func TestAFileWithoutAWordIsThankedForAndOneWithWordsAnswered(t *testing.T) {
	turn := Take(Context{Misunderstood: 1}, Act{Media: true, At: noon})
	if turn.Intent != File || turn.HandOver.Reason != "" || turn.Replies[0].Text != sayMedia {
		t.Errorf("%+v", turn)
	}
	turn = Take(Context{}, Act{Media: true, Text: "where is my order 1001", At: noon})
	if turn.Lookup != "1001" {
		t.Errorf("%+v", turn)
	}
}

func TestAButtonWithoutAWorkflowIsAnOldOne(t *testing.T) {
	turn := Take(Context{}, Act{Button: "address:confirm:1", At: noon})
	if turn.Toast != toastOld || len(turn.Replies)+len(turn.Moves) > 0 {
		t.Errorf("%+v", turn)
	}
}

func TestEveryMessageIsAnsweredAndEveryAnswerFitsIntoOne(t *testing.T) {
	for _, run := range []Run{{}, collecting(), walkTo(ConfirmingChanges)} {
		for _, text := range append(everything(), "", "\x00", "🙂") {
			turn := Take(Context{Run: run}, Act{Text: text, MessageID: 5, At: noon})
			if len(turn.Replies) == 0 && turn.Lookup == "" {
				t.Errorf("%q in step %q is not answered", text, run.Step)
			}
			for _, reply := range turn.Replies {
				if n := len(utf16.Encode([]rune(reply.Text))); n < 1 || n > 4096 {
					t.Errorf("%q: an answer of %d characters", text, n)
				}
			}
		}
	}
}

// everything is a message for each phrase the bot knows, and a very long one.
func everything() (texts []string) {
	for _, list := range [][]intentCues{wishes, courtesies} {
		for _, w := range list {
			for _, c := range w.cues {
				texts = append(texts, c.phrase)
			}
		}
	}
	long := make([]byte, 4096)
	for i := range long {
		long[i] = 'x'
	}
	return append(texts, string(long))
}

func TestPrioritiesAreOrderedAndMoreUrgentIsSooner(t *testing.T) {
	ordered := []Priority{Low, Normal, High, Urgent}
	for i, p := range ordered {
		for j, q := range ordered {
			if p.Above(q) != (i > j) {
				t.Errorf("%s above %s: %v", p, q, p.Above(q))
			}
			if (p.Due() < q.Due()) != (i > j) {
				t.Errorf("%s is due after %s, %s after %s", p, p.Due(), q, q.Due())
			}
		}
		if !p.Valid() {
			t.Errorf("%s is no priority", p)
		}
	}
	if Priority("urgentest").Valid() || Priority("").Valid() {
		t.Error("anything is a priority")
	}
}
