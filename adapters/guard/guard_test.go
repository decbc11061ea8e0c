package guard

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// from returns a request over a connection from an address.
func from(address string, forwarded ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhook/demo", nil)
	r.RemoteAddr = address + ":4711"
	if strings.Contains(address, ":") {
		r.RemoteAddr = "[" + address + "]:4711"
	}
	if forwarded != nil {
		r.Header["X-Forwarded-For"] = forwarded
	}
	return r
}

func quiet(c Config) *Guard {
	c.Log = slog.New(slog.DiscardHandler)
	return New(c)
}

// arrive makes a connection from an address. It returns the reason if the guard rejects it.
func (g *Guard) arrive(address string) (*conn, Reason) {
	c := &conn{Conn: &net.TCPConn{}, guard: g, peer: normalize(netip.MustParseAddr(address))}
	c.source = sourceOf(c.peer)
	return c, g.enter(c)
}

func ranges(t testing.TB, words ...string) []netip.Prefix {
	t.Helper()
	parsed, err := ParseRanges(words)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestAddress_TrustedProxies_LastUntrustedHop(t *testing.T) {
	t.Parallel()
	g := quiet(Config{Rules: Rules{Proxies: ranges(t, "10.0.0.0/8", "127.0.0.1", "2001:db8:ffff::/48")}})
	long := strings.Repeat("10.0.0.2, ", 2*maxHops) + "10.0.0.2"
	for _, c := range []struct {
		name      string
		peer      string
		forwarded []string
		want      string
	}{
		{"no proxy", "203.0.113.7", nil, "203.0.113.7"},
		{"an untrusted client with the header", "203.0.113.7", []string{"149.154.160.1"}, "203.0.113.7"},
		{"one proxy", "10.0.0.1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"a forged entry before the proxy's", "10.0.0.1", []string{"149.154.160.1, 203.0.113.7"}, "203.0.113.7"},
		{"a forged header line", "10.0.0.1", []string{"149.154.160.1", "203.0.113.7"}, "203.0.113.7"},
		{"two proxies", "127.0.0.1", []string{"149.154.160.1, 203.0.113.7,10.9.9.9"}, "203.0.113.7"},
		{"two proxies, each with a line", "127.0.0.1", []string{"203.0.113.7", "10.9.9.9"}, "203.0.113.7"},
		{"a proxy without the header", "10.0.0.1", nil, "10.0.0.1"},
		{"an empty header", "10.0.0.1", []string{""}, "10.0.0.1"},
		{"an unreadable entry", "10.0.0.1", []string{"203.0.113.7, unknown"}, "10.0.0.1"},
		{"an unreadable entry further left", "10.0.0.1", []string{"<script>, 203.0.113.7"}, "203.0.113.7"},
		{"only proxies", "10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"a chain longer than the limit", "10.0.0.1", []string{"203.0.113.7, " + long}, "10.0.0.2"},
		{"a port", "10.0.0.1", []string{"203.0.113.7:5000"}, "203.0.113.7"},
		{"IPv6 with a port", "10.0.0.1", []string{"[2001:db8::1]:5000"}, "2001:db8::1"},
		{"IPv6 in brackets", "10.0.0.1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"an IPv4-mapped proxy", "::ffff:10.0.0.1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"an IPv4-mapped client", "10.0.0.1", []string{"::ffff:203.0.113.7"}, "203.0.113.7"},
		{"an IPv6 proxy", "2001:db8:ffff::1", []string{"203.0.113.7"}, "203.0.113.7"},
		{"an address with a zone", "fe80::1%eth0", nil, "fe80::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := g.rules.Load().address(from(c.peer, c.forwarded...)); got.String() != c.want {
				t.Errorf("address = %v, want %s", got, c.want)
			}
		})
	}
}

func TestParseRanges_WordsAndAddresses_Parsed(t *testing.T) {
	t.Parallel()
	list := ranges(t, "telegram", "203.0.113.7", "2001:db8::5/32")
	for address, want := range map[string]bool{
		"149.154.160.0": true, "149.154.175.255": true, "149.154.176.0": false, "91.108.4.0": true, "91.108.7.255": true,
		"91.108.8.0": false, "203.0.113.7": true, "203.0.113.8": false, "2001:db8:1::": true, "2001:db9::": false,
	} {
		if got := contains(list, netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	for _, wrong := range []string{"", "Telegram", "10.0.0.0/33", "example.com", "::ffff:10.0.0.0/104",
		"10.0.0.0-10.0.0.9", "fe80::1%eth0"} {
		if _, err := ParseRanges([]string{wrong}); err == nil ||
			!strings.Contains(err.Error(), fmt.Sprintf("%q", wrong)) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// A source that keeps failing gets 401, then 429, and then its connections are closed. After banFor it can send
// requests again. Its neighbour is not affected.
func TestGuard_RepeatedFailures_LimitedThenBanned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := quiet(Config{})
		for i := range 2 * maxFailures {
			wait := g.Failed(from("203.0.113.7"), "")
			if limited := i >= maxFailures; (wait > 0) != limited {
				t.Fatalf("failure %d: wait %v", i+1, wait)
			}
			if _, reason := g.arrive("203.0.113.7"); i < 2*maxFailures-1 && reason != "" {
				t.Fatalf("after %d failures a connection is rejected: %s", i+1, reason)
			}
		}
		if _, reason := g.arrive("203.0.113.7"); reason != Banned {
			t.Errorf("connection after the ban: %q, want banned", reason)
		}
		if _, reason := g.arrive("203.0.113.8"); reason != "" {
			t.Errorf("connection of another source rejected: %q", reason)
		}
		if wait := g.Failed(from("203.0.113.8"), ""); wait != 0 {
			t.Errorf("another source must wait %v", wait)
		}
		time.Sleep(banFor)
		if _, reason := g.arrive("203.0.113.7"); reason != "" {
			t.Errorf("connection after the end of the ban rejected: %q", reason)
		}
		if wait := g.Failed(from("203.0.113.7"), ""); wait != 0 {
			t.Errorf("after the end of the ban the source must wait %v", wait)
		}
	})
}

func TestServerLog_FailedHandshakes_SourceBanned(t *testing.T) {
	t.Parallel()
	g := quiet(Config{})
	for range 2 * maxFailures {
		g.ServerLog().Print("http: TLS handshake error from [2001:db8::1]:4711: EOF")
	}
	if _, reason := g.arrive("2001:db8::2"); reason != Banned {
		t.Errorf("next connection: %q, want banned", reason)
	}
}

// The addresses of an IPv6 /64 count as one source: it belongs to one customer, who may use any of them.
func TestGuard_IPv6Failures_NetworkBanned(t *testing.T) {
	t.Parallel()
	g := quiet(Config{})
	for i := range 2 * maxFailures {
		g.Failed(from(fmt.Sprintf("2001:db8::%x", i+1)), "")
	}
	if _, reason := g.arrive("2001:db8::ffff"); reason != Banned {
		t.Errorf("another address of the network: %q, want banned", reason)
	}
	if _, reason := g.arrive("2001:db8:0:1::1"); reason != "" {
		t.Errorf("an address of the next network: %q, want no rejection", reason)
	}
	if got := networkOf(netip.MustParseAddr("2001:db8:1:2::1")).String(); got != "2001:db8:1::/48" {
		t.Errorf("network in the log: %s, want 2001:db8:1::/48", got)
	}
}

// An address that many clients share is never banned. Anyone can make Telegram send requests to a webhook
// address, and a proxy forwards the requests of all its clients.
func TestGuard_SharedAddress_NeverBanned(t *testing.T) {
	t.Parallel()
	g := quiet(Config{Rules: Rules{
		Proxies: ranges(t, "198.51.100.1"), Allowed: ranges(t, "192.0.2.0/24"), PerAddress: 1,
	}})
	for _, peer := range []string{"149.154.160.9", "198.51.100.1", "192.0.2.1", "127.0.0.1", "10.1.2.3", "::1",
		"fd00::1"} {
		limited := false
		for range 3 * maxFailures {
			limited = g.Failed(from(peer), "") > 0
		}
		if !limited {
			t.Errorf("%s does not get 429", peer)
		}
		for range 3 {
			if _, reason := g.arrive(peer); reason != "" {
				t.Errorf("connection from %s rejected: %s", peer, reason)
			}
		}
	}
}

func TestGuard_AuthenticatedSource_NotBanned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := quiet(Config{})
		c, _ := g.arrive("203.0.113.7")
		r := from("203.0.113.7")
		r = r.WithContext(Context(r.Context(), c))
		g.Authenticated(r)
		for range 3 * maxFailures {
			g.Failed(r, "")
		}
		if _, reason := g.arrive("203.0.113.7"); reason != "" {
			t.Errorf("connection of a known source rejected: %s", reason)
		}
		time.Sleep(knownFor)
		for range 3 * maxFailures {
			g.Failed(r, "")
		}
		if _, reason := g.arrive("203.0.113.7"); reason != Banned {
			t.Errorf("after knownFor: %q, want banned", reason)
		}
	})
}

