package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/admin/deliveries"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// network lies between chatledger and a system that it calls.
type network struct {
	*toxiproxy.Proxy
	t   *testing.T
	url string // of the other side, through the network
}

func newNetwork(t *testing.T, target string) *network {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t: t}
	for n.Proxy == nil {
		// A port that refuses connections must not be given to another test meanwhile, so it is outside the
		// range that systems assign.
		proxy := toxiproxy.NewProxy(server, t.Name(), fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000)), u.Host)
		if err := proxy.Start(); err == nil {
			n.Proxy = proxy
		} else if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Cleanup(n.Stop)
	u.Host = n.Listen
	n.url = u.String()
	return n
}

// disturbance is a fault of a network; without a toxic, no connection succeeds.
type disturbance struct{ name, toxic string }

var disturbances = []disturbance{
	{"refused connections", ""},
	{"latency", `{"type": "latency", "attributes": {"latency": 400, "jitter": 300}}`},
	{"requests lost in a reset", `{"type": "reset_peer", "stream": "upstream"}`},
	{"answers lost in a reset", `{"type": "reset_peer"}`},
	{"half-open connections", `{"type": "timeout"}`},
	{"slow bodies", `{"type": "slicer", "attributes": {"average_size": 16, "size_variation": 8, "delay": 30000}}`},
	{"truncated JSON", `{"type": "limit_data", "attributes": {"bytes": 180}}`}, // headers are some 110
}

// suffer disturbs calls, those in progress included, until mend.
func (n *network) suffer(d disturbance) {
	n.t.Helper()
	if d.toxic == "" {
		n.Stop()
	} else if _, err := n.Toxics.AddToxicJson(strings.NewReader(d.toxic)); err != nil {
		n.t.Fatalf("%s: %v", d.name, err)
	}
}

func (n *network) mend() {
	n.t.Helper()
	n.Toxics.ResetToxics(context.Background())
	if err := n.Start(); err != nil && err != toxiproxy.ErrProxyAlreadyStarted {
		n.t.Fatal(err)
	}
}

// Telegram is unreachable while customers write: the replies are sent in order when the network is
// repaired, and those that may have arrived twice are marked.
func TestOutage_TelegramDown_NoAnswerLost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 15 s")
	}
	const chats, perSecond = 50, 50
	outage, recovery := 10*time.Second, patience
	if *full {
		outage, recovery = 2*time.Minute, 5*time.Minute
	}
	w := newTown(t, pgtest.Database(t))
	line := newNetwork(t, w.api)
	w.running = w.start(w.dsn, func(c *server.Config) { c.TelegramURL = line.url })
	w.register()

	updates := 0
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	for _, d := range disturbances {
		line.suffer(d)
		before, arrived := updates, w.sent()
		for end := time.Now().Add(outage / time.Duration(len(disturbances))); time.Now().Before(end); updates++ {
			<-tick.C
			w.Say(int64(updates%chats+1), fmt.Sprintf("where is my order %d?", 100_000+updates))
		}
		if d.toxic == "" {
			w.eventually("a call finds nobody", func() string {
				return unless(w.rows(`select count(*) from eventstore.deliveries where attempts > 0 and unsure = 0
					and state = 'waiting'`) != "0", "no delivery is postponed")
			})
		}
		t.Logf("%s: %d updates, %d messages arrived", d.name, updates-before, w.sent()-arrived)
		if d == disturbances[len(disturbances)-1] {
			w.eventually("updates are taken in all the same", func() string {
				return unless(w.Stats().Updates.Pending == 0, "%+v", w.Stats().Updates)
			})
		}
		line.mend()
	}
	eventually(t, recovery, "everything comes to rest", func() string { return w.rows(unsettled) })
	if w.agree(chats, updates) == 0 {
		t.Error("nothing was lost between a request and its answer: this run proves nothing")
	}
	if got := w.Stats().Updates; got.Delivered != int64(updates) || got.Expired != 0 {
		t.Errorf("of %d updates %+v", updates, got)
	}

	// A reply whose two attempts have an unknown outcome is not lost: an operator retries it.
	w.must("deliveries", "retry", "--state", "unknown", "--rate", fmt.Sprint(deliveries.MaxRate))
	eventually(t, recovery, "everything comes to rest", func() string { return w.rows(unsettled) })
	heard := map[string]bool{}
	for chat := range int64(chats) {
		for _, text := range w.texts(chat+1, "bot") {
			heard[text] = true
		}
	}
	if len(heard) != updates {
		t.Errorf("of %d answers %d arrived in the end", updates, len(heard))
	}
}

