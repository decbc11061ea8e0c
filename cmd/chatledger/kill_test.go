package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/cmd/internal/dev"
)

// program is a chatledger process.
type program struct {
	*exec.Cmd
	url   string
	out   *bufio.Reader // what it prints behind its address
	ended chan error
	said  waittest.Log // its log
}

// asProgram returns a command that runs this test binary as chatledger.
func asProgram(dsn string, args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), beTheProgram+"=1", "DATABASE_URL="+dsn)
	return c
}

// program returns a subcommand as a process that does not run yet.
func (w *world) program(args ...string) *program {
	return &program{Cmd: asProgram(w.dsn, args...), ended: make(chan error, 1)}
}

// serve starts `chatledger serve` on the world's database and waits until it is
// ready. more are lines of its bot in the bots file.
func (w *world) serve(more ...string) *program {
	w.t.Helper()
	shop := "orders: demo"
	if crm := w.bot.CRM; crm != nil {
		shop = fmt.Sprintf("crm: {url: %q, token: %q}", crm.URL, crm.Token)
	}
	text := fmt.Sprintf("bots:\n  demo:\n    token: %s\n    secret: %s\n    %s\n"+
		"    rate: {bot: 0, chat: 0, group_per_minute: 0}\n", dev.Token, dev.Secret, shop)
	for _, line := range more {
		text += "    " + line + "\n"
	}
	return w.serveWith(text, get)
}

// serveWith starts `chatledger serve` with the text of a bots file. get requests its readiness; environ is
// added to its environment.
func (w *world) serveWith(text string, get func(url string) (int, string, error), environ ...string) *program {
	w.t.Helper()
	bots := saved(w.t, filepath.Join(w.t.TempDir(), "bots.yaml"), text)
	p := w.program("serve", "--bots", bots, "--listen", "127.0.0.1:0", "--telegram-url", w.api)
	p.Env = append(p.Env, environ...)
	log := &muted{w: w.t.Output()}
	p.Stderr = io.MultiWriter(log, &p.said)
	out, err := p.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { p.Process.Kill(); log.mute() })
	p.out = bufio.NewReader(out)
	line, err := p.out.ReadString('\n')
	if err != nil {
		w.t.Fatalf("the program says %q and ends with %v: %s", line, p.Wait(), &p.said)
	}
	address, _, ok := strings.Cut(strings.TrimPrefix(line, "listening on "), " for 1 bot")
	if !ok {
		w.t.Fatalf("the program says %q", line)
	}
	p.url = address
	go func() { p.ended <- p.Wait() }()
	w.eventually("the program is ready", func() string {
		status, body, err := get(p.url + "/readyz")
		return unless(err == nil && status == http.StatusOK, "%d %s %v", status, body, err)
	})
	return p
}

// end sends a signal, unless the process has ended by itself, and waits until it has ended.
func (w *world) end(p *program, signal os.Signal) error {
	w.t.Helper()
	if err := p.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.t.Fatal(err)
	}
	select {
	case err := <-p.ended:
		return err
	case <-time.After(patience):
		w.t.Fatalf("the program does not end on %v", signal)
		return nil
	}
}

// The process is killed ten times during 2,000 updates, and Telegram repeats updates without an
// acknowledgement: every acknowledged update is stored once.
func TestKill_AcknowledgedUpdates_NoneLost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 20 s")
	}
	const (
		senders, chatsEach, updates = 10, 4, 2000
		kills                       = 10
		first                       = 500_000
	)
	w := newTown(t, pgtest.Database(t))
	texts := []string{
		"hello", "where is my order 1001?", "change billing address", "12 Baker Street, London NW1 6XE", "yes",
		"/help",
	}
	for chat := range int64(senders * chatsEach) {
		w.openChat(100 + chat)
	}

	// One sender has its own chats and sends the next update only when the last was acknowledged, as Telegram
	// does for a chat.
	var base atomic.Pointer[string]
	var acknowledged, retried atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	send := func(sender int) {
		for i := range int64(updates / senders) {
			chat := int64(100 + sender*chatsEach + rand.IntN(chatsEach))
			body := messageUpdate(first+int64(sender)*updates+i, chat, 10+i, texts[rand.IntN(len(texts))])
			for {
				status, _, err := post(*base.Load(), body)
				if err == nil && status == http.StatusOK {
					break
				}
				retried.Add(1)
				select {
				case <-time.After(20 * time.Millisecond): // Telegram's patience, compressed
				case <-ctx.Done():
					t.Errorf("update never acknowledged: %s", body)
					return
				}
			}
			acknowledged.Add(1)
		}
	}
	p := w.serve()
	base.Store(&p.url)
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() { send(sender) })
	}
	var unheard int64 // stored, and the process died before it could say so
	for k := range int64(kills) {
		// This is long before the last update is sent.
		enough := (k + 1) * updates / (kills + 1)
		w.eventually("updates are acknowledged", func() string {
			return unless(acknowledged.Load() >= enough, "%d of %d", acknowledged.Load(), enough)
		})
		if acknowledged.Load() == updates {
			t.Errorf("kill %d comes too late to be in the middle", k+1)
		}
		if err := w.end(p, syscall.SIGKILL); err == nil {
			t.Errorf("the program survived kill %d", k+1)
		}
		promised := acknowledged.Load()
		received := w.rows(`select count(*) from eventstore.events where name = 'message_received'`)
		if n, err := strconv.ParseInt(received, 10, 64); err != nil || n < promised {
			t.Errorf("kill %d: %d updates were acknowledged, %d are stored (%v)", k+1, promised, n, err)
		} else {
			unheard += n - promised
		}
		p = w.serve()
		base.Store(&p.url)
	}
	all.Wait()
	t.Logf("%d updates acknowledged, %d attempts were not and came again, %d of them were stored already",
		acknowledged.Load(), retried.Load(), unheard)
	if acknowledged.Load() != updates || retried.Load() == 0 {
		t.Errorf("%d acknowledged, %d retried", acknowledged.Load(), retried.Load())
	}

	w.eventually("the read models have caught up", func() string {
		n := w.rows(`select count(*) from eventstore.checkpoints c
			where consumer_group in ('conversations', 'tickets', 'responder') and (c.transaction_id, c.position) >=
			(select transaction_id, position from eventstore.events where name = 'message_received'
			order by transaction_id desc, position desc limit 1)`)
		return unless(n == "3", "%s of 3 have", n)
	})
	if err := w.end(p, syscall.SIGTERM); err != nil {
		t.Errorf("asked to stop, the program ends with %v", err)
	}
	w.wantRows(fmt.Sprintf("%d, %[1]d, %d, %d", updates, first, first+updates*(senders-1)+updates/senders-1),
		`select count(*), count(distinct (payload->>'update_id')::bigint), min((payload->>'update_id')::bigint),
			max((payload->>'update_id')::bigint) from eventstore.events where name = 'message_received'`)
	w.wantRows(fmt.Sprint(updates), `select count(*) from eventstore.inbox i
		join eventstore.events e using (stream_id, version) where (e.payload->>'update_id')::bigint = i.update_id`)
	// No turn of the bot is taken twice.
	w.wantRows("", `select stream_id, payload->>'to' from eventstore.events where name = 'understood'
		group by 1, 2 having count(*) > 1`)
	w.wantRows("0", `select count(*) from eventstore.deliveries d left join eventstore.events e
		on e.event_id = d.delivery_id where e.event_id is null`)
	w.gapless()
	w.clean()
}

