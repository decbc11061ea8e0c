// Package server is the running program: it receives updates, runs the consumer groups, sends
// deliveries and answers operators. New connects the parts and Run runs them until it is told to
// stop.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/certificates"
	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/adapters/postgres/quarantine"
	"github.com/chatledger/chatledger/adapters/postgres/timers"
	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/schema"
)

// Server is a running chatledger: everything is built here, by hand, once.
type Server struct {
	Store    *eventstore.Store
	Handler  *commands.Handler
	requests telemetry.RequestHandler // Handler, traced
	Router   *bus.Router
	server   *http.Server
	Listener net.Listener
	people   *sideServer
	ops      *sideServer
	log      *slog.Logger
	metrics  *telemetry.Metrics
	tracing  *telemetry.Tracing
	outbox   *outbox.Store
	flow     *outbox.RateLimiter
	Bots     fleet
	leases   *bus.Leases
	patient  *bus.Leases // of what takes longer than others
	api      string      // the Bot API's address
	Stopping atomic.Bool
	guard    *guard.Guard
	tls      certificates.Source // nil when a proxy speaks TLS
	owner    string
	verify   time.Duration // between two samples
	analysts time.Duration // between two pages of their tables
	now      func() time.Time
	time     *commands.Timekeeper
	config   Config

	addresses *addresses
	attacks   chan string   // bots whose secrets are guessed
	rekeep    chan struct{} // holds one value when the bots' retention may have changed
}

// Config is what an app needs.
type Config struct {
	DSN         string
	Bots        map[string]config.Bot
	TelegramURL string
	Listener    net.Listener
	Server      config.Server
	Log         *slog.Logger
	Tracing     telemetry.TracingConfig
	Version     string           // of this release
	BotsFile    string           // is followed, when given
	Hangup      <-chan os.Signal // asks for the bots file to be read again
	VerifyEvery time.Duration    // 0 is verifyEvery
	Analysts    time.Duration    // 0 is analystsEvery
	Operators   net.Listener     // of their API; nil is none
	Notice      time.Duration    // see app.notice
	Only        Part             // of the work; "" is all of it
	Ops         net.Listener     // of /metrics, in plain HTTP; nil is the webhook's, for this machine alone

	Now         func() time.Time // nil is the clock; what is leased goes by the database's
	TimersEvery time.Duration    // see commands.Timekeeper
}

const (
	// The webhook's time limits: Telegram sends a whole update at once.
	HeaderTimeout  = 5 * time.Second
	RequestTimeout = 15 * time.Second
	// answerTimeout leaves time to answer who used all of it.
	answerTimeout = RequestTimeout + 5*time.Second
	idleTimeout   = 2 * time.Minute
	// maxHeader holds the secret, some 300 bytes, with room for a proxy's own.
	maxHeader = 16 << 10
	// readyTimeout bounds the question whether the database answers.
	readyTimeout = 2 * time.Second
	// stopTimeout bounds the end of requests in flight.
	stopTimeout = 5 * time.Second
	// takeOverEvery is how often leases that ran out are looked for, and long lanes.
	takeOverEvery = time.Second
	// ProjectEvery is how far apart a projection's pages are when there is little to
	// do: a person who looks at a table does not see 10 ms, the webhook's answer would.
	ProjectEvery = 10 * time.Millisecond
	// analystsEvery is the same for the tables of analysts, who ask about days: fewer and
	// larger pages leave the processor to what customers wait for.
	analystsEvery = 250 * time.Millisecond
	// watchEvery is how often the oldest open write is looked for, and tooOld
	// the age at which it is named: ours are open for milliseconds.
	watchEvery = 5 * time.Second
	tooOld     = 5 * time.Second
)

