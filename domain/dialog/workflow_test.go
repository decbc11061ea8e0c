package dialog_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/chatledger/chatledger/domain/dialog"
	. "github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

func TestWorkflow_AddressChange_StepByStep(t *testing.T) {
	c := begin(t).write("I want to change my billing address").stands(CollectingAddress).says("Send me the address")
	c.write(baker).stands(ConfirmingChanges).says(baker)
	c.press(c.button(yesButton)).stands(Completed).toasts("Saved").says("is now " + baker)
	if c.last.Intent != Pressed {
		t.Errorf("intent %s", c.last.Intent)
	}
}

func TestWorkflow_AddressInRequest_SkipsQuestion(t *testing.T) {
	c := begin(t).write("Hi, my new address is " + baker).stands(ConfirmingChanges).says(baker)
	c.write("yes").stands(Completed).says("is now " + baker)
}

func TestWorkflow_InvalidAddress_AskedAgain(t *testing.T) {
	c := begin(t).write("change my billing address").write("Baker Street, London").stands(CollectingAddress).
		says("house number")
	if c.context.Run.Data["refused"] == "" {
		t.Error("the problem is not kept")
	}
	c.write(baker).stands(ConfirmingChanges)
	if _, there := c.context.Run.Data["refused"]; there {
		t.Error("the problem of the first try is still there")
	}
	c.write("yes").stands(Completed).says(baker)
}

func TestWorkflow_CorrectedAddress_ConfirmedAnew(t *testing.T) {
	const fixed = "14 Baker Street, London NW1 6XE"
	asked := func(t *testing.T) *talk { return begin(t).write("change my billing address").write(baker) }
	t.Run("by the button", func(t *testing.T) {
		c := asked(t)
		c.press(c.button(againButton)).stands(CollectingAddress).toasts("OK").says("Send it again")
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
		begin(t).write("change my billing address").write("Baker Street, London").edit(2, fixed).
			stands(ConfirmingChanges).says(fixed)
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

func TestWorkflow_EditOfOtherMessage_NoEffect(t *testing.T) {
	begin(t).write("change my billing address").write(baker).edit(1, "14 Baker Street, London NW1 6XE").
		silent().stands(ConfirmingChanges)
	begin(t).write("hello").edit(1, "hello!").silent()
}

func TestWorkflow_Cancel_PossibleAtEveryStep(t *testing.T) {
	for name, text := range map[string]string{"in words": "cancel", "by command": "/cancel",
		"politely": "please stop", "after all": "never mind"} {
		t.Run(name, func(t *testing.T) {
			begin(t).write("change my billing address").write(text).stands(Cancelled).says("Nothing was changed")
			begin(t).write("change my billing address").write(baker).write(text).stands(Cancelled).
				says("Nothing was changed")
		})
	}
	t.Run("by the button", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		c.press(c.button(cancelButton)).stands(Cancelled).toasts("Cancelled")
	})
	t.Run("without one", func(t *testing.T) {
		begin(t).write("cancel").stands("").says("Nothing is under way")
	})
}

func TestWorkflow_ButtonOfEarlierStep_NoEffect(t *testing.T) {
	t.Run("of an earlier asking", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		old := c.button(yesButton)
		c.write("14 Baker Street, London NW1 6XE").press(old).toasts("This button belongs to an earlier step.").
			silent().stands(ConfirmingChanges)
		c.write("yes").says("14 Baker Street")
	})
	t.Run("pressed twice", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		yes := c.button(yesButton)
		c.press(yes).stands(Completed).press(yes).toasts("This button belongs to an earlier step.").silent()
	})
	t.Run("of an earlier change", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		old := c.button(yesButton)
		c.write("cancel").write("change my billing address").write("14 Baker Street, London NW1 6XE").
			stands(ConfirmingChanges)
		c.press(old).toasts("This button belongs to an earlier step.").silent().stands(ConfirmingChanges)
	})
	t.Run("of a change that expired", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		old := c.button(yesButton)
		c.after(time.Hour).write("my new address is 14 Baker Street, London NW1 6XE").stands(ConfirmingChanges)
		fresh := c.button(yesButton)
		c.press(old).toasts("This button belongs to an earlier step.").silent().stands(ConfirmingChanges).
			press(fresh).stands(Completed)
	})
	t.Run("while the address is collected", func(t *testing.T) {
		c := begin(t).write("change my billing address").write(baker)
		yes := c.button(yesButton)
		c.press(c.button(againButton)).press(yes).toasts("This button belongs to an earlier step.").silent().
			stands(CollectingAddress)
	})
	t.Run("that we never sent", func(t *testing.T) {
		for _, data := range []string{"x", ":", "w:", "w:0:yes", "w:03:yes", "w:3:sell", "w:4:", "1", "i:",
			"i:nothing"} {
			begin(t).write("change my billing address").write(baker).press(data).
				toasts("This button belongs to an earlier step.").silent()
		}
	})
}

