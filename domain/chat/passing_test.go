package chat_test

import (
	"testing"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

// lookedUpInPassing is a look-up that no workflow waits for, and what an operator does who
// gives it up.
var (
	aboutOrder = dialog.Question{
		Workflow: dialogtest.OrderQuestion, Step: dialogtest.LookingUp, Data: map[string]string{"order": "1002"},
	}
	lookedUpInPassing = chat.ToolRequested{
		Answer: chat.Answer{To: 7}, Call: 1, For: chat.ForQuestion, Tool: dialog.OrderStatus, Input: map[string]string{
			"number": "1002",
		}, About: &aboutOrder, Customer: 42,
	}
	givenUp = chat.SkipDelivery{
		Kind: chat.KindOf(dialog.OrderStatus), Was: "waiting", Reason: "the orders are gone", To: 7,
		About: &aboutOrder, At: later,
	}
)

func TestLookUp_GivenUp_HandsOver(t *testing.T) {
	for name, history := range map[string][]domain.Event{
		"alone": {wrote(1, "where is my order 1002?"), lookedUpInPassing},
		"within a workflow": after(walked(noon, dialog.Initial, dialogtest.CollectingAddress),
			lookedUpInPassing),
		"before a look-up of a workflow": after(waitingForOrder, lookedUpInPassing),
	} {
		t.Run(name, func(t *testing.T) {
			o := given(t, history...).When(givenUp)
			if reply := only[chat.ReplyQueued](t, o); reply.To != 7 || reply.Text != "I can't look up order 1002." {
				t.Errorf("said %+v", reply)
			}
			if ticket := only[chat.TicketOpened](t, o); ticket.Reason != "order_lookup_failed" ||
				!ticket.At.Equal(later) {
				t.Errorf("opened %+v", ticket)
			}
			if o.State.Run.Active() {
				t.Errorf("%+v goes on beside the person", o.State.Run)
			}
		})
	}
}

func TestLookUp_GivenUpWhileHandedOver_NotTold(t *testing.T) {
	for name, last := range map[string]domain.Event{
		"a person has the chat": opened, "the customer has blocked the bot": blocked,
	} {
		o := given(t, wrote(1, "where is my order 1002?"), lookedUpInPassing, last).When(givenUp)
		if len(o.Events) != 1 {
			t.Errorf("%s: %+v", name, o.Events)
		}
	}
}

var waitingForOrder = []domain.Event{
	chat.WorkflowMoved{Workflow: dialogtest.OrderQuestion, Step: dialog.Initial, At: noon},
	chat.WorkflowMoved{Workflow: dialogtest.OrderQuestion, From: dialog.Initial, Step: dialogtest.LookingUp, At: noon},
	chat.ToolRequested{
		Answer: chat.Answer{To: 1}, Call: 1, For: chat.ForWorkflow, Tool: dialog.OrderStatus, Input: map[string]string{
			"number": "1001",
		},
	},
}
