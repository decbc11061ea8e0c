package dialog

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

const baker = "12 Baker Street, London NW1 6XE"

// follow is a run after a turn's moves; it fails nothing, so that tests can look.
func follow(r Run, turn Turn) Run {
	for _, move := range turn.Moves {
		r = r.Follow(move, noon)
	}
	return r
}

// talk is a conversation under test: it carries the run from turn to turn, as the
// chat does.
type talk struct {
	*testing.T
	context Context
	at      time.Time
	message int64
	last    Turn
}

func begin(t *testing.T) *talk { return &talk{T: t, at: noon} }

// collecting is a run that waits for an address.
func collecting() Run { return walkTo(CollectingAddress) }

func walkTo(step Step) Run {
	r := Run{}.Follow(Move{Workflow: BillingAddressChange, To: Initial}, noon)
	r = r.Follow(Move{Workflow: BillingAddressChange, From: Initial, To: CollectingAddress}, noon)
	if step == ConfirmingChanges {
		r = follow(r, Take(Context{Run: r}, Act{Text: baker, MessageID: 1, At: noon}))
	}
	return r
}

func (c *talk) take(act Act) *talk {
	c.Helper()
	act.At = c.at
	c.follow(Take(c.context, act))
	c.context.LastIntent = c.last.Intent
	return c
}

// follow takes a turn that was decided.
func (c *talk) follow(turn Turn) *talk {
	c.Helper()
	c.last = turn
	for _, move := range c.last.Moves {
		if move.To != Initial && move.From != c.context.Run.Step {
			c.Fatalf("moved from %q, but the workflow stood at %q", move.From, c.context.Run.Step)
		}
		c.context.Run = c.context.Run.Follow(move, c.at)
	}
	return c
}

// write sends a message; edit changes the one of that number.
func (c *talk) write(text string) *talk {
	c.Helper()
	c.message++
	return c.take(Act{Text: text, MessageID: c.message})
}

func (c *talk) edit(message int64, text string) *talk {
	c.Helper()
	return c.take(Act{Text: text, MessageID: message, Edited: true})
}

func (c *talk) press(data string) *talk {
	c.Helper()
	return c.take(Act{Button: data, MessageID: 900})
}

func (c *talk) after(d time.Duration) *talk {
	c.at = c.at.Add(d)
	return c
}

func (c *talk) stands(step Step) *talk {
	c.Helper()
	if got := c.context.Run.Step; got != step {
		c.Fatalf("the workflow stands at %q, want %q; said %+v", got, step, c.last.Replies)
	}
	return c
}

func (c *talk) says(part string) *talk {
	c.Helper()
	if len(c.last.Replies) == 0 || !strings.Contains(c.last.Replies[len(c.last.Replies)-1].Text, part) {
		c.Fatalf("said %+v, want something of %q", c.last.Replies, part)
	}
	return c
}

func (c *talk) silent() *talk {
	c.Helper()
	if len(c.last.Replies) > 0 || len(c.last.Moves) > 0 {
		c.Fatalf("moved %+v and said %+v", c.last.Moves, c.last.Replies)
	}
	return c
}

func (c *talk) toasts(text string) *talk {
	c.Helper()
	if c.last.Toast != text {
		c.Fatalf("the button is answered with %q, want %q", c.last.Toast, text)
	}
	return c
}

// button is the data of the last reply's button of that place.
func (c *talk) button(i int) string {
	c.Helper()
	for _, reply := range slices.Backward(c.last.Replies) {
		if len(reply.Buttons) > i {
			return reply.Buttons[i].Data
		}
	}
	c.Fatalf("no button in %+v", c.last.Replies)
	return ""
}

const (
	yesButton = iota
	againButton
	cancelButton
)

func TestAnAddressIsChangedStepByStep(t *testing.T) {
	c := begin(t).write("I want to change my billing address").stands(CollectingAddress).says("send me the new billing address")
	c.write(baker).stands(ConfirmingChanges).says(baker)
	c.press(c.button(yesButton)).stands(Completed).toasts(toastSaved).says("is now " + baker)
	if c.last.Intent != Pressed {
		t.Errorf("intent %s", c.last.Intent)
	}
}

