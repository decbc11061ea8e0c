package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Operators exposes the requests to the operators' API and returns a function that records one.
func (m *Metrics) Operators() (record func(route string, status int, took time.Duration)) {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_operators_seconds",
		Help: "Time from a request to the operators' API to its answer, by route and status; 401, 403 and 429 were denied.", Buckets: latencies}, []string{"route", "status"})
	m.registry.MustRegister(requests)
	return func(route string, status int, took time.Duration) {
		requests.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
	}
}
