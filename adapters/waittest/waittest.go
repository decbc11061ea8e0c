// Package waittest is for tests of what goes on beside them, in other goroutines,
// processes or sessions: it waits until something is so, and keeps what they log.
package waittest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience bounds every wait, and whole workloads. Folding a thousand chats with the race
// detector takes a minute and more where others keep the processors busy; a test that hangs
// is still told of by its name, and not by the end of the test binary.
const Patience = 4 * time.Minute

// look is how often Until asks.
const look = 2 * time.Millisecond

// Until asks until the answer is yes. When Patience ends before, so does the test.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for deadline := time.After(Patience); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, Patience)
		}
	}
}

// Context is the test's, and ends with Patience: before the test binary loses its own.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// A Log is written by some goroutines and read by others. The zero value is empty.
type Log struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write adds to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is the whole log so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
