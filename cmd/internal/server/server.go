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
	"github.com/chatledger/chatledger/cmd/internal/systemd"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/schema"
)

// Server is a running chatledger.
type Server struct {
	Store       *eventstore.Store
	Handler     *commands.Handler
	requests    telemetry.RequestHandler // Handler, traced
	Router      *bus.Router
	server      *http.Server
	Listener    net.Listener
	operators   *sideServer
	logins      logins // of operators, at their provider
	ops         *sideServer
	log         *slog.Logger
	metrics     *telemetry.Metrics
	tracing     *telemetry.Tracing
	outbox      *outbox.Store
	limiter     *outbox.RateLimiter
	Bots        fleet
	factory     *botFactory
	leases      *bus.Leases
	slowLeases  *bus.Leases // longer ones, for calls of a language model
	telegramURL string      // address of the Bot API server
	works       recent
	Stopping    atomic.Bool
	guard       *guard.Guard
	tls         certificates.Source // nil when a proxy speaks TLS
	owner       string              // of leases: host and process
	verify      time.Duration       // between two samples
	analysts    time.Duration       // between two pages of their tables
	now         func() time.Time
	timekeeper  *commands.Timekeeper
	config      Config

	addresses        *addresses
	guessed          chan string   // bots whose secrets are guessed
	retentionChanged chan struct{} // holds one value when the bots' retention may have changed
}

// Config says what a server runs with.
type Config struct {
	DSN         string
	Renew       func() (dsn string, err error) // of new connections to the database; nil: DSN stays
	Bots        map[string]config.Bot
	TelegramURL string
	Listener    net.Listener
	Server      config.Server
	Log         *slog.Logger
	Tracing     telemetry.TracingConfig
	Version     string           // of this release
	BotsFile    string           // followed when not empty
	Hangup      <-chan os.Signal // asks for the bots file to be read again
	VerifyEvery time.Duration    // 0 means verifyEvery
	Analysts    time.Duration    // 0 means analystsEvery
	Operators   net.Listener     // of the operators' API; nil means none
	Notice      time.Duration    // see untilNoticed
	Only        Part             // a part of the work; "" means all
	Ops         net.Listener     // of /metrics, plain HTTP; nil: on the webhook's listener, for local requests only
	EndWriters  time.Duration    // end open writes of other sessions after this; 0 means never

	Now         func() time.Time // nil means clock.Now; leases follow the database's clock
	TimersEvery time.Duration    // see commands.Timekeeper
}

const (
	// The webhook's time limits: Telegram sends a whole update at once.
	HeaderTimeout  = 5 * time.Second
	RequestTimeout = 15 * time.Second
	// answerTimeout leaves time to answer a request that used all of RequestTimeout.
	answerTimeout = RequestTimeout + 5*time.Second
	idleTimeout   = 2 * time.Minute
	// maxHeader holds the secret, some 300 bytes, with room for a proxy's own.
	maxHeader = 16 << 10
	// readyTimeout bounds the question whether the database answers.
	readyTimeout = 2 * time.Second
	// stopTimeout bounds the end of requests in flight.
	stopTimeout = 5 * time.Second
	// recoverEvery is how often expired leases are recovered, and deliveries behind a long
	// ordering key deferred: a crashed worker delays a customer by a second more.
	recoverEvery = time.Second
	// ProjectEvery is the pause between two pages of a projection when there is little to do:
	// nobody who reads a table notices 10 ms, while the webhook would answer later.
	ProjectEvery = 10 * time.Millisecond
	// analystsEvery is the same for the analysts' tables, which are queried by the day: fewer
	// and larger pages leave processor time to the answers that customers wait for.
	analystsEvery = 250 * time.Millisecond
	// watchEvery is how often the oldest open write transaction is read, and tooOld the age
	// at which it is logged: our own are open for milliseconds.
	watchEvery = 5 * time.Second
	tooOld     = 5 * time.Second
	// readerIdle is twice what an analyst's role is set to; readerWhole is longer than any query of a
	// report, and short enough that vacuum keeps up.
	readerIdle  = time.Minute
	readerWhole = time.Hour
)

