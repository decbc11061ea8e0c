package guard

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// The list of allowed sources alternates while requests arrive. Each request is checked against one of the lists,
// and after SetRules has returned against the new one.
func TestSetRules_DuringRequests_Effective(t *testing.T) {
	t.Parallel()
	const one, other = "203.0.113.7", "203.0.113.8"
	proxy := ranges(t, "10.0.0.1")
	lists := []Rules{{Allowed: ranges(t, one), Proxies: proxy}, {Allowed: ranges(t, other), Proxies: proxy}}
	g := quiet(Config{Rules: lists[0]})
	h := g.Allow(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	ask := func(source string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, from("10.0.0.1", source))
		return w.Code
	}
	accepted := map[int]bool{http.StatusNoContent: true}
	rejected := map[int]bool{http.StatusForbidden: true, http.StatusTooManyRequests: true}
	over := make(chan struct{})
	var asking sync.WaitGroup
	for _, source := range []string{one, other} {
		asking.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if got := ask(source); !accepted[got] && !rejected[got] {
					t.Errorf("%s is answered %d", source, got)
					return
				}
			}
		})
	}
	for i := range 100 {
		g.SetRules(lists[i%2])
		in, out := one, other
		if i%2 == 1 {
			in, out = other, one
		}
		if got := ask(in); !accepted[got] {
			t.Fatalf("change %d: %s is allowed, but answered %d", i, in, got)
		}
		if got := ask(out); !rejected[got] {
			t.Fatalf("change %d: %s is not allowed, but answered %d", i, out, got)
		}
	}
	close(over)
	asking.Wait()
}

func TestSetRules_NewRules_StateKept(t *testing.T) {
	t.Parallel()
	const failing, guessing, known, open = "203.0.113.7", "192.0.2.1", "198.51.100.7", "198.51.100.8"
	g := quiet(Config{Rules: Rules{Allowed: ranges(t, "198.51.100.0/24", "192.0.2.1")}})
	h := g.Allow(http.NotFoundHandler())
	for range 2 * maxFailures {
		h.ServeHTTP(httptest.NewRecorder(), from(failing))
		h.ServeHTTP(httptest.NewRecorder(), from("2001:db8::7"))
		g.Failed(from(guessing), "")
	}
	admitted, _ := g.arrive(known)
	g.Authenticated(from(known).WithContext(Context(t.Context(), admitted)))
	kept, _ := g.arrive(open)
	if _, reason := g.arrive(failing); reason != Banned {
		t.Fatalf("a source that is not allowed and keeps failing: %q, want banned", reason)
	}

	g.SetRules(Rules{Allowed: ranges(t, failing, "2001:db8::7", guessing), PerAddress: 1})
	for _, now := range []string{failing, "2001:db8::7"} {
		if wait := g.Failed(from(now), ""); wait != 0 {
			t.Errorf("%s, which is now allowed, must wait %v", now, wait)
		}
	}
	if wait := g.Failed(from(guessing), ""); wait == 0 {
		t.Error("the failures of a source that was allowed before are not counted any more")
	}
	for range 2 * maxFailures {
		h.ServeHTTP(httptest.NewRecorder(), from(known))
	}
	if _, reason := g.arrive(known); reason != Banned {
		t.Errorf("a source that is no longer allowed and keeps failing: %q, want banned", reason)
	}
	if n := g.Connections(); n != 2 {
		t.Errorf("%d connections are open, want the 2 from before", n)
	}
	kept.Close()

	g.SetRules(Rules{}) // all sources are allowed
	if _, reason := g.arrive(known); reason != "" {
		t.Errorf("without a list, a connection is rejected: %q", reason)
	}
}

func TestSetRules_NewLimits_Enforced(t *testing.T) {
	t.Parallel()
	g := quiet(Config{Rules: Rules{Connections: 4, PerAddress: 1}})
	first, _ := g.arrive("203.0.113.1")
	if _, reason := g.arrive("203.0.113.1"); reason != SourceLimit {
		t.Errorf("second connection: %q, want source_limit", reason)
	}
	g.SetRules(Rules{Connections: 4, PerAddress: 2})
	second, reason := g.arrive("203.0.113.1")
	if reason != "" {
		t.Errorf("with PerAddress 2 the second connection is rejected: %q", reason)
	}
	g.SetRules(Rules{Connections: 2, PerAddress: 2})
	if _, reason := g.arrive("127.0.0.1"); reason != ConnectionLimit {
		t.Errorf("with Connections 2 the third connection: %q, want connection_limit", reason)
	}
	g.SetRules(Rules{}) // the defaults
	third, reason := g.arrive("203.0.113.1")
	if reason != "" {
		t.Errorf("with the defaults the third connection is rejected: %q", reason)
	}
	for _, c := range []*conn{first, second, third} {
		c.guard.leave(c)
	}
	if n := g.Connections(); n != 0 {
		t.Errorf("%d connections are counted, want 0", n)
	}
}