func TestWorkflow_ButtonData_WithinTelegramsLimit(t *testing.T) {
	c := walkedTo(t, CollectingAddress)
	c.context.Run.Asked = 1 << 62
	for _, reply := range c.write(baker).last.Replies {
		for _, b := range reply.Buttons {
			if len(b.Data) > 64 || b.Text == "" {
				t.Errorf("button %+v: %d bytes", b, len(b.Data))
			}
		}
	}
}

func TestWorkflow_AfterAnHour_Expires(t *testing.T) {
	started := func(t *testing.T) *talk { return begin(t).write("change my billing address").write(baker) }
	t.Run("not before", func(t *testing.T) {
		started(t).after(time.Hour - time.Second).write("yes").stands(Completed)
	})
	t.Run("and says so when the customer writes", func(t *testing.T) {
		c := started(t).after(time.Hour).write("hello").stands(Expired).says("your address change unfinished").
			says("Hello!")
		c.write("where is my order?").says("Which order?")
	})
	t.Run("and a button then is an old one", func(t *testing.T) {
		c := started(t)
		yes := c.button(yesButton)
		c.after(time.Hour).press(yes).stands(Expired).toasts("This button belongs to an earlier step.")
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
		begin(t).write("change my billing address").after(50 * time.Minute).write(baker).
			after(50 * time.Minute).write("yes").stands(Completed)
	})
	t.Run("and can be begun anew", func(t *testing.T) {
		c := started(t).after(2 * time.Hour).write("change my billing address").stands(CollectingAddress)
		if len(c.context.Run.Data) > 0 {
			t.Errorf("the new change begins with %v", c.context.Run.Data)
		}
	})
}

func TestWorkflow_OtherMatters_Handled(t *testing.T) {
	for _, step := range []Step{CollectingAddress, ConfirmingChanges} {
		t.Run(string(step), func(t *testing.T) {
			in := func(t *testing.T) *talk { return walkedTo(t, step) }
			t.Run("/start begins the conversation anew", func(t *testing.T) {
				in(t).write("/start").stands(Cancelled).says("Welcome, Ada!")
			})
			t.Run("/help tells about the step", func(t *testing.T) {
				if c := in(t).write("/help").stands(step); len(c.last.Replies) != 1 {
					t.Errorf("said %+v", c.last.Replies)
				}
			})
			t.Run("a question is answered in passing", func(t *testing.T) {
				in(t).write("thanks").stands(step).says("You're welcome!\n\n")
				in(t).write("where do I find my receipt?").stands(step).says("Under Invoices.\n\n")
			})
			t.Run("a file is thanked for, and the question stands", func(t *testing.T) {
				in(t).take(Act{Media: true, MessageID: 7}).stands(step).says("can't look at files").
					says("“person”.\n\n")
			})
			t.Run("a person takes over", func(t *testing.T) {
				c := in(t).write("I want to talk to a person").stands(HandedOver)
				if c.last.HandOver != (HandOver{ReasonAsked, High}) {
					t.Errorf("handed over as %+v", c.last.HandOver)
				}
			})
			t.Run("anger brings a person", func(t *testing.T) {
				c := in(t).write("THIS IS UNHEARD OF, I WAITED 3 WEEKS").stands(HandedOver)
				if c.last.HandOver != (HandOver{"angry", Urgent}) {
					t.Errorf("handed over as %+v", c.last.HandOver)
				}
			})
			t.Run("the wish said again is answered again", func(t *testing.T) {
				if c := in(t).write("I want to change my billing address").
					stands(step); len(c.last.Replies) != 1 || c.last.Intent != Answered {
					t.Errorf("%s, said %+v", c.last.Intent, c.last.Replies)
				}
			})
			t.Run("an address is one whatever its words", func(t *testing.T) {
				for _, address := range []string{
					"12 BAKER STREET, LONDON NW1 6XE", "Outrageous Road 5, 12345 Halt",
					"Human Resources, 5 Main Street, Leeds LS1 4AP", "Order of Malta 5, 1001 Valletta",
					"Still Lane 5, Leeds LS1 4AP", "12 Hello Street, Leeds LS1 4AP!!!",
				} {
					c := in(t).write(address).stands(ConfirmingChanges).says(strings.TrimSuffix(address, "!!!"))
					if c.last.Intent != Answered || c.last.HandOver.Reason != "" {
						t.Errorf("%q: %s, %+v", address, c.last.Intent, c.last.HandOver)
					}
				}
			})
		})
	}
}

