package main

import (
	"context"
	"encoding/json"
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
	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/postgres"
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
	log      *slog.Logger
	metrics  *telemetry.Metrics
	stopping atomic.Bool
	owing    atomic.Bool // the page in hand owes something
	owner    string
}

// appConfig is what an app needs.
type appConfig struct {
	DSN         string
	Bots        map[string]botConfig
	TelegramURL string
	Listener    net.Listener
	Log         *slog.Logger
}

const (
	// The webhook's time limits: Telegram sends a whole update at once.
	headerTimeout  = 5 * time.Second
	requestTimeout = 15 * time.Second
	idleTimeout    = 2 * time.Minute
	// maxHeader holds the secret, some 300 bytes, with room for a proxy's own.
	maxHeader = 16 << 10
	// readyTimeout bounds the question whether the database answers.
	readyTimeout = 2 * time.Second
	// stopTimeout bounds the end of requests in flight.
	stopTimeout = 5 * time.Second
	// takeOverEvery is how often leases that ran out are looked for.
	takeOverEvery = time.Second
	// projectEvery is how far apart a projection's pages are when there is little to
	// do: a person who looks at a table does not see 10 ms, the webhook's answer would.
	projectEvery = 10 * time.Millisecond
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
	a := &app{listener: c.Listener, log: c.Log, metrics: telemetry.NewMetrics(), owner: fmt.Sprintf("%s/%d", host, os.Getpid())}

	if a.store, err = postgres.Open(ctx, c.DSN, "chatledger", chat.NewCodec()); err != nil {
		return nil, err
	}
	a.handler = commands.NewHandler(a.store, commands.Settings{})
	if a.router, err = bus.NewRouter(c.Log); err != nil {
		return nil, err
	}
	a.follow()

	webhook := &telegram.Webhook{Bots: map[string]telegram.Bot{}, Handle: a.handler.Handle, Observe: a.metrics.Webhook, Log: c.Log,
		Quarantine: func(ctx context.Context, bot string, body []byte, reason string) error {
			a.metrics.Quarantined(bot)
			return a.store.Quarantine(ctx, bot, body, reason)
		}}
	if err := a.deliver(c, webhook); err != nil {
		return nil, err
	}
	routes := mux.NewRouter()
	webhook.Routes(routes)
	routes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	routes.HandleFunc("/readyz", a.ready)
	routes.Handle("/metrics", a.metrics.Handler())
	a.server = &http.Server{Handler: routes, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug)}
	return a, nil
}

// follow subscribes the consumer groups to the feed. Their names are data.
func (a *app) follow() {
	lead := func(ctx context.Context, group string) (bus.Reader, error) { return a.store.Lead(ctx, group) }
	for _, p := range projections.All() {
		a.router.Follow(bus.NewLog(p.Name(), lead, a.log, a.metrics.Page).Linger(projectEvery), p.Apply)
	}
	a.router.Follow(bus.NewLog("responder", lead, a.log, a.metrics.Page), a.respond)
	a.router.Follow(bus.NewLog("deliveries", lead, a.log, func(group string, events int, took time.Duration) {
		a.metrics.Page(group, events, took)
		if a.owing.Swap(false) {
			a.store.Owed() // only now are they committed
		}
	}), a.owe)
}

// respond gives the bot its turn for every event of a page that calls for one.
func (a *app) respond(ctx context.Context, _ pgx.Tx, page []domain.Recorded) error {
	var requests []commands.Request
	for _, r := range page {
		if request, ok := commands.Turn(r, now()); ok {
			requests = append(requests, request)
		}
	}
	_, err := a.handler.HandleAll(ctx, requests)
	return err
}

// owe writes what a page's events ask for into the ledger.
func (a *app) owe(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	var deliveries []commands.Delivery
	for _, r := range page {
		if d, ok := commands.Owe(r); ok {
			deliveries = append(deliveries, d)
		}
	}
	if len(deliveries) == 0 {
		return nil
	}
	a.owing.Store(true)
	return a.store.Owe(ctx, tx, deliveries)
}

