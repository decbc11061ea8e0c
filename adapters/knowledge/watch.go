package knowledge

import (
	"context"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Shelf holds what each bot knows at the moment. It may be read and changed by several
// goroutines at once; a decision keeps what it began with.
type Shelf struct {
	bots map[string]*atomic.Pointer[dialog.Knowledge]
}

// NewShelf holds the knowledge of these bots; there will be no others.
func NewShelf(bots map[string]*dialog.Knowledge) *Shelf {
	s := &Shelf{bots: map[string]*atomic.Pointer[dialog.Knowledge]{}}
	for name, k := range bots {
		s.bots[name] = &atomic.Pointer[dialog.Knowledge]{}
		s.bots[name].Store(k)
	}
	return s
}

// Of is what a bot knows; nil for one that the shelf was not made with.
func (s *Shelf) Of(bot string) *dialog.Knowledge {
	if held, ok := s.bots[bot]; ok {
		return held.Load()
	}
	return nil
}

// Put changes what a bot knows, from its next decision on. A bot that the shelf was not
// made with is a mistake in the program.
func (s *Shelf) Put(bot string, k *dialog.Knowledge) { s.bots[bot].Store(k) }

// Watch tells of each change of a folder, until the context ends: either what is known
// now, or what is wrong, once, in which case whoever listens keeps what was known before.
// hash is of what was read already.
func Watch(
	ctx context.Context,
	from fs.FS,
	hash string,
	every time.Duration,
	options Options,
	tell func(*dialog.Knowledge, error),
) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	looks := looks{told: hash, last: hash}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f, err := open(from)
		switch {
		case err != nil && looks.changed(err.Error()):
			tell(nil, fmt.Errorf("read the knowledge: %w", err))
		case err == nil && looks.changed(f.hash):
			tell(f.read(options))
		}
	}
}

// looks are what a folder was found to be.
type looks struct{ told, last string }

// changed tells whether there is something new to tell. It counts once it is the same at
// two looks, so that a save under way is not taken for a mistake.
func (l *looks) changed(now string) bool {
	settled := now == l.last
	l.last = now
	if !settled || now == l.told {
		return false
	}
	l.told = now
	return true
}
