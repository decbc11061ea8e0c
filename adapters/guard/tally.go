package guard

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// tellEvery is how often refusals are told of, and maxTold in how many lines at most.
	tellEvery = 10 * time.Second
	maxTold   = 10
	// maxTallied bounds how many networks are told apart until then.
	maxTallied = 1024
)

// tally turns a flood of refusals into a few log lines.
type tally struct {
	log   *slog.Logger
	mu    sync.Mutex
	count map[refusal]int
	since time.Time
}

// refusal is what is counted together. The zero prefix stands for all networks that
// are not told apart.
type refusal struct {
	what What
	from netip.Prefix
}

func (t *tally) add(what What, source netip.Addr) {
	key := refusal{what, networkOf(source)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == nil {
		t.count, t.since = map[refusal]int{}, time.Now()
	}
	if _, ok := t.count[key]; !ok && len(t.count) >= maxTallied {
		key.from = netip.Prefix{}
	}
	t.count[key]++
}

func (t *tally) run(ctx context.Context) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.tell()
			return
		case <-tick.C:
			t.tell()
		}
	}
}

// tell writes what was counted: the most frequent first, the rest as one.
func (t *tally) tell() {
	t.mu.Lock()
	count, since := t.count, t.since
	t.count = nil
	t.mu.Unlock()
	all := make([]refusal, 0, len(count))
	for r := range count {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b refusal) int { return count[b] - count[a] })
	seconds := time.Since(since).Round(time.Second)
	rest := 0
	for i, r := range all {
		if i >= maxTold-1 && len(all) > maxTold {
			rest += count[r]
			continue
		}
		from, hint := "elsewhere", slog.Attr{}
		if r.from.IsValid() {
			from = r.from.String()
		}
		if r.what == Outside && inside(r.from.Addr()) {
			hint = slog.String("hint", "if this is your proxy, name it under trusted_proxies")
		}
		t.log.Warn("turned away", "what", r.what, "times", count[r], "from", from, "in", seconds, hint)
	}
	if rest > 0 {
		t.log.Warn("turned away", "what", "various", "times", rest, "from", "elsewhere", "in", seconds)
	}
}
