package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// atTelegram is what Telegram says of the bots' webhooks.
type atTelegram struct{ pending, failed *prometheus.GaugeVec }

func newAtTelegram(registry *prometheus.Registry) atTelegram {
	t := atTelegram{
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_telegram_pending_updates",
			Help: "Updates that wait at Telegram, by bot."}, []string{"bot"}),
		failed: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_telegram_failed_seconds",
			Help: "When something last went wrong at Telegram, in Unix seconds, by bot and what: delivery (of an update to us), synchronization (among its own machines)."}, []string{"bot", "what"}),
	}
	registry.MustRegister(t.pending, t.failed)
	return t
}

// TelegramSays records what Telegram says of a bot's webhook. A time is zero when nothing
// went wrong.
func (m *Metrics) TelegramSays(bot string, pending int, undelivered, outOfSync time.Time) {
	m.atTelegram.pending.WithLabelValues(bot).Set(float64(pending))
	for what, at := range map[string]time.Time{"delivery": undelivered, "synchronization": outOfSync} {
		if at.IsZero() {
			m.atTelegram.failed.DeleteLabelValues(bot, what)
		} else {
			m.atTelegram.failed.WithLabelValues(bot, what).Set(float64(at.Unix()))
		}
	}
}

// TelegramSilent forgets what Telegram has said of a bot's webhook.
func (m *Metrics) TelegramSilent(bot string) {
	of := prometheus.Labels{"bot": bot}
	m.atTelegram.pending.DeletePartialMatch(of)
	m.atTelegram.failed.DeletePartialMatch(of)
}
