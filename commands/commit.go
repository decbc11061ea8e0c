package commands

import (
	"errors"
	"time"
)

// An Observer is told about every commit of a Handler. It must return quickly.
type Observer interface {
	Committed(Commit)
}

// Commit describes one try to commit a batch of streams.
type Commit struct {
	Begun      time.Time     // when the batch was taken from the queues
	Appending  time.Time     // when its events were sent to the store
	AppendTime time.Duration // of the append; 0 when there was nothing to append
	Streams    int
	Cached     int // streams whose state was cached
	Events     int // that were appended
	Conflicts  int // streams that another writer had appended to
	Err        error
	Traced     []Traced // the requests whose trace is sampled
}

// Traced is a request whose trace is sampled.
type Traced struct {
	Trace string // its W3C traceparent
	Since time.Time
}

// observeCommit tells the observer about a commit.
func (h *Handler) observeCommit(r Commit, tried, appending []*streamQueue, errs []error) {
	if h.observer == nil {
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
	h.observer.Committed(r)
}

// Waiting returns how many requests wait in the queues.
func (h *Handler) Waiting() int {
	h.queues.mu.Lock()
	defer h.queues.mu.Unlock()
	return h.queues.waiting
}

// Full reports whether a new request would be rejected with ErrBusy.
func (h *Handler) Full() bool { return h.Waiting() >= maxWaiting }
