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
	// logEvery is the interval at which rejections are logged, in at most maxLines lines.
	logEvery = 10 * time.Second
	maxLines = 10
	// maxTallied bounds the networks that are counted separately in that time.
	maxTallied = 1024
)

// tally summarises any number of rejections in a few log lines.
type tally struct {
	log   *slog.Logger
	mu    sync.Mutex
	count map[rejection]int
	since time.Time
}

// rejection is the key of a count. The zero prefix is for all networks that are not counted separately.
type rejection struct {
	reason Reason
	from   netip.Prefix
}

func (t *tally) add(reason Reason, source netip.Addr) {
	key := rejection{reason, networkOf(source)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == nil {
		t.count, t.since = map[rejection]int{}, time.Now()
	}
	if _, ok := t.count[key]; !ok && len(t.count) >= maxTallied {
		key.from = netip.Prefix{}
	}
	t.count[key]++
}

func (t *tally) run(ctx context.Context) {
	tick := time.NewTicker(logEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			t.flush()
			return
		case <-tick.C:
			t.flush()
		}
	}
}

// flush logs the counts: the most frequent first, and the rest in one line.
func (t *tally) flush() {
	t.mu.Lock()
	count, since := t.count, t.since
	t.count = nil
	t.mu.Unlock()
	all := make([]rejection, 0, len(count))
	for r := range count {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b rejection) int { return count[b] - count[a] })
	seconds := time.Since(since).Round(time.Second)
	rest := 0
	for i, r := range all {
		if i >= maxLines-1 && len(all) > maxLines {
			rest += count[r]
			continue
		}
		from, hint := "elsewhere", slog.Attr{}
		if r.from.IsValid() {
			from = r.from.String()
		}
		if r.reason == NotAllowed && isPrivate(r.from.Addr()) {
			hint = slog.String("hint", "if this is your proxy, add it to trusted_proxies")
		}
		t.log.Warn("requests rejected", "reason", r.reason, "times", count[r], "from", from, "in", seconds, hint)
	}
	if rest > 0 {
		t.log.Warn("requests rejected", "reason", "various", "times", rest, "from", "elsewhere", "in", seconds)
	}
}
