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

// maxPageBytes bounds the payloads of a page, which ends with the event that reaches it: a page
// of usual events has 1 MiB, and one of the longest updates would have 1 GiB.
const maxPageBytes = 8 << 20

// limitEnds is the lowered limit, in events, above which there is none: more than any page has.
const limitEnds = 10_000

// errPageFull ends a page before its limit.
var errPageFull = errors.New("the page has as many bytes as it may")

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

// readPage is ReadFeed for a consumer: an event that cannot be decoded comes as Unreadable, and a
// page ends by bytes, too. What the server sends beyond that is dropped, so the next pages have a
// lower limit, which doubles with each that is not full.
func (s *Store) readPage(ctx context.Context, q postgres.Querier, after domain.Position, limit int) (page []domain.Recorded, err error) {
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
