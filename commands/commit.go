package commands

import (
	"errors"
	"time"
)

// Round is one try to take a batch of chats to the store, as whoever watches a Handler
// is told of it.
type Commit struct {
	Begun      time.Time     // the batch was taken up
	Appending  time.Time     // its events went to the store
	AppendTime time.Duration // of the append; 0 when there was nothing to append
	Streams    int
	Cached     int // streams whose state was in memory
	Events     int // that went to the store
	Conflicts  int // streams on which another writer was faster
	Err        error
	Traced     []Traced // the requests whose trace is sampled
}

// Traced is a request whose trace is sampled.
type Traced struct {
	Trace string // its W3C traceparent
	Since time.Time
}

// tell tells of a round. A handler that nobody watches has nothing to count.
func (h *Handler) observeCommit(r Commit, tried, appending []*streamQueue, errs []error) {
	if h.observe == nil {
		return
	}
	r.Streams = len(tried)
	for _, l := range tried {
		if !l.fresh {
			r.Cached++
		}
	}
	for _, l := range appending {
		r.Events += int(l.decided.version - l.base.version)
		for _, p := range l.taken {
			if p.Trace != "" {
				r.Traced = append(r.Traced, Traced{p.Trace, p.since})
			}
		}
	}
	for _, err := range errs {
		if errors.Is(err, ErrConflict) {
			r.Conflicts++
		}
	}
	h.observe(r)
}

// Waiting is how many requests wait to be taken up.
func (h *Handler) Waiting() int {
	h.queues.mu.Lock()
	defer h.queues.mu.Unlock()
	return h.queues.waiting
}

// Full tells whether a request that came now would be refused with ErrBusy.
func (h *Handler) Full() bool { return h.Waiting() >= maxWaiting }
