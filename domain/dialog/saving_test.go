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

// beginWithCRM is begin of a talk with a bot that has a CRM.
func beginWithCRM(t *testing.T) *talk {
	c := begin(t)
	c.context.Tools = AllTools
	return c
}

// asks fails unless the last turn has the CRM check or keep exactly this; "" is nothing.
func (c *talk) asks(check, save string) *talk {
	c.Helper()
	switch {
	case check != "":
		return c.calls(CheckAddress, map[string]string{"address": check})
	case save != "":
		return c.calls(ChangeAddress, map[string]string{"address": save})
	default:
		return c.calls("", nil)
	}
}

var checked = AddressCheck{Valid: true, Address: baker + ", UK"}

// The steps at which the workflow waits for the CRM.
func checking(t *testing.T) *talk {
	return beginWithCRM(t).write("change my billing address").write(baker).stands(ValidatingAddress).asks(baker, "")
}

func saving(t *testing.T) *talk {
	c := checking(t)
	return c.returns(checked.Output()).write("yes").stands(SavingChanges).asks("", checked.Address)
}

func TestSaving_WithCRM_CheckedAndSavedThere(t *testing.T) {
	c := checking(t)
	if len(c.last.Replies) > 0 {
		t.Errorf("before it is checked the bot says %+v", c.last.Replies)
	}
	c.returns(checked.Output()).stands(ConfirmingChanges).says(checked.Address).asks("", "")
	c.press(c.button(yesButton)).stands(SavingChanges).toasts("Saved").asks("", checked.Address)
	if len(c.last.Replies) > 0 {
		t.Errorf("before it is kept the bot says %+v", c.last.Replies)
	}
	c.returns(map[string]string{"address": checked.Address}).stands(Completed).says("is now " + checked.Address)
	if got := c.context.Run.Data["address"]; got != checked.Address {
		t.Errorf("collected %q", got)
	}
}

func TestSaving_InvalidByRules_NotSentToCRM(t *testing.T) {
	beginWithCRM(t).write("change my billing "+
		"address").write("Elm Row").stands(CollectingAddress).says("too short").asks("", "")
}

func TestSaving_AddressInRequest_IsChecked(t *testing.T) {
	beginWithCRM(t).write("Hi, my new address is "+baker).stands(ValidatingAddress).asks(baker, "")
}

func TestSaving_RefusedByCRM_AskedAgain(t *testing.T) {
	c := checking(t)
	c.returns(AddressCheck{
		Problem: "there is no such street",
	}.Output()).stands(CollectingAddress).says("there is no such street")
	c.write("14 Baker Street, London NW1 6XE").stands(ValidatingAddress).asks("14 Baker Street, London NW1 6XE", "")
	c.returns(AddressCheck{Valid: true, Address: "14 Baker Street, London NW1 6XE"}.Output()).stands(ConfirmingChanges)
	if _, there := c.context.Run.Data["refused"]; there {
		t.Error("the problem of the first try is still there")
	}
}

func TestSaving_CRMFails_HandedOver(t *testing.T) {
	c := checking(t)
	c.fails().stands(HandedOver).says("Nothing was changed")
	if c.last.HandOver != (HandOver{"address_check_failed", Normal}) || c.context.Run.Data["address"] != baker {
		t.Errorf("handed over as %+v with %v", c.last.HandOver, c.context.Run.Data)
	}
	c = saving(t)
	c.fails().stands(HandedOver).says("couldn't complete")
	if c.last.HandOver != (HandOver{"address_update_failed", Normal}) ||
		c.context.Run.Data["address"] != checked.Address {
		t.Errorf("handed over as %+v with %v", c.last.HandOver, c.context.Run.Data)
	}
}

func TestSaving_WhileChecking_CustomerIsAnswered(t *testing.T) {
	const other = "14 Baker Street, London NW1 6XE"
	t.Run("who cancels has cancelled", func(t *testing.T) {
		checking(t).write("cancel").stands(Cancelled).says("Nothing was changed").asks("", "")
		checking(t).write("/start").stands(Cancelled).says("Welcome")
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
		for _, text := range []string{
			"yes", "no", "hello?", "/help", "change my billing address", "how long does it take",
		} {
			checking(t).write(text).stands(ValidatingAddress).asks("", "").says("still checking")
		}
	})
	t.Run("questions are answered", func(t *testing.T) {
		checking(t).write("thanks").stands(ValidatingAddress).says("You're welcome!").says("still checking")
		c := checking(t).write("where is my order?").write("1001").stands(LookingUp).calls(OrderStatus,
			map[string]string{"number": "1001"})
		// its first answer went by
		c.returns(Order{
			Number: "1001", Status: "shipped",
		}.Output(true)).says("Order 1001: shipped").stands(ValidatingAddress).asks(baker, "")
	})
	t.Run("a person comes", func(t *testing.T) {
		checking(t).write("I want to talk to a person").stands(HandedOver)
	})
	t.Run("a button is an old one", func(t *testing.T) {
		checking(t).press("w:3:yes").toasts("This button belongs to an earlier " +
			"step.").silent().stands(ValidatingAddress)
	})
	t.Run("however long it takes", func(t *testing.T) {
		checking(t).after(5 * DefaultIdle).write("hello?").stands(ValidatingAddress).says("still checking")
	})
}

func TestSaving_WhileSaving_CannotBeCancelled(t *testing.T) {
	for _, text := range []string{
		"cancel", "/cancel", "/start", "/help", "no", "yes", "hello?", "14 Baker Street, London NW1 6XE",
		"change my billing address",
	} {
		saving(t).write(text).stands(SavingChanges).asks("", "").says("being saved").says(checked.Address)
	}
	saving(t).edit(2, "14 Baker Street, London NW1 6XE").stands(SavingChanges).asks("", "").says("being saved")
	saving(t).press("w:3:cancel").toasts("This button belongs to an earlier step.").silent().stands(SavingChanges)
	saving(t).press("w:3:yes").toasts("This button belongs to an earlier step.").silent().stands(SavingChanges)
	saving(t).after(5 * DefaultIdle).write("hello?").stands(SavingChanges).says("being saved")
	saving(t).write("I want to talk to a person").stands(HandedOver)
}

// The hour in which a customer must confirm begins when they are asked.
func TestSaving_Expiry_CountsFromCRMsAnswer(t *testing.T) {
	c := checking(t).after(24 * time.Hour)
	c.returns(checked.Output()).stands(ConfirmingChanges)
	c.after(DefaultIdle - time.Second).write("yes").stands(SavingChanges)
	c = checking(t).after(24 * time.Hour)
	c.returns(checked.Output()).after(DefaultIdle).write("yes").stands(Expired).asks("", "")
}

func TestToast_Variables_FilledBeforeCut(t *testing.T) {
	shop, change := Shop, *Shop.Workflows[AddressChange]
	change.Steps = slices.Clone(change.Steps)
	i := slices.IndexFunc(change.Steps, func(s StepDef) bool { return s.Name == ConfirmingChanges })
	confirming := *change.Steps[i].Confirm
	confirming.Toast, change.Steps[i].Confirm = Text{"en": "Saved: {address}"}, &confirming
	shop.Workflows = maps.Clone(shop.Workflows)
	shop.Workflows[AddressChange] = &change
	c := begin(t)
	c.context.Knowledge = &shop
	c.write("change my billing address").write("The House with a Name " + strings.Repeat("long ", 40) +
		"12, London NW1 6XE").stands(ConfirmingChanges)
	c.press(c.button(yesButton)).toasts("Saved: The House with a Name" + strings.Repeat(" long", 34) + "…")
}
