package telegramsim

import (
	"context"
	"net/http"
	"time"
)

// Handlers returns what chatledger knows about a chat, for the page. The simulator itself has only the
// messages.
type Handlers interface {
	// Handler returns the handler of the chat; the zero value if the chat is not known yet. Authors
	// contains the messages that operators wrote after since.
	Handler(ctx context.Context, bot string, chat int64, since time.Time) (Handler, error)
}

// Handler says who handles a chat, and has commands for a reader who wants to continue in a shell.
type Handler struct {
	Name     string           `json:"handler,omitempty"` // bot or person, which means an operator
	Since    time.Time        `json:"since,omitzero"`    // time of the hand-over to operators
	Assignee string           `json:"assignee,omitempty"`
	Authors  map[int64]string `json:"authors,omitempty"` // operators who wrote messages, by message_id
	Events   string           `json:"events,omitempty"`  // command that lists the chat's events
	Comment  string           `json:"comment,omitempty"` // command that replies as an agent
}

// status is shown by the page with a chat's messages.
type status struct {
	Handler
	BeforeStart bool `json:"before_start,omitempty"` // operators handle it since before this start
	undelivered
}

// undelivered describes the updates of a chat that the bot has not received.
type undelivered struct {
	Waiting int    `json:"waiting"`           // updates that are not acknowledged yet
	Fails   int    `json:"fails"`             // failed attempts of the first of them
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

// undelivered searches the queues of a chat and of its customer's button presses.
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
