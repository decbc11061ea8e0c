package telegramsim

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A bot is the state of one account: its chats, the button presses it may still answer, and its webhook.
type bot struct {
	server  *Server
	account Bot
	self    user // the bot as sender
	hook    *webhook
	events  broadcast

	// mu guards the fields below. It is held while an update is queued, so that the order of update
	// ids is the order in the chat. The webhook's lock may be taken while mu is held, never mu while
	// the webhook's lock is held.
	mu           sync.Mutex
	chats        map[int64]*chat
	awaited      map[int64]chan struct{} // closed at the bot's next message in that chat
	nextUpdate   int64
	nextCallback int64
	presses      map[string]press
	pressOrder   []string // oldest first, to remove expired presses
}

// A press is a callback query that can be answered by answerCallbackQuery.
type press struct {
	chat int64
	at   time.Time
}

// callbackLife is how long, in seconds, a callback query is delivered as an update and can be answered.
const callbackLife = 150

// unixNow returns the date of a new message.
func (b *bot) unixNow() int64 { return b.server.now().Unix() }

func newBot(s *Server, account Bot, id, firstUpdate int64) *bot {
	b := &bot{
		server: s, account: account,
		chats: map[int64]*chat{}, awaited: map[int64]chan struct{}{}, presses: map[string]press{},
		nextUpdate: firstUpdate, nextCallback: rand.Int64N(1 << 53),
	}
	b.self = user{id: id, username: account.Username, object: mustJSON(map[string]any{
		"id": id, "is_bot": true, "first_name": account.Name, "username": account.Username,
	})}
	b.hook = newWebhook(s, b)
	return b
}

// chat returns the chat with an id, and creates it if it is new. Callers hold b.mu.
func (b *bot) chat(id int64) *chat {
	c := b.chats[id]
	if c == nil {
		c = &chat{id: id, customer: newUser(id, nil)}
		c.object = chatObject(id, c.customer)
		b.chats[id] = c
	}
	return c
}

// say adds a message of a customer. from replaces fields of the customer's User object; replyTo 0 means
// that the message is no reply.
func (b *bot) say(
	chatID int64, text string, from map[string]any, replyTo int64,
) (updateID, messageID int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var original *message
	if replyTo != 0 {
		if known := b.chats[chatID]; known != nil {
			original = known.find(replyTo)
		}
		if original == nil {
			return 0, 0, missing(chatID, replyTo)
		}
	}
	c := b.chat(chatID)
	if from != nil {
		c.customer = newUser(chatID, from)
		c.object = chatObject(chatID, c.customer)
	}
	m := &message{from: c.customer, date: b.unixNow(), text: text, replyTo: original}
	if command := commandEntity(text); command != nil {
		m.entities = mustJSON(command)
	}
	c.add(m)
	b.events.chatChanged(chatID)
	return b.enqueue("message", c.wire(m), queueKey{chatQueue, chatID}, messageLife), m.id, nil
}

// edit changes a message of a customer.
func (b *bot) edit(chatID, messageID int64, text string) (updateID int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var m *message
	c := b.chats[chatID]
	if c != nil {
		m = c.find(messageID)
	}
	switch {
	case m == nil:
		return 0, missing(chatID, messageID)
	case m.bot:
		return 0, notOwn(chatID, messageID)
	}
	m.text, m.editDate, m.entities = text, b.unixNow(), nil
	if command := commandEntity(text); command != nil {
		m.entities = mustJSON(command)
	}
	b.events.chatChanged(chatID)
	return b.enqueue("edited_message", c.wire(m), queueKey{chatQueue, chatID}, messageLife), nil
}

// press presses a button as a customer. If the simulator does not have the message, the query contains
// what Telegram sends for a message that is too old: date 0 and no text.
func (b *bot) press(chatID, messageID int64, data string) (updateID int64, queryID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.chat(chatID)
	var shown any = map[string]any{"chat": c.object, "message_id": messageID, "date": 0}
	if m := c.find(messageID); m != nil {
		shown = c.wire(m)
		if !slices.Contains(m.pressed, data) {
			m.pressed = append(m.pressed, data)
		}
		b.events.chatChanged(chatID)
	}
	queryID = strconv.FormatInt(b.nextCallback, 10)
	b.nextCallback++
	b.remember(queryID, chatID)
	query := struct {
		ID           string          `json:"id"`
		From         json.RawMessage `json:"from"`
		Message      any             `json:"message"`
		ChatInstance string          `json:"chat_instance"`
		Data         string          `json:"data"`
	}{queryID, c.customer.object, shown, strconv.FormatInt(chatID, 10), data}
	return b.enqueue("callback_query", query, queueKey{callbackQueue, c.customer.id}, callbackLife), queryID
}

// remember stores a press, so that it can be answered, and removes those that are too old.
func (b *bot) remember(queryID string, chatID int64) {
	now := time.Now()
	for len(b.pressOrder) > 0 {
		oldest := b.pressOrder[0]
		if now.Sub(b.presses[oldest].at) <= b.server.timeout(callbackLife) {
			break
		}
		delete(b.presses, oldest)
		b.pressOrder = b.pressOrder[1:]
	}
	b.presses[queryID] = press{chat: chatID, at: now}
	b.pressOrder = append(b.pressOrder, queryID)
}

// enqueue gives payload the next update id and queues it. It returns 0, without an update, if the bot's
// allowed_updates do not contain the kind. Callers hold b.mu.
func (b *bot) enqueue(kind string, payload any, queue queueKey, life int64) int64 {
	if !b.hook.allows(kind) {
		return 0
	}
	id := b.nextUpdate
	b.nextUpdate++
	b.hook.push(&update{
		id: id, queue: queue, body: updateBody(id, kind, mustJSON(payload)),
		expires: time.Now().Add(b.server.seconds(life)),
	})
	return id
}

// chatIDs returns the ids of all chats in order. Callers hold b.mu.
func (b *bot) chatIDs() []int64 { return slices.Sorted(maps.Keys(b.chats)) }
