package guard

import (
	"cmp"
	"net/netip"
	"slices"
)

// Rules define which sources a guard accepts, and how many connections. They can be changed while the guard runs.
type Rules struct {
	Allowed     []netip.Prefix // sources that Allow accepts; empty means all
	Proxies     []netip.Prefix // proxies whose X-Forwarded-For is trusted
	Connections int            // maximum of open connections; 0 means 2,048. Untrusted ones get at most half
	PerAddress  int            // maximum of open connections of one untrusted source; 0 means 64
}

// SetRules replaces the rules for all further connections and requests. Open connections
// stay open, and stay trusted or untrusted as they were when they were accepted.
//
// The guard keeps its counts, with two exceptions: it removes the failures of sources that only the new rules
// allow, and sources that the new rules do not allow are no longer known.
func (g *Guard) SetRules(now Rules) {
	now.Connections = cmp.Or(now.Connections, maxConnections)
	now.PerAddress = cmp.Or(now.PerAddress, maxPerAddress)
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

// admit reports whether the rules allow requests of a source, or of a part of its network, as a client or as a
// proxy.
func (r *Rules) admit(source netip.Addr) bool {
	named := func(named netip.Prefix) bool { return named.Overlaps(wholeOf(source)) }
	return len(r.Allowed) == 0 || slices.ContainsFunc(r.Allowed, named) || slices.ContainsFunc(r.Proxies, named)
}