func TestAnAddressSentWithTheWishSkipsTheQuestion(t *testing.T) {
	c := begin(t).write("Hi, my new address is " + baker).stands(ConfirmingChanges).says(baker)
	c.write("yes").stands(Completed).says("is now " + baker)
}

func TestAnInvalidAddressIsAskedForAgain(t *testing.T) {
	c := begin(t).write("change my billing address").write("Baker Street, London").stands(CollectingAddress).says("house number")
	if c.context.Run.Data[fieldProblem] == "" {
		t.Error("the problem is not kept")
	}
	c.write(baker).stands(ConfirmingChanges)
	if _, there := c.context.Run.Data[fieldProblem]; there {
		t.Error("the problem of the first try is still there")
	}
	c.write("yes").stands(Completed).says(baker)
}

func TestAnAddressIsCorrected(t *testing.T) {
	const fixed = "14 Baker Street, London NW1 6XE"
	asked := func(t *testing.T) *talk { return begin(t).write("change my billing address").write(baker) }
	t.Run("by the button", func(t *testing.T) {
		c := asked(t)
		c.press(c.button(againButton)).stands(CollectingAddress).toasts(toastAgain).says("send me the address again")
		c.write(fixed).stands(ConfirmingChanges).write("yes").stands(Completed).says(fixed)
	})
	t.Run("by editing the message", func(t *testing.T) {
		asked(t).edit(2, fixed).stands(ConfirmingChanges).says(fixed).write("yes").says("is now " + fixed)
	})
	t.Run("by the button and then editing", func(t *testing.T) {
		c := asked(t)
		c.press(c.button(againButton)).edit(2, fixed).stands(ConfirmingChanges).says(fixed)
	})
	t.Run("by editing an invalid one", func(t *testing.T) {
		begin(t).write("change my billing address").write("Baker Street, London").edit(2, fixed).stands(ConfirmingChanges).says(fixed)
	})
	t.Run("by editing it into nonsense", func(t *testing.T) {
		asked(t).edit(2, "nonsense").stands(CollectingAddress).says("too short")
	})
	t.Run("by sending another", func(t *testing.T) {
		asked(t).write(fixed).stands(ConfirmingChanges).says(fixed)
	})
	t.Run("by saying so", func(t *testing.T) {
		asked(t).write("no, it's " + fixed).stands(ConfirmingChanges).says(fixed).write("no").stands(CollectingAddress)
	})
}

func TestEditingAnotherMessageChangesNothing(t *testing.T) {
	begin(t).write("change my billing address").write(baker).edit(1, "14 Baker Street, London NW1 6XE").silent().stands(ConfirmingChanges)
	begin(t).write("hello").edit(1, "hello!").silent()
	begin(t).write("change my billing address").write(baker).write("yes").edit(2, "14 Baker Street, London NW1 6XE").silent().stands(Completed)
}

func TestAWorkflowIsCancelledAtEveryStep(t *testing.T) {
	for name, text := range map[string]string{"in words": "cancel", "by command": "/cancel", "politely": "please stop", "after all": "never mind"} {
		t.Run(name, func(t *testing.T) {
			begin(t).write("change my billing address").write(text).stands(Cancelled).says("Nothing was changed")
			begin(t).write("change my billing address").write(baker).write(text).stands(Cancelled).says("Nothing was changed")
		})
	}
	t.Run("by the button", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		c.press(c.button(cancelButton)).stands(Cancelled).toasts(toastCancelled)
	})
	t.Run("without one", func(t *testing.T) {
		begin(t).write("cancel").stands("").says("nothing to cancel")
	})
}

