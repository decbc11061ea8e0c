package telegramsim

import (
	"encoding/json"
	"slices"
	"strconv"
)

// historyLimit is the number of messages that a chat keeps; the oldest are dropped. It limits
// the memory of a long benchmark, and is far above what a test or a page reads.
const historyLimit = 10_000

// smallestSupergroup is the bound of supergroup ids. Telegram writes the id of a supergroup as -100
// followed by at least ten digits, that is -10^12 minus the id.
const smallestSupergroup = -1_000_000_000_000

// A chat is one chat of one bot. The bot's lock guards it.
type chat struct {
	id        int64
	object    json.RawMessage // Chat, as Telegram shows it
	customer  user            // the customer who wrote last, and who presses buttons
	refusal   string          // description of the 403 if the bot may not write here
	movedTo   int64           // the supergroup to which this group was migrated; 0 if there is none
	movedFrom int64           // the group from which this supergroup was migrated

	lastID   int64 // last message_id; customer and bot share the numbers, which are never reused
	messages []*message
	fromBot  int // number of the bot's messages
}

// A message of the customer or of the bot.
type message struct {
	id       int64
	bot      bool
	from     user
	date     int64 // Unix seconds
	editDate int64 // 0: never edited
	text     string
	entities json.RawMessage
	markup   json.RawMessage // canonical JSON, so that equal keyboards compare equal
	replyTo  *message
	topic    int64    // message_thread_id that the bot sent it to; 0: none
	media    Media    // what the bot sent; text is its caption
	album    string   // media_group_id
	pressed  []string // data of the buttons that were pressed
}

// A user holds a User object of the Bot API, and the fields of it that the simulator needs.
type user struct {
	id       int64
	username string
	object   json.RawMessage
}

// name returns the first name in the user's object.
func (u user) name() string {
	var named struct {
		FirstName string `json:"first_name"`
	}
	_ = json.Unmarshal(u.object, &named) // a name of another type is ignored
	return named.FirstName
}

// newUser returns the default customer of a chat, with the given fields replaced.
func newUser(chatID int64, given map[string]any) user {
	id := chatID
	if id <= smallestSupergroup {
		id = smallestSupergroup - id
	} else if id < 0 {
		id = -id
	}
	fields := map[string]any{"is_bot": false, "language_code": "en"}
	if n, ok := given["id"].(float64); ok { // a user id has at most 52 bits, as a float64 has
		id = int64(n)
	}
	fields["id"] = id
	fields["first_name"] = "Customer " + strconv.FormatInt(id, 10)
	for name, value := range given {
		if name != "id" {
			fields[name] = value
		}
	}
	username, _ := fields["username"].(string)
	return user{id: id, username: username, object: mustJSON(fields)}
}

// chatObject returns the Chat object for an id, as Telegram would send it.
func chatObject(id int64, customer user) json.RawMessage {
	number := strconv.FormatInt(id, 10)
	switch {
	case id <= smallestSupergroup:
		return mustJSON(map[string]any{"id": id, "type": "supergroup", "title": "Supergroup " + number})
	case id < 0:
		return mustJSON(map[string]any{"id": id, "type": "group", "title": "Group " + number})
	}
	var named struct {
		ID        int64  `json:"id"`
		Type      string `json:"type"`
		FirstName string `json:"first_name,omitempty"`
		LastName  string `json:"last_name,omitempty"`
		Username  string `json:"username,omitempty"`
	}
	_ = json.Unmarshal(customer.object, &named) // names of another type are left out
	named.ID, named.Type = id, "private"
	return mustJSON(named)
}

// add appends m, and gives it an id if it has none.
func (c *chat) add(m *message) {
	if m.id == 0 {
		m.id = c.lastID + 1
	}
	c.lastID = max(c.lastID, m.id)
	c.messages = append(c.messages, m)
	if len(c.messages) > historyLimit {
		if c.messages[0].bot {
			c.fromBot--
		}
		c.messages = c.messages[1:]
	}
	if m.bot {
		c.fromBot++
	}
}

// find searches from the newest message, because edits and presses concern recent ones.
func (c *chat) find(id int64) *message {
	for i := len(c.messages) - 1; i >= 0; i-- {
		if c.messages[i].id == id {
			return c.messages[i]
		}
	}
	return nil
}

// wireMessage is a Message of the Bot API.
type wireMessage struct {
	MessageID   int64           `json:"message_id"`
	From        json.RawMessage `json:"from,omitempty"`
	Chat        json.RawMessage `json:"chat"`
	Date        int64           `json:"date"`
	EditDate    int64           `json:"edit_date,omitempty"`
	ReplyTo     *wireMessage    `json:"reply_to_message,omitempty"`
	Text        string          `json:"text,omitempty"`
	Entities    json.RawMessage `json:"entities,omitempty"`
	ReplyMarkup json.RawMessage `json:"reply_markup,omitempty"`
	wireMedia
}

// wire converts m to a Message. A reply contains its original message, but not the original of that one,
// and only inline keyboards are part of a message.
func (c *chat) wire(m *message) *wireMessage {
	out := &wireMessage{
		MessageID: m.id, From: m.from.object, Chat: c.object,
		Date: m.date, EditDate: m.editDate, Text: m.text, Entities: m.entities,
	}
	if m.media.Kind != "" {
		out.Text, out.Entities, out.wireMedia = "", nil, m.wireMedia()
	}
	if isInline(m.markup) {
		out.ReplyMarkup = m.markup
	}
	if m.replyTo != nil {
		original := *m.replyTo
		original.replyTo = nil
		out.ReplyTo = c.wire(&original)
	}
	return out
}

// Message is one message of a chat in the control API and in tests.
type Message struct {
	From        string          `json:"from"` // "user" or "bot"
	MessageID   int64           `json:"message_id"`
	Text        string          `json:"text"` // or the caption
	Entities    json.RawMessage `json:"entities,omitempty"`
	Media       Media           `json:"media,omitzero"` // of the bot's messages
	Album       string          `json:"album,omitempty"`
	ReplyMarkup json.RawMessage `json:"reply_markup,omitempty"`
	Date        int64           `json:"date"` // Unix seconds
	Edited      bool            `json:"edited,omitempty"`
	Topic       int64           `json:"topic,omitempty"` // to which the bot sent it
	Username    string          `json:"username,omitempty"`
	Name        string          `json:"name,omitempty"` // of a customer, in a group
	Pressed     []string        `json:"pressed,omitempty"`
}

func (m *message) public() Message {
	side := "user"
	if m.bot {
		side = "bot"
	}
	return Message{
		From: side, MessageID: m.id, Text: m.text, Entities: m.entities, Media: m.media, Album: m.album,
		Pressed: slices.Clone(m.pressed), ReplyMarkup: m.markup, Date: m.date, Edited: m.editDate != 0, Topic: m.topic,
		Username: m.from.username,
	}
}

// list returns the newest messages, oldest first; limit 0 means all.
func (c *chat) list(limit int) []Message {
	from := 0
	if limit > 0 && len(c.messages) > limit {
		from = len(c.messages) - limit
	}
	out := make([]Message, 0, len(c.messages)-from)
	for _, m := range c.messages[from:] {
		shown := m.public()
		if c.id < 0 && !m.bot {
			shown.Name = m.from.name()
		}
		out = append(out, shown)
	}
	return out
}

// mustJSON encodes a value that this package made or that was decoded from JSON.
func mustJSON(value any) json.RawMessage {
	out, err := json.Marshal(value)
	if err != nil {
		panic("telegramsim: " + err.Error())
	}
	return out
}