// Run serves until it is asked to stop, then stops in the order in which work flows: no new
// updates, then what was received is finished, then the database is left.
func (a *Server) Run(asked context.Context) error {
	ctx, cancel := a.notice(asked)
	defer cancel(nil)
	var parts sync.WaitGroup
	part := func(name string, f func() error) {
		parts.Go(func() {
			if err := f(); err != nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	part("webhook", func() error {
		if err := a.server.Serve(a.Listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	part("operators", func() error { return a.people.serve(ctx) })
	part("operations", func() error { return a.ops.serve(ctx) })
	if a.config.Only.works() {
		part("router", func() error { return a.Router.Run(ctx) })
		parts.Go(func() { a.takeOver(ctx) })
		parts.Go(func() { a.time.Run(ctx) })
		parts.Go(func() { a.watchFlow(ctx) })
		parts.Go(func() { a.renewTables(ctx) })
		parts.Go(func() { a.verifyTables(ctx) })
		parts.Go(func() { a.retain(ctx) })
	}
	for _, b := range a.Bots.All() {
		a.accompany(ctx, b)
	}
	parts.Go(func() { a.Store.RunNotifier(ctx, a.log) })
	parts.Go(func() { a.watch(ctx) })
	parts.Go(func() { a.followBotsFile(ctx) })
	parts.Go(func() { a.addresses.follow(ctx) })
	parts.Go(func() { a.counterAttacks(ctx) })
	parts.Go(func() { a.guard.Run(ctx) })
	parts.Go(func() { a.renewCertificate(ctx) })
	parts.Go(func() { a.measure(ctx) })

	<-ctx.Done()
	a.Stopping.Store(true) // also when a part failed
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	if err := errors.Join(a.server.Shutdown(stop), a.people.stop(stop), a.ops.stop(stop)); err != nil {
		a.log.Warn("requests interrupted: they did not end in time", "error", err)
	}
	parts.Wait()
	a.Close()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// New connects the parts of a server: first those that every bot shares, then the bots, then
// the listeners. Run starts them. When New fails, it closes what it has opened; the listeners
// remain the caller's.
func New(ctx context.Context, c Config) (_ *Server, err error) {
	version, err := schema.Version(ctx, c.DSN)
	if err != nil {
		return nil, err
	}
	if version != schema.Latest() {
		return nil, fmt.Errorf("the database schema is at version %d and this program needs %d: run `chatledger migrate`",
			version, schema.Latest())
	}
	if c.Now == nil {
		c.Now = clock.Now
	}
	host, _ := os.Hostname()
	a := &Server{
		log:      c.Log,
		metrics:  telemetry.NewMetrics(),
		owner:    fmt.Sprintf("%s/%d", host, os.Getpid()),
		verify:   cmp.Or(c.VerifyEvery, verifyEvery),
		analysts: cmp.Or(c.Analysts, analystsEvery),
		api:      c.TelegramURL,
		config:   c,
		attacks:  make(chan string, maxAttacks),
		rekeep:   make(chan struct{}, 1),
		now:      c.Now,
	}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()
	if err := a.trace(ctx, c.Tracing); err != nil {
		return nil, err
	}
	if err := a.openLedger(ctx, c); err != nil {
		return nil, err
	}
	if a.Router, err = bus.NewRouter(c.Log); err != nil {
		return nil, err
	}
	a.show()
	if err := a.protect(c); err != nil {
		return nil, err
	}
	if c.Only.works() {
		a.subscribe()
	}
	if a.addresses, err = newAddresses(ctx, webhooks.New(a.Store.DB), &a.Bots, a.log); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Bots)) {
		b, err := a.newBot(name, c.Bots[name], nil)
		if err != nil {
			return nil, fmt.Errorf("bot %s: %w", name, err)
		}
		a.enter(b)
	}
	a.server = newHTTPServer(guard.Handler(a.farewell(a.tracing.Receive(a.routes(c)))), a.guard)
	a.ops = a.newOpsServer(c)
	if a.people, err = a.newOperatorServer(c); err != nil {
		return nil, err
	}
	return a, nil
}

// openLedger connects to the database and builds what reads and writes the ledger.
func (a *Server) openLedger(ctx context.Context, c Config) error {
	db, err := postgres.Open(ctx, c.DSN, "chatledger")
	if err != nil {
		return err
	}
	a.outbox = outbox.New(db)
	a.Store = eventstore.New(db, chat.NewCodec(), a.outbox)
	a.Handler = commands.NewHandler(a.Store, commands.Config{Settings: &a.Bots, Observer: a})
	a.requests = a.tracing.Handler(a.Handler)
	a.time = &commands.Timekeeper{
		Store: timers.New(db), Handler: a.Handler, Now: a.now, Every: c.TimersEvery, Log: c.Log,
	}
	a.flow = outbox.NewRateLimiter(db)
	a.leases = bus.NewLeases(a.outbox, a.owner, c.Log)
	a.patient = bus.NewLeases(a.outbox, a.owner, c.Log).For(llm.Lease)
	return nil
}

// routes are the paths of the webhook's listener.
func (a *Server) routes(c Config) http.Handler {
	webhook := &telegram.Webhook{
		Receivers: a.addresses, Handler: a.requests, Observer: a.metrics,
		Quarantine: countedQuarantine{quarantine.New(a.Store.DB), a.metrics},
		Guard:      a.guard, Now: a.now, Log: c.Log,
	}
	routes := mux.NewRouter()
	routes.MatcherFunc(a.probed).HandlerFunc(a.probe)
	fromAllowed := routes.NewRoute().Subrouter()
	fromAllowed.Use(a.guard.Allow)
	if c.Only.receives() {
		webhook.Routes(fromAllowed)
		routes.HandleFunc("/zendesk/{bot}", a.serveZendesk)
	}
	a.health(routes)
	if c.Ops == nil {
		routes.Handle("/metrics", guard.Local(a.metrics.Handler()))
	}
	return routes
}

// Close releases what New has opened. Run calls it at its end; a server that was never run
// needs it.
func (a *Server) Close() {
	for _, b := range a.Bots.All() {
		b.wait()
	}
	if a.Handler != nil {
		a.Handler.Close()
	}
	if a.Store != nil {
		a.Store.Close()
	}
	if a.tracing != nil {
		a.tracing.Close()
	}
}
