package commands_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// everyEvent is one of each, by its stored name.
func everyEvent(t *testing.T) map[string]domain.Event {
	codec := chat.NewCodec()
	events := map[string]domain.Event{}
	for name, version := range codec.Names() {
		event, err := codec.Decode(name, version, []byte(`{"tool": "customer"}`))
		if err != nil {
			t.Fatal(err)
		}
		events[name] = event
	}
	return events
}

func recorded(stream domain.StreamID, event domain.Event) domain.Recorded {
	return domain.Recorded{
		Stream: stream, Version: 7, ID: uuid.MustParse("0192c3a4-0000-7000-8000-000000000001"), Event: event,
		Correlation: uuid.MustParse("0192c3a4-0000-7000-8000-00000000000c"), OccurredAt: start,
	}
}

func TestPolicy_CustomersAct_TriggersTurn(t *testing.T) {
	customer := map[string]bool{"message_received": true, "message_edited": true, "button_pressed": true}
	for name, event := range everyEvent(t) {
		r := recorded(anna, event)
		request, ok := commands.Turn(r, start)
		if ok != customer[name] {
			t.Errorf("%s: turn %v", name, ok)
		}
		if !ok {
			continue
		}
		want := commands.Request{
			Stream: anna, Command: chat.Respond{To: 7, Event: event, At: start}, Actor: "bot", Causation: r.ID,
			Correlation: r.Correlation, At: start,
		}
		if diff := cmp.Diff(want, request); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPolicy_TicketOpened_ReferredToDesk(t *testing.T) {
	opens := map[string]bool{"ticket_opened": true, "ticket_reopened": true}
	for name, event := range everyEvent(t) {
		r := recorded(anna, event)
		request, ok := commands.Refer(r, chat.DeskZendesk, start)
		if ok != opens[name] {
			t.Errorf("%s: referred %v", name, ok)
		}
		want := commands.Request{Stream: anna, Command: chat.ReferTicket{Desk: "zendesk"}, Actor: "bot",
			Causation: r.ID, Correlation: r.Correlation, At: start}
		if diff := cmp.Diff(want, request); ok && diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if _, ok := commands.Refer(r, "", start); ok {
			t.Errorf("%s: referred to nobody", name)
		}
	}
}

func TestOutbox_EachEffect_EnqueuesDelivery(t *testing.T) {
	enqueues := map[string]domain.DeliveryKind{
		"reply_queued": domain.KindSendMessage, "button_answered": domain.KindAnswerButton,
		"tool_requested":           chat.KindOf(dialog.LookUpCustomer),
		"order_lookup_requested":   chat.KindOf(dialog.OrderStatus),
		"address_check_requested":  chat.KindOf(dialog.CheckAddress),
		"address_update_requested": chat.KindOf(dialog.ChangeAddress),
		"ticket_referred":          domain.KindCreateTicket, "desk_update_queued": domain.KindAddComment,
		"model_asked": domain.KindAskModel,
	}
	for name, event := range everyEvent(t) {
		r := recorded(anna, event)
		d, ok := commands.Enqueue(r)
		if ok != (enqueues[name] != "") || d.Kind != enqueues[name] {
			t.Errorf("%s: enqueues = %v %q, want %q", name, ok, d.Kind, enqueues[name])
		}
		if ok && (d.ID != r.ID || d.Stream != anna || d.Version != 7 || d.Correlation != r.Correlation) {
			t.Errorf("%s: delivery %+v", name, d)
		}
		if _, ok := commands.Enqueue(recorded(domain.BotStream("demo"), event)); ok {
			t.Errorf("%s: the delivery names no chat", name)
		}
	}
}

func TestOutbox_Delivery_HasDestinationAndPayload(t *testing.T) {
	group := domain.ChatStream("demo", -1001)
	buttons := []dialog.Button{{Text: "Yes", Data: "y"}}
	tests := map[string]struct {
		event             domain.Event
		destination, lane string
		kind              domain.DeliveryKind
		payload           any
	}{
		"reply": {chat.ReplyQueued{Text: "hi", Buttons: buttons, Thread: 3, Author: chat.Author{Kind: chat.Bot}},
			"telegram:demo", "chat-demo:-1001", domain.KindSendMessage,
			commands.SendMessage{ChatID: -1001, Text: "hi", Buttons: buttons, Thread: 3}},
		"answer to a button": {chat.ButtonAnswered{QueryID: "q", Text: "Saved"},
			"telegram:demo", "button-0192c3a4-0000-7000-8000-000000000001", domain.KindAnswerButton,
			commands.AnswerButton{QueryID: "q", Text: "Saved"}},
		"order": {chat.ToolRequested{Answer: chat.Answer{To: 5}, Call: 2, For: chat.ForWorkflow,
			Tool: dialog.OrderStatus, Input: map[string]string{"number": "1001"}, Customer: 77},
			"orders:demo", "orders-demo:-1001", "orders.lookup",
			commands.UseTool{Tool: dialog.OrderStatus, For: chat.ForWorkflow, Call: 2,
				Input: map[string]string{"number": "1001"}, Customer: "telegram:77", To: 5}},
		"order of somebody in a group": {chat.ToolRequested{Tool: dialog.OrderStatus, Customer: 77, Account: "C-1"},
			"orders:demo", "orders-demo:-1001", "orders.lookup",
			commands.UseTool{Tool: dialog.OrderStatus, Customer: "telegram:77"}},
		"address to keep": {chat.ToolRequested{Answer: chat.Answer{To: 5}, Call: 3, For: chat.ForWorkflow,
			Tool: dialog.ChangeAddress, Input: map[string]string{"address": "12 Elm Row"}, Customer: 77, Writes: true},
			"crm:demo", "crm-demo:-1001", "crm.updateAddress",
			commands.UseTool{Tool: dialog.ChangeAddress, For: chat.ForWorkflow, Call: 3,
				Input: map[string]string{"address": "12 Elm Row"}, Customer: "telegram:77", To: 5}},
		"customer": {chat.ToolRequested{Answer: chat.Answer{To: 5}, Call: 1, For: chat.ForCustomer,
			Tool: dialog.LookUpCustomer, Customer: 77},
			"crm:demo", "customer-demo:-1001", "crm.customer",
			commands.UseTool{Tool: dialog.LookUpCustomer, For: chat.ForCustomer, Call: 1,
				Customer: "telegram:77", To: 5}},
		"ticket": {chat.TicketReferred{Ticket: "#3", Desk: "zendesk", Reason: "angry", Subject: "my lamp",
			Customer: "Anna", Priority: "urgent", Said: []string{"Anna: my lamp", "Anna: hello?"}},
			"zendesk:demo", "zendesk-demo:-1001#3", domain.KindCreateTicket,
			commands.CreateTicket{ExternalID: "chat-demo:-1001/#3", Subject: "my lamp",
				Comment: "A person is needed: angry\nAnna: my lamp\nAnna: hello?", Requester: "Anna",
				Priority: "urgent", Tags: []string{"chatledger"}}},
		"ticket about nothing": {chat.TicketReferred{Ticket: "#3", Desk: "zendesk", Reason: "asked"},
			"zendesk:demo", "zendesk-demo:-1001#3", domain.KindCreateTicket,
			commands.CreateTicket{ExternalID: "chat-demo:-1001/#3", Subject: "asked",
				Comment: "A person is needed: asked", Tags: []string{"chatledger"}}},
		"word about a ticket": {chat.DeskUpdateQueued{Ticket: "#3", Desk: "zendesk", Text: "ann: hi", Public: true},
			"zendesk:demo", "zendesk-demo:-1001#3", domain.KindAddComment,
			commands.AddComment{ExternalID: "chat-demo:-1001/#3", Body: "ann: hi", Public: true}},
		"status of a ticket": {chat.DeskUpdateQueued{Ticket: "#3", Desk: "zendesk", Status: "solved"},
			"zendesk:demo", "zendesk-demo:-1001#3", domain.KindSetStatus,
			commands.SetStatus{ExternalID: "chat-demo:-1001/#3", Status: "solved"}},
		"priority of a ticket": {chat.DeskUpdateQueued{Ticket: "#3", Desk: "zendesk", Priority: "high"},
			"zendesk:demo", "zendesk-demo:-1001#3", domain.KindSetPriority,
			commands.SetPriority{ExternalID: "chat-demo:-1001/#3", Priority: "high"}},
	}
	for name, test := range tests {
		d, _ := commands.Enqueue(recorded(group, test.event))
		if d.Destination != test.destination || d.OrderingKey != test.lane || d.Kind != test.kind {
			t.Errorf("%s: %+v", name, d)
		}
		if diff := cmp.Diff(test.payload, d.Payload); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestOutbox_Priority_ButtonOperatorBot(t *testing.T) {
	priority := func(event domain.Event) int {
		d, _ := commands.Enqueue(recorded(anna, event))
		return d.Priority
	}
	button, person, bot := priority(chat.ButtonAnswered{}),
		priority(chat.ReplyQueued{Author: chat.Author{Kind: chat.Person, Name: "maria"}}),
		priority(chat.ReplyQueued{Author: chat.Author{Kind: chat.Bot}})
	if !(button > person && person > bot) {
		t.Errorf("button %d, person %d, bot %d", button, person, bot)
	}
}

// An ordering key is an index key: it must hold nothing from outside as it came.
func TestEnqueue_QueryIDNoIndexHolds_KeyIsOurs(t *testing.T) {
	for _, id := range []string{"nul\x00", strings.Repeat("9", 9000), "\xff\xfe"} {
		d, ok := commands.Enqueue(recorded(anna, chat.ButtonAnswered{QueryID: id}))
		if !ok || strings.Contains(d.OrderingKey, id) || len(d.OrderingKey) > 200 {
			t.Errorf("query id %.20q: ordering key %.60q", id, d.OrderingKey)
		}
	}
}
