package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/domain/chat"
)

// gate is a way to the Bot API that stops a setWebhook before Telegram hears of it, or
// before the answer comes back.
type gate struct {
	*httptest.Server
	reached chan struct{} // a call has come to the gate
	opened  chan struct{} // closed to let it pass
}

func newGate(t *testing.T, api string, before bool) *gate {
	t.Helper()
	target, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{reached: make(chan struct{}), opened: make(chan struct{})}
	wait := func() {
		select {
		case g.reached <- struct{}{}:
			<-g.opened
		case <-g.opened:
		}
	}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/setWebhook") {
			httputil.NewSingleHostReverseProxy(target).ServeHTTP(w, r)
			return
		}
		if before {
			wait()
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		answer := httptest.NewRecorder()
		httputil.NewSingleHostReverseProxy(target).ServeHTTP(answer, r)
		wait()
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // to nobody, when the caller was killed
	}))
	t.Cleanup(g.Close)
	return g
}

// killed runs a webhook command as a process. When its call to Telegram has reached the gate, at is
// called, which kills it.
func (w *town) killed(g *gate, args []string, at func(kill func())) {
	w.t.Helper()
	c := asProgram(w.dsn,
		append([]string{"webhook", args[0], "--bots", w.file, "--telegram-url", g.URL}, args[1:]...)...)
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	kill := func() {
		_ = c.Process.Kill()
		<-ended
	}
	defer kill()
	select {
	case <-g.reached:
		at(kill)
	case <-ended:
	case <-time.After(patience):
	}
	if kill(); c.ProcessState.Exited() {
		w.t.Fatalf("webhook %v came to its end before it was killed: %s", args, said.String())
	}
}

