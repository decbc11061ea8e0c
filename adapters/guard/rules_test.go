package guard

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Requests come all the time while the list goes to and fro between two neighbours: each
// is answered by one list or the other, and once the list is there, by that.
func TestRulesAreExchangedUnderRequests(t *testing.T) {
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
	let, turnedAway := map[int]bool{http.StatusNoContent: true}, map[int]bool{http.StatusForbidden: true, http.StatusTooManyRequests: true}
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
				if got := ask(source); !let[got] && !turnedAway[got] {
					t.Errorf("%s is answered %d", source, got)
					return
				}
			}
		})
	}
	for i := range 100 {
		g.Follow(lists[i%2])
		in, out := one, other
		if i%2 == 1 {
			in, out = other, one
		}
		if got := ask(in); !let[got] {
			t.Fatalf("exchange %d: %s is let in, and answered %d", i, in, got)
		}
		if got := ask(out); !turnedAway[got] {
			t.Fatalf("exchange %d: %s is not let in, and answered %d", i, out, got)
		}
	}
	close(over)
	asking.Wait()
}

func TestWhatIsRememberedOutlivesOtherRulesWhereItMakesSense(t *testing.T) {
	t.Parallel()
	const blamed, guesses, known, open = "203.0.113.7", "192.0.2.1", "198.51.100.7", "198.51.100.8"
	g := quiet(Config{Rules: Rules{Allowed: ranges(t, "198.51.100.0/24", "192.0.2.1")}})
	h := g.Allow(http.NotFoundHandler())
	for range 2 * maxFailures {
		h.ServeHTTP(httptest.NewRecorder(), from(blamed))
		h.ServeHTTP(httptest.NewRecorder(), from("2001:db8::7"))
		g.Refused(from(guesses), "")
	}
	admitted, _ := g.arrive(known)
	g.Admitted(from(known).WithContext(Context(t.Context(), admitted)))
	kept, _ := g.arrive(open)
	if _, what := g.arrive(blamed); what != Cut {
		t.Fatalf("who tries on from outside is %q", what)
	}

	g.Follow(Rules{Allowed: ranges(t, blamed, "2001:db8::7", guesses), PerAddress: 1})
	for _, now := range []string{blamed, "2001:db8::7"} {
		if wait := g.Refused(from(now), ""); wait != 0 {
			t.Errorf("%s, which may come now, is still to wait %v", now, wait)
		}
	}
	if wait := g.Refused(from(guesses), ""); wait == 0 {
		t.Error("what a source got wrong is forgotten, though it might come before and after")
	}
	for range 2 * maxFailures {
		h.ServeHTTP(httptest.NewRecorder(), from(known))
	}
	if _, what := g.arrive(known); what != Cut {
		t.Errorf("who may not come any more and goes on is %q", what)
	}
	if n := g.Connections(); n != 2 {
		t.Errorf("%d connections are open, want the 2 of before", n)
	}
	kept.Close()

	g.Follow(Rules{}) // everybody may come
	if _, what := g.arrive(known); what != "" {
		t.Errorf("with the list gone, a connection from outside of it is %q", what)
	}
}

func TestLimitsOfConnectionsFollowTheRules(t *testing.T) {
	t.Parallel()
	g := quiet(Config{Rules: Rules{Connections: 4, PerAddress: 1}})
	first, _ := g.arrive("203.0.113.1")
	if _, what := g.arrive("203.0.113.1"); what != Crowded {
		t.Errorf("a second connection is %q", what)
	}
	g.Follow(Rules{Connections: 4, PerAddress: 2})
	second, what := g.arrive("203.0.113.1")
	if what != "" {
		t.Errorf("with two allowed, the second is %q", what)
	}
	g.Follow(Rules{Connections: 2, PerAddress: 2})
	if _, what := g.arrive("127.0.0.1"); what != Full {
		t.Errorf("with two in all, the third is %q", what)
	}
	g.Follow(Rules{}) // the guard's own
	third, what := g.arrive("203.0.113.1")
	if what != "" {
		t.Errorf("with nothing said, the third is %q", what)
	}
	for _, c := range []*conn{first, second, third} {
		c.guard.leave(c)
	}
	if n := g.Connections(); n != 0 {
		t.Errorf("%d connections are left of none", n)
	}
}
