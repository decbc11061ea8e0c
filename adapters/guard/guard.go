// Package guard protects the HTTP listeners against abuse. It determines the source address of a
// request, counts failed requests for each source, and rejects the sources that keep failing: first with
// 401, then with 429, and finally by closing their connections. All its state is bounded.
//
// The guard never limits a request that carries a valid secret. An endpoint checks the
// secret first and reports the outcome to the guard. A valid request therefore costs
// almost nothing here, and other clients behind the same address cannot block it.
package guard

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

const (
	// maxFailures is the number of failed requests that a source may make in failureWindow before it
	// gets 429, and the number of 429 answers before its connections are closed. An administrator who
	// corrects a setting makes fewer attempts.
	maxFailures   = 20
	failureWindow = time.Minute
	// banFor is how long connections of a source are closed. It is also the Retry-After of
	// a 429.
	banFor = time.Minute
	// maxSources bounds the number of failing sources, some 300 bytes each. The source whose last
	// failure is the oldest is dropped first.
	maxSources = 4096
	// maxKnown bounds the number of known sources, which are those that sent a valid secret. Only
	// authenticated clients can become known.
	maxKnown = 1024
	// knownFor is how long a known source is exempt from bans: as long as Telegram retries an update.
	knownFor = 24 * time.Hour
	// knownEvery is how often a connection refreshes that exemption.
	knownEvery = time.Minute
)

// Config configures a guard. With only a Log, it limits failing sources and trusts no proxy.
type Config struct {
	Rules
	Log      *slog.Logger
	Observer Observer // may be nil
}

// Observer is notified of rejections. Its methods must not block.
type Observer interface {
	// Rejected is called for every rejected request or connection.
	Rejected(Reason)
	// SecretGuessed is called once for each series of wrong secrets for a bot, with the network of the
	// last source.
	SecretGuessed(bot string, source netip.Prefix)
}

// Limiter takes the result of each request's authentication. *Guard implements it; the
// endpoints depend on this interface so that their tests need no guard.
type Limiter interface {
	// Authenticated reports a request with a valid secret.
	Authenticated(*http.Request)
	// Failed reports a request without a valid secret. It returns 0, or how long the source must wait:
	// then the endpoint answers 429 with Retry-After. bot is the bot whose secret was wrong, or "".
	Failed(r *http.Request, bot string) (wait time.Duration)
	// Limited returns how long the source of a request must wait because it has failed too often, and
	// counts another failure in that case. Endpoints call it before an expensive check. It returns 0 for
	// a known source.
	Limited(r *http.Request) (wait time.Duration)
}

// Admitter is a Limiter for endpoints whose requests are authenticated by a signature of the body. Admit is
// called before the body is read. *Guard implements it.
type Admitter interface {
	Limiter
	// Admit returns the unverified body of a request, or how long its source must wait. endpoint is a
	// configured name.
	Admit(r *http.Request, endpoint string) (body *Body, wait time.Duration)
}

// Reason is the reason for rejecting a request or connection. The set is small, so that it can be a metric
// label.
type Reason string

// Reasons. The last four close a connection before a request is read.
const (
	Unauthorized    Reason = "unauthorized"     // 401, 404 or 405: wrong secret, bot or method
	RateLimited     Reason = "rate_limited"     // 429
	NotAllowed      Reason = "not_allowed"      // 403: the address is not in allowed_sources
	BodyLimit       Reason = "body_limit"       // 503: too many bytes of unverified bodies
	Banned          Reason = "banned"           // closed: the source failed too often
	SourceLimit     Reason = "source_limit"     // closed, or 429 behind a proxy: too many from one address
	ConnectionLimit Reason = "connection_limit" // closed: too many connections in all
	TLSFailed       Reason = "tls_failed"       // closed: the TLS handshake failed
)

// Guard tracks sources. A source is an IPv4 address or an IPv6 /64 network: network providers assign a /64 to
// one customer.
type Guard struct {
	config Config // except its rules
	rules  atomic.Pointer[Rules]
	tally  tally

	mu         sync.Mutex
	failing    *simplelru.LRU[netip.Addr, *failures]
	known      *simplelru.LRU[netip.Addr, time.Time] // time of the last valid secret
	patterns   map[string]*pattern                   // by bot
	open       map[netip.Addr]int                    // untrusted connections by source
	unverified unverified
	behind     map[netip.Addr]int // requests of untrusted sources behind proxies
	total      int                // all connections
	untrusted  int                // sum of open
}

// failures counts the failed requests of one source.
type failures struct {
	bucket      *rate.Limiter
	limited     int // consecutive 429 answers
	bannedUntil time.Time
}

// New returns a guard. The caller must call Run to have rejections logged.
func New(c Config) *Guard {
	g := &Guard{
		config:     c,
		tally:      tally{log: c.Log},
		patterns:   map[string]*pattern{},
		open:       map[netip.Addr]int{},
		behind:     map[netip.Addr]int{},
		unverified: unverified{endpoints: map[string]int{}, sources: map[netip.Addr]int{}},
	}
	var err error
	if g.failing, err = simplelru.NewLRU[netip.Addr, *failures](maxSources, nil); err != nil {
		panic(err)
	}
	if g.known, err = simplelru.NewLRU[netip.Addr, time.Time](maxKnown, nil); err != nil {
		panic(err)
	}
	g.SetRules(c.Rules)
	return g
}

