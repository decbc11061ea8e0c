package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/certificates"
	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/postgres/quarantine"
	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/schema"
)

// app is a running chatledger: everything is built here, by hand, once.
type app struct {
	store    *postgres.Store
	handler  *commands.Handler
	router   *bus.Router
	server   *http.Server
	listener net.Listener
	people   *sideServer
	ops      *sideServer
	log      *slog.Logger
	metrics  *telemetry.Metrics
	tracing  *telemetry.Tracing
	flow     *postgres.Flow
	bots     fleet
	leases   *bus.Leases
	patient  *bus.Leases // of what takes longer than others
	api      string      // the Bot API's address
	stopping atomic.Bool
	owing    map[string]bool // bots for which the page in hand owes something
	guard    *guard.Guard
	tls      certificates.Source // nil when a proxy speaks TLS
	owner    string
	verify   time.Duration // between two samples
	analysts time.Duration // between two pages of their tables
	now      func() time.Time
	time     *postgres.Timekeeper
	config   appConfig

	addressing sync.Mutex
	addresses  []webhooks.Address                     // as last read
	doors      atomic.Pointer[map[where]telegram.Bot] // who receives where
	attacks    chan string                            // bots whose secrets are guessed at
	rekeep     chan struct{}                          // holds one when a bot's retention may be another
}

// appConfig is what an app needs.
type appConfig struct {
	DSN         string
	Bots        map[string]botConfig
	TelegramURL string
	Listener    net.Listener
	Server      serverConfig
	Log         *slog.Logger
	Tracing     telemetry.TracingConfig
	Version     string           // of this release
	BotsFile    string           // is followed, when given
	Hangup      <-chan os.Signal // asks for the bots file to be read again
	VerifyEvery time.Duration    // 0 is verifyEvery
	Analysts    time.Duration    // 0 is analystsEvery
	Operators   net.Listener     // of their API; nil is none
	Notice      time.Duration    // see app.notice
	Only        part             // of the work; "" is all of it
	Ops         net.Listener     // of /metrics, in plain HTTP; nil is the webhook's, for this machine alone

	Now         func() time.Time // nil is the clock; what is leased goes by the database's
	TimersEvery time.Duration    // see postgres.Timekeeper
}

const (
	// The webhook's time limits: Telegram sends a whole update at once.
	headerTimeout  = 5 * time.Second
	requestTimeout = 15 * time.Second
	// answerTimeout leaves time to answer who used all of it.
	answerTimeout = requestTimeout + 5*time.Second
	idleTimeout   = 2 * time.Minute
	// maxHeader holds the secret, some 300 bytes, with room for a proxy's own.
	maxHeader = 16 << 10
	// readyTimeout bounds the question whether the database answers.
	readyTimeout = 2 * time.Second
	// stopTimeout bounds the end of requests in flight.
	stopTimeout = 5 * time.Second
	// takeOverEvery is how often leases that ran out are looked for, and long lanes.
	takeOverEvery = time.Second
	// projectEvery is how far apart a projection's pages are when there is little to
	// do: a person who looks at a table does not see 10 ms, the webhook's answer would.
	projectEvery = 10 * time.Millisecond
	// analystsEvery is the same for the tables of analysts, who ask about days: fewer and
	// larger pages leave the processor to what customers wait for.
	analystsEvery = 250 * time.Millisecond
	// watchEvery is how often the oldest open write is looked for, and tooOld
	// the age at which it is named: ours are open for milliseconds.
	watchEvery = 5 * time.Second
	tooOld     = 5 * time.Second
)

