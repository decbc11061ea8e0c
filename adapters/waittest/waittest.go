// Package waittest helps to test other goroutines, processes and database sessions: it waits until a
// condition holds, and collects logs.
package waittest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// Timeout limits every wait, and whole workloads. With the race detector on a busy machine, folding a thousand
// chats takes more than a minute. A test that hangs still fails, under its name, before the test binary times
// out.
const Timeout = 4 * time.Minute

// look is the interval of Until.
const look = 2 * time.Millisecond

// Until waits until ok returns true. It fails the test after Timeout.
func Until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for deadline := time.After(Timeout); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, Timeout)
		}
	}
}

// Context returns the test's context with Timeout, which is shorter than the timeout of the test binary.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	t.Cleanup(cancel)
	return ctx
}

// A Log is a buffer for logs that is safe for concurrent use. The zero value is empty.
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
