// Package telemetry provides Prometheus metrics, OpenTelemetry traces, and log lines with trace ids.
package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// Metrics are counters, gauges and histograms in base units, with labels of bounded cardinality.
type Metrics struct {
	registry   *prometheus.Registry
	webhook    *prometheus.HistogramVec
	quarantine *prometheus.CounterVec
	page       *prometheus.HistogramVec
	events     *prometheus.CounterVec
	delivery   *prometheus.HistogramVec
	batch      *prometheus.HistogramVec
	oldest     prometheus.Gauge
	verified   *prometheus.CounterVec
	divergent  *prometheus.CounterVec
	building   *prometheus.GaugeVec
	suspended  *prometheus.GaugeVec
	removed    *prometheus.CounterVec
	guarded    *guarded
	atTelegram atTelegram
	settled    *prometheus.HistogramVec
	commits    commits
	readings   *readings
	rejected   prometheus.Gauge
}

// latencies are the buckets of short operations, in seconds: from a warm append to Telegram's timeout.
var latencies = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// ages are the buckets of a delivery over all attempts, in seconds: from one sent at once to a dead letter.
var ages = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400}

// NewMetrics returns metrics in a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		webhook: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_webhook_seconds",
			Help: "Time from a webhook request to its response, by bot and status; 200 means that the update is " +
				"durable.", Buckets: latencies}, []string{"bot", "status"}),
		quarantine: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_quarantined_total",
			Help: "Bodies that could not be parsed as an update and were quarantined."}, []string{"bot"}),
		page: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_page_seconds",
			Help: "Time to handle and commit one page of events, by consumer group.", Buckets: latencies},
			[]string{"group"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_consumed_events_total",
			Help: "Events whose effects are committed, by consumer group."}, []string{"group"}),
		delivery: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_delivery_seconds",
			Help: "Time of one attempt at a delivery, by destination, kind and outcome.", Buckets: latencies},
			[]string{"destination", "kind", "outcome"}),
	}
	m.oldest = prometheus.NewGauge(prometheus.GaugeOpts{Name: "chatledger_oldest_write_seconds",
		Help: "Age of the oldest open transaction that has written; no consumer group reads past it."})
	m.suspended = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_bot_suspended",
		Help: "1 while calls of a bot to Telegram are suspended, by cause: token (Telegram rejects it: replace it), " +
			"flood (rate limit: retry after)."}, []string{"bot", "cause"})
	m.verified = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_verified_rows_total",
		Help: "Sampled rows that were verified against the events, by projection."}, []string{"projection"})
	m.divergent = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_divergent_rows_total",
		Help: "Samples with a row that differs from the events, by projection; run `chatledger verify` to compare " +
			"every row."}, []string{"projection"})
	m.building = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_rebuild_ratio",
		Help: "Progress of the rebuild for a new version of a projection: the share of events folded, 0 to 1."},
		[]string{"projection"})
	m.batch = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_batch_lookups",
		Help: "Lookups per batched request, by destination.", Buckets: []float64{1, 2, 5, 10, 20, 50}},
		[]string{"destination"})
	m.removed = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_removed_rows_total",
		Help: "Rows removed by retention, by what (updates, quarantine, inbox) and bot."}, []string{"what", "bot"})
	m.registry.MustRegister(m.removed, m.verified, m.divergent, m.building, m.batch)
	m.guarded, m.atTelegram = newGuarded(m.registry), newAtTelegram(m.registry)
	m.settled = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_delivery_settled_seconds",
		Help:    "Time from enqueuing a delivery to its outcome, over all attempts, by destination and outcome.",
		Buckets: ages}, []string{"destination", "outcome"})
	m.commits, m.readings, m.rejected = newCommits(m.registry), newReadings(), newBotsFile(m.registry)
	m.registry.MustRegister(m.settled, m.readings)
	m.registry.MustRegister(m.webhook, m.quarantine, m.page, m.events, m.delivery, m.oldest, m.suspended,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Webhook records an answered webhook request. bot is "" for an unknown bot.
func (m *Metrics) Webhook(bot string, status int, took time.Duration) {
	m.webhook.WithLabelValues(bot, strconv.Itoa(status)).Observe(took.Seconds())
}

// Source initializes the counters of a bot to 0: in a counter that first appears with 1, Prometheus sees no
// increase.
func (m *Metrics) Source(bot string) {
	m.quarantine.WithLabelValues(bot)
	for _, status := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		m.webhook.WithLabelValues(bot, strconv.Itoa(status))
	}
}

// Quarantined records a body that could not be parsed.
func (m *Metrics) Quarantined(bot string) { m.quarantine.WithLabelValues(bot).Inc() }

// Page records a page that was committed.
func (m *Metrics) Page(group string, events int, took time.Duration) {
	m.page.WithLabelValues(group).Observe(took.Seconds())
	m.events.WithLabelValues(group).Add(float64(events))
}

// Delivery records an attempt.
func (m *Metrics) Delivery(d commands.Claimed, state domain.DeliveryState, took time.Duration) {
	m.delivery.WithLabelValues(d.Destination, string(d.Kind), string(state)).Observe(took.Seconds())
	if state != domain.DeliveryRetry {
		m.settled.WithLabelValues(d.Destination, string(state)).Observe((d.Age + took).Seconds())
	}
}

// Verified records a sample that was compared, and whether a row in it differed.
func (m *Metrics) Verified(projection string, rows int64, differed bool) {
	m.verified.WithLabelValues(projection).Add(float64(rows))
	divergent := m.divergent.WithLabelValues(projection) // also exposes 0
	if differed {
		divergent.Inc()
	}
}

// Rebuilding records the progress of a rebuild.
func (m *Metrics) Rebuilding(projection string, done, total int64) {
	m.building.WithLabelValues(projection).Set(float64(done) / float64(max(total, 1)))
}

// OldestWrite records the age of the oldest open transaction that has written.
func (m *Metrics) OldestWrite(age time.Duration) { m.oldest.Set(age.Seconds()) }

// Batch returns a function that records the number of lookups in a request.
func (m *Metrics) Batch(destination string) (record func(lookups int)) {
	batch := m.batch.WithLabelValues(destination)
	return func(lookups int) { batch.Observe(float64(lookups)) }
}

// breakerStates are the values of chatledger_breaker_state.
var breakerStates = map[string]float64{"closed": 0, "half-open": 1, "open": 2}

// Breaker exposes a circuit breaker until hide is called. Each scrape calls state.
func (m *Metrics) Breaker(destination string, state func() string) (hide func()) {
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chatledger_breaker_state",
		Help: "State of a destination's circuit breaker: 0 closed, 1 half-open (one trial call), 2 open (no " +
			"calls).",
		ConstLabels: prometheus.Labels{"destination": destination}}, func() float64 { return breakerStates[state()] })
	m.registry.MustRegister(gauge)
	return func() { m.registry.Unregister(gauge) }
}

// Suspended records whether calls of a bot to Telegram are suspended for a cause.
func (m *Metrics) Suspended(bot, cause string, suspended bool) {
	value := 0.
	if suspended {
		value = 1
	}
	m.suspended.WithLabelValues(bot, cause).Set(value)
}

// Removed records rows that retention removed. bot is "" for rows without a bot.
func (m *Metrics) Removed(what, bot string, rows int64) {
	m.removed.WithLabelValues(what, bot).Add(float64(rows))
}