// Run logs a summary of the rejections at regular intervals until ctx is cancelled. The
// number of log lines does not depend on the number of rejections.
func (g *Guard) Run(ctx context.Context) { g.tally.run(ctx) }

// Authenticated implements Limiter: the source of the request is exempt from bans for a while.
func (g *Guard) Authenticated(r *http.Request) {
	now := time.Now()
	// A proxy's connection has requests of many sources. Telegram's addresses are not remembered: it
	// sends most of the requests, and none of them to an endpoint that calls Limited.
	if rules := g.rules.Load(); contains(rules.Proxies, peerOf(r)) {
		if address := rules.address(r); !contains(Telegram, address) {
			g.learn(sourceOf(address), now)
		}
	}
	c := connOf(r)
	if c == nil {
		return
	}
	if last := c.authenticated.Load(); last != 0 && now.Unix()-last < int64(knownEvery/time.Second) {
		return
	}
	c.authenticated.Store(now.Unix())
	g.learn(c.source, now)
}

// learn makes a source known.
func (g *Guard) learn(source netip.Addr, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known.Add(source, now)
}

// Failed implements Limiter.
func (g *Guard) Failed(r *http.Request, bot string) (wait time.Duration) {
	source := sourceOf(g.rules.Load().address(r))
	now := time.Now()
	if wait = g.failed(r, source, now); wait > 0 {
		g.note(RateLimited, source)
	} else {
		g.note(Unauthorized, source)
	}
	if bot != "" && g.suspect(bot, now) && g.config.Observer != nil {
		g.config.Observer.SecretGuessed(bot, networkOf(source))
	}
	return wait
}

// Limited implements Limiter.
func (g *Guard) Limited(r *http.Request) (wait time.Duration) {
	source, now := sourceOf(g.rules.Load().address(r)), time.Now()
	g.mu.Lock()
	f, failing := g.failing.Peek(source)
	limited := failing && f.exhausted(now) && !g.knows(source, now)
	g.mu.Unlock()
	if !limited {
		return 0
	}
	g.note(RateLimited, source)
	return max(g.failed(r, source, now), time.Second)
}

// fail counts a failure of a source. It returns how long the source must wait, and whether it is banned.
func (g *Guard) fail(source netip.Addr, now time.Time) (wait time.Duration, banned bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f, ok := g.failing.Get(source)
	if !ok {
		f = &failures{bucket: rate.NewLimiter(rate.Every(failureWindow/maxFailures), maxFailures)}
		g.failing.Add(source, f)
	}
	wait = f.add(now)
	return wait, f.bannedUntil.After(now)
}

// failed counts a failed request. If the source is banned, it closes an untrusted connection. Before a ban, the
// connection stays open after a 429, because a new handshake costs more than an answer.
func (g *Guard) failed(r *http.Request, source netip.Addr, now time.Time) (wait time.Duration) {
	wait, banned := g.fail(source, now)
	if c := connOf(r); banned && c != nil && c.untrusted && c.authenticated.Load() == 0 {
		c.Close()
	}
	return wait
}

// exhausted reports whether the next failed request gets 429.
func (f *failures) exhausted(now time.Time) bool {
	return f.bannedUntil.After(now) || f.bucket.TokensAt(now) < 1
}

// add counts one failure and returns how long the source must wait.
func (f *failures) add(now time.Time) (wait time.Duration) {
	if f.bannedUntil.After(now) {
		return f.bannedUntil.Sub(now)
	}
	if f.bucket.AllowN(now, 1) {
		f.limited = 0
		return 0
	}
	if f.limited++; f.limited >= maxFailures {
		f.bannedUntil = now.Add(banFor)
	}
	return banFor
}

// banned reports whether connections of a source are closed. The caller holds g.mu.
func (g *Guard) banned(source netip.Addr, now time.Time) bool {
	f, ok := g.failing.Peek(source)
	return ok && f.bannedUntil.After(now)
}

// Allow passes requests from allowed sources to next and rejects all others.
func (g *Guard) Allow(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rules := g.rules.Load()
		source := rules.address(r)
		if len(rules.Allowed) == 0 || contains(rules.Allowed, source) {
			next.ServeHTTP(w, r)
			return
		}
		source = sourceOf(source)
		wait := g.failed(r, source, time.Now())
		g.note(NotAllowed, source)
		status := http.StatusForbidden
		if wait > 0 {
			status = http.StatusTooManyRequests
			w.Header().Set("Retry-After", Seconds(wait))
		}
		w.Header().Set("Connection", "close") // the body stays unread
		w.WriteHeader(status)
	})
}

// Handler closes the connection after a request with a chunked body. Such a request may also have a
// Content-Length, which net/http ignores, but by which a proxy may see another end of the request (request
// smuggling). Because the connection is closed, no bytes after the request are read as another one. Telegram
// sends no chunked bodies.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// Seconds formats a wait for Retry-After: whole seconds, rounded up.
func Seconds(wait time.Duration) string {
	return strconv.Itoa(int(math.Ceil(wait.Seconds())))
}

// note counts a rejection for the log and notifies the observer.
func (g *Guard) note(reason Reason, source netip.Addr) {
	g.tally.add(reason, source)
	if g.config.Observer != nil {
		g.config.Observer.Rejected(reason)
	}
}