func TestAButtonOfAnEarlierStepDoesNothing(t *testing.T) {
	t.Run("of an earlier asking", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		old := c.button(yesButton)
		c.write("14 Baker Street, London NW1 6XE").press(old).toasts(toastOld).silent().stands(ConfirmingChanges)
		c.write("yes").says("14 Baker Street")
	})
	t.Run("pressed twice", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		yes := c.button(yesButton)
		c.press(yes).stands(Completed).press(yes).toasts(toastOld).silent()
	})
	t.Run("of an earlier change", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		old := c.button(yesButton)
		c.write("cancel").write("change my billing address").write("14 Baker Street, London NW1 6XE").stands(ConfirmingChanges)
		c.press(old).toasts(toastOld).silent().stands(ConfirmingChanges)
	})
	t.Run("of a change that expired", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		old := c.button(yesButton)
		c.after(time.Hour).write("my new address is 14 Baker Street, London NW1 6XE").stands(ConfirmingChanges)
		fresh := c.button(yesButton)
		c.press(old).toasts(toastOld).silent().stands(ConfirmingChanges).press(fresh).stands(Completed)
	})
	t.Run("while the address is collected", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		yes := c.button(yesButton)
		c.press(c.button(againButton)).press(yes).toasts(toastOld).silent().stands(CollectingAddress)
	})
	t.Run("that we never sent", func(t *testing.T) {
		for _, data := range []string{"x", ":", "address:confirm:", "address:confirm:0", "address:confirm:01", "address:sell:1", "1"} {
			begin(t).write("change my billing address").write(baker).press(data).toasts(toastOld).silent()
		}
	})
}

func TestButtonDataFitsIntoTelegramsLimit(t *testing.T) {
	r := walkTo(ConfirmingChanges)
	r.Asked = 1 << 62
	for _, reply := range Take(Context{Run: r}, Act{Text: baker, At: noon}).Replies {
		for _, b := range reply.Buttons {
			if len(b.Data) > 64 || b.Text == "" {
				t.Errorf("button %+v: %d bytes", b, len(b.Data))
			}
		}
	}
}

func TestAWorkflowExpiresAfterAnHour(t *testing.T) {
	started := func(t *testing.T) *talk { return begin(t).write("change my billing address").write(baker) }
	t.Run("not before", func(t *testing.T) {
		started(t).after(time.Hour - time.Second).write("yes").stands(Completed)
	})
	t.Run("and says so when the customer writes", func(t *testing.T) {
		c := started(t).after(time.Hour).write("where is my order 1001").stands(Expired).says("Nothing was changed")
		if c.last.Lookup != "1001" {
			t.Error("the message that found it expired is not answered")
		}
	})
	t.Run("and a button then is an old one", func(t *testing.T) {
		c := started(t)
		c.press("x")
		yes := "address:confirm:1"
		c.after(time.Hour).press(yes).stands(Expired).toasts(toastOld)
		if len(c.last.Replies) > 0 {
			t.Errorf("said %+v", c.last.Replies)
		}
	})
	t.Run("and an edit then changes nothing", func(t *testing.T) {
		c := started(t).after(time.Hour).edit(2, "14 Baker Street, London NW1 6XE").stands(Expired)
		if len(c.last.Replies) > 0 {
			t.Errorf("said %+v", c.last.Replies)
		}
	})
	t.Run("counted from the last step", func(t *testing.T) {
		begin(t).write("change my billing address").after(50 * time.Minute).write(baker).after(50 * time.Minute).write("yes").stands(Completed)
	})
	t.Run("and can be begun anew", func(t *testing.T) {
		c := started(t).after(2 * time.Hour).write("change my billing address").stands(CollectingAddress)
		if len(c.context.Run.Data) > 0 {
			t.Errorf("the new change begins with %v", c.context.Run.Data)
		}
	})
}

