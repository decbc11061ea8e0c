package telegram

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Errors for a body that is not an update. The webhook quarantines it.
var (
	errNoJSON     = errors.New("the body is not a JSON object")
	errNoUpdateID = errors.New("the body has no integer update_id")
)

// Translate converts an update's body into a request: its stream, its event, and the bytes
// to keep. It is lenient: an update of an unknown kind, or with fields of unexpected types,
// becomes chat.UpdateKept. It returns an error only for a body that is not an update.
func Translate(bot Bot, body []byte, at time.Time) (commands.Request, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return commands.Request{}, errNoJSON
	}
	id, err := strconv.ParseInt(string(fields["update_id"]), 10, 64)
	if err != nil {
		return commands.Request{}, errNoUpdateID
	}
	delete(fields, "update_id")
	kind := kindOf(fields)
	in := read(kind, fields[kind], id, at)
	r := commands.Request{
		Stream:  domain.BotStream(bot.Name),
		Command: chat.Receive{Event: in.event, At: at, Limit: bot.Limit},
		Actor:   in.actor,
		At:      at,
		Update:  &commands.Update{Bot: bot.Name, ID: id, Raw: body},
	}
	if in.chat != 0 {
		r.Stream, r.Wait = domain.ChatStream(bot.Name, in.chat), bot.ReorderWindow
	}
	return r, nil
}

// inbound is a translated update.
type inbound struct {
	chat  int64 // 0 if the update belongs to no chat
	event domain.Event
	actor domain.Actor
}

// kinds are the update kinds of the Bot API. Those that the bot acts on come first: an update
// has one kind, but a body with two is read by the first.
var kinds = []string{
	"message", "edited_message", "callback_query", "my_chat_member",
	"channel_post", "edited_channel_post", "business_connection", "business_message", "edited_business_message",
	"deleted_business_messages", "guest_message", "message_reaction", "message_reaction_count", "inline_query",
	"chosen_inline_result", "shipping_query", "pre_checkout_query", "purchased_paid_media", "poll", "poll_answer",
	"chat_member", "chat_join_request", "chat_boost", "removed_chat_boost", "managed_bot",
}

// kindOf returns the update's kind: the first field of a known kind that is not null; or the first
// field, by name, that is an object; or any field. All fields stay in the update's raw bytes.
func kindOf(fields map[string]json.RawMessage) string {
	unknown := slices.Sorted(maps.Keys(fields))
	for _, known := range kinds {
		if body := fields[known]; body != nil && string(body) != "null" {
			return known
		}
	}
	for _, kind := range unknown {
		if !slices.Contains(kinds, kind) && fields[kind][0] == '{' {
			return kind
		}
	}
	for _, kind := range append(slices.Clone(kinds), unknown...) {
		if fields[kind] != nil {
			return kind
		}
	}
	return "none"
}

// lenient decodes an object. A field of an unexpected type keeps its zero value, and all others
// are read. It returns false if body is not an object.
func lenient(body json.RawMessage, into any) bool {
	err := json.Unmarshal(body, into)
	var mistyped *json.UnmarshalTypeError
	return len(body) > 0 && body[0] == '{' && (err == nil || errors.As(err, &mistyped))
}

// read converts an update of a kind into an event.
func read(kind string, body json.RawMessage, id int64, at time.Time) inbound {
	var in inbound
	var ok bool
	switch kind {
	case "message":
		in, ok = readMessage(body, id, at)
	case "edited_message":
		in, ok = readEdit(body, id, at)
	case "callback_query":
		in, ok = readButton(body, id, at)
	case "my_chat_member":
		in, ok = readMembership(body, id, at)
	}
	if ok {
		return in
	}
	// Equal content under two update ids is two facts (two polls, two reactions), except for
	// messages: their ids are unique in a chat, so it is one message that came twice.
	kept := chat.UpdateKept{Update: chat.Update{ID: id, Key: key(kind, id, string(body))}, Kind: kind}
	if m, ok := parse(body); ok && slices.Contains(messages, kind) {
		kept.Key = key(kind, string(body))
		if kind == "message" {
			kept.MigratedTo, kept.MigratedFrom = m.MigrateTo, m.MigrateFrom
		}
	}
	return inbound{chat: chatIn(body), event: kept, actor: domain.ActorTelegram}
}

// messages are the kinds that hold a message.
var messages = []string{
	"message", "edited_message", "channel_post", "edited_channel_post", "business_message",
	"edited_business_message", "guest_message",
}

