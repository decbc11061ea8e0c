package telegramsim

import (
	"context"
	"fmt"
)

// The methods in this file act as a customer of the default bot, for tests in Go. The control API does the
// same over HTTP.

// Say writes text in a chat and returns the message_id.
func (s *Server) Say(chat int64, text string) int64 {
	_, messageID, _ := s.bots[0].say(chat, text, nil, 0) // only a reply can fail
	return messageID
}

// Press presses a button: the bot receives a callback_query with data. The simulator, like Telegram, does
// not check that such a button exists.
func (s *Server) Press(chat int64, messageID int64, data string) {
	s.bots[0].press(chat, messageID, data)
}

// Edit changes an earlier message of the customer.
func (s *Server) Edit(chat int64, messageID int64, text string) error {
	_, err := s.bots[0].edit(chat, messageID, text)
	return err
}

// Post queues an update of any kind, known to Telegram or not, for the default bot and returns its
// update_id. A missing update_id is filled in. A given one is kept, so that a test can repeat or reorder
// updates. The result is 0 if the bot's allowed_updates do not contain the kind.
func (s *Server) Post(update map[string]any) int64 {
	id, err := s.bots[0].post(mustJSON(update))
	if err != nil {
		panic("telegramsim: Post: " + err.Error())
	}
	return id
}

// Messages returns the messages of customer and bot in a chat, oldest first.
func (s *Server) Messages(chat int64) []Message { return s.bots[0].list(chat, 0) }

func (b *bot) list(chatID int64, limit int) []Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.chats[chatID]; c != nil {
		return c.list(limit)
	}
	return []Message{}
}

// Await waits until the chat has at least n messages of the bot, and returns all its messages. If ctx ends
// before, the error says how many there were.
func (s *Server) Await(ctx context.Context, chat int64, n int) ([]Message, error) {
	b := s.bots[0]
	for {
		b.mu.Lock()
		have := 0
		if c := b.chats[chat]; c != nil {
			have = c.fromBot
		}
		if have >= n {
			b.mu.Unlock()
			return s.Messages(chat), nil
		}
		changed := b.awaited[chat]
		if changed == nil {
			changed = make(chan struct{})
			b.awaited[chat] = changed
		}
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			err := fmt.Errorf("await %d messages of the bot in chat %d: there are %d: %w", n, chat, have, ctx.Err())
			return s.Messages(chat), err
		}
	}
}

func missing(chatID, messageID int64) error {
	return fmt.Errorf("chat %d has no message %d; list them with GET /sim/chats/%[1]d/messages", chatID, messageID)
}

func notOwn(chatID, messageID int64) error {
	return fmt.Errorf("message %d in chat %d is the bot's; a customer can edit only their own messages", messageID, chatID)
}
