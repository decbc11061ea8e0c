package dialog_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	. "github.com/chatledger/chatledger/domain/dialog"
	. "github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

// describing is a conversation about a delivery that waits for a free answer.
func describing(t *testing.T) *talk {
	c := begin(t)
	c.context.Tools = AllTools
	c.write("my order 1001 came damaged").stands(ChoosingProblem).says("I'm sorry.").says("What is it?")
	return c.press(c.button(0)).stands(Describing).says("Tell me more.")
}

func TestWorkflow_ValuesInRequest_NotAskedAgain(t *testing.T) {
	c := describing(t)
	if got := c.context.Run.Data; got["order"] != "1001" || got["problem"] != "damaged" {
		t.Errorf("collected %v", got)
	}
}

func TestInterrupt_ShortWorkflow_ThenResumes(t *testing.T) {
	c := describing(t).write("where is my parcel?").says("Which order?").write("1002").stands(LookingUp).
		calls(OrderStatus, map[string]string{"number": "1002"})
	c.returns(Order{Number: "1002", Status: "shipped"}.Output(true)).says("Order 1002: shipped").
		says("Back to your delivery.").says("Tell me more.").stands(Describing)
	if c.context.Run.Under != nil || c.context.Run.Data["order"] != "1001" {
		t.Errorf("the run is %+v", c.context.Run)
	}
	c.write("the box is torn").stands(ConfirmingReport).says("1001, damaged: the box is torn")
}

func TestInterrupt_CompleteQuestion_AnsweredAtOnce(t *testing.T) {
	inPassing := func(c *talk, step Step) {
		t.Helper()
		run := c.context.Run
		c.write("where is my order 1002?").stands(step).asides(OrderStatus + " 1002")
		if len(c.last.Moves)+len(c.last.Replies) > 0 || c.last.Asides[0].About == nil {
			t.Fatalf("%+v", c.last)
		}
		about := *c.last.Asides[0].About
		c.context.Run = run // whose tool it is not
		turn := about.Reply(c.context, Order{Number: "1002", Status: "shipped"}.Output(true), false, Act{At: noon})
		if len(turn.Moves) > 0 || len(turn.Replies) != 1 || turn.Replies[0].Text != "Order 1002: shipped." {
			t.Errorf("told %+v", turn)
		}
		if turn := about.Reply(c.context, nil, true,
			Act{At: noon}); turn.HandOver.Reason != "order_lookup_failed" || len(turn.Moves) > 0 {
			t.Errorf("failed as %+v", turn)
		}
	}
	alone := begin(t)
	alone.context.Tools = AllTools
	inPassing(alone, "")
	inPassing(describing(t), Describing)
	inPassing(checking(t), ValidatingAddress)
	inPassing(saving(t), SavingChanges)
	asked := begin(t)
	asked.context.Tools = AllTools
	inPassing(asked.write("where is my order?").write("1001").stands(LookingUp), LookingUp)
	begin(t).write("where is my order 1002?").stands(HandedOver) // who has no such tool
}

func TestInterrupt_ShortWorkflowCancelled_Resumes(t *testing.T) {
	c := describing(t).write("where is my parcel?").stands(AskingNumber).write("cancel").says("Cancelled").
		says("Tell me more.").stands(Describing)
	c.write("cancel").stands(Cancelled)
}

func TestInterrupt_Second_ReplacesFirst(t *testing.T) {
	c := describing(t).write("where is my parcel?").stands(AskingNumber).write("change my billing address").
		says("Shall we do")
	c.write("yes").stands(CollectingAddress).write("cancel").stands(Describing)
}

func TestInterrupt_OtherWorkflow_OfferedThenResumes(t *testing.T) {
	offered := func(t *testing.T) *talk {
		return describing(t).write("I want to change my billing address").stands(Describing).
			says("in the middle of your delivery").says("your address change first")
	}
	t.Run("by the button", func(t *testing.T) {
		c := offered(t)
		c.press(c.button(0)).stands(CollectingAddress).says("Send me the address.")
		c.write(baker).returns(checked.Output()).write("yes").returns(map[string]string{"address": baker}).
			says("is now " + baker).says("Tell me more.").stands(Describing)
	})
	t.Run("in words", func(t *testing.T) {
		offered(t).write("yes").stands(CollectingAddress)
	})
	t.Run("and what was said may answer the other's questions", func(t *testing.T) {
		c := describing(t).write("my new address is " + baker).says("Shall we do")
		c.write("yes").stands(ValidatingAddress).calls(CheckAddress, map[string]string{"address": baker})
	})
	t.Run("or it was an answer after all", func(t *testing.T) {
		c := offered(t)
		c.press(c.button(1)).stands(ConfirmingReport).says("1001, damaged: I want to change my billing address")
	})
	t.Run("once", func(t *testing.T) {
		c := offered(t)
		old := c.button(0)
		c.write("the box is torn").stands(ConfirmingReport)
		c.press(old).toasts("This button belongs to an earlier step.").silent()
	})
	t.Run("and of two, only the later counts", func(t *testing.T) {
		c := offered(t)
		switches, stays := c.button(0), c.button(1)
		c.write("my new address is " + baker).says("Shall we do")
		newer := c.button(0)
		c.press(switches).toasts("This button belongs to an earlier step.").silent()
		c.press(stays).toasts("This button belongs to an earlier step.").silent()
		c.press(newer).stands(ValidatingAddress).calls(CheckAddress, map[string]string{"address": baker})
		c = offered(t).write("my new address is " + baker)
		c.write("no").stands(ConfirmingReport).says("1001, damaged: my new address is " + baker)
	})
	t.Run("and who cancels means what runs", func(t *testing.T) {
		offered(t).write("cancel").says("Cancelled").stands(Cancelled)
	})
	t.Run("not where nothing can be called back", func(t *testing.T) {
		saving(t).write("my order came damaged").stands(SavingChanges).says("It is being saved")
	})
}

