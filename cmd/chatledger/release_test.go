package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/wait"
)

// release starts a version of chatledger as a process, with a bots file and a port of its own.
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

// Customers write while one release hands over to the next. No update is rejected, and each is answered
// once.
func TestRelease_Switched_NoUpdateLost(t *testing.T) {
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
		wait.Every(ctx, 10*time.Millisecond, func() {
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
	w.wantRows("true", `select valid_until - now() between interval '4 minutes' and interval '5 minutes'
		from eventstore.webhooks where path = ''`)
	// The overlap ends.
	if _, err := w.db.Exec(t.Context(), `update eventstore.webhooks set valid_until = now() where path = ''`); err != nil {
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
	w.eventually("customers go on writing",
		func() string { return unless(written.Load() > last+50, "%d", written.Load()) })
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
	w.wantRows(fmt.Sprintf("%d, %[1]d", n), `select count(*), count(distinct (payload->>'update_id')::bigint)
		from eventstore.events where name = 'message_received'`)
	w.wantRows(fmt.Sprint(n), `select count(*) from eventstore.events where name = 'reply_queued'`)
	w.wantRows(fmt.Sprint(w.Stats().Calls["sendMessage"]["200"]),
		`select count(*) from eventstore.events where name = 'reply_queued'`)
	w.wantRows("done, 1, 0",
		`select distinct state, attempts, unsure from eventstore.deliveries where kind = 'telegram.sendMessage'`)
	w.gapless()
	w.clean()
}

// A release that does not run, or cannot store an update, gets no updates.
func TestRelease_NotReady_NotSwitched(t *testing.T) {
	t.Parallel()
	w, p := newReleases(t)
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })
	told := w.told().URL
	ill := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(ill.Close)
	// While the proxy does not forward the path, the old release answers there.
	if code, stdout, stderr := w.webhook("switch", "v2"); code != 1 || stdout != "" ||
		!strings.Contains(stderr, "nothing is switched: ") ||
		!strings.Contains(stderr, " answers at "+told+"/v2, as it does at "+told+",") {
		t.Errorf("switched to nobody: %d %s%s", code, stdout, stderr)
	}
	for ready, want := range map[string]string{"http://127.0.0.1:1/readyz": "connection refused",
		ill.URL + "/readyz": "answers 503"} {
		code, stdout, stderr := w.webhook("switch", "v2", "--ready", ready)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "nothing is switched: the new release is not ready") ||
			!strings.Contains(stderr, want) {
			t.Errorf("switched to %s: %d %s%s", ready, code, stdout, stderr)
		}
	}
	p.pass("/webhook/shop/v2", ill.URL)
	if code, stdout, stderr := w.webhook("switch", "v2"); code != 1 || stdout != "" ||
		!strings.Contains(stderr, "answers 503") {
		t.Errorf("switched to one that is not ready: %d %s%s", code, stdout, stderr)
	}
	w.wantRows("0", `select count(*) from eventstore.webhooks`)
	if got := w.told().URL; got != told {
		t.Errorf("Telegram posts to %s", got)
	}
	w.mustWebhook("info")
}

// Without --ready, the switch asks at the new address, where the updates will arrive.
func TestRelease_Probe_AnswersAtAddress(t *testing.T) {
	t.Parallel()
	w, p := newBotsTown(t, "shop"), newProxy(t)
	// Telegram's requests come from 203.0.113.7.
	w.write(plain("shop", 0, "public_url: "+p.URL+"/webhook/shop"), serverSettings("203.0.113.7"))
	before, after := w.release("v1"), w.release("v2")
	p.pass("", before.url)
	w.eventually("the webhook is registered", func() string { return unless(w.told().URL != "", "it is not") })
	switched := func(release, from, to string) {
		t.Helper()
		w.mustWebhook("switch", release)
		w.mustWebhook("switch", release) // again, as after one that was cut off
		if got := w.told().URL; got != to {
			t.Errorf("from %s it is switched to %s", from, got)
		}
	}
	own := p.URL + "/webhook/shop"
	if code, _, stderr := w.webhook("switch", "v2"); code != 1 ||
		!strings.Contains(stderr, "v1 answers at "+own+"/v2, as it does at "+own) {
		t.Errorf("the proxy knows of no other release: %d %s", code, stderr)
	}
	p.pass("/webhook/shop/v2", after.url)
	switched("v2", own, own+"/v2")
	p.pass("/webhook/shop/v1", before.url)
	switched("v1", own+"/v2", own+"/v1")

	// The release answers only to requests with the right key.
	bot := readBot(t, w.file)
	for what, header := range map[string]string{"nothing": "", "a guess": "Bearer guess",
		"the webhook's secret": "Bearer " + bot.Secret, "an empty key": "Bearer "} {
		r, err := http.NewRequest(http.MethodGet, after.url+"/webhook/shop/v2", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", header)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode == http.StatusOK || strings.Contains(string(body), "v2") {
			t.Errorf("with %s: %s %s %v", what, answer.Status, body, err)
		}
	}
}
