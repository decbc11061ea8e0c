package server

import (
	"context"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/certificates"
	"github.com/chatledger/chatledger/adapters/crm"
	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/adapters/llm"
	"github.com/chatledger/chatledger/adapters/postgres/webhooks"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/adapters/zendesk"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// bot is everything of one bot of the file. It shares the store and the router with the
// others and nothing else: its clients, limits and consumers are its own, and are built
// anew, and only they are, when its settings change.
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
	// owes are the destinations of its deliveries, with the leases by which they are taken.
	owes map[string]*bus.Leases

	stop  []func() // its consumers and its gauges
	end   context.CancelFunc
	parts sync.WaitGroup
}

// fleet is the bots of the file at the moment. Who reads it keeps what it found.
type fleet struct {
	byName atomic.Pointer[map[string]*bot]
}

func (f *fleet) All() map[string]*bot {
	if all := f.byName.Load(); all != nil {
		return *all
	}
	return nil
}

// put replaces a bot, or takes it away when it is nil. One goroutine calls it.
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

// newBot builds a bot; what is wrong is told as a mistake in a field of it. Of its
// predecessor, if there is one, it takes over what is dear to read and has not changed.
func (a *Server) newBot(name string, config config.Bot, former *bot) (*bot, error) {
	b := &bot{name: name, config: config, breakers: map[string]func() string{}, Typing: map[domain.DeliveryKind]*delivery.Typing{},
		owes: map[string]*bus.Leases{"telegram:" + name: a.leases, "orders:" + name: a.leases}}
	if err := a.equip(b, former); err != nil {
		b.wait()
		return nil, err
	}
	return b, nil
}

func (a *Server) equip(b *bot, former *bot) (err error) {
	var known *dialog.Knowledge
	if former != nil && former.config.Knowledge == b.config.Knowledge && former.config.Language == b.config.Language {
		known = former.library.Of(b.name)
	} else if known, err = b.config.ReadKnowledge(a.log); err != nil {
		return err
	}
	b.library = knowledge.NewLibrary(map[string]*dialog.Knowledge{b.name: known})
	if b.client, err = telegram.NewClient(a.api, b.config.Token); err != nil {
		return err
	}
	b.client.Through(a.tracing.Transport)
	paced := &delivery.Paced{Sender: telegram.Clients{b.name: b.client}, Limits: a.flow, Chats: a.Handler, Log: a.log}
	paced.Add(b.name, b.config.Limits())
	b.worker = &delivery.Worker{
		Now:      a.now,
		Senders:  map[domain.DeliveryKind]delivery.Sender{domain.KindSendMessage: paced, domain.KindAnswerButton: paced},
		Policies: b, Outbox: a.outbox, Handler: a.requests, Log: a.log,
		Observer: deliveryObserver{a.metrics, a.tracing},
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
		shop.CRM, b.crm.Batched = b.crm, a.metrics.Batch("crm:"+b.name)
		b.crm.Through(a.tracing.Transport)
		b.breakers["crm:"+b.name], b.owes["crm:"+b.name] = b.crm.Breaker, a.leases
	}
	b.tools = shop.Has()
	typing := func(asker delivery.Asker) *delivery.Typing {
		return &delivery.Typing{Asker: asker, Indicator: paced}
	}
	for tool := range dialog.Toolbox {
		b.Typing[chat.KindOf(tool)] = typing(crm.Tools{Shops: map[string]crm.Shop{b.name: shop}, Now: a.now})
	}
	if err := a.think(b, typing); err != nil {
		return err
	}
	for kind, sender := range b.Typing {
		b.worker.Senders[kind] = sender
	}
	desks := zendesk.Clients{}
	if z := b.config.Zendesk; z != nil {
		if desks[b.name], err = a.zendeskClient(z); err != nil {
			return err
		}
		desks[b.name].Through(a.tracing.Transport)
		b.zendesk = a.newZendeskWebhook(b.name, z)
		b.breakers["zendesk:"+b.name], b.owes["zendesk:"+b.name] = desks[b.name].Breaker, a.leases
	}
	for _, kind := range config.ZendeskKinds {
		b.worker.Senders[kind] = desks
	}
	return nil
}

// enter adds the bot: its updates are received, and what it owes goes out.
func (a *Server) enter(b *bot) {
	for destination, state := range b.breakers {
		b.stop = append(b.stop, a.metrics.Breaker(destination, state))
	}
	if a.config.Only.works() {
		deliver := a.tracing.Deliver(b.worker.Deliver)
		for destination, leases := range b.owes {
			b.stop = append(b.stop, a.Router.Deliver(leases, destination, deliver))
		}
	}
	a.metrics.Source(b.name)
	a.Bots.put(b.name, b)
	a.addresses.update()
}

// leave takes a bot away: its updates are refused, and when what is under way has come to
// an end, nothing of it is left. What it owes waits in the ledger.
func (a *Server) leave(b *bot) {
	a.Bots.put(b.name, nil)
	a.addresses.update()
	a.retire(b)
}

// retire ends a bot's consumers and what else runs of it.
func (a *Server) retire(b *bot) {
	b.end()
	var ending sync.WaitGroup
	for _, stop := range b.stop {
		ending.Go(stop)
	}
	ending.Wait()
	b.wait()
}

// wait returns when nothing of the bot runs any more.
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

// accompany runs what belongs to a bot beside its consumers, until ctx ends or the bot
// does.
func (a *Server) accompany(ctx context.Context, b *bot) {
	ctx, b.end = context.WithCancel(ctx)
	b.parts.Go(func() { a.relearn(ctx, b) })
	b.parts.Go(func() { a.watchPublicCertificate(ctx, b) })
	if a.config.Only.receives() {
		b.parts.Go(func() { a.announceWebhook(ctx, b) })
	}
	b.parts.Go(func() { a.watchWebhook(ctx, b) })
}

// Policy implements delivery.Policies.
func (b *bot) Policy(c commands.Claimed) delivery.Policy { return b.config.Policy(c.Kind) }

// same tells whether a bot built from this would be what it is already.
func (b *bot) same(config config.Bot) bool { return reflect.DeepEqual(b.config, config) }

// watchPublicCertificate notes when the certificate at the bot's public address expires.
func (a *Server) watchPublicCertificate(ctx context.Context, b *bot) {
	if !b.config.Secure() {
		return
	}
	said := ""
	certificates.Watch(ctx, map[string]string{b.name: b.config.PublicURL}, func(bot string, notAfter time.Time, err error) {
		a.metrics.PublicCertificate(bot, notAfter, err == nil)
		wrong := ""
		if err != nil {
			wrong = err.Error()
		}
		if wrong != said && err != nil {
			a.log.Warn("the certificate at a bot's public address is invalid, or cannot be checked from here", "bot", bot, "error", err)
		}
		said = wrong
	})
}

// Registrar is who registers the bots' webhooks.
func (a *Server) Registrar() registrar.Registrar {
	return registrar.Registrar{Store: webhooks.New(a.Store.DB), Handler: a.Handler, API: a.api, Now: a.now}
}

// SettingsOf implements commands.SettingsProvider. It returns what the bot's decisions depend on.
func (f *fleet) SettingsOf(bot string) chat.Settings {
	b := f.All()[bot]
	if b == nil {
		return chat.Settings{}
	}
	return b.config.Model.Informs(chat.Settings{Knowledge: b.library.Of(bot), Tools: b.tools})
}