func TestListener_ConnectionLimits_Enforced(t *testing.T) {
	t.Parallel()
	g := quiet(Config{Rules: Rules{Connections: 6, PerAddress: 2}})
	want := func(address string, want Reason) *conn {
		t.Helper()
		c, reason := g.arrive(address)
		if reason != want {
			t.Errorf("connection from %s: rejected as %q, want %q", address, reason, want)
		}
		return c
	}
	first := want("203.0.113.1", "")
	want("203.0.113.1", "")
	want("203.0.113.1", SourceLimit)
	want("203.0.113.2", "")
	want("203.0.113.3", ConnectionLimit) // untrusted sources get at most half
	for range 3 {
		want("149.154.160.9", "")
	}
	want("149.154.160.9", ConnectionLimit)
	first.Close()
	first.Close() // a second time, as net/http may do
	want("203.0.113.3", "")
	if n := g.Connections(); n != 6 {
		t.Errorf("%d connections are counted, want 6", n)
	}
}

func TestGuard_ManySources_MemoryBounded(t *testing.T) {
	t.Parallel()
	g := quiet(Config{})
	for i := range 3 * maxSources {
		source := netip.AddrFrom4([4]byte{203, byte(i >> 16), byte(i >> 8), byte(i)}).String()
		g.Failed(from(source), "demo")
		if c, reason := g.arrive(source); reason == "" {
			g.leave(c)
		}
	}
	if g.failing.Len() != maxSources || len(g.open) != 0 || g.untrusted != 0 || len(g.patterns) != 1 ||
		len(g.tally.count) > maxTallied+1 {
		t.Errorf("%d failing, %d open, %d untrusted, %d patterns, %d tallied", g.failing.Len(), len(g.open), g.untrusted,
			len(g.patterns), len(g.tally.count))
	}
}

