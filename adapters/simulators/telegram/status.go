package telegramsim

import (
	"context"
	"net/http"
	"time"
)

// Handlers tells the page what the program behind the bot knows of a chat. The simulator itself
// only sees messages.
type Handlers interface {
	// Handler returns who has the chat; zero when the program does not know the chat yet.
	// Messages are those that people wrote after since.
	Handler(ctx context.Context, bot string, chat int64, since time.Time) (Handler, error)
}

// Handler is who has a chat, and how a newcomer goes on with it in a shell.
type Handler struct {
	Name     string           `json:"handler,omitempty"` // bot or person
	Since    time.Time        `json:"since,omitzero"`    // when a person got it
	Assignee string           `json:"assignee,omitempty"`
	Authors  map[int64]string `json:"authors,omitempty"` // of messages that people wrote, by message_id
	Events   string           `json:"events,omitempty"`  // the command that lists the chat's events
	Comment  string           `json:"comment,omitempty"` // the command that answers as an agent
}

// status is what the page shows beside a chat's messages.
type status struct {
	Handler
	BeforeStart bool `json:"before_start,omitempty"` // a person has it since before this start
	undelivered
}

// undelivered is what of a chat has not reached the bot.
type undelivered struct {
	Waiting int    `json:"waiting"`           // updates that are not acknowledged yet
	Fails   int    `json:"fails"`             // attempts of the first of them
	Lost    int    `json:"lost"`              // updates that expired
	Error   string `json:"error,omitempty"`   // of the last attempt
	NoHook  bool   `json:"no_hook,omitempty"` // no webhook is registered
}

func chatStatus(b *bot, r *http.Request) (any, error) {
	id, err := pathChat(r)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	customer := id
	if c := b.chats[id]; c != nil {
		customer = c.customer.id
	}
	b.mu.Unlock()
	out := status{undelivered: b.hook.undelivered(id, customer)}
	if source := b.server.handlers; source != nil {
		if out.Handler, err = source.Handler(r.Context(), b.account.Username, id, b.server.begun); err != nil {
			return nil, err
		}
		out.BeforeStart = out.Name == "person" && out.Since.Before(b.server.begun)
	}
	return out, nil
}

// undelivered looks through the queues of a chat and of its customer's button presses.
func (h *webhook) undelivered(chatID, customer int64) (out undelivered) {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys := [...]queueKey{{chatQueue, chatID}, {callbackQueue, customer}}
	out.NoHook = h.settings.url == ""
	for _, key := range keys {
		out.Lost += h.lost[key]
		if q := h.queues[key]; q != nil {
			out.Waiting += len(q.updates)
			out.Fails = max(out.Fails, q.updates[0].fails)
		}
	}
	for _, u := range h.backlog {
		if u.queue == keys[0] || u.queue == keys[1] {
			out.Waiting++
		}
	}
	if out.Fails > 0 || out.Lost > 0 {
		out.Error = h.lastError
	}
	return out
}
