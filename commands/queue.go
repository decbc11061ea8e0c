package commands

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/chatledger/chatledger/domain"
)

// ErrBusy rejects a request because too many are waiting. The sender should retry later.
var ErrBusy = errors.New("too many requests are waiting: retry later")

// ErrClosed rejects a request because the handler is stopping.
var ErrClosed = errors.New("stopping: new requests are rejected")

const (
	// maxWaiting bounds the requests that wait, over all streams. With bodies of 1 KiB they
	// take some 20 MiB. At 5,000/s they are two seconds of work, below any sender's timeout.
	maxWaiting = 10_000
	// maxUpdates bounds the updates of one stream that wait, so that one flooding chat does not take
	// the places of all others. Requests from within are not among them: they are bounded by their
	// senders, and a page of events must not fail for the sake of one chat.
	maxUpdates = maxWaiting / 4
	// maxTaken bounds the requests of one stream in one commit, so that one flooding chat does
	// not slow down the commits of all others.
	maxTaken = 64
)

// pending is a request whose caller waits.
type pending struct {
	Request
	result   Result
	err      error
	refusal  error     // of this try's decision; another try may decide otherwise
	repeated bool      // its update was received before
	since    time.Time // when it began to wait, if its trace is sampled
	due      time.Time // not decided before this time, so that late updates can be sorted in
	done     chan struct{}
}

// settled reports whether the request needs no further decision.
func (p *pending) settled() bool { return p.err != nil || p.repeated }

// streamQueue is the queue of one stream. At most one committer holds it.
type streamQueue struct {
	stream     domain.StreamID
	waiting    []*pending
	taken      []*pending // by the committer that holds the queue
	stale      bool       // the state in memory is behind the store
	fresh      bool       // base was just read from the store
	unreadable error      // why there is no base
	base       folded     // the state that the decisions start from
	decided    folded     // the state after the decisions
}

// finish returns the results of the taken requests to their callers.
func (l *streamQueue) finish() {
	for _, p := range l.taken {
		if p.repeated {
			p.result.Events = nil
		}
		if p.err == nil {
			p.err = p.refusal
		}
		if p.err != nil {
			p.result = Result{}
		}
		close(p.done)
	}
	l.taken, l.stale = nil, false
}

// fail finishes the taken requests with an error.
func (l *streamQueue) fail(err error) {
	for _, p := range l.taken {
		if !p.settled() {
			p.err = err
		}
	}
	l.finish()
}

// drop finishes the requests that the store will never accept, and reports whether the rest
// can be tried again.
func (l *streamQueue) drop(err error) bool {
	var repeated Repeated
	var fenced Fenced
	switch {
	case errors.Is(err, ErrConflict):
		return true
	case errors.As(err, &repeated):
		for _, p := range l.taken {
			p.repeated = p.repeated || p.Update != nil && slices.Contains(repeated, p.Update.ID)
		}
		return true
	case errors.As(err, &fenced):
		for _, p := range l.taken {
			if p.Settles != nil && slices.Contains(fenced, p.Settles.Delivery) {
				p.err = err
			}
		}
		return true
	default:
		return false
	}
}

// sortUpdates sorts the updates among the taken requests by id. Other requests keep their
// places.
func (l *streamQueue) sortUpdates() {
	var places []int
	var updates []*pending
	for i, p := range l.taken {
		if p.Update != nil {
			places, updates = append(places, i), append(updates, p)
		}
	}
	slices.SortStableFunc(updates, func(a, b *pending) int { return cmp.Compare(a.Update.ID, b.Update.ID) })
	for i, place := range places {
		l.taken[place] = updates[i]
	}
}

// queues hands the queues of streams with waiting requests to committers, oldest first.
type queues struct {
	mu         sync.Mutex
	idle       *sync.Cond                       // signalled when nothing waits and no batch is being committed
	byID       map[domain.StreamID]*streamQueue // every queue that waits or is being committed
	ready      []*streamQueue
	waiting    int    // requests
	committing int    // batches
	committers int    // batches that may be committed at the same time
	due        func() // commits queues whose wait is over
	closed     bool
}

