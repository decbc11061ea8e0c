package guard

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// The list of allowed sources alternates while requests arrive. Each request is judged by
// one list or the other, and by the new one once SetRules has returned.
func TestSetRules_UnderRequests_Effective(t *testing.T) {
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
	let, rejected := map[int]bool{
		http.StatusNoContent: true,
	}, map[int]bool{
		http.StatusForbidden:       true,
		http.StatusTooManyRequests: true,
	}
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
				if got := ask(source); !let[got] && !rejected[got] {
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
		if got := ask(in); !let[got] {
			t.Fatalf("change %d: %s is let in, and answered %d", i, in, got)
		}
		if got := ask(out); !rejected[got] {
			t.Fatalf("change %d: %s is not let in, and answered %d", i, out, got)
		}
	}
	close(over)
	asking.Wait()
}

func TestSetRules_NewRules_StateKept(t *testing.T) {
	t.Parallel()
	const blamed, guesses, known, open = "203.0.113.7", "192.0.2.1", "198.51.100.7", "198.51.100.8"
	g := quiet(Config{Rules: Rules{Allowed: ranges(t, "198.51.100.0/24", "192.0.2.1")}})
	h := g.Allow(http.NotFoundHandler())
	for range 2 * maxFailures {
		h.ServeHTTP(httptest.NewRecorder(), from(blamed))
		h.ServeHTTP(httptest.NewRecorder(), from("2001:db8::7"))
		g.Failed(from(guesses), "")
	}
	admitted, _ := g.arrive(known)
	g.Authenticated(from(known).WithContext(Context(t.Context(), admitted)))
	kept, _ := g.arrive(open)
	if _, reason := g.arrive(blamed); reason != Banned {
		t.Fatalf("a source outside of the list that keeps trying is %q", reason)
	}

	g.SetRules(Rules{Allowed: ranges(t, blamed, "2001:db8::7", guesses), PerAddress: 1})
	for _, now := range []string{blamed, "2001:db8::7"} {
		if wait := g.Failed(from(now), ""); wait != 0 {
			t.Errorf("%s, which is allowed now, must still wait %v", now, wait)
		}
	}
	if wait := g.Failed(from(guesses), ""); wait == 0 {
		t.Error("the failures of a source allowed before and after are forgotten")
	}
	for range 2 * maxFailures {
		h.ServeHTTP(httptest.NewRecorder(), from(known))
	}
	if _, reason := g.arrive(known); reason != Banned {
		t.Errorf("a source that is no longer allowed and keeps trying is %q", reason)
	}
	if n := g.Connections(); n != 2 {
		t.Errorf("%d connections are open, want the 2 of before", n)
	}
	kept.Close()

	g.SetRules(Rules{}) // all sources are allowed
	if _, reason := g.arrive(known); reason != "" {
		t.Errorf("with the list gone, a connection from outside of it is %q", reason)
	}
}

func TestSetRules_NewLimits_Enforced(t *testing.T) {
	t.Parallel()
	g := quiet(Config{Rules: Rules{Connections: 4, PerAddress: 1}})
	first, _ := g.arrive("203.0.113.1")
	if _, reason := g.arrive("203.0.113.1"); reason != SourceLimit {
		t.Errorf("a second connection is %q", reason)
	}
	g.SetRules(Rules{Connections: 4, PerAddress: 2})
	second, reason := g.arrive("203.0.113.1")
	if reason != "" {
		t.Errorf("with two allowed, the second is %q", reason)
	}
	g.SetRules(Rules{Connections: 2, PerAddress: 2})
	if _, reason := g.arrive("127.0.0.1"); reason != ConnectionLimit {
		t.Errorf("with two in all, the third is %q", reason)
	}
	g.SetRules(Rules{}) // the defaults
	third, reason := g.arrive("203.0.113.1")
	if reason != "" {
		t.Errorf("with the defaults, the third is %q", reason)
	}
	for _, c := range []*conn{first, second, third} {
		c.guard.leave(c)
	}
	if n := g.Connections(); n != 0 {
		t.Errorf("%d connections are left of none", n)
	}
}
