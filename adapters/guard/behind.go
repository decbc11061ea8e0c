package guard

import (
	"net/http"
	"net/netip"
	"time"
)

// BehindProxies limits the concurrent requests of a source behind a trusted proxy, to the number of connections
// that an untrusted source without a proxy may have. Requests without a proxy are not limited here: their
// connections are counted when they are accepted.
func (g *Guard) BehindProxies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rules := g.rules.Load()
		if !contains(rules.Proxies, peerOf(r)) {
			next.ServeHTTP(w, r)
			return
		}
		source := sourceOf(rules.address(r))
		if rules.shared(source) { // including requests of the proxy itself
			next.ServeHTTP(w, r)
			return
		}
		if !g.begin(source, rules.PerAddress) {
			g.note(SourceLimit, source)
			w.Header().Set("Retry-After", Seconds(busyFor))
			w.Header().Set("Connection", "close") // the body stays unread
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		defer g.end(source)
		next.ServeHTTP(w, r)
	})
}

// begin counts a request of a source. It returns false if the source has too many and has not recently sent a
// valid secret.
func (g *Guard) begin(source netip.Addr, most int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.behind[source] >= most && !g.knows(source, time.Now()) {
		return false
	}
	g.behind[source]++
	return true
}

func (g *Guard) end(source netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.behind[source]--; g.behind[source] == 0 {
		delete(g.behind, source)
	}
}
