package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// atTelegram are the metrics of Telegram's getWebhookInfo.
type atTelegram struct{ pending, failed *prometheus.GaugeVec }

func newAtTelegram(registry *prometheus.Registry) atTelegram {
	t := atTelegram{
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_telegram_pending_updates",
			Help: "Updates pending at Telegram, by bot."}, []string{"bot"}),
		failed: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_telegram_failed_seconds",
			Help: "When something last went wrong at Telegram, in Unix seconds, by bot and what: delivery (of an " +
				"update to us), synchronization (among its own machines)."}, []string{"bot", "what"}),
	}
	registry.MustRegister(t.pending, t.failed)
	return t
}

// TelegramSays records the webhook info of a bot. A time is zero if there was no error.
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

// TelegramSilent removes the webhook info of a bot.
func (m *Metrics) TelegramSilent(bot string) {
	of := prometheus.Labels{"bot": bot}
	m.atTelegram.pending.DeletePartialMatch(of)
	m.atTelegram.failed.DeletePartialMatch(of)
}