func TestInterrupt_HandOver_EndsSuspendedRun(t *testing.T) {
	c := describing(t).write("where is my parcel?").write("I want a person").stands(HandedOver)
	if c.context.Run.Under != nil {
		t.Errorf("set aside is %+v", c.context.Run.Under)
	}
}

func TestInterrupt_StartOrBlock_EndsSuspendedRun(t *testing.T) {
	between := func() *talk { return describing(t).write("where is my parcel?").stands(AskingNumber) }
	gone := between()
	for name, c := range map[string]*talk{
		"anew": between().write("/start").says("Cancelled. Nothing was changed.").says("Welcome, Ada!"),
		"gone": gone.follow(gone.context.Run.Dropped()),
	} {
		if c.stands(Cancelled); c.context.Run.Under != nil || c.context.Run.Workflow != DeliveryProblem {
			t.Errorf("%s: the run is %+v", name, c.context.Run)
		}
	}
}

func TestDescription_BareYesOrSign_Rejected(t *testing.T) {
	for _, text := range []string{"yes", "No.", "👍", "😡😡", "...", "ja"} {
		describing(t).write(text).stands(Describing).says("It is too short.").says("Tell me more.")
	}
	describing(t).write("no glass").stands(ConfirmingReport)
}

func TestButton_TypedLabel_PressesIt(t *testing.T) {
	walkedTo(t, ConfirmingChanges).write("yes, change it!").stands(Completed)
	walkedTo(t, ConfirmingChanges).write("correct it").stands(CollectingAddress)
	describing(t).write("change my billing address").write("Yes, switch").stands(CollectingAddress)
	lapsed(t, walkedTo(t, CollectingAddress), true).write(baker).write("go on").stands(ConfirmingChanges)

	shop, c := Shop, describing(t).write("change my billing address")
	shop.Words = map[Word]Text{LabelSwitch: {"en": "✅"}, LabelStay: {"en": "❌"}}
	c.context.Knowledge = &shop
	c.write("?!").stands(Describing)
}

func TestConfirmation_NoAndMore_AskedAgain(t *testing.T) {
	walkedTo(t, ConfirmingChanges).write("no, number 14").stands(CollectingAddress).says("Send it again.").
		write("14 Baker Street, London NW1 6XE").stands(ConfirmingChanges)
	walkedTo(t, ConfirmingChanges).write("no, where is my order?").stands(AskingNumber)
	walkedTo(t, ConfirmingChanges).write("yes, number 14").stands(ConfirmingChanges).says(baker)
}

func TestYes_WithoutQuestion_IsNoFailure(t *testing.T) {
	for _, text := range []string{"yes", "👍", "nein"} {
		c := begin(t)
		c.context.Misunderstood = 1
		c.write(text).says("Nothing is under way.")
		if c.last.HandOver.Reason != "" || c.last.Intent == Unknown {
			t.Errorf("%q leads to %+v", text, c.last)
		}
	}
}

func TestBack_Pressed_AsksPreviousQuestion(t *testing.T) {
	c := describing(t).write("the box is torn").stands(ConfirmingReport)
	c.write("back").stands(Describing).says("Tell me more.").write("back").stands(ChoosingProblem).says("What is it?")
	if _, there := c.context.Run.Data["problem"]; there {
		t.Error("what was answered to it is still there")
	}
	c.write("back").stands(AskingNumber).says("Which order?").write("back").stands(AskingNumber).says("first step")
	c.write("1002").stands(ChoosingProblem).write("broken").stands(Describing)
}

func TestChoice_Answer_PressedNamedOrAskedAgain(t *testing.T) {
	at := func(t *testing.T) *talk { return begin(t).write("my order 1001 came damaged").stands(ChoosingProblem) }
	at(t).write("it is broken").stands(Describing)
	at(t).write("DAMAGED").stands(Describing)
	at(t).write("it smells").stands(ChoosingProblem).says("press one of the buttons")
	if c := at(t).write("lost").
		stands(HandedOver); c.last.HandOver.Reason != "lost" || c.context.Run.Data["problem"] != "lost" {
		t.Errorf("handed over as %+v with %v", c.last.HandOver, c.context.Run.Data)
	}
	at(t).press("w:2:stolen").toasts("This button belongs to an earlier step.").silent()
}

