package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/telegram"
)

// Updates that do not reach us are in no figure of ours: Telegram is asked for them.
func TestWhatWaitsAtTelegramIsMeasured(t *testing.T) {
	t.Parallel()
	wall := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	t.Cleanup(wall.Close)
	w := newTown(t, pgtest.Database(t), func(b *botConfig) { b.PublicURL = wall.URL + "/webhook/demo" })
	if err := setWebhook(t.Context(), w.api, w.bot, w.bot.PublicURL); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Truncate(time.Second)
	w.Say(42, "Is anybody there?")
	client, err := telegram.NewClient(w.api, demoToken)
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
