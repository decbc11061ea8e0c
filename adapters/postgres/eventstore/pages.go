package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/domain"
)

// keptPages is how many pages of the feed are kept, at most some 4 MiB. The checkpoints of consumers
// that have caught up are within a page or two of each other.
const keptPages = 4

// pages shares a page that one consumer has read with the other consumers of this process at the same
// position, as are all that have caught up. Events below the oldest running transaction are final, so
// a page of one server never becomes out of date.
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

// get returns the page of at most limit events after a position: a kept one, or one that it reads now.
// A second caller waits while the first reads. Empty pages are not kept.
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

// maxPageBytes limits the payloads of a page, which ends with the event that reaches the limit. A page
// of usual events has 1 MiB, and a page of the longest updates would have 1 GiB.
const maxPageBytes = 8 << 20

// limitEnds is the lowered limit, in events, above which there is none: more than any page has.
const limitEnds = 10_000

// errPageFull ends a page that has reached maxPageBytes.
var errPageFull = errors.New("the page has reached its maximum of bytes")

// collectPage collects events until the page is full, and then returns it with errPageFull. An event that
// cannot be decoded is Unreadable.
func (s *Store) collectPage(rows pgx.Rows) (page []domain.Recorded, err error) {
	size := 0
	err = s.eachReadable(rows, func(r domain.Recorded) error {
		page = append(page, r)
		if size += len(rows.RawValues()[0]); size >= maxPageBytes {
			return errPageFull
		}
		return nil
	})
	return page, err
}

// readPage is ReadFeed for a consumer: an event that cannot be decoded is Unreadable, and a page also
// ends at maxPageBytes. Events that the server has sent beyond that are dropped, so the next pages get
// a lower limit, which doubles with each page that does not reach maxPageBytes.
func (s *Store) readPage(
	ctx context.Context, q postgres.Querier, after domain.Position, limit int,
) (page []domain.Recorded, err error) {
	lowered := int(s.pageLimit.Load())
	if lowered > 0 {
		limit = min(limit, lowered)
	}
	rows, err := q.Query(ctx, readFeed, after.Transaction, after.Number, limit, nil)
	if err == nil {
		page, err = s.collectPage(rows)
	}
	switch {
	case errors.Is(err, errPageFull):
		s.pageLimit.Store(int64(len(page)))
	case err != nil:
		return nil, fmt.Errorf("read feed after %v: %w", after, err)
	case lowered > 0 && len(page) > 0:
		if lowered *= 2; lowered > limitEnds {
			lowered = 0
		}
		s.pageLimit.Store(int64(lowered))
	}
	return page, nil
}