func TestEdit_Answer_RepeatsDependentSteps(t *testing.T) {
	c := begin(t).write("something came damaged").stands(AskingNumber).write("1001").write("broken").
		write("the box is torn").stands(ConfirmingReport)
	c.edit(4, "the box is wet").stands(ConfirmingReport).says("1001, damaged: the box is wet")
	c.edit(3, "Lost!").stands(HandedOver)
	c = begin(t).write("something came damaged").write("1001").write("broken").write("the box is torn")
	c.edit(2, "1002").stands(ChoosingProblem).says("What is it?") // of another order it may be another problem
	c.write("broken").stands(ConfirmingReport).says("1002, damaged: the box is torn")
	c.edit(2, "none").stands(AskingNumber).says("four to ten digits")
}

func TestEdit_AfterEnd_RestartsFromThatStep(t *testing.T) {
	const moor = "14 Moor Lane, London EC2Y 9DT"
	done := func() *talk { return walkedTo(t, ConfirmingChanges).write("yes").stands(Completed) }
	c := done().edit(2, moor).stands(ConfirmingChanges).says(moor + "\nIs that right?")
	c.edit(2, baker).stands(ConfirmingChanges).says(baker)
	c.press(c.button(yesButton)).stands(Completed).says("is now " + baker)
	for name, c := range map[string]*talk{
		"the same":    done().edit(2, "12  Baker Street, London NW1 6XE"),
		"no answer":   done().edit(2, "14 Moor Lane"),
		"another":     done().edit(1, moor),
		"another day": done().after(24*time.Hour).edit(2, moor),
		"cancelled":   walkedTo(t, ConfirmingChanges).write("cancel").edit(2, moor),
	} {
		if len(c.last.Moves)+len(c.last.Replies) > 0 {
			t.Errorf("%s: %+v", name, c.last)
		}
	}
}

func TestWorkflow_RepeatedFailures_HandedOver(t *testing.T) {
	c := begin(t).write("change my billing address").write("x").write("y").stands(CollectingAddress)
	if c.write("z").stands(HandedOver); c.last.HandOver != (HandOver{"step_failed", Normal}) {
		t.Errorf("handed over as %+v", c.last.HandOver)
	}
}

func TestWorkflow_Silence_RemindsThenExpires(t *testing.T) {
	c := walkedTo(t, CollectingAddress)
	elapse := func(d time.Duration) *talk { return c.after(d).follow(Elapse(c.context, c.at)) }
	remind, expire := Shop.Wake(c.context.Run)
	if remind.Sub(noon) != 45*time.Minute || expire.Sub(noon) != time.Hour {
		t.Errorf("woken at %s and %s", remind, expire)
	}
	elapse(44 * time.Minute).silent()
	elapse(time.Minute).says("not finished your address change").stands(CollectingAddress)
	goOn := c.button(0)
	if remind, _ := Shop.Wake(c.context.Run); !remind.IsZero() || !c.last.Reminded {
		t.Errorf("reminded: %v, again at %s", c.last.Reminded, remind)
	}
	elapse(time.Minute).silent()
	c.press(goOn).says("Send me the address.")
	elapse(14 * time.Minute).says("unfinished").stands(Expired)
	if _, expire := Shop.Wake(c.context.Run); !expire.IsZero() {
		t.Errorf("an ended run expires at %s", expire)
	}
	c = checking(t)
	elapse(24 * time.Hour).silent() // it is not the customer who is waited for
}

func TestWorkflow_RemovedFromKnowledge_HandedOver(t *testing.T) {
	c := walkedTo(t, CollectingAddress)
	c.context.Knowledge = &Bare
	if c.write(baker).stands(HandedOver); c.last.HandOver.Reason != ReasonLost {
		t.Errorf("handed over as %+v", c.last.HandOver)
	}
	circle := Shop
	circle.Workflows = map[string]*Workflow{AddressChange: {Name: AddressChange, Steps: []StepDef{
		{Name: "a", Say: &Goto{Step: "b"}}, {Name: "b", Say: &Goto{Step: "a"}},
	}}}
	c = begin(t)
	c.context.Knowledge = &circle
	if c.write("change my billing address").stands(HandedOver); c.last.HandOver.Reason != ReasonLost {
		t.Errorf("handed over as %+v", c.last.HandOver)
	}
}

func TestInterrupt_ValuesInRequest_NotAskedAgain(t *testing.T) {
	shop, delivery := Shop, *Shop.Workflows[DeliveryProblem]
	delivery.Steps = slices.Clone(delivery.Steps)
	choosing := *delivery.Steps[1].Ask
	choosing.FromStart, delivery.Steps[1].Ask = true, &choosing
	shop.Workflows = maps.Clone(shop.Workflows)
	shop.Workflows[DeliveryProblem] = &delivery
	c := begin(t)
	c.context.Knowledge = &shop
	c.write("my order came damaged, it is broken").stands(AskingNumber).write("1001").stands(Describing)
	c.write("back").stands(ChoosingProblem)
	c.write("cancel").write("my order came damaged").stands(AskingNumber).write("1001").stands(ChoosingProblem)
}
