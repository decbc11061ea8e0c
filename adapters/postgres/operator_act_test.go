package postgres_test

import (
	"testing"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

func TestActed_OperatorActs_FoundByKey(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	acted := func(operator, key string, print uint64) commands.NewEvent {
		return event(chat.OperatorActed{Operator: operator, Key: key, Fingerprint: print, Act: chat.ActNote, At: at})
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: []commands.NewEvent{
		acted("maria", "a", 1<<64-1), event(chat.NoteAdded{Operator: "maria", Text: "a \x00"}), acted("jo", "a", 2),
		acted("maria", `"'%\`, 0)}})
	for _, c := range []struct {
		stream        domain.StreamID
		operator, key string
		done          bool
		want          uint64
	}{
		{"chat-demo:1", "maria", "a", true, 1<<64 - 1},
		{"chat-demo:1", "jo", "a", true, 2},
		{"chat-demo:1", "maria", `"'%\`, true, 0},
		{"chat-demo:1", "maria", "b", false, 0},
		{"chat-demo:2", "maria", "a", false, 0},
	} {
		print, err := s.FindOperatorAct(t.Context(), c.stream, c.operator, c.key)
		if err != nil {
			t.Fatal(err)
		}
		if (print != nil) != c.done || print != nil && *print != c.want {
			t.Errorf("%+v: %v", c, print)
		}
	}
}
