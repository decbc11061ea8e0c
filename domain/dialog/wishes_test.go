package dialog_test

import (
	"testing"

	. "github.com/chatledger/chatledger/domain/dialog"
	. "github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

// equipped is a conversation with a bot that has every tool.
func equipped(t *testing.T) *talk {
	c := begin(t)
	c.context.Tools = AllTools
	return c
}

func TestWishes_TwoLongMatters_OneAfterTheOther(t *testing.T) {
	c := equipped(t).write("My order 1001 came damaged. And I want a new address.")
	c.says("your address change comes next").says("What is it?").stands(ChoosingProblem)
	c.press(c.button(1)).stands(HandedOver) // an operator sees to both
	c = equipped(t).write("a new address, please. My order 1001 came damaged").stands(CollectingAddress).
		says("your delivery comes next")
	c.write("cancel").says("Back to your delivery.").stands(ChoosingProblem)
}

func TestWishes_WithinAWorkflow_StepStands(t *testing.T) {
	c := walkedTo(t, CollectingAddress)
	c.context.Tools = AllTools
	c.write("hello, where is order 1001? And what about an invoice?").asides(OrderStatus + " 1001").
		says("Under Invoices.").says("We are changing your address.").stands(CollectingAddress)
}

func TestWishes_BesideAnAddress_BothTaken(t *testing.T) {
	for _, text := range []string{baker + ". And where is order 1001?", "Where is order 1001? " + baker} {
		c := equipped(t).write("change my billing address").write(text)
		c.calls(CheckAddress, map[string]string{"address": baker}).asides(OrderStatus + " 1001")
	}
	equipped(t).write("change my billing address").write(baker+". Thanks").
		calls(CheckAddress, map[string]string{"address": baker + ". Thanks"})
}

func TestAsk_SeveralOrders_EachLookedUp(t *testing.T) {
	equipped(t).write("where is my parcel?").write("1001 and 1002").stands(LookingUp).
		calls(OrderStatus, map[string]string{"number": "1001"}).asides(OrderStatus + " 1002")
}

func TestWishes_HundredsOfOrders_AreLimited(t *testing.T) {
	text := "where is order"
	for range 400 {
		text += " 1001 1002 1003 1004 1005 1006 1007 1008 1009"
	}
	if c := equipped(t).write(text); len(c.last.Asides) != 8 {
		t.Errorf("%d look-ups", len(c.last.Asides))
	}
}

func TestEdit_OfAQuestion_AnsweredAnew(t *testing.T) {
	for name, c := range map[string]struct {
		before, now string
		asides      []string
		says        string
	}{
		"another order":     {"where is my order 1001?", "and my order 1002?", []string{OrderStatus + " 1002"}, ""},
		"another wish":      {"where is my order 1001?", "invoice for 1001", nil, "Under Invoices."},
		"understood now":    {"wher is it", "where is my order 1001", []string{OrderStatus + " 1001"}, ""},
		"not understood":    {"where is my order 1001?", "wer ist da", nil, "I'm not sure"},
		"a matter begins":   {"hello", "I want a new address", nil, "Send me the address."},
		"the same":          {"where is my order 1001?", "Where is my order 1001, please?", nil, ""},
		"nothing remains":   {"where is my order 1001?", " ", nil, ""},
		"forgotten by now":  {"", "where is my order 1001?", nil, ""},
		"an operator comes": {"where is my order 1001?", "Outrageous, my order 1001!", nil, "I'm sorry about this."},
	} {
		t.Run(name, func(t *testing.T) {
			talk := equipped(t)
			talk.context.Before = c.before
			talk.edit(1, c.now).asides(c.asides...)
			if c.says != "" {
				talk.says(c.says)
			} else if len(talk.last.Replies) > 0 {
				t.Errorf("said %+v", talk.last.Replies)
			}
			if talk.last.Intent != Corrected {
				t.Errorf("understood as %s", talk.last.Intent)
			}
		})
	}
}

// A running workflow takes an edited message for an answer only if that is the message that began it.
func TestEdit_WithinAWorkflow_OnlyItsOwnAnswers(t *testing.T) {
	c := equipped(t).write("where is my order?").stands(AskingNumber)
	c.context.Before = "where is my order?"
	c.edit(1, "where is my order 1001?").stands(LookingUp).calls(OrderStatus, map[string]string{"number": "1001"})

	c = describing(t)
	c.context.Before = "hello"
	c.edit(99, "hello there, how are you?").stands(Describing).silent()
	c.context.Before = "where is my order 1001?"
	c.edit(99, "where is my order 1002?").stands(Describing).asides(OrderStatus + " 1002")
}
