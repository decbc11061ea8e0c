// Package guardtest sends many hostile requests at once to handlers in tests.
package guardtest

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Flood sends n requests at the same time. Each has a body of size bytes, of which the last byte is not sent. When
// every request has been answered or waits for that byte, Flood calls during, and then breaks all connections. It
// returns the number of bytes that the handler had read of the waiting requests, and the number of answers by
// status. It must be called within a synctest bubble.
func Flood(
	t *testing.T, h http.Handler, n, size int, request func(i int, body io.Reader) *http.Request, during func(),
) (read int64, answers map[int]int) {
	t.Helper()
	f := flood{cut: make(chan struct{}), answers: map[int]int{}}
	var sent sync.WaitGroup
	for i := range n {
		sent.Go(func() {
			w, body := httptest.NewRecorder(), &slow{flood: &f, left: size - 1}
			h.ServeHTTP(w, request(i, body))
			f.read.Add(int64(body.left - (size - 1)))
			f.mu.Lock()
			defer f.mu.Unlock()
			f.answers[w.Code]++
		})
	}
	synctest.Wait()
	f.mu.Lock()
	read, answers = f.read.Load(), maps.Clone(f.answers)
	f.mu.Unlock()
	if during != nil {
		during()
	}
	close(f.cut)
	sent.Wait()
	return read, answers
}

type flood struct {
	cut  chan struct{}
	read atomic.Int64 // bytes read of requests that are not answered

	mu      sync.Mutex
	answers map[int]int
}

// slow is the body of one request.
type slow struct {
	flood *flood
	left  int
}

func (s *slow) Read(p []byte) (int, error) {
	if s.left == 0 {
		<-s.flood.cut
		return 0, io.ErrUnexpectedEOF
	}
	n := min(len(p), s.left)
	clear(p[:n])
	s.left -= n
	s.flood.read.Add(int64(n))
	return n, nil
}

// Address returns the address of the n-th of many sources.
func Address(n int) string { return fmt.Sprintf("203.0.%d.%d:4711", 113+n/250, n%250) }
