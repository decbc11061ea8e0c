// Package guard stands between the open network and the webhooks. It says where a
// request comes from, counts what strangers get wrong, and turns those away who go on:
// first with 401, then with 429, at last by closing their connections. Everything it
// remembers has a limit.
//
// It never limits who knows a secret. A webhook compares the secret first and tells the
// guard of its finding, so that a request with the right one costs next to nothing
// here, and no stranger behind the same address can have it turned away.
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
	// maxFailures is how much a source may get wrong in failureWindow, and again as much
	// before its connections are cut: a person who mends a setting tries less often.
	maxFailures   = 20
	failureWindow = time.Minute
	// cutFor is how long a source is left outside. It is also what it is asked to wait.
	cutFor = time.Minute
	// maxSources bounds the memory of sources that got something wrong, some 300 bytes
	// each: the one that did so longest ago is forgotten first.
	maxSources = 4096
	// maxKnown bounds the memory of sources that named a right secret; strangers cannot
	// fill it.
	maxKnown = 1024
	// knownFor is how long such a source is never cut: as long as Telegram repeats.
	knownFor = 24 * time.Hour
	// knownEvery is how often a connection reports that its requests are right.
	knownEvery = time.Minute
)

// Config is what a guard begins with. With nothing but a log it limits strangers and
// trusts no proxy.
type Config struct {
	Rules
	Log        *slog.Logger
	Observe    func(What)                            // is told of each refusal; nil for nobody
	Suspicious func(bot string, source netip.Prefix) // is told once of each pattern of bad secrets, and returns at once; nil for nobody
}

// What is the kind of a refusal. There are few, so that they can be a metric's label.
type What string

// Kinds of refusals. The last four never become a request.
const (
	Refused    What = "refused"     // 401, 404 or 405: not the secret, the bot or the method
	Limited    What = "limited"     // 429
	Outside    What = "not_allowed" // 403: the address is not on the list
	Cut        What = "cut"         // closed, for what this source did before
	Crowded    What = "crowded"     // closed: too many connections of one address
	Full       What = "full"        // closed: too many connections in all
	Unreadable What = "unreadable"  // closed: no TLS came of it
)

// Guard remembers sources. An IPv6 source is a whole /64, which is what one customer of
// a network gets.
type Guard struct {
	config Config // but for its rules
	rules  atomic.Pointer[Rules]
	tally  tally

	mu       sync.Mutex
	failing  *simplelru.LRU[netip.Addr, *failures]
	known    *simplelru.LRU[netip.Addr, time.Time] // when each last named a right secret
	patterns map[string]*pattern                   // by bot
	open     map[netip.Addr]int                    // strangers' connections
	total    int                                   // all connections
	strange  int                                   // the sum of open
}

// failures is what one source got wrong.
type failures struct {
	bucket *rate.Limiter
	over   int // refused with 429 in a row
	cut    time.Time
}

// New returns a guard. Run writes its log.
func New(c Config) *Guard {
	g := &Guard{config: c, tally: tally{log: c.Log}, patterns: map[string]*pattern{}, open: map[netip.Addr]int{}}
	var err error
	if g.failing, err = simplelru.NewLRU[netip.Addr, *failures](maxSources, nil); err != nil {
		panic(err)
	}
	if g.known, err = simplelru.NewLRU[netip.Addr, time.Time](maxKnown, nil); err != nil {
		panic(err)
	}
	g.Follow(c.Rules)
	return g
}

// Run writes what was refused to the log, a few lines at intervals however much it was,
// until ctx ends.
func (g *Guard) Run(ctx context.Context) { g.tally.run(ctx) }

// Admitted takes note of a request with the right secret: its source is not cut.
func (g *Guard) Admitted(r *http.Request) {
	c := connOf(r)
	if c == nil {
		return
	}
	now := time.Now()
	if last := c.admitted.Load(); last != 0 && now.Unix()-last < int64(knownEvery/time.Second) {
		return
	}
	c.admitted.Store(now.Unix())
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known.Add(c.source, now)
}

// Refused takes note of a request that is refused, and says for how long its source
// should stay away: 0 is a plain refusal, anything else is a 429. bot is the one whose
// secret it did not name, or empty.
func (g *Guard) Refused(r *http.Request, bot string) (wait time.Duration) {
	source := sourceOf(g.rules.Load().address(r))
	now := time.Now()
	if wait = g.failed(r, source, now); wait > 0 {
		g.note(Limited, source)
	} else {
		g.note(Refused, source)
	}
	if bot != "" && g.suspect(bot, now) && g.config.Suspicious != nil {
		g.config.Suspicious(bot, networkOf(source))
	}
	return wait
}

// fail counts a failure of a source, and says how long it should stay away, and whether
// it is to be left outside.
func (g *Guard) fail(source netip.Addr, now time.Time) (wait time.Duration, cut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f, ok := g.failing.Get(source)
	if !ok {
		f = &failures{bucket: rate.NewLimiter(rate.Every(failureWindow/maxFailures), maxFailures)}
		g.failing.Add(source, f)
	}
	wait = f.add(now)
	return wait, f.cut.After(now)
}

// failed is fail of a request. A stranger's connection ends when the source is cut; until
// then a 429 leaves it open, as a handshake costs more than an answer.
func (g *Guard) failed(r *http.Request, source netip.Addr, now time.Time) (wait time.Duration) {
	wait, cut := g.fail(source, now)
	if c := connOf(r); cut && c != nil && c.stranger && c.admitted.Load() == 0 {
		c.Close()
	}
	return wait
}

// add counts one failure, and says how long to stay away.
func (f *failures) add(now time.Time) (wait time.Duration) {
	if f.cut.After(now) {
		return f.cut.Sub(now)
	}
	if f.bucket.AllowN(now, 1) {
		f.over = 0
		return 0
	}
	if f.over++; f.over >= maxFailures {
		f.cut = now.Add(cutFor)
	}
	return cutFor
}

// cutOff tells whether a source's connections are to be closed.
func (g *Guard) cutOff(source netip.Addr, now time.Time) bool {
	f, ok := g.failing.Peek(source)
	return ok && f.cut.After(now)
}

// Allow lets only sources on the list through to what it wraps.
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
		g.note(Outside, source)
		status := http.StatusForbidden
		if wait > 0 {
			status = http.StatusTooManyRequests
			w.Header().Set("Retry-After", Seconds(wait))
		}
		w.Header().Set("Connection", "close") // and the body stays unread
		w.WriteHeader(status)
	})
}

// Handler ends a connection after a request in chunks. Such a request may have given a
// length as well, by which a proxy would see its end elsewhere, and net/http forgets
// that: so nothing behind it is taken for a request. Telegram sends no chunks.
func Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength < 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// Seconds is a wait as Retry-After gives it: whole seconds, rounded up.
func Seconds(wait time.Duration) string {
	return strconv.Itoa(int(math.Ceil(wait.Seconds())))
}

func (g *Guard) note(what What, source netip.Addr) {
	g.tally.add(what, source)
	if g.config.Observe != nil {
		g.config.Observe(what)
	}
}
