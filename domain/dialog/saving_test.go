package dialog

import (
	"testing"
	"time"
)

// beginWithCRM is begin of a talk with a bot that has a CRM.
func beginWithCRM(t *testing.T) *talk {
	c := begin(t)
	c.context.CRM = true
	return c
}

// asks fails unless the last turn asks the CRM for exactly this; "" is nothing.
func (c *talk) asks(check, save string) *talk {
	c.Helper()
	if c.last.Check != check || c.last.Save != save {
		c.Fatalf("the CRM is to check %q and to keep %q, want %q and %q", c.last.Check, c.last.Save, check, save)
	}
	return c
}

var checked = AddressCheck{Valid: true, Address: baker + ", UK"}

// The steps at which the workflow waits for the CRM.
func checking(t *testing.T) *talk {
	return beginWithCRM(t).write("change my billing address").write(baker).stands(ValidatingAddress).asks(baker, "")
}

func saving(t *testing.T) *talk {
	c := checking(t)
	return c.follow(c.context.Run.Checked(checked)).write("yes").stands(SavingChanges).asks("", checked.Address)
}

func TestWithACRMAnAddressIsCheckedAndKeptThere(t *testing.T) {
	c := checking(t)
	if len(c.last.Replies) > 0 {
		t.Errorf("before it is checked the bot says %+v", c.last.Replies)
	}
	c.follow(c.context.Run.Checked(checked)).stands(ConfirmingChanges).says(checked.Address).asks("", "")
	c.press(c.button(yesButton)).stands(SavingChanges).toasts(toastSaving).asks("", checked.Address)
	if len(c.last.Replies) > 0 {
		t.Errorf("before it is kept the bot says %+v", c.last.Replies)
	}
	c.follow(c.context.Run.Saved(checked.Address)).stands(Completed).says("is now " + checked.Address)
	if got := c.context.Run.Data[fieldAddress]; got != checked.Address {
		t.Errorf("collected %q", got)
	}
}

func TestAnAddressThatOurOwnRulesRefuseIsNotCheckedByTheCRM(t *testing.T) {
	beginWithCRM(t).write("change my billing address").write("Elm Row").stands(CollectingAddress).says("too short").asks("", "")
}

func TestAnAddressSentWithTheWishIsCheckedToo(t *testing.T) {
	beginWithCRM(t).write("Hi, my new address is "+baker).stands(ValidatingAddress).asks(baker, "")
}

func TestAnAddressThatTheCRMRefusesIsAskedForAgain(t *testing.T) {
	c := checking(t)
	c.follow(c.context.Run.Checked(AddressCheck{Problem: "there is no such street"})).stands(CollectingAddress).says("there is no such street")
	c.write("14 Baker Street, London NW1 6XE").stands(ValidatingAddress).asks("14 Baker Street, London NW1 6XE", "")
	c.follow(c.context.Run.Checked(AddressCheck{Valid: true, Address: "14 Baker Street, London NW1 6XE"})).stands(ConfirmingChanges)
	if _, there := c.context.Run.Data[fieldProblem]; there {
		t.Error("the problem of the first try is still there")
	}
}

func TestWhatTheCRMDoesNotDoAPersonDoes(t *testing.T) {
	c := checking(t)
	c.follow(c.context.Run.NotChecked()).stands(HandedOver).says("Nothing was changed")
	if c.last.HandOver != (HandOver{ReasonNotChecked, Normal}) || c.context.Run.Data[fieldAddress] != baker {
		t.Errorf("handed over as %+v with %v", c.last.HandOver, c.context.Run.Data)
	}
	c = saving(t)
	c.follow(c.context.Run.NotSaved()).stands(HandedOver).says("couldn't complete")
	if c.last.HandOver != (HandOver{ReasonNotSaved, Normal}) || c.context.Run.Data[fieldAddress] != checked.Address {
		t.Errorf("handed over as %+v with %v", c.last.HandOver, c.context.Run.Data)
	}
}

func TestWhileTheCRMChecksTheCustomerIsHeard(t *testing.T) {
	const other = "14 Baker Street, London NW1 6XE"
	t.Run("who cancels has cancelled", func(t *testing.T) {
		checking(t).write("cancel").stands(Cancelled).says("Nothing was changed").asks("", "")
		checking(t).write("/start").stands(Cancelled).says("Hello!")
	})
	t.Run("another address is checked instead", func(t *testing.T) {
		checking(t).write(other).stands(ValidatingAddress).asks(other, "")
		checking(t).edit(2, other).stands(ValidatingAddress).asks(other, "")
	})
	t.Run("the same address is not checked twice", func(t *testing.T) {
		checking(t).write(baker).stands(ValidatingAddress).asks("", "").says("still checking")
		checking(t).edit(2, "my address is: "+baker).stands(ValidatingAddress).asks("", "").says("still checking")
	})
	t.Run("a correction that is no address is not", func(t *testing.T) {
		checking(t).edit(2, "Elm Row").stands(CollectingAddress).says("too short").asks("", "")
	})
	t.Run("nothing else is taken for an address", func(t *testing.T) {
		for _, text := range []string{"yes", "no", "hello?", "/help", "change my billing address", "how long does it take"} {
			checking(t).write(text).stands(ValidatingAddress).asks("", "").says("still checking")
		}
	})
	t.Run("questions are answered", func(t *testing.T) {
		checking(t).write("thanks").stands(ValidatingAddress).says("You're welcome!").says("still checking")
		if c := checking(t).write("where is order 1001?").stands(ValidatingAddress); c.last.Lookup != "1001" {
			t.Errorf("looked up %q", c.last.Lookup)
		}
	})
	t.Run("a person comes", func(t *testing.T) {
		checking(t).write("I want to talk to a person").stands(HandedOver)
	})
	t.Run("a button is an old one", func(t *testing.T) {
		checking(t).press("address:confirm:1").toasts(toastOld).silent().stands(ValidatingAddress)
	})
	t.Run("however long it takes", func(t *testing.T) {
		checking(t).after(5 * WorkflowIdle).write("hello?").stands(ValidatingAddress).says("still checking")
	})
}

func TestWhileTheCRMSavesNothingIsTakenBack(t *testing.T) {
	for _, text := range []string{"cancel", "/cancel", "/start", "/help", "no", "yes", "hello?", "14 Baker Street, London NW1 6XE", "change my billing address"} {
		saving(t).write(text).stands(SavingChanges).asks("", "").says("being saved").says(checked.Address)
	}
	saving(t).edit(2, "14 Baker Street, London NW1 6XE").stands(SavingChanges).asks("", "").says("being saved")
	saving(t).press("address:cancel:1").toasts(toastOld).silent().stands(SavingChanges)
	saving(t).press("address:confirm:1").toasts(toastOld).silent().stands(SavingChanges)
	saving(t).after(5 * WorkflowIdle).write("hello?").stands(SavingChanges).says("being saved")
	saving(t).write("I want to talk to a person").stands(HandedOver)
}

// The hour in which a customer must confirm begins when they are asked.
func TestTheCustomersHourBeginsWhenTheCRMHasAnswered(t *testing.T) {
	c := checking(t).after(24 * time.Hour)
	c.follow(c.context.Run.Checked(checked)).stands(ConfirmingChanges)
	c.after(WorkflowIdle - time.Second).write("yes").stands(SavingChanges)
	c = checking(t).after(24 * time.Hour)
	c.follow(c.context.Run.Checked(checked)).after(WorkflowIdle).write("yes").stands(Expired).asks("", "")
}
