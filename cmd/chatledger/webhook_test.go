package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// proxy stands in front of the receivers, as on a real site: it forwards a path to the release that it
// belongs to, and everything else to the first.
type proxy struct {
	*httptest.Server
	mu    sync.Mutex
	first string
	by    map[string]string // path to address
	took  map[string]int    // by address, how many requests it answered with 200
	not   []string          // what became of the others
}

func newProxy(t *testing.T) *proxy {
	p := &proxy{by: map[string]string{}, took: map[string]int{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		to := p.first
		if release, ok := p.by[r.URL.Path]; ok {
			to = release
		}
		p.mu.Unlock()
		target, err := url.Parse(to)
		if err != nil {
			t.Error(err)
		}
		way := httputil.NewSingleHostReverseProxy(target)
		way.ModifyResponse = func(answer *http.Response) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if answer.StatusCode == http.StatusOK {
				p.took[to]++
			} else {
				p.not = append(p.not, r.URL.Path+" "+answer.Status)
			}
			return nil
		}
		way.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil { // else the sender has gone away, and says so itself
				p.mu.Lock()
				defer p.mu.Unlock()
				p.not = append(p.not, r.URL.Path+" "+err.Error())
			}
			w.WriteHeader(http.StatusBadGateway)
		}
		way.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *proxy) pass(path, to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if path == "" {
		p.first = to
		return
	}
	p.by[path] = to
}

// taken returns how many requests were answered with 200.
func (p *proxy) taken(by string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.took[by]
}

// refusals returns the requests that were answered with another status.
func (p *proxy) refusals() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.not)
}

// newReleases is a town whose bot is reached through a proxy.
func newReleases(t *testing.T, more ...string) (*town, *proxy) {
	t.Helper()
	w, p := newBotsTown(t, "shop"), newProxy(t)
	w.write(plain("shop", 0, append([]string{"public_url: " + p.URL + "/webhook/shop"}, more...)...))
	w.serveFile()
	p.pass("", w.url)
	return w, p
}

// webhook runs a webhook command on the town's bots file.
func (w *town) webhook(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	return w.cli(append([]string{"webhook", args[0], "--bots", w.file, "--telegram-url", w.api}, args[1:]...)...)
}

// mustWebhook is webhook of a command that must succeed.
func (w *town) mustWebhook(args ...string) string {
	w.t.Helper()
	code, stdout, stderr := w.webhook(args...)
	if code != 0 {
		w.t.Fatalf("webhook %v: %d %s%s", args, code, stdout, stderr)
	}
	return stdout
}

// told returns the registration at Telegram.
func (w *town) told() telegram.WebhookInfo {
	w.t.Helper()
	client, err := telegram.NewClient(w.api, tokenOf(0))
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := client.WebhookInfo(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

func TestWebhook_SetFromFile_InfoComparesIt(t *testing.T) {
	t.Parallel()
	w, p := newReleases(t, "allowed_updates: [message, callback_query]", "max_connections: 7")
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })
	info := w.told()
	if info.URL != p.URL+"/webhook/shop" || info.MaxConnections != 7 ||
		strings.Join(info.AllowedUpdates, " ") != "callback_query message" {
		t.Errorf("registered as %+v", info.Registration)
	}
	w.answers("shop", 7, "Where is my order 1001?", "Order 1001")
	if out := w.mustWebhook("info"); !strings.Contains(out, info.URL) || !strings.Contains(out, "max connections  7") {
		t.Errorf("info says\n%s", out)
	}

	w.mustWebhook("delete")
	if code, _, stderr := w.webhook("info"); code != 1 || !strings.Contains(stderr, "webhook set --bot shop") {
		t.Errorf("info of a webhook that is not there: %d %s", code, stderr)
	}
	time.Sleep(unit) // the simulator's setWebhook takes one a second
	w.mustWebhook("set")
	w.mustWebhook("info")
	if code, _, stderr := w.webhook("set", "--bot", "other"); code != 1 ||
		!strings.Contains(stderr, "bot other is not in") {
		t.Errorf("a bot that is not there: %d %s", code, stderr)
	}
}