// When one process is killed, the other leads all groups within 5 s, and finishes the open work.
func TestKill_OtherProcess_TakesOver(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	p := w.serve()
	w.eventually("the first leads every group", func() string {
		return unless(leading(w.rows(leaders)) == groups, "%s", w.rows(leaders))
	})
	led := w.rows(leaders)
	w.running = w.start(w.dsn)
	w.register()
	w.Say(7, "hello")
	w.settle()
	if now := w.rows(leaders); now != led {
		t.Errorf("leaders changed while both lived:\n%s\n%s", led, now)
	}
	if err := w.end(p, syscall.SIGKILL); err == nil {
		t.Error("the program survived")
	}
	w.Say(7, "thank you")
	w.takesOver(led)
	w.settle()
	if said := w.texts(7, "bot"); len(said) != 2 {
		t.Errorf("the bot says %q", said)
	}
	w.clean()
}

// A stopped process keeps its sessions. The other takes its groups over, and the first leads nothing
// and sends nothing again when it goes on.
func TestStopped_OtherProcess_TakesOver(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	p := w.serve()
	w.eventually("the first leads every group", func() string {
		return unless(leading(w.rows(leaders)) == groups, "%s", w.rows(leaders))
	})
	led := w.rows(leaders)
	w.running = w.start(w.dsn)
	w.register()
	w.Say(7, "hello")
	w.settle()
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.Say(7, "thank you")
	w.settle()
	now := w.rows(leaders)
	if leading(now) != groups || strings.Contains(now, led) {
		t.Errorf("the leaders are %s; before %s", now, led)
	}
	if err := p.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.eventually("the first is back", func() string {
		status, body, err := get(p.url + "/readyz")
		return unless(err == nil && status == http.StatusOK, "%d %s %v", status, body, err)
	})
	w.Say(7, "hello")
	w.settle()
	if said := w.texts(7, "bot"); len(said) != 3 {
		t.Errorf("the bot says %q, want 3 texts", said)
	}
	if got := w.rows(leaders); got != now {
		t.Errorf("the leaders changed when the first came back:\n%s\n%s", now, got)
	}
	w.clean()
}

// With a public address in the bots file, serve registers the webhook itself.
func TestServe_PublicURL_Registered(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	var inside atomic.Pointer[url.URL] // what stands behind the public address
	public := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		target := inside.Load()
		if target == nil {
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		httputil.NewSingleHostReverseProxy(target).ServeHTTP(rw, r)
	}))
	t.Cleanup(func() {
		w.Close()
		public.Close()
	})
	p := w.serve("public_url: "+public.URL+"/webhook/demo", "chat_limit: {count: 2, window: 1m}")
	target, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	inside.Store(target)
	w.eventually("the webhook is registered", func() string {
		return unless(w.Stats().Calls["setWebhook"]["200"] > 0, "it is not")
	})
	for range 3 {
		w.Say(7, "hello")
		w.settle()
	}
	if said := w.texts(7, "bot"); len(said) != 3 || !strings.Contains(said[2], "faster than I can answer") {
		t.Errorf("the bot says %q; its file limits it to 2", said)
	}
	if err := w.end(p, os.Interrupt); err != nil {
		t.Errorf("Ctrl-C ends it with %v", err)
	}
}