// guesses records the reported series of wrong secrets.
type guesses struct{ reported *[]string }

func (guesses) Rejected(Reason) {}

func (g guesses) SecretGuessed(bot string, source netip.Prefix) {
	*g.reported = append(*g.reported, bot+" "+source.String())
}

func TestGuard_ManyWrongSecrets_ReportedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var reported []string
		g := quiet(Config{Observer: guesses{&reported}})
		guess := func(times int) {
			for i := range times { // each from another source
				g.Failed(from(fmt.Sprintf("203.0.%d.7", i)), "demo")
			}
		}
		guess(maxGuesses - 1)
		g.Failed(from("203.0.113.7"), "")
		g.Failed(from("203.0.113.7"), "other")
		if reported != nil {
			t.Errorf("reported %q too early", reported)
		}
		guess(3 * maxGuesses)
		time.Sleep(guessWindow / 2)
		guess(3 * maxGuesses)
		if got := fmt.Sprint(reported); got != "[demo 203.0.0.0/24]" {
			t.Errorf("reported %s", got)
		}
		time.Sleep(2 * guessWindow)
		guess(maxGuesses)
		if len(reported) != 2 {
			t.Errorf("after the next series, reported %q, want two reports", reported)
		}
	})
}

func TestAllow_SourceNotListed_Forbidden(t *testing.T) {
	t.Parallel()
	g := quiet(Config{Rules: Rules{Allowed: ranges(t, "telegram"), Proxies: ranges(t, "10.0.0.1")}})
	h := g.Allow(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	ask := func(r *http.Request) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, c := range []struct {
		r    *http.Request
		want int
	}{
		{from("149.154.167.220"), http.StatusNoContent},
		{from("::ffff:149.154.167.220"), http.StatusNoContent},
		{from("10.0.0.1", "149.154.167.220"), http.StatusNoContent},
		{from("203.0.113.7"), http.StatusForbidden},
		{from("203.0.113.7", "149.154.167.220"), http.StatusForbidden},
		{from("10.0.0.1", "149.154.167.220, 203.0.113.7"), http.StatusForbidden},
		{from("10.0.0.1"), http.StatusForbidden},
	} {
		if got := ask(c.r).Code; got != c.want {
			t.Errorf("%s %q: %d, want %d", c.r.RemoteAddr, c.r.Header, got, c.want)
		}
	}
	for range maxFailures {
		ask(from("203.0.113.7"))
	}
	if w := ask(from("203.0.113.7")); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "60" {
		t.Errorf("after maxFailures: %d, Retry-After %s; want 429 and 60", w.Code, w.Header().Get("Retry-After"))
	}
}

// If a proxy is missing in trusted_proxies, all requests seem to come from a private network. Then the log has a
// hint.
func TestAllow_UntrustedProxy_HintInLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g := New(Config{Rules: Rules{Allowed: Telegram}, Log: slog.New(slog.NewTextHandler(&out, nil))})
	g.Allow(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), from("10.0.0.1", "149.154.167.220"))
	g.tally.flush()
	if !strings.Contains(out.String(), "trusted_proxies") {
		t.Error(out.String())
	}
}