func TestWorkflow_TypedYesAndNo_Accepted(t *testing.T) {
	at := func(t *testing.T) *talk { return begin(t).write("change my billing address").write(baker) }
	at(t).write("Yes!").stands(Completed)
	at(t).write("OK!!!").stands(Completed)
	at(t).write("no").stands(CollectingAddress).says("Send it again")
	at(t).write("yes but the number is wrong").stands(ConfirmingChanges)
	begin(t).write("change my billing address").write("yes").stands(CollectingAddress)
}

func TestWorkflow_Evolve_KeepsOldRun(t *testing.T) {
	r := walkedTo(t, ConfirmingChanges).context.Run
	data, sources, path := maps.Clone(r.Data), maps.Clone(r.Sources), slices.Clone(r.Path)
	r.Follow(Move{Workflow: AddressChange, From: ConfirmingChanges, To: ValidatingAddress,
		Set: map[string]string{"problem": "x"}, Cleared: []string{"address"}, Source: 7}, noon)
	r.Follow(Move{Workflow: AddressChange, To: Initial}, noon)
	paused := r.Follow(Move{Kind: Paused, Workflow: AddressChange, To: ConfirmingChanges}, noon)
	paused.Follow(Move{Workflow: OrderQuestion, To: Initial}, noon).
		Follow(Move{Kind: Resumed, Workflow: AddressChange, To: ConfirmingChanges}, noon)
	if !maps.Equal(data, r.Data) || !maps.Equal(sources, r.Sources) || !slices.Equal(path, r.Path) {
		t.Errorf("the run became %+v", r)
	}
}

func TestWorkflow_Run_KeepsStartAndLastMove(t *testing.T) {
	later := noon.Add(10 * time.Minute)
	r := walkedTo(t, CollectingAddress).
		context.Run.Follow(Move{Workflow: AddressChange, From: CollectingAddress, To: ValidatingAddress,
		Set: map[string]string{"address": "x"}, Source: 3}, later)
	if !r.StartedAt.Equal(noon) || !r.LastAt.Equal(later) || r.Sources["address"] != 3 {
		t.Errorf("run %+v", r)
	}
}

// A reader of a stored history has no knowledge at hand: the way back is in the moves.
func TestWorkflow_ManyTurns_PathStaysShort(t *testing.T) {
	c := walkedTo(t, ConfirmingChanges)
	for range 100 {
		c.write("no").stands(CollectingAddress).write(baker).stands(ConfirmingChanges)
	}
	if n := len(c.context.Run.Path); n > 4 {
		t.Errorf("a way of %d steps: %v", n, c.context.Run.Path)
	}
}
