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

// wakes is a wake for each of several names: bots, of which there are few.
type wakes struct {
	mu     sync.Mutex
	byName map[string]*wake
}

func newWakes() *wakes { return &wakes{byName: map[string]*wake{}} }

func (ws *wakes) of(name string) *wake {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.byName[name]
	if w == nil {
		w = newWake()
		ws.byName[name] = w
	}
	return w
}

// all wakes everybody, by whatever name.
func (ws *wakes) all() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.byName {
		w.all()
	}
}
