package postgres

import "sync"

// wake tells everybody who waits that there may be something to do. A signal
// given while nobody waits is seen by the next who looks at the channel taken before.
type wake struct {
	mu sync.Mutex
	ch chan struct{}
}

func newWake() *wake { return &wake{ch: make(chan struct{})} }

// next is a channel that is closed at the next signal. Take it before looking,
// then wait on it if there was nothing.
func (w *wake) next() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ch
}

// all wakes everybody.
func (w *wake) all() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.ch)
	w.ch = make(chan struct{})
}