func FuzzAddress_ForgedHeader_Ignored(f *testing.F) {
	for _, seed := range []string{"", "149.154.160.1", "149.154.160.1, 10.0.0.1", ",,,", "[::1]:80, ::ffff:1.2.3.4",
		strings.Repeat("10.0.0.1,", 100)} {
		f.Add(seed)
	}
	proxies, err := ParseRanges([]string{"10.0.0.0/8"})
	if err != nil {
		f.Fatal(err)
	}
	g := quiet(Config{Rules: Rules{Proxies: proxies}})
	f.Fuzz(func(t *testing.T, forged string) {
		const real = "203.0.113.7"
		for _, forwarded := range [][]string{{forged + "," + real}, {forged, real}, {forged + ", " + real + ", 10.0.0.9"}} {
			if got := g.rules.Load().address(from("10.0.0.1", forwarded...)); got.String() != real {
				t.Errorf("%q: %v", forwarded, got)
			}
		}
		if got := g.rules.Load().address(from(real, forged)); got.String() != real {
			t.Errorf("header %q of an untrusted client: %v", forged, got)
		}
	})
}

func TestRun_ManyRejections_FewLogLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		g := New(Config{Log: slog.New(slog.NewTextHandler(&out, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); g.Run(ctx) }()
		for i := range 3112 {
			g.note(Unauthorized, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}))
		}
		for range 100 {
			g.ServerLog().Print("http: TLS handshake error from 192.0.2.7:4711: EOF")
		}
		for i := range 2 * maxTallied {
			g.note(RateLimited, netip.AddrFrom4([4]byte{198, byte(i >> 8), byte(i), 1}))
		}
		time.Sleep(logEvery)
		cancel()
		<-done
		said := out.String()
		if n := strings.Count(said, "\n"); n > maxLines+1 {
			t.Errorf("%d lines:\n%s", n, said)
		}
		for _, line := range []string{
			"reason=unauthorized times=3112 from=203.0.113.0/24 in=10s",
			`reason=various`, "reason=rate_limited times=1026 from=elsewhere",
			"reason=tls_failed times=100 from=192.0.2.0/24",
		} {
			if !strings.Contains(said, line) {
				t.Errorf("%q is missing in\n%s", line, said)
			}
		}
		g.ServerLog().Print("http: panic serving [2001:db8::1]:4711: what a customer: wrote\n" +
			"goroutine 7 [running]:\nin some.go")
		g.ServerLog().Print("http: panic serving 192.0.2.7:4711: runtime error: index out of range [3] with length 3\n" +
			"goroutine 8 [running]:\nin another.go")
		said = out.String()
		for _, part := range []string{"level=ERROR", "[2001:db8::1]:4711", "in some.go", "index out of range [3]",
			"in another.go"} {
			if !strings.Contains(said, part) {
				t.Errorf("%q is missing in the log of panics: %s", part, said)
			}
		}
		if strings.Contains(said, "wrote") {
			t.Errorf("the log contains the panic value: %s", said)
		}
	})
}
