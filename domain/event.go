package domain

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Event is a fact: a plain struct, named in the past tense. A Codec knows the
// name and version it is stored under.
type Event any

// StreamID names a stream: "chat-<bot>:<chat id>", or "bot-<bot>" for what
// belongs to no chat.
type StreamID string

// ChatStream is the stream of one chat with one bot.
func ChatStream(bot string, chat int64) StreamID {
	return StreamID("chat-" + bot + ":" + strconv.FormatInt(chat, 10))
}

// NamedStream is the stream that a person names: a chat as demo:42, or a stream's id such as
// chat-demo:42 or bot-demo, which stays as it is.
func NamedStream(name string) StreamID {
	if name == "" || strings.HasPrefix(name, "chat-") || strings.HasPrefix(name, "bot-") {
		return StreamID(name)
	}
	return StreamID("chat-" + name)
}

// BotStream is the stream of what came to a bot outside any chat.
func BotStream(bot string) StreamID { return StreamID("bot-" + bot) }

// AllChats names all chats of a bot, where a consumer group leaves them out together. It is no stream.
func AllChats(bot string) StreamID { return StreamID("chat-" + bot + allChats) }

const allChats = ":*"

// IsAllChats reports whether s is made by AllChats.
func (s StreamID) IsAllChats() bool { return strings.HasSuffix(string(s), allChats) }

// Bot is the name of the bot in the stream's id.
func (s StreamID) Bot() string {
	rest, ok := strings.CutPrefix(string(s), "chat-")
	if !ok {
		return strings.TrimPrefix(string(s), "bot-")
	}
	return rest[:max(0, strings.LastIndexByte(rest, ':'))]
}

// Chat is Telegram's chat id in the stream's id; false for a bot's own stream.
func (s StreamID) Chat() (int64, bool) {
	rest, ok := strings.CutPrefix(string(s), "chat-")
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseInt(rest[strings.LastIndexByte(rest, ':')+1:], 10, 64)
	return id, err == nil
}

// Version counts the events of one stream from 1; 0 is a stream without events.
type Version int64

// Position is a place in the feed, the order in which every consumer sees every
// event: by transaction, and within a transaction by number.
type Position struct {
	Transaction uint64
	Number      int64
}

// Before tells whether p comes earlier in the feed than q.
func (p Position) Before(q Position) bool {
	return p.Transaction < q.Transaction || p.Transaction == q.Transaction && p.Number < q.Number
}

func (p Position) String() string { return fmt.Sprintf("%d/%d", p.Transaction, p.Number) }

// Recorded is an event as it stands in the store.
type Recorded struct {
	Position    Position
	Stream      StreamID
	Version     Version
	ID          uuid.UUID
	Event       Event
	Causation   uuid.UUID // the event it answers; uuid.Nil when it came from outside
	Correlation uuid.UUID // the event that began the chain
	Actor       Actor
	Trace       string // W3C traceparent of the request that decided it; "" when it is not sampled
	OccurredAt  time.Time
	RecordedAt  time.Time
	// Unreadable says why a consumer group got the event without its Event: this program does not
	// know its type, or the payload is damaged. Everywhere else such an event is an error.
	Unreadable *UnreadableError
}

// UnreadableError is the error for a stored event that cannot be decoded.
type UnreadableError struct {
	Name string // as it is stored
	Err  error
}

func (e *UnreadableError) Error() string { return e.Err.Error() }

func (e *UnreadableError) Unwrap() error { return e.Err }
