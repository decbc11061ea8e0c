package guard

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/chatledger/chatledger/adapters/guard/guardtest"
)

// A source behind a trusted proxy may have as many concurrent requests as it could have connections without the
// proxy. Telegram, allowed sources, sources that have sent a valid secret, and the proxy's own requests have no
// such limit.
func TestBehindProxy_OpenRequests_Limited(t *testing.T) {
	t.Parallel()
	const all = 100
	for source, want := range map[string]int{
		"203.0.113.7": all - 8, "2001:db8::7": all - 8, "149.154.160.1": 0, "198.51.100.7": 0, "192.0.2.1": 0, "": 0,
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := quiet(Config{Rules: Rules{
					Proxies: ranges(t, "10.0.0.1"), Allowed: ranges(t, "198.51.100.0/24"), PerAddress: 8,
				}})
				g.Authenticated(from("10.0.0.1", "192.0.2.1"))
				h := g.BehindProxies(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.ReadAll(r.Body) }))
				request := func(_ int, body io.Reader) *http.Request {
					r := from("10.0.0.1", source)
					if source == "" {
						r = from("10.0.0.1")
					}
					r.Body = io.NopCloser(body)
					return r
				}
				other := func() {
					r := from("10.0.0.1", "203.0.113.8")
					once := func(int, io.Reader) *http.Request { return r }
					if _, answers := guardtest.Flood(t, h, 1, 1, once, nil); answers[200] != 1 {
						t.Errorf("another source is answered %v, want 200", answers)
					}
				}
				_, answers := guardtest.Flood(t, h, all, 10, request, other)
				if answers[http.StatusTooManyRequests] != want {
					t.Errorf("answered %v, want %d times 429", answers, want)
				}
				if len(g.behind) > 0 {
					t.Errorf("requests are still counted: %v", g.behind)
				}
			})
		})
	}
}
