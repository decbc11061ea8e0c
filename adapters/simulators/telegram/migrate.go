package telegramsim

import (
	"errors"
	"net/http"
)

// A group that is migrated to a supergroup gets a new id. Telegram reports this by a message in both chats,
// which can arrive in any order, and in the error of a call to the old chat.

// movedTo returns the error of a call to a group that was migrated to a supergroup.
func movedTo(supergroup int64) *apiError {
	fault := badRequest("group chat was upgraded to a supergroup chat")
	fault.migrateTo = supergroup
	return fault
}

// Upgrade migrates a group of the default bot to a supergroup, without service messages.
func (s *Server) Upgrade(group, supergroup int64) {
	b := s.bots[0]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.upgrade(group, supergroup)
}

// Migrate is Upgrade with service messages in both chats.
func (s *Server) Migrate(group, supergroup int64) {
	s.Upgrade(group, supergroup)
	s.SayMigrated(group)
	s.SayMigrated(supergroup)
}

// SayMigrated sends the service message of one of the two chats.
func (s *Server) SayMigrated(chatID int64) {
	b := s.bots[0]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sayMigrated(chatID)
}

// sayMigrated is SayMigrated for callers that hold b.mu.
func (b *bot) sayMigrated(chatID int64) {
	c := b.chat(chatID)
	m := &message{from: c.customer, date: b.unixNow()}
	c.add(m)
	b.events.chatChanged(chatID)
	b.enqueue("message", struct {
		*wireMessage
		To   int64 `json:"migrate_to_chat_id,omitempty"`
		From int64 `json:"migrate_from_chat_id,omitempty"`
	}{c.wire(m), c.movedTo, c.movedFrom}, queueKey{chatQueue, chatID}, messageLife)
}

// upgrade is Upgrade for callers that hold b.mu.
func (b *bot) upgrade(group, supergroup int64) {
	b.chat(group).movedTo = supergroup
	b.chat(supergroup).movedFrom = group
}

func postMigration(b *bot, r *http.Request) (any, error) {
	id, err := pathChat(r)
	if err != nil {
		return nil, err
	}
	var body struct {
		To int64 `json:"to"`
	}
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	if id > 0 || id <= smallestSupergroup || body.To > smallestSupergroup {
		return nil, errors.New("only a group can be migrated to a supergroup: use a negative chat id, and one below " +
			"-1000000000000 as \"to\"")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.upgrade(id, body.To)
	b.sayMigrated(id)
	b.sayMigrated(body.To)
	return map[string]int64{"from": id, "to": body.To}, nil
}
