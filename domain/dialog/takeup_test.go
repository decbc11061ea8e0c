package dialog_test

import (
	"testing"
	"time"

	. "github.com/chatledger/chatledger/domain/dialog"
	. "github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

// lapsed is a conversation whose workflow expired at a step, whether its customer was
// told so at the time or comes first.
func lapsed(t *testing.T, c *talk, told bool) *talk {
	t.Helper()
	c.after(DefaultIdle)
	if told {
		c.follow(Elapse(c.context, c.at)).stands(Expired).after(time.Hour)
	}
	return c
}

func TestTakeUp_AwaitedAnswer_OffersToResume(t *testing.T) {
	for _, told := range []bool{true, false} {
		c := lapsed(t, walkedTo(t, CollectingAddress),
			told).write(baker).stands(Expired).says("with “" + baker + "” as your answer?")
		if len(c.last.Replies) != 1 || c.last.Intent != Answered {
			t.Errorf("told %v: %+v", told, c.last)
		}
		sent := c.message
		c.press(c.button(0)).toasts("OK").stands(ConfirmingChanges).says(baker)
		if source := c.context.Run.Sources["address"]; source != sent {
			t.Errorf("the address came from message %d, not %d", source, sent)
		}
		c.write("yes").stands(Completed)
	}
	lapsed(t, walkedTo(t, CollectingAddress), true).write(baker).write("yes").stands(ConfirmingChanges)
	lapsed(t, walkedTo(t, ConfirmingChanges),
		true).write("14 Baker Street, London NW1 6XE").write("yes").stands(ConfirmingChanges).says("14 Baker Street")
	lapsed(t, describing(t), true).write("the box is torn").write("yes").says("1001, damaged: the box is torn").
		write("back").stands(Describing).write("back").stands(ChoosingProblem)
}

func TestTakeUp_OtherMessage_StaysExpired(t *testing.T) {
	offered := func() *talk { return lapsed(t, walkedTo(t, CollectingAddress), true).write(baker) }
	c := offered()
	c.press(c.button(1)).toasts("Cancelled").says("Cancelled").stands(Cancelled)
	offered().write("no").says("Cancelled").stands(Cancelled)
	offered().write("cancel").says("Cancelled").stands(Cancelled)
	offered().write("hello").says("Hello!").stands(Expired)
	c = offered()
	button := c.button(0)
	c.write("my parcel arrived damaged").stands(AskingNumber).press(button).toasts("This button belongs to an " +
		"earlier step.")
	lapsed(t, describing(t),
		true).write("the box is torn").says("as your answer?").write("blah").says("I'm not sure").stands(Expired)

	for name, c := range map[string]*talk{
		"another day": lapsed(t, walkedTo(t, CollectingAddress),
			true).after(24 * time.Hour).write(baker),
		"no answer":        lapsed(t, walkedTo(t, CollectingAddress), true).write("12 Baker Street"),
		"a yes to nothing": lapsed(t, walkedTo(t, ConfirmingChanges), true).write("yes"),
		"nothing ran":      begin(t).write(baker),
		"it was cancelled": walkedTo(t, CollectingAddress).write("cancel").write(baker),
		"a question of another one": lapsed(t, begin(t).write("my parcel arrived damaged"),
			true).write("my order 1001"),
	} {
		if c.context.Run.TakeUp.Step != "" {
			t.Errorf("%s: %+v", name, c.last)
		}
	}
}

func TestTakeUp_ButtonOfEarlierOffer_IsStale(t *testing.T) {
	const moor = "14 Moor Lane, London EC2Y 9DT"
	offered := func() (c *talk, older [2]string) {
		c = lapsed(t, walkedTo(t, CollectingAddress), true).write(baker)
		older = [2]string{c.button(0), c.button(1)}
		return c.write(moor).says("with “" + moor + "”"), older
	}
	c, older := offered()
	newer := c.button(0)
	for _, button := range older {
		c.press(button).toasts("This button belongs to an earlier step.").silent()
	}
	c.press(newer).stands(ConfirmingChanges).says(moor)
	c, _ = offered()
	c.press(c.button(1)).stands(Cancelled)
	c, _ = offered()
	c.write("yes").stands(ConfirmingChanges).says(moor)
}
