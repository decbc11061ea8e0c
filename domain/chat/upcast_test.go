package chat_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/dialog/dialogtest"
)

func TestUpcast_OldShapes_ReadAsToday(t *testing.T) {
	at := time.Date(2026, 3, 2, 12, 0, 8, 0, time.UTC)
	bot, maria := chat.Author{Kind: chat.Bot}, chat.Author{Kind: chat.Person, Name: "maria"}
	moved := chat.WorkflowMoved{Workflow: dialogtest.AddressChange, Step: dialogtest.ConfirmingChanges, At: at}
	moving := func(change func(*chat.WorkflowMoved)) chat.WorkflowMoved {
		e := moved
		change(&e)
		return e
	}
	const step = `{"to": 0, "workflow": "billing_address_change", "step": "confirming_changes", "at": ` +
		`"2026-03-02T12:00:08Z"`
	for name, test := range map[string]struct {
		event   string
		payload string
		want    domain.Event
	}{
		"the bot's reply": {"reply_queued", `{"to": 3, "text": "Hello", "author": "bot"}`,
			chat.ReplyQueued{Answer: chat.Answer{To: 3}, Text: "Hello", Author: bot}},
		"a person's reply": {"reply_queued", `{"to": 0, "text": "Hello", "author": "person:maria"}`,
			chat.ReplyQueued{Text: "Hello", Author: maria}},
		"a name with a colon": {"reply_queued", `{"to": 0, "text": "Hello", "author": "person:a:b"}`,
			chat.ReplyQueued{Text: "Hello", Author: chat.Author{Kind: chat.Person, Name: "a:b"}}},
		"a move without data": {"workflow_moved", step + `}`, moved},
		"a move that sets": {"workflow_moved", step + `, "data": {"address": "x"}}`,
			moving(func(e *chat.WorkflowMoved) { e.Set = map[string]string{"address": "x"} })},
		"a move that only clears": {"workflow_moved", step + `, "data": {"problem": ""}}`,
			moving(func(e *chat.WorkflowMoved) { e.Set, e.Cleared = map[string]string{}, []string{"problem"} })},
		"a move that does both": {"workflow_moved", step + `, "data": {"b": "", "address": "x", "a": ""}}`,
			moving(func(e *chat.WorkflowMoved) {
				e.Set, e.Cleared = map[string]string{"address": "x"},
					[]string{"a", "b"}
			})},
		"an order look-up": {"order_lookup_requested", `{"to": 3, "order": "1001"}`,
			chat.ToolRequested{Answer: chat.Answer{To: 3}, For: chat.ForWorkflow, Tool: dialog.OrderStatus,
				Input: map[string]string{"number": "1001"}}},
		"an address check": {"address_check_requested", `{"to": 3, "address": "x"}`,
			chat.ToolRequested{Answer: chat.Answer{To: 3}, For: chat.ForWorkflow, Tool: dialog.CheckAddress,
				Input: address("x")}},
		"an address update": {"address_update_requested", `{"to": 3, "customer": 42, "address": "x"}`,
			updateOf(3, 0, 42, "x")},
		"an order": {"order_looked_up",
			`{"delivery": "0192c3a4-0000-7000-8000-0000000000c1", "number": "1001", "found": true, "order": ` +
				`{"number": "1001", "status": "shipped", "detail": "d"}}`,
			chat.ToolReturned{Delivery: checkID, Tool: dialog.OrderStatus,
				Input:  map[string]string{"number": "1001"},
				Output: dialog.Order{Number: "1001", Status: "shipped", Detail: "d"}.Output(true)}},
		"no such order": {"order_looked_up", `{"delivery": "0192c3a4-0000-7000-8000-0000000000c1", "number": "1001"}`,
			chat.ToolReturned{Delivery: checkID, Tool: dialog.OrderStatus,
				Input: map[string]string{"number": "1001"}, Output: map[string]string{"found": "false"}}},
		"a failed look-up": {"order_looked_up",
			`{"delivery": "0192c3a4-0000-7000-8000-0000000000c1", "number": "1001", "reason": "down"}`,
			chat.ToolReturned{Delivery: checkID, Tool: dialog.OrderStatus,
				Input: map[string]string{"number": "1001"}, Reason: "down"}},
		"a checked address": {"address_checked",
			`{"delivery": "0192c3a4-0000-7000-8000-0000000000c1", "address": "x", "check": {"valid": true, ` +
				`"address": "X"}}`,
			chat.ToolReturned{Delivery: checkID, Tool: dialog.CheckAddress, Input: address("x"),
				Output: dialog.AddressCheck{Valid: true, Address: "X"}.Output()}},
		"a changed address": {"address_updated",
			`{"delivery": "0192c3a4-0000-7000-8000-0000000000c1", "address": "X", "receipt": "R-1"}`,
			chat.ToolReturned{Delivery: checkID, Tool: dialog.ChangeAddress, Input: address("X"),
				Output: address("X"), Receipt: "R-1"}},
		"a failed change": {"address_update_failed",
			`{"delivery": "0192c3a4-0000-7000-8000-0000000000c1", "address": "x", "reason": "down"}`,
			chat.ToolReturned{Delivery: checkID, Tool: dialog.ChangeAddress, Input: address("x"), Reason: "down"}},
		"a move whose data is null": {"workflow_moved", step + `, "data": null}`, moved},
	} {
		got, err := chat.NewCodec().Decode(test.event, 1, []byte(test.payload))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestUpcast_OldHistory_SameState tells the same address change in the
// shapes of then and of today.
func TestUpcast_OldHistory_SameState(t *testing.T) {
	const move = `{"workflow": "billing_address_change", "at": "2026-03-02T12:00:08Z", `
	histories := map[int][]string{
		1: {
			move + `"step": "initial"}`,
			move + `"from": "initial", "step": "collecting_address", "data": {"problem": "no number"}}`,
			move + `"from": "collecting_address", "step": "validating_address", "data": {"address": "12 ` +
				`Baker Street"}}`,
			move + `"from": "validating_address", "step": "confirming_changes", "data": {"problem": ""}}`,
		},
		2: {
			move + `"step": "initial"}`,
			move + `"from": "initial", "step": "collecting_address", "set": {"problem": "no number"}}`,
			move + `"from": "collecting_address", "step": "validating_address", "set": {"address": "12 Baker ` +
				`Street"}}`,
			move + `"from": "validating_address", "step": "confirming_changes", "cleared": ["problem"]}`,
		},
	}
	codec := chat.NewCodec()
	for version, history := range histories {
		var state chat.State
		for _, payload := range history {
			event, err := codec.Decode("workflow_moved", version, []byte(payload))
			if err != nil {
				t.Fatal(err)
			}
			state = chat.Evolve(state, event)
		}
		if diff := cmp.Diff(map[string]string{"address": "12 Baker Street"}, state.Run.Data); diff != "" ||
			state.Run.Step != dialogtest.ConfirmingChanges {
			t.Errorf("version %d: at %s (-want +got):\n%s", version, state.Run.Step, diff)
		}
	}
}
