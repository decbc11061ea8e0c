// Package telemetry tells what the program is doing: Prometheus metrics, OpenTelemetry
// traces, and log lines that carry the ids of both.
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

// Metrics is what is counted and timed, in base units and with bounded labels.
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
	stopped    *prometheus.GaugeVec
	removed    *prometheus.CounterVec
	guarded    *guarded
	atTelegram atTelegram
	settled    *prometheus.HistogramVec
	rounds     rounds
	census     *census
	refused    prometheus.Gauge
}

// latencies spans a warm append to Telegram's patience, in seconds.
var latencies = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// ages spans an answer that goes out at once to one that is given up, in seconds.
var ages = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 86400}

// NewMetrics returns metrics in a registry of their own.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		webhook: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_webhook_seconds",
			Help: "Time from a webhook request to its answer, by bot and status; 200 means durable.", Buckets: latencies}, []string{"bot", "status"}),
		quarantine: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_quarantined_total",
			Help: "Bodies that could not be read as an update and were kept."}, []string{"bot"}),
		page: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_page_seconds",
			Help: "Time to handle and commit one page of events, by consumer group.", Buckets: latencies}, []string{"group"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_consumed_events_total",
			Help: "Events whose effects are committed, by consumer group."}, []string{"group"}),
		delivery: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_delivery_seconds",
			Help: "Time of one attempt at a delivery, by destination, kind and outcome.", Buckets: latencies}, []string{"destination", "kind", "outcome"}),
	}
	m.oldest = prometheus.NewGauge(prometheus.GaugeOpts{Name: "chatledger_oldest_write_seconds",
		Help: "Age of the oldest open transaction that has written; no consumer reads past it."})
	m.stopped = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_bot_stopped",
		Help: "1 while a bot may not call Telegram, by cause: token (it is wrong: mend it), flood (Telegram asked to wait)."}, []string{"bot", "cause"})
	m.verified = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_verified_rows_total",
		Help: "Rows of samples that were compared with what the events lead to, by projection."}, []string{"projection"})
	m.divergent = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_divergent_rows_total",
		Help: "Samples with a row that was not what the events lead to, by projection; `chatledger verify` looks at every row."}, []string{"projection"})
	m.building = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_building_ratio",
		Help: "Part of the events folded into a table that is built for a new version of its projection."}, []string{"projection"})
	m.batch = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_batch_lookups",
		Help: "Look-ups that went out as one request, by destination.", Buckets: []float64{1, 2, 5, 10, 20, 50}}, []string{"destination"})
	m.removed = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_removed_rows_total",
		Help: "Rows that were kept for long enough and removed, by what (updates, quarantine, inbox) and bot."}, []string{"what", "bot"})
	m.registry.MustRegister(m.removed, m.verified, m.divergent, m.building, m.batch)
	m.guarded, m.atTelegram = newGuarded(m.registry), newAtTelegram(m.registry)
	m.settled = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_delivery_settled_seconds",
		Help: "Time from the decision to send something to the outcome, over all attempts, by destination and outcome.", Buckets: ages}, []string{"destination", "outcome"})
	m.rounds, m.census, m.refused = newRounds(m.registry), newCensus(), newRefused(m.registry)
	m.registry.MustRegister(m.settled, m.census)
	m.registry.MustRegister(m.webhook, m.quarantine, m.page, m.events, m.delivery, m.oldest, m.stopped,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Webhook records an answered webhook request. bot is empty for unknown ones.
func (m *Metrics) Webhook(bot string, status int, took time.Duration) {
	m.webhook.WithLabelValues(bot, strconv.Itoa(status)).Observe(took.Seconds())
}

// Source makes what counts a bot's updates begin at 0: of a count that begins with 1
// nobody sees the increase.
func (m *Metrics) Source(bot string) {
	m.quarantine.WithLabelValues(bot)
	for _, status := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		m.webhook.WithLabelValues(bot, strconv.Itoa(status))
	}
}

// Quarantined records a body that was kept unread.
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
	divergent := m.divergent.WithLabelValues(projection) // 0 is shown, too
	if differed {
		divergent.Inc()
	}
}

// Building records how far a new table is.
func (m *Metrics) Building(projection string, done, total int64) {
	m.building.WithLabelValues(projection).Set(float64(done) / float64(max(total, 1)))
}

// OldestWrite records how long the oldest open write has been open.
func (m *Metrics) OldestWrite(age time.Duration) { m.oldest.Set(age.Seconds()) }

// Batch returns what records how many look-ups went out together.
func (m *Metrics) Batch(destination string) (record func(lookups int)) {
	batch := m.batch.WithLabelValues(destination)
	return func(lookups int) { batch.Observe(float64(lookups)) }
}

// breakerStates are the values of chatledger_breaker_state.
var breakerStates = map[string]float64{"closed": 0, "half-open": 1, "open": 2}

// Breaker shows a circuit breaker until hide is called; state is asked whenever somebody looks.
func (m *Metrics) Breaker(destination string, state func() string) (hide func()) {
	gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chatledger_breaker_state",
		Help:        "State of a destination's circuit breaker: 0 closed, 1 half-open (one call tries), 2 open (no calls are made).",
		ConstLabels: prometheus.Labels{"destination": destination}}, func() float64 { return breakerStates[state()] })
	m.registry.MustRegister(gauge)
	return func() { m.registry.Unregister(gauge) }
}

// Stopped records whether a bot may not call Telegram for a cause.
func (m *Metrics) Stopped(bot, cause string, stopped bool) {
	value := 0.
	if stopped {
		value = 1
	}
	m.stopped.WithLabelValues(bot, cause).Set(value)
}

// Removed records rows that were kept for long enough. bot is empty for what is of all bots.
func (m *Metrics) Removed(what, bot string, rows int64) {
	m.removed.WithLabelValues(what, bot).Add(float64(rows))
}
