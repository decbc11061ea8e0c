package guard

import (
	"cmp"
	"net/netip"
	"slices"
)

// Rules are whom a guard lets in, and how many. They may change while it runs.
type Rules struct {
	Allowed     []netip.Prefix // who may reach what Allow wraps; empty is everybody
	Proxies     []netip.Prefix // whose X-Forwarded-For is believed
	Connections int            // open at once; 0 is 2,048. Strangers get at most half
	PerAddress  int            // open at once of one stranger; 0 is 64
}

// Follow has the guard go by other rules from the next connection and the next request
// on. No connection is closed for it: each stays what it was when it came.
//
// What is remembered stays, too, but for what came of the former rules alone: who may
// come only now is not blamed for having tried before, and for who may not come any more
// it does not count that it once named a right secret.
func (g *Guard) Follow(now Rules) {
	now.Connections, now.PerAddress = cmp.Or(now.Connections, maxConnections), cmp.Or(now.PerAddress, maxPerAddress)
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.rules.Swap(&now)
	if before == nil {
		return
	}
	for _, source := range g.failing.Keys() {
		if now.admit(source) && !before.admit(source) {
			g.failing.Remove(source)
		}
	}
	for _, source := range g.known.Keys() {
		if !now.admit(source) {
			g.known.Remove(source)
		}
	}
}

// admit tells whether a source, or a part of it, may come, be it for others.
func (r *Rules) admit(source netip.Addr) bool {
	named := func(named netip.Prefix) bool { return named.Overlaps(wholeOf(source)) }
	return len(r.Allowed) == 0 || slices.ContainsFunc(r.Allowed, named) || slices.ContainsFunc(r.Proxies, named)
}
