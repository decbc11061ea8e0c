package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chatledger/chatledger/cmd/internal/config"
)

// serverSettings is the end of a bots file: it trusts a proxy on this machine, so that tests can choose
// the source of a request.
func serverSettings(allow string, more ...string) string {
	return fmt.Sprintf("server:\n  trusted_proxies: 127.0.0.1\n  allow: [%s]\n  %s\n", allow,
		strings.Join(more, "\n  "))
}

// from posts an update to the bot from a source address.
func (w *town) from(address string, updateID int64) (status int, err error) {
	r, err := http.NewRequest(http.MethodPost, w.url+"/webhook/shop",
		strings.NewReader(messageUpdate(updateID, 7, updateID, "hello")))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Telegram-Bot-Api-Secret-Token", "secret-of-shop")
	r.Header.Set("X-Forwarded-For", address)
	answer, err := webhookClient.Do(r)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

// Two sources post without a pause while the list allows the one, then the other: requests fail only
// because of the list, and every acknowledged update is stored.
func TestAllowList_ReloadUnderLoad_Followed(t *testing.T) {
	t.Parallel()
	const one, other = "203.0.113.7", "203.0.113.8"
	w := newBotsTown(t, "shop")
	w.write(plain("shop", 0), serverSettings(one))
	w.serveFile()

	var id, stored atomic.Int64
	over := make(chan struct{})
	var posting sync.WaitGroup
	stop := sync.OnceFunc(func() { close(over); posting.Wait() })
	defer stop()
	answered := map[string]*[3]atomic.Int64{one: {}, other: {}} // accepted, rejected, neither
	for source, count := range answered {
		posting.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				switch status, err := w.from(source, id.Add(1)); {
				case err == nil && status == http.StatusOK:
					count[0].Add(1)
					stored.Add(1)
				case err == nil && (status == http.StatusForbidden || status == http.StatusTooManyRequests):
					count[1].Add(1)
				default:
					count[2].Add(1)
					t.Errorf("%s is answered %d (%v)", source, status, err)
				}
			}
		})
	}
	// only waits until every request of the one is allowed, and every request of the other is rejected.
	only := func(in, out string) {
		t.Helper()
		w.eventually(in+" is let in", func() string {
			status, err := w.from(in, id.Add(1))
			if status == http.StatusOK {
				stored.Add(1)
			}
			return unless(err == nil && status == http.StatusOK, "%d %v", status, err)
		})
		refused, let := answered[in][1].Load(), answered[out][0].Load()
		before := answered[out][1].Load()
		w.eventually(out+" is rejected repeatedly", func() string { return unless(answered[out][1].Load() > before+50, "") })
		// One request of each may have been in progress.
		if answered[in][1].Load() > refused+1 || answered[out][0].Load() > let+1 {
			t.Errorf("with %s on the list, %s is still accepted, or it is rejected", in, out)
		}
	}
	only(one, other)
	for range 2 {
		w.write(plain("shop", 0), serverSettings(other))
		only(other, one)
		w.write(plain("shop", 0), serverSettings(one))
		only(one, other)
	}
	if log := w.log.String(); !strings.Contains(log, "changed=[] removed=[] server=[allow]") ||
		strings.Contains(log, "next start") {
		t.Errorf("the log says %s", log)
	}

	// A mistake keeps the old list, and is reported with its line.
	w.write(plain("shop", 0), serverSettings("203.0.113.0/33", "connections: -1"))
	w.logged(w.file + ":11: server: allow: \\\"203.0.113.0/33\\\"")
	w.logged(w.file + ":12: server: connections: 1 to")
	only(one, other)
	stop()
	w.wantRows(fmt.Sprint(stored.Load()), `select count(*) from eventstore.events where name = 'message_received'`)
}

func TestReload_NeedsRestart_NamedRestFollowed(t *testing.T) {
	t.Parallel()
	w := newBotsTown(t, "shop")
	w.write(plain("shop", 0))
	w.serveFile()
	if status, err := w.from("203.0.113.7", 1); status != http.StatusOK {
		t.Fatalf("without a list it answers %d (%v)", status, err)
	}
	w.write(plain("shop", 0), serverSettings("203.0.113.8", "tls: {acme: {domains: [bot.example.com]}}"))
	w.logged(`restart serve to apply`)
	w.logged(`settings="[tls (acme, now none)]"`)
	w.logged("server=\"[allow trusted_proxies]\"")
	for address, want := range map[string]int{"203.0.113.7": http.StatusForbidden, "203.0.113.8": http.StatusOK} {
		if status, err := w.from(address, 2); status != want {
			t.Errorf("%s is answered %d (%v), want %d", address, status, err, want)
		}
	}
	// The proxy is not trusted any more: now all requests come from this machine.
	w.write(plain("shop", 0), "server: {allow: 127.0.0.1}\n")
	w.eventually("all come from this machine", func() string {
		status, err := w.from("203.0.113.7", 3)
		return unless(status == http.StatusOK, "%d %v", status, err)
	})
}

func TestReload_TLS_OnlyFilesChange(t *testing.T) {
	t.Parallel()
	files := config.TLS{Certificate: "a.pem", Key: "a.key"}
	acme := func(domain string) config.TLS {
		return config.TLS{ACME: &config.ACME{Domains: []string{domain}, Email: domain}}
	}
	for name, c := range map[string]struct {
		was, is config.TLS
		reached config.TLS
		later   string
	}{
		"nothing": {files, files, files, "[]"},
		"other files": {files, config.TLS{Certificate: "b.pem", Key: "b.key"},
			config.TLS{Certificate: "b.pem", Key: "b.key"}, "[]"},
		"off":                {files, config.TLS{}, files, "[tls (none, now certificate files)]"},
		"on":                 {config.TLS{}, files, config.TLS{}, "[tls (certificate files, now none)]"},
		"another authority":  {acme("a"), acme("b"), acme("a"), "[tls: acme: domains tls: acme: email]"},
		"the same authority": {acme("a"), acme("a"), acme("a"), "[]"},
	} {
		reached, later := config.Server{TLS: c.was}.WithinReach(config.Server{TLS: c.is, Connections: 7})
		if fmt.Sprint(later) != c.later || reached.Connections != 7 || len(config.Differing("", reached.TLS, c.reached)) > 0 {
			t.Errorf("%s: %+v, later %v; want %+v, later %s", name, reached, later, c.reached, c.later)
		}
	}
}