// A move of a webhook is killed, or fails, between any two of its steps. Updates are still received,
// doctor and webhook info report the move, and the next action completes it: the same command again,
// `webhook set`, the start of a server, or an attack.
func TestWebhookMove_CutOffAnywhere_Completed(t *testing.T) {
	t.Parallel()
	before := func(w *town, args []string) {
		g := newGate(w.t, w.api, true)
		w.killed(g, args, func(kill func()) { kill(); close(g.opened) })
	}
	told := func(w *town, args []string) {
		g := newGate(w.t, w.api, false)
		w.killed(g, args, func(kill func()) { kill(); close(g.opened) })
	}
	recorded := func(w *town, args []string) {
		g := newGate(w.t, w.api, false)
		w.killed(g, args, func(kill func()) { w.whenRecorded(g, kill) })
	}
	refused := func(w *town, args []string) {
		w.fails(telegramsim.Fault{Method: "setWebhook", Status: 400, Count: 1}, args)
	}
	unanswered := func(w *town, args []string) {
		w.fails(telegramsim.Fault{Method: "setWebhook", DropReply: true, Count: 1}, args)
	}
	rotate, handOver := []string{"rotate", "--keep", "1s"}, []string{"switch", "v2", "--keep", "1s"}
	again := func(w *town, _ *proxy, args []string) { w.mustWebhook(args...) }
	set := func(w *town, _ *proxy, _ []string) {
		if out := w.mustWebhook("set"); !strings.Contains(out, "was left open by a move that was interrupted; it ends in "+
			registrar.RotationOverlap.String()) {
			w.t.Errorf("set says %s", out)
		}
	}
	start := func(w *town, p *proxy, _ []string) {
		w.stop()
		w.serveFile()
		p.pass("", w.url)
		w.logged("an interrupted move of the bot's webhook was ended")
	}
	attack := func(w *town, _ *proxy, _ []string) { // on another server
		file, err := config.Read(w.file)
		if err != nil {
			w.t.Fatal(err)
		}
		other, err := server.New(w.t.Context(),
			server.Config{DSN: w.dsn, Bots: file.Bots, TelegramURL: w.api, Listener: nowhere{}, Log: w.quiet()})
		if err != nil {
			w.t.Fatal(err)
		}
		defer other.Store.Close()
		m := registrar.Move{
			Path: registrar.NewPath(), Cause: chat.WebhookAttacked, Actor: "guard", Overlap: time.Second,
			Least: registrar.RotateAtMost,
		}
		if moved, err := other.Registrar().Move(w.t.Context(), "shop", file.Bots["shop"], m); err != nil || !moved {
			w.t.Errorf("attacked, it is not rotated: %v", err)
		}
	}
	for _, c := range []struct {
		name  string
		args  []string
		cut   func(*town, []string)
		moved bool // Telegram posts to the new address already
		mend  func(*town, *proxy, []string)
		ended bool // after the overlap of the command, not the hour of set
	}{
		{"rotate, killed before Telegram is told, again", rotate, before, false, again, true},
		{"rotate, killed before Telegram is told, an attack", rotate, before, false, attack, true},
		{"switch, killed before Telegram is told, set", handOver, before, false, set, false},
		{"switch, killed when Telegram is told, again", handOver, told, true, again, true},
		{"rotate, killed when Telegram is told, a server starts", rotate, told, true, start, false},
		{"rotate, killed when it is recorded, set", rotate, recorded, true, set, false},
		{"switch, killed when it is recorded, again", handOver, recorded, true, again, true},
		{"switch, refused by Telegram, again", handOver, refused, false, again, true},
		{"rotate, refused by Telegram, a server starts", rotate, refused, false, start, false},
		{"rotate, without an answer of Telegram, set", rotate, unanswered, true, set, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, p := newBotsTown(t, "shop"), newProxy(t)
			own := p.URL + "/webhook/shop"
			w.write(plain("shop", 0, "public_url: "+own))
			w.serveFile()
			p.pass("", w.url)
			w.eventually("the webhook is registered", func() string { return unless(w.told().URL == own, "it is not") })
			args := c.args
			if args[0] == "switch" {
				args = append([]string{args[0], args[1], "--ready", w.url + "/readyz"}, args[2:]...)
			}

			c.cut(w, args)
			if moved := w.told().URL != own; moved != c.moved {
				t.Errorf("Telegram posts to %s", w.told().URL)
			}
			if status := postTo(t, own, "secret-of-shop"); status != http.StatusOK {
				t.Errorf("what was right before answers %d", status)
			}
			w.answers("shop", 7, "Where is my order 1001?", "Order 1001")
			for _, look := range [][]string{{"webhook", "info"}, {"doctor", "--receiver", w.url}} {
				code, stdout, stderr := w.cli(append(look, "--bots", w.file, "--telegram-url", w.api)...)
				if code != 1 ||
					!strings.Contains(stdout+stderr, "is open as well and has no end: a move is in progress, or was interrupted") ||
					!strings.Contains(stdout+stderr, "webhook set --bot shop") {
					t.Errorf("%v: %d %s%s", look, code, stdout, stderr)
				}
			}

			if refused := p.refusals(); len(refused) > 0 {
				t.Errorf("updates were refused: %v", refused)
			}

			at := w.told().URL
			c.mend(w, p, args)
			w.eventually("one address stands", func() string {
				return w.rows(`select count(*) from eventstore.webhooks where valid_until is null having count(*) <> 1`)
			})
			if now := w.told().URL; !c.ended && now != at {
				t.Errorf("mended, Telegram posts to %s, and not to %s any more", now, at)
			}
			w.mustWebhook("info")
			path := strings.TrimPrefix(strings.TrimPrefix(w.told().URL, own), "/")
			w.wantRows(path, `select path from eventstore.webhooks where valid_until is null`)
			w.wantRows(path, `select coalesce(payload->>'path', '') from eventstore.events where name = 'webhook_moved'
				order by version desc limit 1`)
			w.answers("shop", 8, "Where is my order 1001?", "Order 1001")
			if c.ended {
				w.eventually("what was right before ends", func() string {
					status := postTo(t, own, "secret-of-shop")
					return unless(status == http.StatusNotFound, "%d", status)
				})
			}
			w.answers("shop", 9, "Where is my order 1001?", "Order 1001")
			w.eventually("nothing waits at Telegram",
				func() string { return unless(w.Stats().Updates.Pending == 0, "%+v", w.Stats().Updates) })
		})
	}
}

// fails runs a webhook command that must fail because of Telegram.
func (w *town) fails(fault telegramsim.Fault, args []string) {
	w.t.Helper()
	w.AddFault(fault)
	if code, stdout, stderr := w.webhook(args...); code != 1 || stdout != "" || !strings.Contains(stderr, "setWebhook") ||
		!strings.Contains(stderr, registrar.Unended) {
		w.t.Errorf("webhook %v: %d %s%s", args, code, stdout, stderr)
	}
}

// whenRecorded lets the call pass, and kills the process when the move is recorded and the end of the
// other addresses is about to be set. The session that waits to write it is ended, too: the server would
// only notice later that its client is gone.
func (w *town) whenRecorded(g *gate, kill func()) {
	w.t.Helper()
	tx, err := w.db.Begin(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(w.t.Context(), `lock table eventstore.webhooks in share mode`); err != nil {
		w.t.Fatal(err)
	}
	close(g.opened)
	const waiting = `from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
		and query like '%update eventstore.webhooks%'`
	w.eventually("the others are about to end", func() string {
		return unless(w.rows(`select count(*) `+waiting) == "1", "they are not")
	})
	w.wantRows("1", `select count(*) from eventstore.events where name = 'webhook_moved'`)
	kill()
	w.wantRows("true", `select pg_terminate_backend(pid, 5000) `+waiting)
}
