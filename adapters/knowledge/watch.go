package knowledge

import (
	"context"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Library holds the current knowledge of each bot. It is safe for concurrent use; a decision
// uses the knowledge that it began with.
type Library struct {
	bots map[string]*atomic.Pointer[dialog.Knowledge]
}

// NewLibrary returns a library of these bots; no others can be added.
func NewLibrary(bots map[string]*dialog.Knowledge) *Library {
	l := &Library{bots: map[string]*atomic.Pointer[dialog.Knowledge]{}}
	for name, k := range bots {
		l.bots[name] = &atomic.Pointer[dialog.Knowledge]{}
		l.bots[name].Store(k)
	}
	return l
}

// Of returns the knowledge of a bot; nil for one that the library does not hold.
func (l *Library) Of(bot string) *dialog.Knowledge {
	if held, ok := l.bots[bot]; ok {
		return held.Load()
	}
	return nil
}

// Put replaces the knowledge of a bot, from its next decision on. It panics for a bot that the
// library does not hold.
func (l *Library) Put(bot string, k *dialog.Knowledge) { l.bots[bot].Store(k) }

// Watch reports each change of a folder until the context ends: the new knowledge, or its
// mistakes, once, so that the caller keeps the previous knowledge. hash is that of the folder
// that was read already.
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

// looks compares the folder at successive times.
type looks struct{ told, last string }

// changed reports whether there is a change to report. A change counts once two looks in a row
// see the same, so that a save in progress is not reported as a mistake.
func (l *looks) changed(now string) bool {
	settled := now == l.last
	l.last = now
	if !settled || now == l.told {
		return false
	}
	l.told = now
	return true
}
