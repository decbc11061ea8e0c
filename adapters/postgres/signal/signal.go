// Package signal lets goroutines of one process wait until there may be something to do.
package signal

import "sync"

// Signal notifies all goroutines that wait for it. A goroutine that took the channel before a
// notification sees it, even if it was not waiting then.
type Signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// New returns a signal.
func New() *Signal { return &Signal{ch: make(chan struct{})} }

// Next returns a channel that is closed at the next notification. Take it before looking for work, and
// wait on it if there was none.
func (s *Signal) Next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

// Notify wakes all goroutines that wait.
func (s *Signal) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}

// Keyed is a signal for each of a few keys, such as bots.
type Keyed struct {
	mu    sync.Mutex
	byKey map[string]*Signal
}

// NewKeyed returns signals by key.
func NewKeyed() *Keyed { return &Keyed{byKey: map[string]*Signal{}} }

// Of returns the signal of a key.
func (k *Keyed) Of(key string) *Signal {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.byKey[key]
	if s == nil {
		s = New()
		k.byKey[key] = s
	}
	return s
}

// NotifyAll notifies the signals of all keys.
func (k *Keyed) NotifyAll() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.byKey {
		s.Notify()
	}
}
