package chat

import (
	"time"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// recordTool goes on with what waited for a tool. The answer is only kept when that is
// not waited for any more: the customer cancelled or answered otherwise, or a person has
// taken over. What a tool has changed cannot be called back: when the answer comes after
// a person took over, it is theirs to say so.
func recordTool(s informed, c RecordTool) []domain.Event {
	returned := ToolReturned{
		Delivery: c.Delivery, Call: c.Call, Tool: c.Tool, Input: c.Input, Output: c.Output, Receipt: c.Receipt,
		Account: c.Account, Reason: c.Reason,
	}
	events := []domain.Event{returned}
	switch {
	case c.For == ForLLM:
		return s.toolForModel(returned, c.At)
	case c.For == ForQuestion:
		return append(events, s.answerInPassing(c.About, Answer{c.To}, c.Output, c.Reason != "", c.At)...)
	case c.For != ForWorkflow:
		return events
	}
	return append(events, s.returned(c.Call, c.Tool, c.Output, c.Reason != "", c.At)...)
}

// answerInPassing answers a question that no workflow waits for. A person who has the
// chat sees what the tool returned.
func (s informed) answerInPassing(
	about *dialog.Question, to Answer, output map[string]string, failed bool, at time.Time,
) (events []domain.Event) {
	if about == nil || s.WithPerson() || s.Blocked {
		return nil
	}
	turn := about.Reply(s.context(Sender{}), output, failed, dialog.Act{At: at})
	if turn.HandOver.Reason != "" {
		events = s.endRun(to, at)
	}
	return append(events, s.does(to, turn, 0, at)...)
}

// returned is what the workflow does that waits for this answer, if it does.
func (s informed) returned(call int, tool string, output map[string]string, failed bool, at time.Time) []domain.Event {
	waited := s.Awaited
	if tool == "" || waited.Tool != tool || waited.Call != call {
		return nil
	}
	to, takenOver := Answer{waited.To}, s.Run.Step == dialog.HandedOver
	if takenOver && failed {
		return nil
	}
	s.Awaited, s.Run.Calling, s.Run.Writing = Awaited{}, "", false
	if s.Blocked && !waited.Writes { // nobody could be asked what comes next
		return s.does(to, s.Run.Dropped(), 0, at)
	}
	s.Run.Step = waited.Step
	turn := dialog.Returned(s.context(Sender{}), output, failed, dialog.Act{At: at})
	if takenOver && len(turn.Moves) > 0 {
		turn.Moves[0].From = dialog.HandedOver
	}
	return s.does(to, turn, waited.By, at)
}

// skipDelivery keeps an operator's decision. Neither a workflow nor a customer must wait
// for what does not come any more.
func skipDelivery(s informed, c SkipDelivery) []domain.Event {
	events := []domain.Event{DeliverySkipped{Delivery: c.Delivery, Kind: c.Kind, Was: c.Was, Reason: c.Reason}}
	if c.Over {
		return events
	}
	if c.About != nil {
		return append(events, s.answerInPassing(c.About, Answer{c.To}, nil, true, c.At)...)
	}
	if tool, ok := ToolOf(c.Kind); c.Kind == domain.KindAskModel || ok && tool != s.Awaited.Tool {
		return s.skippedForModel(events[0].(DeliverySkipped), c.At)
	} else if ok {
		events = append(events, s.returned(s.Awaited.Call, tool, nil, true, c.At)...)
	}
	return events
}

// kinds are the deliveries that use a tool.
var kinds = map[string]domain.DeliveryKind{
	dialog.OrderStatus:     "orders.lookup",
	dialog.CheckAddress:    "crm.validateAddress",
	dialog.ChangeAddress:   "crm.updateAddress",
	dialog.Invoice:         "crm.invoice",
	dialog.Charges:         "crm.charges",
	dialog.RefundDuplicate: "crm.refund",
	dialog.ReportDelivery:  "crm.reportDelivery",
	dialog.LookUpCustomer:  "crm.customer",
}

// KindOf is the kind of the delivery that uses a tool; "" when there is no such tool.
func KindOf(tool string) domain.DeliveryKind { return kinds[tool] }

// ToolOf is the tool that a kind of delivery uses.
func ToolOf(kind domain.DeliveryKind) (tool string, ok bool) {
	for tool, k := range kinds {
		if k == kind {
			return tool, true
		}
	}
	return "", false
}
