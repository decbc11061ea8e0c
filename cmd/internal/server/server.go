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
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/health"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/adapters/postgres/quarantine"
	"github.com/chatledger/chatledger/adapters/postgres/timers"
	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/wait"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/schema"
)

// Server is a running chatledger: everything is built here, by hand, once.
type Server struct {
	Store    *eventstore.Store
	Handler  *commands.Handler
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
	owing    map[string]bool // bots for which the page in hand owes something
	guard    *guard.Guard
	tls      certificates.Source // nil when a proxy speaks TLS
	owner    string
	verify   time.Duration // between two samples
	analysts time.Duration // between two pages of their tables
	now      func() time.Time
	time     *timers.Timekeeper
	config   Config

	addressing sync.Mutex
	addresses  []webhooks.Address                     // as last read
	doors      atomic.Pointer[map[where]telegram.Bot] // who receives where
	attacks    chan string                            // bots whose secrets are guessed at
	rekeep     chan struct{}                          // holds one when a bot's retention may be another
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
	TimersEvery time.Duration    // see timers.Timekeeper
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

// New connects everything; run starts it.
func New(ctx context.Context, c Config) (*Server, error) {
	version, err := schema.Version(ctx, c.DSN)
	if err != nil {
		return nil, err
	}
	if version != schema.Latest() {
		return nil, fmt.Errorf("the database schema is at version %d and this program needs %d: run `chatledger migrate`", version, schema.Latest())
	}
	host, _ := os.Hostname()
	a := &Server{
		Listener: c.Listener,
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
		now:      clock.Now,
	}
	if c.Now != nil {
		a.now = c.Now
	}

	if err := a.trace(ctx, c.Tracing); err != nil {
		return nil, err
	}
	db, err := postgres.Open(ctx, c.DSN, "chatledger")
	if err != nil {
		return nil, err
	}
	a.outbox = outbox.New(db)
	a.Store = eventstore.New(db, chat.NewCodec(), a.outbox)
	a.Handler = commands.NewHandler(a.Store, commands.Config{Settings: a, Observer: a})
	a.time = &timers.Timekeeper{Store: timers.New(a.Store.DB), Handle: a.Handler.HandleAll, Now: a.now, Every: c.TimersEvery, Log: c.Log}
	if a.Router, err = bus.NewRouter(c.Log); err != nil {
		return nil, err
	}
	a.show()
	if c.Only.works() {
		a.follow()
	}

	if err := a.protect(c); err != nil {
		return nil, err
	}
	webhook := &telegram.Webhook{Find: a.find, Handle: a.tracing.Handle(a.Handler.Handle), Observe: a.metrics.Webhook, Guard: a.guard, Now: a.now, Log: c.Log,
		Quarantine: func(ctx context.Context, bot string, body []byte, reason string) error {
			a.metrics.Quarantined(bot)
			return quarantine.New(a.Store.DB).Add(ctx, bot, body, reason)
		}}
	a.flow, a.leases = outbox.NewRateLimiter(a.Store.DB), bus.NewLeases(a.outbox, a.owner, c.Log)
	a.patient = bus.NewLeases(a.outbox, a.owner, c.Log).For(llm.Lease)
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
	a.server = &http.Server{Handler: guard.Handler(a.farewell(a.tracing.Receive(routes))), ReadHeaderTimeout: HeaderTimeout, ReadTimeout: RequestTimeout, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: a.guard.ServerLog(), ConnContext: guard.Context}
	a.ops = a.newOpsServer(c)
	a.people, err = a.newOperatorServer(c)
	return a, err
}

// Names of the groups that act; the others are named as their tables. They are data.
const (
	Responder = "responder"  // gives the bot its turn
	Outbox    = "deliveries" // writes down what is owed
)

// ConsumerGroups are all there are, whichever process leads them.
func ConsumerGroups() []string {
	groups := []string{Responder, Outbox}
	for _, p := range projections.All() {
		groups = append(groups, p.Name())
	}
	return groups
}

// follow subscribes the consumer groups to the feed.
func (a *Server) follow() {
	lead := func(ctx context.Context, group string) (bus.Reader, error) { return a.Store.Lead(ctx, group) }
	for _, p := range projections.All() {
		pause := ProjectEvery
		switch p.(type) {
		case projections.Messages, projections.ChatDays:
			pause = a.analysts
		}
		lead := func(ctx context.Context, table string) (bus.Reader, error) {
			return a.Store.LeadTable(ctx, table, p.Version(), a.log)
		}
		a.Router.Follow(bus.NewLog(p.Name(), lead, a.log, a.metrics.Page).Linger(pause), a.tracing.Page(p.Name(), p.Apply))
	}
	a.Router.Follow(bus.NewLog(Responder, lead, a.log, a.metrics.Page), a.tracing.Page(Responder, a.respond))
	a.Router.Follow(bus.NewLog(Outbox, lead, a.log, func(group string, events int, took time.Duration) {
		a.metrics.Page(group, events, took)
		for bot := range a.owing {
			a.outbox.Notify(bot) // only now is it committed
		}
		clear(a.owing)
	}), a.tracing.Page(Outbox, a.owe))
}

// with is what a bot's decisions are taken with.
func (a *Server) SettingsOf(bot string) chat.Settings {
	b := a.Bots.All()[bot]
	if b == nil {
		return chat.Settings{}
	}
	return b.config.Model.Informs(chat.Settings{Knowledge: b.shelf.Of(bot), Tools: b.tools})
}

// respond gives the bot its turn for every event of a page that calls for one, refers
// the tickets that another desk keeps, too, and follows groups to their new ids.
func (a *Server) respond(ctx context.Context, _ pgx.Tx, page []domain.Recorded) error {
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
	_, err := a.tracing.HandleAll(a.Handler.HandleAll)(ctx, requests)
	return err
}

// owe writes what a page's events ask for into the ledger. What a group is owed that
// has moved goes to its new id, before all that is owed there later.
func (a *Server) owe(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	var deliveries []commands.Delivery
	for _, r := range page {
		if d, ok := commands.Enqueue(r); ok {
			deliveries = append(deliveries, d)
		}
	}
	if len(deliveries) > 0 {
		for _, d := range deliveries {
			a.owing[d.Stream.Bot()] = true
		}
		if err := a.outbox.Enqueue(ctx, tx, deliveries); err != nil {
			return err
		}
	}
	for _, r := range page {
		if e, ok := r.Event.(chat.ChatMigrated); ok {
			if err := a.outbox.MoveOrderingKey(ctx, tx, r.Stream, domain.ChatStream(r.Stream.Bot(), e.To)); err != nil {
				return err
			}
		}
	}
	return nil
}

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
	parts.Go(func() { a.Store.Announce(ctx, a.log) })
	parts.Go(func() { a.watch(ctx) })
	parts.Go(func() { a.followBotsFile(ctx) })
	parts.Go(func() { a.followAddresses(ctx) })
	parts.Go(func() { a.counterAttacks(ctx) })
	parts.Go(func() { a.guard.Run(ctx) })
	parts.Go(func() { a.renewCertificate(ctx) })
	parts.Go(func() { a.measure(ctx) })

	<-ctx.Done()
	a.Stopping.Store(true) // also when a part failed
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	if err := errors.Join(a.server.Shutdown(stop), a.people.stop(stop), a.ops.stop(stop)); err != nil {
		a.log.Warn("requests were cut off", "error", err)
	}
	parts.Wait()
	for _, b := range a.Bots.All() {
		b.wait()
	}
	a.Handler.Close()
	a.Store.Close()
	a.tracing.Close()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// takeOver frees what dead workers held, and keeps long lanes out of the way of others.
func (a *Server) takeOver(ctx context.Context) {
	wait.Every(ctx, takeOverEvery, func() {
		n, err := a.outbox.ReclaimExpired(ctx)
		if n > 0 {
			a.log.Warn("deliveries taken over from a process that is gone", "deliveries", n)
		}
		if err == nil {
			err = a.outbox.DeferFollowers(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Error("leases and lanes cannot be looked at", "error", err)
		}
	})
}

// watch names who holds the consumers back with a transaction left open.
func (a *Server) watch(ctx context.Context) {
	wait.Every(ctx, watchEvery, func() {
		w, _, err := health.Of(a.Store.DB).OldestWriter(ctx)
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
func (a *Server) watchFlow(ctx context.Context) {
	known := map[string]commands.Permit{}
	wait.Every(ctx, watchEvery, func() {
		stopped, err := a.flow.Suspended(ctx)
		if err == nil {
			_, err = a.flow.DeleteExpired(ctx)
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

// Listen opens a port, and says which flag chooses another when it is taken.
func Listen(address, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another address with %s", err, flag)
	}
	return l, nil
}
