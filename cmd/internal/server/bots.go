package server

import (
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/certificates"
	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/guard"
	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/adapters/telemetry"
	"github.com/chatledger/chatledger/adapters/zendesk"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// bot is a running bot of the bots file. It shares the store and the router with the other bots.
// Its clients, limits and consumers are its own and are rebuilt when its settings change.
type bot struct {
	name    string
	config  config.Bot
	orders  crm.Orders
	client  *telegram.Client
	worker  *delivery.Worker
	Typing  map[domain.DeliveryKind]*delivery.Typing // by kind
	tools   map[string]bool
	library *knowledge.Library
	crm     *crm.Client
	model   *llm.Client
	zendesk *zendesk.Webhook
	// breakers are asked for their states, by destination.
	breakers map[string]func() string
	// destinations of its deliveries, with the leases under which they are claimed.
	destinations map[string]*bus.Leases

	stop  []func() // its consumers and its gauges
	end   context.CancelFunc
	parts sync.WaitGroup
}

// fleet is the current set of bots. The map that a reader gets does not change.
type fleet struct {
	byName atomic.Pointer[map[string]*bot]
}

func (f *fleet) All() map[string]*bot {
	if all := f.byName.Load(); all != nil {
		return *all
	}
	return nil
}

// put replaces a bot, or removes it when b is nil. Only one goroutine calls it.
func (f *fleet) put(name string, b *bot) {
	all := maps.Clone(f.All())
	if all == nil {
		all = map[string]*bot{}
	}
	if all[name] = b; b == nil {
		delete(all, name)
	}
	f.byName.Store(&all)
}

// botFactory builds bots from what they share.
type botFactory struct {
	telegramURL string
	db          *postgres.DB
	outbox      *outbox.Store
	limiter     *outbox.RateLimiter
	leases      *bus.Leases
	slowLeases  *bus.Leases
	handler     *commands.Handler
	requests    telemetry.RequestHandler // handler, traced
	guard       *guard.Guard
	metrics     *telemetry.Metrics
	tracing     *telemetry.Tracing
	now         func() time.Time
	log         *slog.Logger
}

// build builds a bot. An error names the field of the settings that is wrong. Knowledge that has
// not changed is taken from the former bot of that name, if there is one: reading it is slow.
func (f *botFactory) build(name string, config config.Bot, former *bot) (*bot, error) {
	b := &bot{
		name: name, config: config, breakers: map[string]func() string{},
		Typing:       map[domain.DeliveryKind]*delivery.Typing{},
		destinations: map[string]*bus.Leases{"telegram:" + name: f.leases, "orders:" + name: f.leases},
	}
	if err := f.connect(b, former); err != nil {
		b.wait()
		return nil, err
	}
	return b, nil
}

// connect builds a bot's clients and senders.
func (f *botFactory) connect(b *bot, former *bot) (err error) {
	var known *dialog.Knowledge
	if former != nil && former.config.Knowledge == b.config.Knowledge && former.config.Language == b.config.Language {
		known = former.library.Of(b.name)
	} else if known, err = b.config.ReadKnowledge(f.log); err != nil {
		return err
	}
	b.library = knowledge.NewLibrary(map[string]*dialog.Knowledge{b.name: known})
	if b.client, err = telegram.NewClient(f.telegramURL, b.config.Token); err != nil {
		return err
	}
	b.client.Through(f.tracing.Transport)
	paced := &delivery.Paced{
		Sender: telegram.Clients{b.name: b.client}, Limits: f.limiter, Chats: f.handler, Log: f.log,
	}
	paced.Add(b.name, b.config.Limits())
	b.breakers["telegram:"+b.name] = func() string { return paced.Breaker(b.name) }
	b.worker = &delivery.Worker{
		Now: f.now,
		Senders: map[domain.DeliveryKind]delivery.Sender{
			domain.KindSendMessage: paced, domain.KindAnswerButton: paced,
		},
		Policies: b, Outbox: f.outbox, Handler: f.requests, Streams: f.handler, Log: f.log,
		Observer: deliveryObserver{f.metrics, f.tracing},
	}
	var shop crm.Shop
	if b.orders, err = b.config.ReadOrders(); err != nil {
		return config.In(err, "orders")
	}
	shop.Orders = b.orders
	if c := b.config.CRM; c != nil {
		if b.crm, err = crm.NewClient(c.URL, c.Token); err != nil {
			return err
		}
		shop.CRM, b.crm.Batched = b.crm, f.metrics.Batch("crm:"+b.name)
		b.crm.Through(f.tracing.Transport)
		b.breakers["crm:"+b.name], b.destinations["crm:"+b.name] = b.crm.Breaker, f.leases
	}
	b.tools = shop.Has()
	typing := func(asker delivery.Asker) *delivery.Typing {
		return &delivery.Typing{Asker: asker, Indicator: paced}
	}
	for tool := range dialog.Toolbox {
		b.Typing[chat.KindOf(tool)] = typing(crm.Tools{Shops: map[string]crm.Shop{b.name: shop}, Now: f.now})
	}
	if err := f.addModel(b, typing); err != nil {
		return err
	}
	for kind, sender := range b.Typing {
		b.worker.Senders[kind] = sender
	}
	desks := zendesk.Clients{}
	if z := b.config.Zendesk; z != nil {
		if desks[b.name], err = f.zendeskClient(z); err != nil {
			return err
		}
		desks[b.name].Through(f.tracing.Transport)
		b.zendesk = f.newZendeskWebhook(b.name, z)
		b.breakers["zendesk:"+b.name], b.destinations["zendesk:"+b.name] = desks[b.name].Breaker, f.leases
	}
	for _, kind := range config.ZendeskKinds {
		b.worker.Senders[kind] = desks
	}
	return nil
}

// addBot adds a bot: its updates are received and its deliveries are sent.
func (s *Server) addBot(b *bot) {
	for destination, state := range b.breakers {
		b.stop = append(b.stop, s.metrics.Breaker(destination, state))
	}
	if s.config.Only.works() {
		deliver := s.tracing.Deliver(b.worker.Deliver)
		for destination, leases := range b.destinations {
			b.stop = append(b.stop, s.Router.Deliver(leases, destination, deliver))
		}
	}
	s.metrics.Source(b.name)
	s.Bots.put(b.name, b)
	s.addresses.update()
}

// removeBot removes a bot: its updates are rejected, and its attempts in progress are waited for.
// Pending deliveries stay in the outbox.
func (s *Server) removeBot(b *bot) {
	s.Bots.put(b.name, nil)
	s.addresses.update()
	s.stopBot(b)
}

// stopBot stops a bot's consumers and goroutines and waits for them.
func (s *Server) stopBot(b *bot) {
	b.end()
	var ending sync.WaitGroup
	for _, stop := range b.stop {
		ending.Go(stop)
	}
	ending.Wait()
	b.wait()
}

// wait waits for the goroutines of the bot and closes its clients.
func (b *bot) wait() {
	b.parts.Wait()
	for _, t := range b.Typing {
		t.Wait()
	}
	if b.crm != nil {
		b.crm.Close()
	}
	if b.model != nil {
		b.model.Close()
	}
}

// runBot starts the bot's goroutines beside its consumers. They end with ctx or with the bot.
func (s *Server) runBot(ctx context.Context, b *bot) {
	ctx, b.end = context.WithCancel(ctx)
	b.parts.Go(func() { s.followKnowledge(ctx, b) })
	b.parts.Go(func() { s.watchPublicCertificate(ctx, b) })
	if s.config.Only.receives() {
		b.parts.Go(func() { s.registerWebhook(ctx, b) })
	}
	b.parts.Go(func() { s.watchWebhook(ctx, b) })
}

// Policy implements delivery.Policies.
func (b *bot) Policy(c commands.Claimed) delivery.Policy { return b.config.Policy(c.Kind) }

// same reports whether the bot was built from these settings.
func (b *bot) same(config config.Bot) bool { return reflect.DeepEqual(b.config, config) }

// watchPublicCertificate measures when the certificate at the bot's public address expires.
func (s *Server) watchPublicCertificate(ctx context.Context, b *bot) {
	if !b.config.Secure() {
		return
	}
	logged := ""
	watched := map[string]string{b.name: b.config.PublicURL}
	certificates.Watch(ctx, watched, func(bot string, notAfter time.Time, err error) {
		s.metrics.PublicCertificate(bot, notAfter, err == nil)
		wrong := ""
		if err != nil {
			wrong = err.Error()
		}
		if wrong != logged && err != nil {
			s.log.Warn("the certificate at a bot's public address is invalid, or cannot be checked from here",
				"bot", bot, "error", err)
		}
		logged = wrong
	})
}

// Registrar returns what registers the bots' webhooks.
func (s *Server) Registrar() registrar.Registrar {
	return registrar.Registrar{Store: webhooks.New(s.Store.DB), Handler: s.Handler, API: s.telegramURL, Now: s.now}
}

// SettingsOf implements commands.SettingsProvider. It returns what the bot's decisions depend on.
func (f *fleet) SettingsOf(bot string) (settings chat.Settings, served bool) {
	b := f.All()[bot]
	if b == nil {
		return chat.Settings{}, false
	}
	return b.config.Model.Informs(chat.Settings{Knowledge: b.library.Of(bot), Tools: b.tools}), true
}

// serves reports whether the bot is in the bots file of this process.
func (f *fleet) serves(bot string) bool { return f.All()[bot] != nil }

// names returns the bots of the bots file.
func (f *fleet) names() []string { return slices.Sorted(maps.Keys(f.All())) }
