package guard

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkAuthenticated measures the cost that the guard adds to a request with a valid secret.
func BenchmarkAuthenticated(b *testing.B) {
	for name, c := range map[string]Config{
		"without a list":   {},
		"from Telegram":    {Rules: Rules{Allowed: Telegram}},
		"through a proxy":  {Rules: Rules{Allowed: Telegram, Proxies: ranges(b, "10.0.0.0/8")}},
		"without a guard ": {},
	} {
		b.Run(name, func(b *testing.B) {
			g := quiet(c)
			var h http.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { g.Authenticated(r) })
			r := from("149.154.167.220")
			if len(c.Proxies) > 0 {
				r = from("10.0.0.1", "149.154.167.220")
			}
			if name == "without a guard " {
				h = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			}
			h = g.Allow(h)
			accepted, _ := g.arrive(peerOf(r).String())
			ctx := Context(context.Background(), net.Conn(accepted))
			r = r.WithContext(context.WithValue(ctx, http.ServerContextKey, nil))
			w := httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}
