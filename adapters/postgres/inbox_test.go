package postgres_test

import (
	"testing"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// A repeated update_id is a repeat only if the update is the same.
func TestInbox_RepeatedUpdateID_ComparesUpdates(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const plain, nul = `{"update_id":16, "message":{"text":"1001"}}`, `{"update_id":17,"message":{"text":"a\u0000"}}`
	first, second := event(chat.MessageReceived{Text: "1001"}), event(chat.MessageReceived{Text: "a\x00"})
	first.Raw, second.Raw = []byte(plain), []byte(nul)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: []commands.NewEvent{first},
		Updates: []commands.ConsumedUpdate{{Bot: "demo", ID: 16, Version: 1}}})
	must(t, s, commands.Append{Stream: "chat-demo:2", Events: []commands.NewEvent{second},
		Updates: []commands.ConsumedUpdate{{Bot: "demo", ID: 17, Version: 1}}})
	for _, c := range []struct {
		bot  string
		id   int64
		body string
		want bool
	}{
		{"demo", 16, plain, false},
		{"demo", 16, `{"message":{"text":"1001"},"update_id":16}`, false},
		{"demo", 16, `{"update_id":16,"message":{"text":"1002"}}`, true},
		{"demo", 16, nul, true},
		{"demo", 17, nul, false},
		{"demo", 17, plain, true},
		{"demo", 18, plain, false},
		{"other", 16, nul, false},
	} {
		if got, err := s.Differs(t.Context(), c.bot, c.id, []byte(c.body)); err != nil || got != c.want {
			t.Errorf("%s %d %s: differs = %v, want %v, error %v", c.bot, c.id, c.body, got, c.want, err)
		}
	}
}