type user struct {
	ID        int64  `json:"id"`
	IsBot     bool   `json:"is_bot"`
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	Username  string `json:"username"`
	Language  string `json:"language_code"`
}

func (u *user) sender() chat.Sender {
	if u == nil {
		return chat.Sender{}
	}
	name := u.FirstName
	if u.LastName != "" {
		name += " " + u.LastName
	}
	return chat.Sender{ID: u.ID, Name: name, Username: u.Username, Language: u.Language, Bot: u.IsBot}
}

type chatRef struct {
	ID    int64  `json:"id"`
	Type  string `json:"type"`
	Title string `json:"title"`
}

type file struct {
	FileID   string `json:"file_id"`
	FileName string `json:"file_name"`
	MimeType string `json:"mime_type"`
	FileSize int64  `json:"file_size"`
	Duration int64  `json:"duration"`
}

type message struct {
	MessageID    int64    `json:"message_id"`
	Date         int64    `json:"date"`
	EditDate     int64    `json:"edit_date"`
	Chat         *chatRef `json:"chat"`
	From         *user    `json:"from"`
	Text         string   `json:"text"`
	Caption      string   `json:"caption"`
	MediaGroupID string   `json:"media_group_id"`
	Thread       int64    `json:"message_thread_id"`
	IsTopic      bool     `json:"is_topic_message"`
	ReplyTo      *struct {
		MessageID int64 `json:"message_id"`
	} `json:"reply_to_message"`
	MigrateTo   int64 `json:"migrate_to_chat_id"`
	MigrateFrom int64 `json:"migrate_from_chat_id"`

	Photo     []file `json:"photo"`
	LivePhoto *file  `json:"live_photo"`
	Document  *file  `json:"document"`
	Voice     *file  `json:"voice"`
	Audio     *file  `json:"audio"`
	Video     *file  `json:"video"`
	VideoNote *file  `json:"video_note"`
	Animation *file  `json:"animation"`
	Sticker   *file  `json:"sticker"`

	Location  json.RawMessage `json:"location"`
	Contact   json.RawMessage `json:"contact"`
	Poll      json.RawMessage `json:"poll"`
	Dice      json.RawMessage `json:"dice"`
	Story     json.RawMessage `json:"story"`
	Game      json.RawMessage `json:"game"`
	Checklist json.RawMessage `json:"checklist"`
	PaidMedia json.RawMessage `json:"paid_media"`
	Giveaway  json.RawMessage `json:"giveaway"`
	Rich      json.RawMessage `json:"rich_message"`
}

func (m *message) text() string {
	if m.Text != "" {
		return m.Text
	}
	return m.Caption
}

// media lists a message's attachments. For older clients Telegram sends an animation also as
// a document, and a live photo also as a photo; each is listed once.
func (m *message) media() []chat.Media {
	var media []chat.Media
	add := func(kind string, f *file) {
		if f != nil {
			media = append(media, chat.Media{Kind: kind, FileID: f.FileID, FileName: f.FileName,
				MimeType: f.MimeType, Size: f.FileSize, Duration: f.Duration})
		}
	}
	if n := len(m.Photo); n > 0 && m.LivePhoto == nil {
		add("photo", &m.Photo[n-1]) // all sizes show the same picture; the last is the largest
	}
	if m.Animation == nil {
		add("document", m.Document)
	}
	add("live_photo", m.LivePhoto)
	add("voice", m.Voice)
	add("audio", m.Audio)
	add("video", m.Video)
	add("video_note", m.VideoNote)
	add("animation", m.Animation)
	add("sticker", m.Sticker)
	for _, other := range []struct {
		kind string
		body json.RawMessage
	}{
		{"location", m.Location}, {"contact", m.Contact}, {"poll", m.Poll}, {"dice", m.Dice}, {"story", m.Story},
		{"game", m.Game}, {"checklist", m.Checklist}, {"paid_media", m.PaidMedia}, {"giveaway", m.Giveaway},
		{"rich_message", m.Rich},
	} {
		if other.body != nil {
			add(other.kind, &file{})
		}
	}
	return media
}

// parse reads a message leniently. It returns false if the chat or the message id is missing.
func parse(body json.RawMessage) (*message, bool) {
	m := &message{}
	if !lenient(body, m) || m.Chat == nil || m.Chat.ID == 0 || m.MessageID == 0 {
		return nil, false
	}
	return m, true
}