func newQueues(committers int, due func()) *queues {
	qs := &queues{byID: map[domain.StreamID]*streamQueue{}, committers: committers, due: due}
	qs.idle = sync.NewCond(&qs.mu)
	return qs
}

// add queues a request. Its stream becomes ready at once, or after the Wait of the first
// request in the queue, so that late updates can be sorted in.
func (qs *queues) add(p *pending) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	l := qs.byID[p.Stream]
	flooded := p.Update != nil && l != nil && len(l.waiting) >= maxUpdates
	if qs.closed || qs.waiting >= maxWaiting || flooded {
		if p.err = ErrBusy; qs.closed {
			p.err = ErrClosed
		}
		close(p.done)
		return
	}
	if p.Wait > 0 {
		p.due = time.Now().Add(p.Wait)
	}
	qs.waiting++
	if l != nil {
		l.waiting = append(l.waiting, p)
		return
	}
	l = &streamQueue{stream: p.Stream, waiting: []*pending{p}}
	qs.byID[p.Stream] = l
	qs.schedule(l)
}

// schedule makes a queue ready when its first request is due.
func (qs *queues) schedule(l *streamQueue) {
	first := l.waiting[0]
	if wait := time.Until(first.due); !first.due.IsZero() && wait > 0 {
		time.AfterFunc(wait, func() {
			qs.mu.Lock()
			qs.ready = append(qs.ready, l)
			qs.mu.Unlock()
			qs.due()
		})
		return
	}
	qs.ready = append(qs.ready, l)
}

// take returns up to n ready queues as one batch. It returns nil when none is ready, or when
// all committers are busy: they take the rest when they are done.
func (qs *queues) take(n int) []*streamQueue {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if qs.committing == qs.committers {
		return nil
	}
	return qs.next(n)
}

// release takes back a committed batch and returns the next one, if any is ready. Queues with
// new requests are scheduled again.
func (qs *queues) release(batch []*streamQueue, n int) []*streamQueue {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	qs.committing--
	qs.free(batch)
	next := qs.next(n)
	if qs.committing == 0 && len(qs.byID) == 0 {
		qs.idle.Broadcast()
	}
	return next
}

// releaseDetached takes back a queue that was committed beside its batch.
func (qs *queues) releaseDetached(l *streamQueue) {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	qs.free([]*streamQueue{l})
	if qs.committing == 0 && len(qs.byID) == 0 {
		qs.idle.Broadcast()
	}
}

func (qs *queues) free(done []*streamQueue) {
	for _, l := range done {
		if len(l.waiting) > 0 {
			qs.schedule(l)
		} else {
			delete(qs.byID, l.stream)
		}
	}
}

func (qs *queues) next(n int) []*streamQueue {
	n = min(n, len(qs.ready))
	if n == 0 {
		return nil
	}
	qs.committing++
	batch := slices.Clone(qs.ready[:n])
	qs.ready = slices.Delete(qs.ready, 0, n)
	for _, l := range batch {
		l.take()
		qs.waiting -= len(l.taken)
	}
	return batch
}

// take moves up to maxTaken waiting requests to the committer. When there are more, updates
// are sorted by id first.
func (l *streamQueue) take() {
	l.taken, l.waiting = l.waiting, nil
	if len(l.taken) > maxTaken {
		l.sortUpdates()
		l.taken, l.waiting = l.taken[:maxTaken:maxTaken], l.taken[maxTaken:]
	}
}

// close rejects new requests and waits until the earlier ones are finished.
func (qs *queues) close() {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	qs.closed = true
	for qs.committing > 0 || len(qs.byID) > 0 {
		qs.idle.Wait()
	}
}