// Run serves until it is asked to stop, then stops in the order in which work flows: no new
// updates, then what was received is finished, then the database is left.
func (s *Server) Run(asked context.Context) error {
	ctx, cancel := s.untilNoticed(asked)
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
		if err := s.server.Serve(s.Listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	part("operators", func() error { return s.operators.serve(ctx) })
	part("operations", func() error { return s.ops.serve(ctx) })
	if s.config.Only.works() {
		part("router", func() error { return s.Router.Run(ctx) })
		parts.Go(func() { s.recoverLeases(ctx) })
		parts.Go(func() { s.timekeeper.Run(ctx) })
		parts.Go(func() { s.askForHeld(ctx) })
		parts.Go(func() { s.watchSuspensions(ctx) })
		parts.Go(func() { s.renewTables(ctx) })
		parts.Go(func() { s.verifyTables(ctx) })
		parts.Go(func() { s.runRetention(ctx) })
	}
	for _, b := range s.Bots.All() {
		s.runBot(ctx, b)
	}
	parts.Go(func() { s.warnOfNewerTypes(ctx) })
	parts.Go(func() { s.Store.RunNotifier(ctx, s.log) })
	parts.Go(func() { s.watchOldestWriter(ctx) })
	parts.Go(func() { s.endReaders(ctx) })
	parts.Go(func() { s.endWriters(ctx) })
	parts.Go(func() { s.followBotsFile(ctx) })
	parts.Go(func() { s.addresses.follow(ctx) })
	parts.Go(func() { s.rotateGuessedSecrets(ctx) })
	parts.Go(func() { s.guard.Run(ctx) })
	parts.Go(func() { s.renewCertificate(ctx) })
	parts.Go(func() { s.runMeasurements(ctx) })
	parts.Go(func() { systemd.Run(ctx, s.log, s.hung) })

	<-ctx.Done()
	s.Stopping.Store(true) // also when a part failed
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	if err := errors.Join(s.server.Shutdown(stop), s.operators.stop(stop), s.ops.stop(stop)); err != nil {
		s.log.Warn("requests interrupted: they did not end in time", "error", err)
	}
	parts.Wait()
	s.Close()
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
		return nil, fmt.Errorf(
			"the database schema is at version %d and this program needs %d: run `chatledger migrate`",
			version, schema.Latest())
	}
	if c.Now == nil {
		c.Now = clock.Now
	}
	host, _ := os.Hostname()
	s := &Server{
		log:              c.Log,
		metrics:          telemetry.NewMetrics(),
		owner:            fmt.Sprintf("%s/%d", host, os.Getpid()),
		verify:           cmp.Or(c.VerifyEvery, verifyEvery),
		analysts:         cmp.Or(c.Analysts, analystsEvery),
		telegramURL:      c.TelegramURL,
		config:           c,
		guessed:          make(chan string, maxAttacks),
		retentionChanged: make(chan struct{}, 1),
		now:              c.Now,
	}
	s.logins.log = c.Log
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := s.startTracing(ctx, c.Tracing); err != nil {
		return nil, err
	}
	if err := s.openLedger(ctx, c); err != nil {
		return nil, err
	}
	if s.Router, err = bus.NewRouter(c.Log); err != nil {
		return nil, err
	}
	s.exposeState()
	if err := s.guardListener(c); err != nil {
		return nil, err
	}
	if c.Only.works() {
		s.subscribe()
	}
	if s.addresses, err = newAddresses(ctx, webhooks.New(s.Store.DB), &s.Bots, s.log); err != nil {
		return nil, err
	}
	s.factory = &botFactory{
		telegramURL: c.TelegramURL, db: s.Store.DB, outbox: s.outbox, limiter: s.limiter,
		leases: s.leases, slowLeases: s.slowLeases, handler: s.Handler, requests: s.requests,
		guard: s.guard, metrics: s.metrics, tracing: s.tracing, now: s.now, log: s.log,
	}
	for _, name := range slices.Sorted(maps.Keys(c.Bots)) {
		b, err := s.factory.build(name, c.Bots[name], nil)
		if err != nil {
			return nil, fmt.Errorf("bot %s: %w", name, err)
		}
		s.addBot(b)
	}
	s.server = newHTTPServer(guard.Handler(s.closeWhenStopping(s.tracing.Receive(s.routes(c)))), s.guard)
	s.ops = s.newOpsServer(c)
	if s.operators, err = s.newOperatorServer(c); err != nil {
		return nil, err
	}
	return s, nil
}

// openLedger connects to the database and builds what reads and writes the ledger.
func (s *Server) openLedger(ctx context.Context, c Config) error {
	db, err := postgres.Open(ctx, c.DSN, "chatledger")
	if err != nil {
		return err
	}
	if c.Renew != nil {
		db.Renew(c.Renew)
	}
	s.outbox = outbox.New(db)
	s.Store = eventstore.New(db, chat.NewCodec(), s.outbox)
	s.Store.Log = s.log
	s.Handler = commands.NewHandler(s.Store, commands.Config{Settings: &s.Bots, Observer: s})
	s.requests = s.tracing.Handler(s.Handler)
	ofBots := timers.New(db)
	ofBots.Bots = s.Bots.names
	s.timekeeper = &commands.Timekeeper{
		Store: ofBots, Handler: s.Handler, Now: s.now, Every: c.TimersEvery, Log: c.Log,
	}
	s.limiter = outbox.NewRateLimiter(db)
	s.leases = bus.NewLeases(s.outbox, s.owner, c.Log)
	s.slowLeases = bus.NewLeases(s.outbox, s.owner, c.Log).For(llm.Lease)
	return nil
}

// routes are the paths of the webhook's listener.
func (s *Server) routes(c Config) http.Handler {
	webhook := &telegram.Webhook{
		Receivers: s.addresses, Handler: s.requests, Observer: s.metrics,
		Inbox:      s.Store,
		Quarantine: countedQuarantine{quarantine.New(s.Store.DB), s.metrics},
		Guard:      s.guard, Now: s.now, Log: c.Log,
	}
	routes := mux.NewRouter()
	routes.MatcherFunc(s.isProbe).HandlerFunc(s.probe)
	fromAllowed := routes.NewRoute().Subrouter()
	fromAllowed.Use(s.guard.Allow)
	if c.Only.receives() {
		webhook.Routes(fromAllowed)
		routes.HandleFunc("/zendesk/{bot}", s.serveZendesk)
	}
	s.health(routes)
	if c.Ops == nil {
		routes.Handle("/metrics", guard.Local(s.metrics.Handler()))
	}
	return routes
}

// Close releases what New has opened. Run calls it at its end; a server that was never run
// needs it.
func (s *Server) Close() {
	for _, b := range s.Bots.All() {
		b.wait()
	}
	if s.Handler != nil {
		s.Handler.Close()
	}
	if s.Store != nil {
		s.Store.Close()
	}
	if s.tracing != nil {
		s.tracing.Close()
	}
}
