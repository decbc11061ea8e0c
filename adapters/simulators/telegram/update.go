package telegramsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// An update that waits for its delivery to the webhook. The webhook's lock guards it.
type update struct {
	id      int64
	body    []byte
	queue   queueKey
	order   uint64    // number in the order of arrival
	expires time.Time // no retry is made after this time
	wake    time.Time // no attempt is made before this time
	delay   int64     // the last backoff, in seconds
	fails   int
}

// A queueKey identifies a queue. Telegram delivers the updates of one queue one at a time and in order.
// There is no order between queues.
type queueKey struct {
	kind queueKind
	id   int64
}

type queueKind byte

const (
	chatQueue     queueKind = iota // messages and other updates of a chat, per chat
	callbackQueue                  // callback queries, per user
	inlineQueue                    // inline queries, per user
	memberQueue                    // my_chat_member, per chat
	ownQueue                       // updates without a chat: one queue for each
)

// Times in seconds until an update expires, from the date of its message or from its creation. The one for
// callback queries is callbackLife.
const (
	messageLife = 24 * 60 * 60
	inlineLife  = 30
)

// notByDefault are the kinds that a bot receives only if its allowed_updates contain them. Unknown kinds are
// sent, as Telegram sends new kinds.
var notByDefault = []string{"chat_member", "message_reaction", "message_reaction_count"}

// updateBody encodes an Update with its id first, as Telegram does.
func updateBody(id int64, kind string, payload json.RawMessage) []byte {
	return fmt.Appendf(make([]byte, 0, len(payload)+len(kind)+40), `{"update_id":%d,%q:%s}`, id, kind, payload)
}

// rawUpdate holds the fields of a payload that the simulator uses. Fields of another type stay empty: a test
// may post invalid updates.
type rawUpdate struct {
	ID            json.RawMessage `json:"id"`
	MessageID     int64           `json:"message_id"`
	Date          int64           `json:"date"`
	EditDate      int64           `json:"edit_date"`
	Text          string          `json:"text"`
	Entities      json.RawMessage `json:"entities"`
	From          json.RawMessage `json:"from"`
	Chat          json.RawMessage `json:"chat"`
	Message       json.RawMessage `json:"message"`
	NewChatMember struct {
		Status string `json:"status"`
	} `json:"new_chat_member"`
}

// post queues a raw update and applies it to the simulator: its chat becomes known, its message is listed,
// its callback query can be answered, and a my_chat_member update allows or forbids the bot to write.
func (b *bot) post(source []byte) (int64, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(source, &fields); err != nil || fields == nil {
		return 0, errors.New("an update must be a JSON object")
	}
	given := fields["update_id"]
	var id int64
	if given != nil {
		if err := json.Unmarshal(given, &id); err != nil {
			return 0, fmt.Errorf("update_id %s must be an integer; omit it and it is filled in", given)
		}
		delete(fields, "update_id")
	}
	kind := ""
	for name := range fields {
		if kind == "" || name < kind {
			kind = name
		}
	}
	payload := fields[kind]

	b.mu.Lock()
	defer b.mu.Unlock()
	queue, expires := b.absorb(kind, payload)
	if !b.hook.allows(kind) {
		return 0, nil
	}
	if given == nil {
		id = b.nextUpdate
		b.nextUpdate++
	}
	fields["update_id"] = mustJSON(id)
	body := []byte(mustJSON(fields))
	if len(fields) == 2 {
		body = updateBody(id, kind, payload)
	}
	b.hook.push(&update{id: id, queue: queue, body: body, expires: expires})
	return id, nil
}

// absorb applies a payload to the simulator, and returns the queue of its update and when it expires.
// Callers hold b.mu.
func (b *bot) absorb(kind string, payload json.RawMessage) (queueKey, time.Time) {
	var raw rawUpdate
	_ = json.Unmarshal(payload, &raw)
	expires := b.expiry(messageLife, max(raw.Date, raw.EditDate))
	from := reference(raw.From)

	if kind == "callback_query" {
		var query string
		_ = json.Unmarshal(raw.ID, &query)
		var shown rawUpdate
		_ = json.Unmarshal(raw.Message, &shown)
		at := reference(shown.Chat).ID
		if at != 0 {
			b.adopt(at, shown.Chat)
		}
		b.remember(query, at)
		return queueKey{callbackQueue, from.ID}, b.expiry(callbackLife, 0)
	}
	if kind == "inline_query" {
		return queueKey{inlineQueue, from.ID}, b.expiry(inlineLife, 0)
	}
	chatID := reference(raw.Chat).ID
	if chatID == 0 {
		return queueKey{kind: ownQueue}, expires
	}
	c := b.adopt(chatID, raw.Chat)
	switch kind {
	case "my_chat_member":
		c.refusal = refusalOf(chatID, raw.NewChatMember.Status)
		return queueKey{memberQueue, chatID}, expires
	case "message":
		if from.ID != 0 {
			c.customer = user{id: from.ID, username: from.Username, object: raw.From}
		}
		if raw.MessageID != 0 && c.find(raw.MessageID) != nil {
			break // a repeat of the message, perhaps under another update_id
		}
		c.add(&message{id: raw.MessageID, from: c.customer, date: raw.Date, text: raw.Text, entities: raw.Entities})
	case "edited_message":
		if m := c.find(raw.MessageID); m != nil {
			m.text, m.entities, m.editDate = raw.Text, raw.Entities, max(raw.EditDate, raw.Date, 1)
		}
	}
	b.events.chatChanged(chatID)
	return queueKey{chatQueue, chatID}, expires
}

// adopt returns a chat, and creates it with the Chat object of a raw update if it is new.
func (b *bot) adopt(id int64, object json.RawMessage) *chat {
	c := b.chats[id]
	if c == nil {
		c = b.chat(id)
		c.object = object
	}
	return c
}

// expiry returns the time when life ends, counted from date in Unix seconds, or from now if date is 0.
func (b *bot) expiry(life, date int64) time.Time {
	left := life
	if date > 0 {
		left = min(life, life-(b.unixNow()-date))
	}
	return time.Now().Add(b.server.seconds(left))
}

// refusalOf returns the description of the 403 that the bot gets after a my_chat_member update; "" if it
// may write.
func refusalOf(chatID int64, status string) string {
	switch {
	case !slices.Contains([]string{"kicked", "left"}, status):
		return ""
	case chatID > 0:
		return "Forbidden: bot was blocked by the user"
	case chatID <= smallestSupergroup:
		return "Forbidden: bot was kicked from the supergroup chat"
	}
	return "Forbidden: bot was kicked from the group chat"
}

// identity holds the fields of User and Chat that are needed to route an update.
type identity struct {
	ID       int64  `json:"id"`
	Username string `json:"username"`
}

func reference(object json.RawMessage) (found identity) {
	_ = json.Unmarshal(object, &found)
	return found
}
