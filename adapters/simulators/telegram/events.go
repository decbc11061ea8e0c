package telegramsim

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// The page receives changes by Server-Sent Events. An event names a chat that has changed; the page then
// reads the whole chat. So a lost or repeated event can neither lose nor repeat a message, and many
// changes in a short time become one event.

// An event is one event for the page.
type event struct {
	Kind  string `json:"kind"` // "chat", "typing", "toast" or "hello"
	Chat  int64  `json:"chat,omitempty"`
	Text  string `json:"text,omitempty"`
	Alert bool   `json:"alert,omitempty"`
	Bots  []Bot  `json:"bots,omitempty"` // with "hello"
}

const (
	// maxNotes limits the notes (typing, toasts) that wait for a slow page. Further ones are dropped,
	// because they would be outdated.
	maxNotes = 100

	// eventPause is the least time between two writes, so that a benchmark does not overload an open
	// page.
	eventPause = 40 * time.Millisecond

	// eventHeartbeat is the time between comments that keep proxies from closing an idle stream.
	eventHeartbeat = 20 * time.Second
)

// A broadcast sends events to all open pages.
type broadcast struct {
	mu        sync.Mutex
	followers map[*follower]struct{}
}

type follower struct {
	changed map[int64]struct{}
	notes   []event
	wake    chan struct{} // capacity 1; a value means that there is something to read
}

func (b *broadcast) chatChanged(id int64) {
	b.tell(func(f *follower) { f.changed[id] = struct{}{} })
}

func (b *broadcast) note(e event) {
	b.tell(func(f *follower) {
		if len(f.notes) < maxNotes {
			f.notes = append(f.notes, e)
		}
	})
}

func (b *broadcast) tell(put func(*follower)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for f := range b.followers {
		put(f)
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (b *broadcast) join() *follower {
	f := &follower{changed: map[int64]struct{}{}, wake: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.followers == nil {
		b.followers = map[*follower]struct{}{}
	}
	b.followers[f] = struct{}{}
	return f
}

func (b *broadcast) leave(f *follower) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.followers, f)
}

// read returns and removes the events of a follower.
func (b *broadcast) read(f *follower) []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []event
	for id := range f.changed {
		out = append(out, event{Kind: "chat", Chat: id})
	}
	clear(f.changed)
	out = append(out, f.notes...)
	f.notes = nil
	return out
}

// serveEvents streams events until the page closes the connection or the server is closed.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	b, ok := s.chosenBot(w, r)
	if !ok {
		return
	}
	stream := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")

	f := b.events.join()
	defer b.events.leave(f)
	send := func(events ...event) bool {
		for _, e := range events {
			if _, err := fmt.Fprintf(w, "data: %s\n\n", mustJSON(e)); err != nil {
				return false
			}
		}
		return stream.Flush() == nil
	}
	hello := event{Kind: "hello", Text: b.account.Username}
	for _, each := range s.bots {
		hello.Bots = append(hello.Bots, each.account)
	}
	if !send(hello) {
		return
	}
	heartbeat := time.NewTicker(eventHeartbeat)
	defer heartbeat.Stop()
	pause := time.NewTicker(eventPause)
	defer pause.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			return
		case <-heartbeat.C:
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil || stream.Flush() != nil {
				return
			}
		case <-f.wake:
			if !send(b.events.read(f)...) {
				return
			}
			select { // gather the next changes
			case <-pause.C:
			case <-r.Context().Done():
				return
			case <-s.ctx.Done():
				return
			}
		}
	}
}