// Whatever the network does to a call, Zendesk has each ticket and each word once.
func TestZendesk_BadNetwork_EverythingOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 30 s: half-open connections are waited for")
	}
	zendesk, account := newZendesk(t, itself)
	line := newNetwork(t, account.URL)
	account.URL = line.url
	w := newWorldOn(t, pgtest.Database(t), func(b *config.Bot) { b.Zendesk = account })
	for i, d := range disturbances {
		chat := int64(i + 1)
		for n, words := range []string{"I want to talk to a person", "are you there?"} {
			line.suffer(d)
			w.Say(chat, words)
			w.attempted("zendesk:demo", 2*i+n+1)
			line.mend()
			w.settle()
		}
	}
	tickets := zendesk.Tickets()
	if len(tickets) != len(disturbances) {
		t.Errorf("%d tickets for %d cases", len(tickets), len(disturbances))
	}
	for i, ticket := range tickets {
		const want = "new high; I want to talk to a person; Customer *; -A person is needed: asked " +
			"/ Customer *: I want to talk to a person; -Customer *: are you there?"
		if got := onPaper(ticket); !like(want, got) || len(ticket.Comments) != 2 {
			t.Errorf("under %s, at Zendesk: %s", disturbances[i].name, got)
		}
	}
	w.done("zendesk:demo")
}

// Whatever the network does to a call, the CRM changes each address once.
func TestCRM_BadNetwork_ChangesAddressOnce(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 15 s: half-open connections are waited for")
	}
	crm, withCRM := newCRM(t)
	line := newNetwork(t, crm.url)
	crm.url = line.url
	w := newWorld(t, withCRM)
	for i, d := range disturbances {
		chat := int64(i + 1)
		w.Say(chat, "my new billing address is "+elm)
		w.says(chat, "Is that right?")
		w.settle()
		line.suffer(d)
		w.Say(chat, "yes")
		w.attempted("crm:demo", 3*(i+1)) // who it is was asked before, and the check of the address
		line.mend()
		w.says(chat, "Done: your billing address is now "+elm)
		w.settle()
		if kept := crm.kept(chat); len(kept) != 1 || kept[0] != elm {
			t.Errorf("under %s the address was changed to %q", d.name, kept)
		}
	}
	keys := crm.puts()
	slices.Sort(keys)
	if once := slices.Compact(slices.Clone(keys)); len(once) != len(disturbances) || len(keys) == len(once) {
		t.Errorf("%d calls under %d keys, want more calls than the %d changes", len(keys), len(once),
			len(disturbances))
	}
	w.done("crm:demo")
}

// attempted waits until there are so many deliveries to a destination, and each has been postponed or is
// done.
func (w *world) attempted(destination string, n int) {
	w.t.Helper()
	w.eventually("calls are made to "+destination, func() string {
		tried := w.rows(`select count(*) from eventstore.deliveries where destination = $1 and attempts > 0
			and state <> 'sending'`, destination)
		return unless(tried == fmt.Sprint(n), "%s of %d", tried, n)
	})
}

// done fails unless all deliveries to a destination are done, some of them at the second attempt.
func (w *world) done(destination string) {
	w.t.Helper()
	w.wantRows("done", `select distinct state from eventstore.deliveries where destination = $1`, destination)
	w.t.Logf("%s: deliveries and attempts %s", destination,
		w.rows(`select count(*), sum(attempts)::int from eventstore.deliveries where destination = $1`, destination))
	if w.rows(`select max(attempts) > 1 from eventstore.deliveries where destination = $1`, destination) != "true" {
		w.t.Error("no call failed: this run proves nothing")
	}
	w.gapless()
	w.clean()
}

// Two processes get several times the load that Telegram's rate limits allow, for private chats and for
// groups: no call is over the limits, no message is lost, and each chat keeps its order.
func TestRateLimit_LoadFarAbove_KeptAndDelivered(t *testing.T) {
	t.Parallel()
	const chats, groups, rounds = 40, 10, 4
	w := newWorld(t, telegramRates)
	w.start(w.dsn)
	w.Limit(telegramsim.TelegramLimits)
	for round := range rounds {
		for chat := range int64(chats + 1 + groups) {
			if chat -= groups; chat != 0 {
				w.Say(chat, fmt.Sprintf("where is my order %d?", 100_000+round))
			}
		}
	}
	w.settle()
	if floods := w.Stats().Floods; floods != (telegramsim.Floods{}) {
		t.Errorf("too many calls: %+v", floods)
	}
	for chat := range int64(chats + 1 + groups) {
		chat -= groups
		said := w.texts(chat, "bot")
		if chat != 0 && (len(said) != rounds || !slices.IsSorted(said)) {
			t.Errorf("chat %d has its messages as %q", chat, said)
		}
	}
	w.wantRows("done, 1", `select distinct state, attempts from eventstore.deliveries`)
}
