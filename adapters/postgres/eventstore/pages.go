package eventstore

import (
	"sync"

	"github.com/chatledger/chatledger/domain"
)

// keptPages is how many pages of the feed are kept: consumers that have caught up
// stand within a page or two of each other. At most some 4 MiB.
const keptPages = 4

// pages shares what one consumer has read with the others of this process that
// stand at the same place, as all do that have caught up. What stands below the
// oldest running transaction is final, so a page of one server is never out of date.
type pages struct {
	mu   sync.Mutex
	kept []*page // the newest last
}

type page struct {
	server int64 // the incarnation of the server that it was read from
	after  domain.Position
	limit  int
	read   sync.Mutex // held while it is being read
	events []domain.Recorded
}

// get returns the page of at most limit events behind a position: one that is kept,
// or read now. A caller that comes while it is being read waits for it. Empty pages are
// not kept.
func (ps *pages) get(
	server int64, after domain.Position, limit int, read func() ([]domain.Recorded, error),
) ([]domain.Recorded, error) {
	p := ps.find(server, after, limit)
	p.read.Lock()
	defer p.read.Unlock()
	if len(p.events) > 0 {
		return p.events, nil
	}
	events, err := read()
	if err != nil {
		return nil, err
	}
	p.events = events
	return events, nil
}

func (ps *pages) find(server int64, after domain.Position, limit int) *page {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.kept {
		if p.server == server && p.after == after && p.limit == limit {
			return p
		}
	}
	p := &page{server: server, after: after, limit: limit}
	if ps.kept = append(ps.kept, p); len(ps.kept) > keptPages {
		ps.kept = ps.kept[1:]
	}
	return p
}
