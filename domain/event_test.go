package domain_test

import (
	"math"
	"testing"

	"github.com/chatledger/chatledger/domain"
)

func TestStream_Name_ContainsBotAndChat(t *testing.T) {
	for _, bot := range []string{"demo", "shop-eu", "a:b", "chat-", "bot-x"} {
		for _, chat := range []int64{42, -1001234567890, 0, math.MaxInt64, math.MinInt64} {
			stream := domain.ChatStream(bot, chat)
			if got, ok := stream.Chat(); !ok || got != chat {
				t.Errorf("%s: chat %d, %v", stream, got, ok)
			}
			if got := stream.Bot(); got != bot {
				t.Errorf("%s: bot %q, want %q", stream, got, bot)
			}
		}
		stream := domain.BotStream(bot)
		if _, ok := stream.Chat(); ok {
			t.Errorf("%s has a chat", stream)
		}
		if got := stream.Bot(); got != bot {
			t.Errorf("%s: bot %q, want %q", stream, got, bot)
		}
	}
}

func TestPosition_Order_TransactionThenNumber(t *testing.T) {
	ordered := []domain.Position{{}, {1, 5}, {1, 6}, {2, 1}, {10, 0}}
	for i, p := range ordered {
		for j, q := range ordered {
			if got := p.Before(q); got != (i < j) {
				t.Errorf("%s before %s: %v", p, q, got)
			}
		}
	}
}

// A person may name a chat as it is spoken of, or by its stream.
func TestNamedStream_EitherSpelling_SameStream(t *testing.T) {
	for name, want := range map[string]domain.StreamID{
		"demo:42":      "chat-demo:42",
		"chat-demo:42": "chat-demo:42",
		"demo:-100":    "chat-demo:-100",
		"bot-demo":     "bot-demo",
		"":             "",
	} {
		if got := domain.NamedStream(name); got != want {
			t.Errorf("%q is stream %q, want %q", name, got, want)
		}
	}
}