// newApp connects everything; run starts it.
func newApp(ctx context.Context, c appConfig) (*app, error) {
	version, err := schema.Version(ctx, c.DSN)
	if err != nil {
		return nil, err
	}
	if version != schema.Latest() {
		return nil, fmt.Errorf("the database schema is at version %d and this program needs %d: run `chatledger migrate`", version, schema.Latest())
	}
	host, _ := os.Hostname()
	a := &app{
		listener: c.Listener,
		log:      c.Log,
		metrics:  telemetry.NewMetrics(),
		owner:    fmt.Sprintf("%s/%d", host, os.Getpid()),
		verify:   cmp.Or(c.VerifyEvery, verifyEvery),
		analysts: cmp.Or(c.Analysts, analystsEvery),
		api:      c.TelegramURL,
		config:   c,
		owing:    map[string]bool{},
		attacks:  make(chan string, maxAttacks),
		rekeep:   make(chan struct{}, 1),
		now:      now,
	}
	if c.Now != nil {
		a.now = c.Now
	}

	if err := a.trace(ctx, c.Tracing); err != nil {
		return nil, err
	}
	if a.store, err = postgres.OpenStore(ctx, c.DSN, "chatledger", chat.NewCodec()); err != nil {
		return nil, err
	}
	a.handler = commands.NewHandler(a.store, commands.Settings{With: a.with, Observe: a.round})
	a.time = &postgres.Timekeeper{Store: a.store, Handle: a.handler.HandleAll, Now: a.now, Every: c.TimersEvery, Log: c.Log}
	if a.router, err = bus.NewRouter(c.Log); err != nil {
		return nil, err
	}
	a.show()
	if c.Only.works() {
		a.follow()
	}

	if err := a.protect(c); err != nil {
		return nil, err
	}
	webhook := &telegram.Webhook{Find: a.find, Handle: a.tracing.Handle(a.handler.Handle), Observe: a.metrics.Webhook, Guard: a.guard, Now: a.now, Log: c.Log,
		Quarantine: func(ctx context.Context, bot string, body []byte, reason string) error {
			a.metrics.Quarantined(bot)
			return quarantine.New(a.store.DB).Add(ctx, bot, body, reason)
		}}
	a.flow, a.leases = a.store.Flow(), bus.NewLeases(a.store, a.owner, c.Log)
	a.patient = bus.NewLeases(a.store, a.owner, c.Log).For(llm.Lease)
	if err := a.readAddresses(ctx); err != nil {
		return nil, err
	}
	a.readdress()
	for name, config := range c.Bots {
		b, err := a.newBot(name, config, nil)
		if err != nil {
			return nil, fmt.Errorf("bot %s: %w", name, err)
		}
		a.enter(b)
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
	a.server = &http.Server{Handler: guard.Handler(a.farewell(a.tracing.Receive(routes))), ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: a.guard.ServerLog(), ConnContext: guard.Context}
	a.ops = a.newOpsServer(c)
	a.people, err = a.newOperatorServer(c)
	return a, err
}

// Names of the groups that act; the others are named as their tables. They are data.
const (
	responder = "responder"  // gives the bot its turn
	owing     = "deliveries" // writes down what is owed
)

// consumerGroups are all there are, whichever process leads them.
func consumerGroups() []string {
	groups := []string{responder, owing}
	for _, p := range projections.All() {
		groups = append(groups, p.Name())
	}
	return groups
}

// follow subscribes the consumer groups to the feed.
func (a *app) follow() {
	lead := func(ctx context.Context, group string) (bus.Reader, error) { return a.store.Lead(ctx, group) }
	for _, p := range projections.All() {
		pause := projectEvery
		switch p.(type) {
		case projections.Messages, projections.ChatDays:
			pause = a.analysts
		}
		lead := func(ctx context.Context, table string) (bus.Reader, error) {
			return a.store.LeadTable(ctx, table, p.Version(), a.log)
		}
		a.router.Follow(bus.NewLog(p.Name(), lead, a.log, a.metrics.Page).Linger(pause), a.tracing.Page(p.Name(), p.Apply))
	}
	a.router.Follow(bus.NewLog(responder, lead, a.log, a.metrics.Page), a.tracing.Page(responder, a.respond))
	a.router.Follow(bus.NewLog(owing, lead, a.log, func(group string, events int, took time.Duration) {
		a.metrics.Page(group, events, took)
		for bot := range a.owing {
			a.store.Owed(bot) // only now is it committed
		}
		clear(a.owing)
	}), a.tracing.Page(owing, a.owe))
}

// with is what a bot's decisions are taken with.
func (a *app) with(bot string) chat.Settings {
	b := a.bots.all()[bot]
	if b == nil {
		return chat.Settings{}
	}
	return b.config.Model.informs(chat.Settings{Knowledge: b.shelf.Of(bot), Tools: b.tools})
}

// respond gives the bot its turn for every event of a page that calls for one, refers
// the tickets that another desk keeps, too, and follows groups to their new ids.
func (a *app) respond(ctx context.Context, _ pgx.Tx, page []domain.Recorded) error {
	var requests []commands.Request
	for _, r := range page {
		if request, ok := commands.Turn(r, a.now()); ok {
			requests = append(requests, request)
		}
		if request, ok := commands.Refer(r, a.desk(r.Stream.Bot()), a.now()); ok {
			requests = append(requests, request)
		}
		if request, ok := commands.Migrate(r, a.now()); ok {
			requests = append(requests, request)
		}
	}
	_, err := a.tracing.HandleAll(a.handler.HandleAll)(ctx, requests)
	return err
}

// owe writes what a page's events ask for into the ledger. What a group is owed that
// has moved goes to its new id, before all that is owed there later.
func (a *app) owe(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	var deliveries []commands.Delivery
	for _, r := range page {
		if d, ok := commands.Owe(r); ok {
			deliveries = append(deliveries, d)
		}
	}
	if len(deliveries) > 0 {
		for _, d := range deliveries {
			a.owing[d.Stream.Bot()] = true
		}
		if err := a.store.Owe(ctx, tx, deliveries); err != nil {
			return err
		}
	}
	for _, r := range page {
		if e, ok := r.Event.(chat.ChatMigrated); ok {
			if err := a.store.MoveLane(ctx, tx, r.Stream, domain.ChatStream(r.Stream.Bot(), e.To)); err != nil {
				return err
			}
		}
	}
	return nil
}

// run serves until it is asked to stop, then stops in the order in which work flows: no new
// updates, then what was received is finished, then the database is left.
func (a *app) run(asked context.Context) error {
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
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	part("operators", func() error { return a.people.serve(ctx) })
	part("operations", func() error { return a.ops.serve(ctx) })
	if a.config.Only.works() {
		part("router", func() error { return a.router.Run(ctx) })
		parts.Go(func() { a.takeOver(ctx) })
		parts.Go(func() { a.time.Run(ctx) })
		parts.Go(func() { a.watchFlow(ctx) })
		parts.Go(func() { a.renewTables(ctx) })
		parts.Go(func() { a.verifyTables(ctx) })
		parts.Go(func() { a.retain(ctx) })
	}
	for _, b := range a.bots.all() {
		a.accompany(ctx, b)
	}
	parts.Go(func() { a.store.Announce(ctx, a.log) })
	parts.Go(func() { a.watch(ctx) })
	parts.Go(func() { a.followBotsFile(ctx) })
	parts.Go(func() { a.followAddresses(ctx) })
	parts.Go(func() { a.counterAttacks(ctx) })
	parts.Go(func() { a.guard.Run(ctx) })
	parts.Go(func() { a.renewCertificate(ctx) })
	parts.Go(func() { a.measure(ctx) })

	<-ctx.Done()
	a.stopping.Store(true) // also when a part failed
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	if err := errors.Join(a.server.Shutdown(stop), a.people.stop(stop), a.ops.stop(stop)); err != nil {
		a.log.Warn("requests were cut off", "error", err)
	}
	parts.Wait()
	for _, b := range a.bots.all() {
		b.wait()
	}
	a.handler.Close()
	a.store.Close()
	a.tracing.Close()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// every calls f at intervals until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f()
		}
	}
}