func TestWebhookRotation_Overlap_OldSecretExpires(t *testing.T) {
	t.Parallel()
	w, p := newReleases(t)
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })
	own := p.URL + "/webhook/shop"
	out := w.mustWebhook("rotate", "--keep", "3s")
	rotated := w.told().URL
	if !strings.HasPrefix(rotated, own+"/") || len(rotated) != len(own)+1+registrar.PathLength ||
		!strings.Contains(out, rotated) {
		t.Fatalf("rotated to %s: %s", rotated, out)
	}
	// Both addresses are valid, each with its own secret only.
	b := readBot(t, w.file)
	path := strings.TrimPrefix(rotated, own+"/")
	secret := b.SecretAt(path)
	if a, b, c := postTo(t, own, b.Secret), postTo(t, rotated, secret), postTo(t, rotated, "secret-of-shop"); a != 200 ||
		b != 200 || c != 401 {
		t.Errorf("during the overlap: %d at the old, %d at the new, %d with the old secret at the new", a, b, c)
	}
	w.answers("shop", 7, "Where is my order 1001?", "Order 1001")
	w.eventually("the old one ends", func() string {
		status := postTo(t, own, b.Secret)
		return unless(status == http.StatusNotFound, "%d", status)
	})
	if status := postTo(t, rotated, secret); status != 200 {
		t.Errorf("the new one answers %d", status)
	}

	// The move is an event of the bot's stream, and no secret is stored in the database.
	w.wantRows("webhook_moved, rotated, operator, "+path, `select name, payload->>'cause', actor, payload->>'path'
		from eventstore.events where stream_id = 'bot-shop' and name = 'webhook_moved'`)
	w.wantRows("0", `select count(*) from eventstore.events where payload::text like '%' || $1 || '%'`, secret)
	w.clean()

	// A process that starts now registers that address again, and not the ended one.
	w.stop()
	w.mustWebhook("delete")
	time.Sleep(unit)
	w.serveFile()
	p.pass("", w.url)
	w.eventually("the rotated webhook is registered",
		func() string { return unless(w.told().URL == rotated, "it is %q", w.told().URL) })
	w.answers("shop", 8, "Where is my order 1001?", "Order 1001")

	// The secret of the file stays invalid until another one is written there.
	if code, _, stderr := w.webhook("set", "--as-written"); code != 1 ||
		!strings.Contains(stderr, "write another one there first") {
		t.Errorf("back to a secret that was rotated away: %d %s", code, stderr)
	}
	w.write(strings.Replace(plain("shop", 0, "public_url: "+own), "secret-of-shop", "fresh", 1))
	w.mustWebhook("set", "--as-written")
	if got := w.told().URL; got != own {
		t.Errorf("back at %s", got)
	}
	w.answers("shop", 9, "Where is my order 1001?", "Order 1001")
}

func readBot(t *testing.T, file string) config.Bot {
	t.Helper()
	return readBotOf(t, file, "shop")
}

func readBotOf(t *testing.T, file, name string) config.Bot {
	t.Helper()
	bots, err := config.ReadBots(file)
	if err != nil {
		t.Fatal(err)
	}
	return bots[name]
}