// deliver subscribes a worker to each bot's destinations and opens its webhook.
func (a *app) deliver(c appConfig, webhook *telegram.Webhook) error {
	clients, lookUp := telegram.Clients{}, crm.LookUp{}
	worker := &delivery.Worker{
		Senders: map[string]delivery.Sender{commands.KindSendMessage: clients, commands.KindAnswerButton: clients, commands.KindLookUpOrder: lookUp},
		Ledger:  a.store, Handle: a.handler.Handle, Log: c.Log,
		Observe: func(d commands.Claimed, state commands.State, took time.Duration) {
			a.metrics.Delivery(d.Destination, d.Kind, string(state), took)
		},
	}
	leases := bus.NewLeases(a.store, a.owner, c.Log)
	for name, b := range c.Bots {
		webhook.Bots[name] = b.receiver(name)
		client, err := telegram.NewClient(c.TelegramURL, b.Token)
		if err != nil {
			return fmt.Errorf("bot %s: %w", name, err)
		}
		orders, err := b.orders()
		if err != nil {
			return fmt.Errorf("bot %s: %w", name, err)
		}
		if clients[name] = client; orders != nil {
			lookUp[name] = orders
		}
		a.router.Deliver(leases, "telegram:"+name, worker.Deliver)
		a.router.Deliver(leases, "orders:"+name, worker.Deliver)
	}
	return nil
}

// run serves until ctx ends, then stops in the order in which work flows: no new
// updates, then what was received is finished, then the database is left.
func (a *app) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
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
	part("router", func() error { return a.router.Run(ctx) })
	parts.Go(func() { a.store.Announce(ctx, a.log) })
	parts.Go(func() { a.takeOver(ctx) })
	parts.Go(func() { a.watch(ctx) })

	<-ctx.Done()
	a.stopping.Store(true)
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	if err := a.server.Shutdown(stop); err != nil {
		a.log.Warn("requests were cut off", "error", err)
	}
	parts.Wait()
	a.handler.Close()
	a.store.Close()
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

// takeOver frees what dead workers held.
func (a *app) takeOver(ctx context.Context) {
	every(ctx, takeOverEvery, func() {
		if n, err := a.store.TakeOver(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("leases cannot be looked at", "error", err)
		} else if n > 0 {
			a.log.Warn("deliveries taken over from a process that is gone", "deliveries", n)
		}
	})
}

// watch names who holds the consumers back with a transaction left open.
func (a *app) watch(ctx context.Context) {
	every(ctx, watchEvery, func() {
		w, _, err := a.store.OldestWriter(ctx)
		if err != nil {
			return // the database is away, and others say so
		}
		if a.metrics.OldestWrite(w.Age); w.Age > tooOld {
			a.log.Warn("an open write holds all consumers back: end it, or pg_terminate_backend(pid)",
				"pid", w.PID, "application", w.Application, "user", w.User, "state", w.State, "age", w.Age.Round(time.Second))
		}
	})
}

// ready answers whether an update could be taken in now, and if not, why.
func (a *app) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	reasons := []string{}
	if err := a.store.Ping(ctx); err != nil {
		reasons = append(reasons, err.Error())
	}
	select {
	case <-a.router.Running():
	default:
		reasons = append(reasons, "handlers are starting")
	}
	if a.stopping.Load() {
		reasons = append(reasons, "stopping")
	}
	w.Header().Set("Content-Type", "application/json")
	if len(reasons) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"ready": len(reasons) == 0, "reasons": reasons}); err != nil {
		a.log.Debug("readyz answer not written", "error", err)
	}
}

// listen opens a port, and says which flag chooses another when it is taken.
func listen(address, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another address with %s", err, flag)
	}
	return l, nil
}
