package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/telegram"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/doctor"
	"github.com/chatledger/chatledger/cmd/internal/registrar"
)

// Updates that do not reach the server have no metric of its own: it asks Telegram for them.
func TestWebhookInfo_PendingUpdates_Measured(t *testing.T) {
	t.Parallel()
	wall := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(wall.Close)
	w := newTown(t, pgtest.Database(t), func(b *config.Bot) { b.PublicURL = wall.URL + "/webhook/demo" })
	if err := dev.SetWebhook(t.Context(), w.api, w.bot, w.bot.PublicURL); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Truncate(time.Second)
	w.Say(42, "Is anybody there?")
	client, err := telegram.NewClient(w.api, dev.Token)
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("Telegram has been refused", func() string {
		info, err := client.WebhookInfo(t.Context())
		return unless(err == nil && !info.ErrorAt.Before(began), "%+v %v", info, err)
	})

	running := w.start(w.dsn)
	w.eventually("the metrics tell of it", func() string {
		_, page, err := get(running.url + "/metrics")
		return unless(strings.Contains(page, `chatledger_telegram_failed_seconds{bot="demo",what="delivery"} `) &&
			strings.Contains(page, "chatledger_telegram_pending_updates{bot=\"demo\"} 1\n"), "%v", err)
	})
}

// Faults between Telegram's own machines are reported apart from faults that an administrator can correct.
func TestWebhookInfo_OutOfSync_ReportedWithAdvice(t *testing.T) {
	t.Parallel()
	w := newBotsTown(t, "shop")
	w.write(plain("shop", 0, "public_url: https://127.0.0.1:1/webhook/shop"))
	for at, told := range map[time.Time]bool{time.Now().Add(-time.Minute): true,
		time.Now().Add(-2 * doctor.RecentError): false} {
		telegram := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w,
				`{"ok": true, "result": {"url": "https://127.0.0.1:1/webhook/shop", `+
					`"max_connections": 100, "last_synchronization_error_date": %d}}`, at.Unix())
		}))
		t.Cleanup(telegram.Close)
		_, info, _ := w.cli("webhook", "info", "--bots", w.file, "--telegram-url", telegram.URL)
		if !strings.Contains(info, "out of sync      "+at.UTC().Format(time.RFC3339)) ||
			!strings.Contains(info, registrar.UntilInSync) {
			t.Errorf("info says %s", info)
		}
		_, found, _ := w.cli("doctor", "--bots", w.file, "--telegram-url", telegram.URL)
		if news := strings.Contains(found, registrar.OutOfSync) &&
			strings.Contains(found, "do: "+registrar.UntilInSync); news != told {
			t.Errorf("of %v ago doctor says %s", time.Since(at), found)
		}
	}
}
