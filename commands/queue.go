package commands

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/chatledger/chatledger/domain"
)

// ErrBusy says that more requests wait than can be held; the sender should come
// back later.
var ErrBusy = errors.New("too many requests are waiting")

// ErrClosed says that the handler is stopping.
var ErrClosed = errors.New("stopping: no new requests are taken")

const (
	// Requests waiting over all streams. With 1 KiB bodies that is some 20 MiB,
	// and at 5,000/s two seconds of work, below any sender's timeout.
	maxWaiting = 10_000
	// Requests of one stream in one commit: keeps one flooding chat from making
	// the commit of all the others slow.
	maxTaken = 64
)

// pending is a request that somebody waits for.
type pending struct {
	Request
	result   Result
	err      error
	refusal  error     // of this round's decision; another round may decide otherwise
	repeated bool      // its update was received before
	since    time.Time // it waits, when its trace is sampled
	due      time.Time // not to be decided before, for stragglers to be sorted in
	done     chan struct{}
}

// settled tells whether no further decision is wanted.
func (p *pending) settled() bool { return p.err != nil || p.repeated }

// line is the queue of one stream. It is in the hands of at most one carrier.
type streamQueue struct {
	stream     domain.StreamID
	waiting    []*pending
	taken      []*pending // by the carrier that holds the line
	stale      bool       // the state in memory is behind the store
	fresh      bool       // base was just read from the store
	unreadable error      // why there is no base
	base       folded     // what taken was decided upon
	decided    folded     // and where that leads
}

// finish answers those that were taken.
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

// drop takes out of the line what the store will never accept, and tells
// whether the rest can be tried again.
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

// sortUpdates puts the updates among the taken requests into the order of their
// ids, each in a place that an update held before.
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

// lines hands streams with waiting requests to carriers, oldest first.
type queues struct {
	mu         sync.Mutex
	idle       *sync.Cond                       // told when nothing waits and nothing is carried
	byID       map[domain.StreamID]*streamQueue // every line that waits or is carried
	ready      []*streamQueue
	waiting    int    // requests
	committing int    // batches
	committers int    // batches that may be carried at once
	due        func() // carries lines whose wait is over
	closed     bool
}

func newQueues(carriers int, due func()) *queues {
	ls := &queues{byID: map[domain.StreamID]*streamQueue{}, committers: carriers, due: due}
	ls.idle = sync.NewCond(&ls.mu)
	return ls
}

// add queues a request. Its stream becomes ready at once, or after the wait that
// the first of its requests asks for, so that stragglers can be sorted in.
func (ls *queues) add(p *pending) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed || ls.waiting >= maxWaiting {
		if p.err = ErrBusy; ls.closed {
			p.err = ErrClosed
		}
		close(p.done)
		return
	}
	if p.Wait > 0 {
		p.due = time.Now().Add(p.Wait)
	}
	ls.waiting++
	l := ls.byID[p.Stream]
	if l != nil {
		l.waiting = append(l.waiting, p)
		return
	}
	l = &streamQueue{stream: p.Stream, waiting: []*pending{p}}
	ls.byID[p.Stream] = l
	ls.schedule(l)
}

// schedule makes a line ready when the first of its requests is due.
func (ls *queues) schedule(l *streamQueue) {
	first := l.waiting[0]
	if wait := time.Until(first.due); !first.due.IsZero() && wait > 0 {
		time.AfterFunc(wait, func() {
			ls.mu.Lock()
			ls.ready = append(ls.ready, l)
			ls.mu.Unlock()
			ls.due()
		})
		return
	}
	ls.ready = append(ls.ready, l)
}

// take hands out up to n ready lines as one batch; nil when none is ready, or
// enough are carried already: their carriers will come back for the rest.
func (ls *queues) take(n int) []*streamQueue {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.committing == ls.committers {
		return nil
	}
	return ls.next(n)
}

// exchange takes a carried batch back and hands out the next one, if any is ready.
// Lines with new requests are scheduled again.
func (ls *queues) release(batch []*streamQueue, n int) []*streamQueue {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.committing--
	for _, l := range batch {
		if len(l.waiting) > 0 {
			ls.schedule(l)
		} else {
			delete(ls.byID, l.stream)
		}
	}
	next := ls.next(n)
	if ls.committing == 0 && len(ls.byID) == 0 {
		ls.idle.Broadcast()
	}
	return next
}

func (ls *queues) next(n int) []*streamQueue {
	n = min(n, len(ls.ready))
	if n == 0 {
		return nil
	}
	ls.committing++
	batch := slices.Clone(ls.ready[:n])
	ls.ready = slices.Delete(ls.ready, 0, n)
	for _, l := range batch {
		l.take()
		ls.waiting -= len(l.taken)
	}
	return batch
}

// take moves waiting requests into the carrier's hands, updates in order of
// their ids when there are more than fit.
func (l *streamQueue) take() {
	l.taken, l.waiting = l.waiting, nil
	if len(l.taken) > maxTaken {
		l.sortUpdates()
		l.taken, l.waiting = l.taken[:maxTaken:maxTaken], l.taken[maxTaken:]
	}
}

// close refuses what comes from now on and waits for what came before.
func (ls *queues) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.closed = true
	for ls.committing > 0 || len(ls.byID) > 0 {
		ls.idle.Wait()
	}
}
