package telegramsim

import "sync"

// Stats are the counters since New, over all bots.
type Stats struct {
	Updates UpdateStats `json:"updates"`

	// Calls counts Bot API calls by method and status: "200", "429", ...; or "dropped" for a call whose
	// answer a fault dropped.
	Calls map[string]map[string]int64 `json:"calls"`

	Floods Floods `json:"floods"`
	Chats  int    `json:"chats"`
}

// UpdateStats counts the deliveries of updates to the webhooks.
type UpdateStats struct {
	Delivered int64 `json:"delivered"` // acknowledged with a 2xx
	Retried   int64 `json:"retried"`   // failed attempts that are retried
	Pending   int64 `json:"pending"`   // not acknowledged yet
	Expired   int64 `json:"expired"`   // dropped because the next retry would be after their expiry
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	out := Stats{Calls: s.calls.copy()}
	s.rates.mu.Lock()
	out.Floods = s.rates.floods
	s.rates.mu.Unlock()
	for _, b := range s.bots {
		b.mu.Lock()
		out.Chats += len(b.chats)
		b.mu.Unlock()

		h := b.hook
		h.mu.Lock()
		out.Updates.Delivered += h.delivered
		out.Updates.Retried += h.retried
		out.Updates.Pending += int64(h.pending)
		out.Updates.Expired += h.expired
		h.mu.Unlock()
	}
	return out
}

// callCounts counts calls. It stays small, because its keys are the simulated methods and statuses.
type callCounts struct {
	mu     sync.Mutex
	counts map[[2]string]int64 // method, status
}

func (c *callCounts) count(method, status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[[2]string]int64{}
	}
	c.counts[[2]string{method, status}]++
}

func (c *callCounts) copy() map[string]map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]map[string]int64{}
	for key, n := range c.counts {
		if out[key[0]] == nil {
			out[key[0]] = map[string]int64{}
		}
		out[key[0]][key[1]] = n
	}
	return out
}