// pause waits so long; when ctx ends first, it says why.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// takeOver frees what dead workers held, and keeps long lanes out of the way of others.
func (a *app) takeOver(ctx context.Context) {
	every(ctx, takeOverEvery, func() {
		n, err := a.store.TakeOver(ctx)
		if n > 0 {
			a.log.Warn("deliveries taken over from a process that is gone", "deliveries", n)
		}
		if err == nil {
			err = a.store.Park(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Error("leases and lanes cannot be looked at", "error", err)
		}
	})
}

// watch names who holds the consumers back with a transaction left open.
func (a *app) watch(ctx context.Context) {
	every(ctx, watchEvery, func() {
		w, _, err := health.Of(a.store.DB).OldestWriter(ctx)
		if err != nil {
			return // the database is away, and others say so
		}
		if a.metrics.OldestWrite(w.Age); w.Age > tooOld {
			a.log.Warn("an open write holds all consumers back: end it, or pg_terminate_backend(pid)",
				"pid", w.PID, "application", w.Application, "user", w.User, "state", w.State, "age", w.Age.Round(time.Second))
		}
	})
}

// watchFlow tells when a bot may not call Telegram, and when it may again, and clears
// away the limits of chats that have been quiet.
func (a *app) watchFlow(ctx context.Context) {
	known := map[string]commands.Leave{}
	every(ctx, watchEvery, func() {
		stopped, err := a.flow.Stopped(ctx)
		if err == nil {
			_, err = a.flow.Sweep(ctx)
		}
		if err != nil {
			return // the database is away, and others say so
		}
		for bot, why := range known {
			if stopped[bot].Cause != why.Cause {
				a.metrics.Stopped(bot, string(why.Cause), false)
				a.log.Info("the bot may call Telegram again", "bot", bot)
			}
		}
		for bot, why := range stopped {
			if known[bot].Cause != why.Cause {
				a.metrics.Stopped(bot, string(why.Cause), true)
				a.log.Error("the bot may not call Telegram; what it has to send waits", "bot", bot, "cause", why.Cause)
			}
		}
		known = stopped
	})
}

// listen opens a port, and says which flag chooses another when it is taken.
func listen(address, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another address with %s", err, flag)
	}
	return l, nil
}
