// Package waittest is for tests of other goroutines, processes or sessions: it waits until a
// condition holds, and collects logs.
package waittest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience limits every wait, and whole workloads. Folding a thousand chats with the race
// detector takes more than a minute on a busy machine; a test that hangs still fails by its
// name, before the test binary times out.
const Patience = 4 * time.Minute

// look is the interval of Until.
const look = 2 * time.Millisecond

// Until waits until ok returns true. It fails the test after Patience.
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

// Context returns the test's context with Patience as deadline, which is before the timeout of
// the test binary.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// A Log is a log that goroutines write and read concurrently. The zero value is empty.
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

// String returns the whole log so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