// readMessage returns false for service messages (a member joined, a title changed), which
// need no answer.
func readMessage(body json.RawMessage, id int64, at time.Time) (inbound, bool) {
	m, ok := parse(body)
	if !ok {
		return inbound{}, false
	}
	e := chat.MessageReceived{
		Update: chat.Update{ID: id}, MessageID: m.MessageID, Date: sent(m.Date, at),
		ChatType: m.Chat.Type, ChatTitle: m.Chat.Title, From: m.From.sender(), Text: m.text(), Media: m.media(),
		Album: m.MediaGroupID,
	}
	if e.Text == "" && len(e.Media) == 0 {
		return inbound{}, false
	}
	if m.ReplyTo != nil {
		e.ReplyTo = m.ReplyTo.MessageID
	}
	if m.IsTopic {
		e.Thread = m.Thread
	}
	files := ""
	for _, f := range e.Media {
		files += f.Kind + f.FileID
	}
	e.Key = key("message", m.MessageID, m.Date, e.Text, files)
	return inbound{m.Chat.ID, e, "customer"}, true
}

func readEdit(body json.RawMessage, id int64, at time.Time) (inbound, bool) {
	m, ok := parse(body)
	if !ok {
		return inbound{}, false
	}
	return inbound{m.Chat.ID, chat.MessageEdited{
		Update:    chat.Update{ID: id, Key: key("edited_message", m.MessageID, m.EditDate, m.text())},
		MessageID: m.MessageID, EditedAt: sent(m.EditDate, at), From: m.From.sender(), Text: m.text(),
	}, "customer"}, true
}

func readButton(body json.RawMessage, id int64, at time.Time) (inbound, bool) {
	var q struct {
		ID      string   `json:"id"`
		From    *user    `json:"from"`
		Message *message `json:"message"`
		Data    string   `json:"data"`
	}
	// A button of a message sent by inline mode belongs to no chat.
	if !lenient(body, &q) || q.ID == "" || q.Message == nil || q.Message.Chat == nil ||
		q.Message.Chat.ID == 0 {
		return inbound{}, false
	}
	return inbound{q.Message.Chat.ID, chat.ButtonPressed{
		Update: chat.Update{ID: id, Key: key("callback_query", q.ID)}, QueryID: q.ID,
		MessageID: q.Message.MessageID, Date: at, From: q.From.sender(), Data: q.Data,
	}, "customer"}, true
}

func readMembership(body json.RawMessage, id int64, at time.Time) (inbound, bool) {
	var c struct {
		Chat *chatRef `json:"chat"`
		Date int64    `json:"date"`
		New  *struct {
			Status string `json:"status"`
		} `json:"new_chat_member"`
	}
	if !lenient(body, &c) || c.Chat == nil || c.Chat.ID == 0 || c.New == nil {
		return inbound{}, false
	}
	return inbound{c.Chat.ID, chat.MembershipChanged{
		Update: chat.Update{ID: id, Key: key("my_chat_member", id, string(body))}, Date: sent(c.Date, at),
		Status: c.New.Status, Blocked: c.New.Status == "kicked" || c.New.Status == "left",
	}, "customer"}, true
}

// chatIn returns the chat of an update that is only kept; 0 if it has none.
func chatIn(body json.RawMessage) int64 {
	var in struct {
		Chat    *chatRef `json:"chat"`
		Message *struct {
			Chat *chatRef `json:"chat"`
		} `json:"message"`
	}
	if !lenient(body, &in) {
		return 0
	}
	switch {
	case in.Chat != nil:
		return in.Chat.ID
	case in.Message != nil && in.Message.Chat != nil:
		return in.Message.Chat.ID
	default:
		return 0
	}
}

// key identifies an update: FNV-1a of the fields that distinguish the updates of a chat. The
// key of a message does not depend on its update_id.
func key(parts ...any) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		fmt.Fprint(h, part, "\x1f")
	}
	return h.Sum64()
}

// maxDate is the end of the year 9999, in Unix seconds: the last that JSON can hold.
const maxDate = 253402300799

// sent returns a date that Telegram sent in seconds. It returns the time of receipt if the date
// is missing, unreadable or beyond maxDate; the raw bytes keep the original.
func sent(seconds int64, received time.Time) time.Time {
	if seconds <= 0 || seconds > maxDate {
		return received
	}
	return unix(seconds)
}