// A running server receives at an address that another process opens, before Telegram learns of it; when
// the database was unreachable, within seconds of its return.
func TestWebhookRotation_OtherProcess_Followed(t *testing.T) {
	t.Parallel()
	w, p := newBotsTown(t, "shop"), newProxy(t)
	own := p.URL + "/webhook/shop"
	w.write(plain("shop", 0, "public_url: "+own))
	cable, dsn := newWire(t, w.dsn)
	file, err := config.Read(w.file)
	if err != nil {
		t.Fatal(err)
	}
	w.running = w.start(dsn, func(c *server.Config) { c.Bots, c.Log = file.Bots, w.quiet() })
	p.pass("", w.url)
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL == own, "it is not") })
	bot := file.Bots["shop"]
	open := func(address string) int {
		return postTo(t, address, bot.SecretAt(strings.TrimPrefix(strings.TrimPrefix(address, own), "/")))
	}

	g := newGate(t, w.api, true)
	w.killed(g, []string{"rotate"}, func(kill func()) {
		path := w.rows(`select path from eventstore.webhooks where path <> ''`)
		if status := open(own + "/" + path); status != http.StatusOK {
			t.Errorf("when Telegram is to be told, the new address answers %d", status)
		}
		kill()
		close(g.opened)
	})

	for i, state := range []wireState{cut, stalled} {
		cable.set(state)
		w.mustWebhook("rotate", "--keep", "1s")
		w.says("shop", 7+i, "Where is my order 1001?")
		w.eventually("Telegram reports an error", func() string { return unless(w.told().LastError != "", "%+v", w.told()) })
		cable.set(through)
		back := time.Now()
		eventually(t, 10*time.Second, "the new address is open and the former ends", func() string {
			now, former := open(w.told().URL), postTo(t, own, bot.Secret)
			return unless(now == http.StatusOK && (former == http.StatusNotFound || former == http.StatusTooManyRequests),
				"%d, %d", now, former)
		})
		t.Logf("taken up within %v", time.Since(back).Round(time.Millisecond))
		w.eventually("the customer is answered",
			func() string { return unless(len(w.heard("shop", 7+i)) > 0, "%+v", w.Stats().Updates) })
	}
	if stats := w.Stats().Updates; stats.Expired != 0 {
		t.Errorf("updates were lost: %+v", stats)
	}
}

func TestGuessedSecret_Repeated_RotatesOncePerHour(t *testing.T) {
	t.Parallel()
	w, p := newReleases(t, "rotate_on_attack: true")
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })
	own := p.URL + "/webhook/shop"
	guess := func() {
		w.eventually("it is rotated", func() string {
			for i := range 50 {
				postTo(t, own, fmt.Sprint("guess-", i))
			}
			return unless(strings.Contains(w.log.String(), "webhook secret and address rotated"),
				"the log says: %s", w.log.String())
		})
	}
	guess()
	rotated := w.told().URL
	if rotated == own {
		t.Fatal("Telegram posts to the address that is attacked")
	}
	w.wantRows("attacked, guard",
		`select payload->>'cause', actor from eventstore.events where name = 'webhook_moved'`)
	w.answers("shop", 7, "Where is my order 1001?", "Order 1001")

	// Another process that has seen the same attack does not rotate again.
	file, err := config.Read(w.file)
	if err != nil {
		t.Fatal(err)
	}
	other, err := server.New(t.Context(),
		server.Config{DSN: w.dsn, Bots: file.Bots, TelegramURL: w.api, Listener: nowhere{}, Log: w.quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Store.Close()
	moved, err := other.Registrar().Move(t.Context(), "shop", file.Bots["shop"],
		registrar.Move{Path: registrar.NewPath(), Cause: "attacked", Overlap: time.Hour, Least: registrar.RotateAtMost})
	if err != nil || moved || w.told().URL != rotated {
		t.Errorf("rotated again: %v (%v), now %s", moved, err, w.told().URL)
	}
}

func TestWebhookLock_TwoProcesses_OneAtATime(t *testing.T) {
	t.Parallel()
	w, _ := newReleases(t)
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })
	var both sync.WaitGroup
	for range 4 {
		both.Go(func() {
			if code, _, stderr := w.webhook("rotate"); code != 0 {
				t.Errorf("rotate: %d %s", code, stderr)
			}
		})
	}
	both.Wait()
	// Telegram has the address of the last command, and the others have an end.
	w.wantRows("1", `select count(*) from eventstore.webhooks where valid_until is null`)
	last := w.rows(`select path from eventstore.webhooks where valid_until is null`)
	if got := w.told().URL; !strings.HasSuffix(got, "/"+last) {
		t.Errorf("Telegram posts to %s, and %s is open", got, last)
	}
	w.wantRows("4", `select count(*) from eventstore.events where name = 'webhook_moved'`)
	w.answers("shop", 7, "Where is my order 1001?", "Order 1001")
}