func TestOtherMattersInAWorkflow(t *testing.T) {
	for _, step := range []Step{CollectingAddress, ConfirmingChanges} {
		t.Run(string(step), func(t *testing.T) {
			in := func(t *testing.T) *talk {
				c := begin(t)
				c.context.Run = walkTo(step)
				return c
			}
			t.Run("/start begins the conversation anew", func(t *testing.T) {
				in(t).write("/start").stands(Cancelled).says("Hello!")
			})
			t.Run("/help tells about the step", func(t *testing.T) {
				in(t).write("/help").stands(step).says("changing your billing address")
			})
			t.Run("an order is looked up", func(t *testing.T) {
				if c := in(t).write("by the way, where is order 1001?").stands(step); c.last.Lookup != "1001" {
					t.Errorf("looked up %q", c.last.Lookup)
				}
				if c := in(t).write("Where is my order 1001, I paid 3 weeks ago").stands(step); c.last.Lookup != "1001" {
					t.Errorf("looked up %q", c.last.Lookup)
				}
			})
			t.Run("a question is answered in passing", func(t *testing.T) {
				in(t).write("thanks").stands(step).says("You're welcome!").says("billing address")
				in(t).write("where do I find my receipt?").stands(step).says("Invoices").says("“cancel”")
			})
			t.Run("a file is thanked for", func(t *testing.T) {
				in(t).take(Act{Media: true, MessageID: 7}).stands(step).says("can't look at files")
			})
			t.Run("a person takes over", func(t *testing.T) {
				c := in(t).write("I want to talk to a person").stands(HandedOver)
				if c.last.HandOver != (HandOver{ReasonAsked, High}) {
					t.Errorf("handed over as %+v", c.last.HandOver)
				}
			})
			t.Run("anger brings a person", func(t *testing.T) {
				c := in(t).write("THIS IS OUTRAGEOUS, I WAITED 3 WEEKS").stands(HandedOver)
				if c.last.HandOver != (HandOver{ReasonAngry, Urgent}) || c.last.Intent != Complaint {
					t.Errorf("%s, handed over as %+v", c.last.Intent, c.last.HandOver)
				}
			})
			t.Run("the wish said again is answered again", func(t *testing.T) {
				in(t).write("I want to change my billing address").stands(step).says("send me the new billing address")
			})
			t.Run("an address is one whatever its words", func(t *testing.T) {
				for _, address := range []string{
					"12 BAKER STREET, LONDON NW1 6XE", "Bus Stop Road 5, 12345 Halt", "Human Resources, 5 Main Street, Leeds LS1 4AP", "Order of Malta 5, 1001 Valletta",
					"5 Worst Street, Leeds LS1 4AP", "Still Lane 5, Leeds LS1 4AP", "12 Help Street, Leeds LS1 4AP!!!",
				} {
					c := in(t).write(address).stands(ConfirmingChanges).says(strings.TrimSuffix(address, "!!!"))
					if c.last.Intent != ChangeAddress || c.last.HandOver.Reason != "" {
						t.Errorf("%q: %s, %+v", address, c.last.Intent, c.last.HandOver)
					}
				}
			})
		})
	}
}

func TestYesAndNoMayBeTyped(t *testing.T) {
	at := func(t *testing.T) *talk { return begin(t).write("change my billing address").write(baker) }
	at(t).write("Yes!").stands(Completed)
	at(t).write("OK!!!").stands(Completed)
	at(t).write("no").stands(CollectingAddress).says("again")
	at(t).write("yes but the number is wrong").stands(CollectingAddress)
	begin(t).write("change my billing address").write("yes").stands(CollectingAddress)
}

func TestFollowingAMoveLeavesTheOldRunAlone(t *testing.T) {
	r := walkTo(ConfirmingChanges)
	before := maps.Clone(r.Data)
	r.Follow(Move{Workflow: BillingAddressChange, From: ConfirmingChanges, To: ValidatingAddress, Set: map[string]string{fieldProblem: "x"}, Cleared: []string{fieldAddress}, Source: 7}, noon)
	r.Follow(Move{Workflow: BillingAddressChange, To: Initial}, noon)
	if !maps.Equal(before, r.Data) {
		t.Errorf("the run's data became %v", r.Data)
	}
}

func TestARunKeepsWhenItBeganAndWhenItLastMoved(t *testing.T) {
	later := noon.Add(10 * time.Minute)
	r := collecting().Follow(Move{Workflow: BillingAddressChange, From: CollectingAddress, To: ValidatingAddress, Source: 3}, later)
	if !r.StartedAt.Equal(noon) || !r.LastAt.Equal(later) || r.Source != 3 {
		t.Errorf("run %+v", r)
	}
}
