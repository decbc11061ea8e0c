// Package telemetry tells what the program is doing: Prometheus metrics.
package telemetry

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics is what is counted and timed, in base units and with bounded labels.
type Metrics struct {
	registry   *prometheus.Registry
	webhook    *prometheus.HistogramVec
	quarantine *prometheus.CounterVec
	page       *prometheus.HistogramVec
	events     *prometheus.CounterVec
	delivery   *prometheus.HistogramVec
	oldest     prometheus.Gauge
}

// latencies spans a warm append to Telegram's patience, in seconds.
var latencies = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

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
	m.registry.MustRegister(m.webhook, m.quarantine, m.page, m.events, m.delivery, m.oldest,
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

// Quarantined records a body that was kept unread.
func (m *Metrics) Quarantined(bot string) { m.quarantine.WithLabelValues(bot).Inc() }

// Page records a page that was committed.
func (m *Metrics) Page(group string, events int, took time.Duration) {
	m.page.WithLabelValues(group).Observe(took.Seconds())
	m.events.WithLabelValues(group).Add(float64(events))
}

// Delivery records an attempt.
func (m *Metrics) Delivery(destination, kind, outcome string, took time.Duration) {
	m.delivery.WithLabelValues(destination, kind, outcome).Observe(took.Seconds())
}

// OldestWrite records how long the oldest open write has been open.
func (m *Metrics) OldestWrite(age time.Duration) { m.oldest.Set(age.Seconds()) }
