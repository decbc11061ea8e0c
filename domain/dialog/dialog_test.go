package dialog_test

import (
	"testing"
	"unicode/utf16"

	. "github.com/chatledger/chatledger/domain/dialog"
	. "github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

func TestAnswer_OperatorNeeded_HandsOver(t *testing.T) {
	for text, want := range map[string]HandOver{
		"I want to talk to a person":      {ReasonAsked, High},
		"cancel my order":                 {"cancel_order", High},
		"this is OUTRAGEOUS":              {"angry", Urgent},
		"WHERE IS MY ORDER":               {"angry", Urgent},
		"Where is my order!!!":            {"angry", Urgent},
		"ГДЕ МОЙ ЗАКАЗ, ОТВЕТЬТЕ":         {"angry", Urgent},
		"THANK YOU":                       {},
		"Hello, hello, hello!!!":          {},
		"That was great, I love it!!!":    {},
		"OK!!!":                           {},
		"12 BAKER STREET, LONDON NW1 6XE": {},
		"我的包裹在哪里我的包裹在哪里":                  {},
		"my order came, I am happy":       {},
	} {
		if turn := Take(Context{Knowledge: &Shop}, Act{Text: text, At: noon}); turn.HandOver != want {
			t.Errorf("%q: handed over as %+v, want %+v", text, turn.HandOver, want)
		}
	}
}

func TestAnswer_SecondMisunderstanding_HandsOver(t *testing.T) {
	c := begin(t).write("qwertz").says("not sure what you mean")
	c.context.Misunderstood = 1
	if c.write("asdf"); c.last.HandOver != (HandOver{ReasonNotUnderstood, Normal}) {
		t.Errorf("handed over as %+v", c.last.HandOver)
	}
}

func TestAnswer_RepeatedMessage_HandsOver(t *testing.T) {
	c := begin(t)
	c.context.Recent = []string{"Where's my stuff from Monday?", "hello", "so where's my stuff from monday"}
	if c.write("Where’s my stuff from monday??"); c.last.HandOver != (HandOver{"insistent", High}) {
		t.Errorf("handed over as %+v", c.last.HandOver)
	}
	c.context.Recent = c.context.Recent[:1]
	if c.write("Where's my stuff from monday"); c.last.HandOver.Reason != "" {
		t.Errorf("the second time already: %+v", c.last.HandOver)
	}
}

func TestAnswer_PriorityCustomer_RaisesPriority(t *testing.T) {
	c := begin(t)
	c.context.Customer, c.context.Misunderstood = map[string]string{"tier": "priority"}, 1
	if c.write("qwertz"); c.last.HandOver != (HandOver{ReasonNotUnderstood, High}) {
		t.Errorf("handed over as %+v", c.last.HandOver)
	}
	if c.write("OUTRAGEOUS"); c.last.HandOver.Priority != Urgent {
		t.Errorf("what hurries more becomes %s", c.last.HandOver.Priority)
	}
}

func TestAnswer_Language_IsTheCustomers(t *testing.T) {
	c := begin(t)
	c.context.Prefers = "de-AT"
	c.write("hallo").says("Hallo!").write("wo ist meine bestellung").says("Welche Bestellung?")
	c.write("abbrechen").says("Abgebrochen.").write("where is my " +
		"order").says("Which order?").write("never mind").says("Nothing was changed")
	c = begin(t)
	c.context.Prefers = "fr"
	c.write("hello").says("Hello!").write("danke").says("You're welcome!") // one word is no change of language
}

func TestAnswer_Question_GetsItsAnswer(t *testing.T) {
	begin(t).write("my invoice is wrong").says("What is wrong?")
	c := begin(t).write("my invoice").says("Under Invoices.")
	c.press(c.button(0)).says("Which order?").stands(AskingNumber)
}

func TestAnswer_File_ThankedOrCaptionAnswered(t *testing.T) {
	begin(t).take(Act{Media: true}).says("can't look at files")
	begin(t).take(Act{Media: true, Text: "hello"}).says("Hello!")
}

func TestAnswer_ButtonWithoutWorkflow_IsStale(t *testing.T) {
	begin(t).press("w:1:yes").toasts("This button belongs to an earlier step.").silent()
}

func TestAnswer_AnyMessage_FitsOneMessage(t *testing.T) {
	long := make([]byte, 4096)
	for i := range long {
		long[i] = 'x'
	}
	for name, run := range map[string]Run{
		"none": {}, "collecting": walkedTo(t, CollectingAddress).context.Run, "confirming": walkedTo(t,
			ConfirmingChanges).context.Run, "checking": checking(t).context.Run,
	} {
		for _, text := range []string{
			"", " ", "\x00", "🙂", "/", "/start", "/help@bot x", "/cancel", "/back", "/settings", "hello", "thanks",
			"invoice", "a person", "my order", "address", "yes", "no", string(long), "\xff",
		} {
			turn := Take(Context{Knowledge: &Shop, Run: run}, Act{Text: text, MessageID: 5, At: noon})
			if len(turn.Replies)+len(turn.Asides) == 0 && turn.Call.Tool == "" {
				t.Errorf("%q is not answered while the run is %s", text, name)
			}
			for _, reply := range turn.Replies {
				if n := len(utf16.Encode([]rune(reply.Text))); n < 1 || n > 4096 {
					t.Errorf("%q: an answer of %d characters", text, n)
				}
			}
		}
	}
}

func TestAnswer_ModelUse_DecidesWhatIsAsked(t *testing.T) {
	for _, test := range []struct {
		use    LLMUse
		text   string
		thinks bool
	}{
		{LLMNever, "qwertz", false}, {LLMUnknown, "qwertz", true}, {LLMUnknown, "my invoice", false}, {
			LLMAlways, "my invoice", true,
		},
		{LLMAlways, "hello", false}, {LLMAlways, "/start", false}, {LLMAlways, "where is my order", false}, {
			LLMAlways, "a person please", false,
		}, {LLMAlways, "OUTRAGEOUS", false},
	} {
		k := Shop
		k.LLM.Use = test.use
		if turn := Take(Context{Knowledge: &k, Model: true},
			Act{Text: test.text, At: noon}); turn.Think != test.thinks {
			t.Errorf("%s, %q: a model is asked: %v", test.use, test.text, turn.Think)
		}
		if Take(Context{Knowledge: &k}, Act{Text: test.text, At: noon}).Think {
			t.Errorf("%s, %q: a model is asked that is not there", test.use, test.text)
		}
	}
}

func TestBacklog_Answer_ApologisesAndActsOnLast(t *testing.T) {
	c := begin(t)
	c.follow(CatchUp(c.context, []string{"hello", "where is my order?", "are you there"}, 5, Act{At: noon}))
	c.says("This is what you wrote meanwhile:\n• … (+2)\n• hello\n• where is my order?\n• are you " +
		"there").says("Which order?").stands(AskingNumber)
}

func TestPriority_Levels_AreOrdered(t *testing.T) {
	ordered := []Priority{Low, Normal, High, Urgent}
	for i, p := range ordered {
		for j, q := range ordered {
			if p.Above(q) != (i > j) {
				t.Errorf("%s above %s: %v", p, q, p.Above(q))
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

func TestLanguage_PlaceNames_DoNotCount(t *testing.T) {
	speaks := func(c *talk, want Language) {
		t.Helper()
		if c.context.Language != want {
			t.Errorf("the bot speaks %q, want %q; said %+v", c.context.Language, want, c.last.Replies)
		}
	}
	asked := func(text string) *talk { return walkedTo(t, CollectingAddress).write(text) }
	speaks(asked("Haus Wo das Meer ist 12, 10115 Berlin").stands(ConfirmingChanges), "en")
	speaks(asked("Straße Wo das Meer ist 12").stands(CollectingAddress), "en")
	speaks(asked("ich weiß das nicht").stands(CollectingAddress), "de")
	speaks(asked("wo ist meine bestellung 1001?"), "de")
	speaks(begin(t).write("wo@das.ist ich@meine.de https://wo.das/ist thanks"), "en")
}
