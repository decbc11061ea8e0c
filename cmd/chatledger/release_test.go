package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// release starts a version of chatledger as a program of its own, with a bots file and a
// port of its own.
func (w *town) release(version string) *program {
	w.t.Helper()
	text, err := os.ReadFile(w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	p := w.serveWith(string(text), get, itsVersion+"="+version, "CHATLEDGER_NOTICE=200ms") // no balancer looks at it
	_, metrics, err := get(p.url + "/metrics")
	if want := fmt.Sprintf("version=%q", version); err != nil || !strings.Contains(metrics, want) {
		w.t.Fatalf("the program does not say %s: %v", want, err)
	}
	return p
}

// Customers write throughout while one program hands over to another, of the next
// version. No update is refused, and each is answered once.
func TestAReleaseIsSwitchedWithoutAnUpdateLost(t *testing.T) {
	t.Parallel()
	w, p := newBotsTown(t, "shop"), newProxy(t)
	w.write(plain("shop", 0, "public_url: "+p.URL+"/webhook/shop"))
	before := w.release("v1")
	p.pass("", before.url)
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })

	var written atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var customers sync.WaitGroup
	customers.Go(func() {
		every(ctx, 10*time.Millisecond, func() {
			if w.Stats().Updates.Pending < 20 { // no more than a busy machine takes in
				w.Say(1000+written.Load()/2, "Where is my order 1001?")
				written.Add(1)
			}
		})
	})
	after := w.release("v2")
	p.pass("/webhook/shop/v2", after.url)
	w.mustWebhook("switch", "v2", "--ready", after.url+"/readyz")
	if got := w.told().URL; got != p.URL+"/webhook/shop/v2" {
		t.Errorf("switched to %s", got)
	}
	if status := postTo(t, before.url+"/webhook/shop", "secret-of-shop"); status != http.StatusOK {
		t.Errorf("during the overlap the old address answers %d", status)
	}
	w.wantRows("true", `select valid_until - now() between interval '4 minutes' and interval '5 minutes' from eventstore.webhooks where path = ''`)
	if _, err := w.db.Exec(t.Context(), `update eventstore.webhooks set valid_until = now() where path = ''`); err != nil { // they are over
		t.Fatal(err)
	}
	w.eventually("the old address ends", func() string {
		status := postTo(t, before.url+"/webhook/shop", "secret-of-shop")
		return unless(status == http.StatusNotFound, "%d", status)
	})
	if err := w.end(before, syscall.SIGTERM); err != nil {
		t.Errorf("asked to stop, the old release ends with %v", err)
	}
	last := written.Load()
	w.eventually("customers go on writing", func() string { return unless(written.Load() > last+50, "%d", written.Load()) })
	stop()
	customers.Wait()

	w.eventually("everything comes to rest", func() string {
		return unless(w.Stats().Updates.Pending == 0, "%+v", w.Stats().Updates) + w.rows(unsettled)
	})
	n := written.Load()
	t.Logf("%d updates, of which v1 took %d and v2 %d", n, p.taken(before.url), p.taken(after.url))
	if p.taken(before.url) == 0 || p.taken(after.url) < 50 {
		t.Error("one of them took no part: this run proves nothing")
	}
	if stats := w.Stats().Updates; stats.Delivered != n || stats.Expired != 0 {
		t.Errorf("%d written, %+v", n, stats)
	}
	if refused := p.refusals(); len(refused) > 0 {
		t.Errorf("updates were refused: %v", refused)
	}
	w.wantRows(fmt.Sprintf("%d, %[1]d", n), `select count(*), count(distinct (payload->>'update_id')::bigint) from eventstore.events where name = 'message_received'`)
	w.wantRows(fmt.Sprint(n), `select count(*) from eventstore.events where name = 'reply_queued'`)
	w.wantRows(fmt.Sprint(w.Stats().Calls["sendMessage"]["200"]), `select count(*) from eventstore.events where name = 'reply_queued'`)
	w.wantRows("done, 1, 0", `select distinct state, attempts, unsure from eventstore.deliveries where kind = 'telegram.sendMessage'`)
	w.gapless()
	w.clean()
}

// A release that is not there, or that cannot take an update, gets none.
func TestNothingIsSwitchedToAReleaseThatIsNotReady(t *testing.T) {
	t.Parallel()
	w, _ := newReleases(t)
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })
	told := w.told().URL
	ill := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) }))
	t.Cleanup(ill.Close)
	for ready, want := range map[string]string{"http://127.0.0.1:1/readyz": "connection refused", ill.URL + "/readyz": "answers 503"} {
		code, stdout, stderr := w.webhook("switch", "v2", "--ready", ready)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "nothing is switched: the new release is not ready") || !strings.Contains(stderr, want) {
			t.Errorf("switched to %s: %d %s%s", ready, code, stdout, stderr)
		}
	}
	w.wantRows("0", `select count(*) from eventstore.webhooks`)
	if got := w.told().URL; got != told {
		t.Errorf("Telegram posts to %s", got)
	}
	w.mustWebhook("info")
}
