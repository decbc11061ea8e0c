package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// OperatorRequests measures the requests to the operators' API.
type OperatorRequests struct{ seconds *prometheus.HistogramVec }

// OperatorRequests exposes the requests to the operators' API.
func (m *Metrics) OperatorRequests() OperatorRequests {
	requests := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chatledger_operators_seconds",
		Help: "Time from a request to the operators' API to its answer, by route and status; 401, 403 and 429 were " +
			"denied.",
		Buckets: latencies}, []string{"route", "status"})
	m.registry.MustRegister(requests)
	return OperatorRequests{requests}
}

// OperatorRequest records one request.
func (r OperatorRequests) OperatorRequest(route string, status int, took time.Duration) {
	r.seconds.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}
