package commands_test

import (
	"errors"
	"testing"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Whether a customer has come back is known even when another process heard of it.
func TestRateLimit_BlockedCustomer_ReadFromEvents(t *testing.T) {
	t.Parallel()
	store := newMemory()
	here, there := handler(t, store, one), handler(t, store, one)
	blocked := func(want bool) {
		t.Helper()
		got, err := here.Blocked(t.Context(), anna)
		if err != nil || got != want {
			t.Errorf("blocked: %t (%v), want %t", got, err, want)
		}
	}
	blocked(false) // a stream that does not exist
	fail := ask(anna, chat.RecordDelivery{Outcome: "refused", Blocked: true})
	if _, err := there.Handle(t.Context(), fail); err != nil {
		t.Fatal(err)
	}
	blocked(true)
	if _, err := here.Handle(t.Context(), fail); err != nil { // here remembers it now
		t.Fatal(err)
	}
	if _, err := there.Handle(t.Context(), update(anna, 1)); err != nil {
		t.Fatal(err)
	}
	blocked(false)

	store.broken[anna] = errors.New("unreadable")
	if _, err := here.Blocked(t.Context(), anna); err == nil {
		t.Error("a stream that cannot be read says that it is not blocked")
	}
}

func TestRateLimit_OrderingKey_NamesTheChat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind domain.DeliveryKind
		key  string
		want domain.StreamID
	}{
		{domain.KindSendMessage, "chat-demo:-7", "chat-demo:-7"},
		{domain.KindSendMessage, "chat-demo:-1001", "chat-demo:-1001"}, // the group has moved
		{domain.KindSendMessage, "", "chat-demo:-7"},
		{domain.KindTyping, "chat-demo:-1001", "chat-demo:-7"},
		{chat.KindOf(dialog.OrderStatus), "orders-demo:-7", "chat-demo:-7"},
	} {
		claimed := commands.Claimed{
			Delivery: commands.Delivery{Stream: "chat-demo:-7", Kind: c.kind, OrderingKey: c.key},
		}
		if got := claimed.CallsTo(); got != c.want {
			t.Errorf("%s with ordering key %q is sent to %s, want %s", c.kind, c.key, got, c.want)
		}
	}
}
