package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// guarded are the metrics of the guard and of certificates.
type guarded struct {
	rejected *prometheus.CounterVec
	valid    *prometheus.GaugeVec
	mu       sync.Mutex
	public   map[string]prometheus.Gauge // by bot
}

func newGuarded(registry *prometheus.Registry) *guarded {
	g := &guarded{
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_rejected_total",
			Help: "Requests and connections that the guard rejected, by reason."}, []string{"reason"}),
		valid: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_public_certificate_valid",
			Help: "1 while the certificate at a bot's public address is valid; 0 when it is not, or cannot be " +
				"fetched from here."}, []string{"bot"}),
		public: map[string]prometheus.Gauge{},
	}
	registry.MustRegister(g.rejected, g.valid)
	return g
}

// Rejected counts a rejected request or connection.
func (m *Metrics) Rejected(reason string) { m.guarded.rejected.WithLabelValues(reason).Inc() }

// Connections exposes the number of open connections.
func (m *Metrics) Connections(open func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chatledger_connections",
		Help: "Connections open to this server."}, func() float64 { return float64(open()) }))
}

// expiry returns the options of the metric of one certificate. Its labels are constant, because a gauge
// function, which is needed for the served certificate, cannot have variable ones.
func expiry(source, bot string) prometheus.GaugeOpts {
	return prometheus.GaugeOpts{Name: "chatledger_certificate_not_after_seconds",
		Help: "When a certificate expires, in Unix seconds: the one of this server (served; 0 while it has none) or " +
			"the one at a bot's public address (public).",
		ConstLabels: prometheus.Labels{"source": source, "bot": bot}}
}

// ServedCertificate exposes when this server's own certificate expires.
func (m *Metrics) ServedCertificate(notAfter func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(expiry("served", ""), func() float64 {
		if at := notAfter(); !at.IsZero() {
			return float64(at.Unix())
		}
		return 0
	}))
}

// PublicCertificate records when the certificate at a bot's public address expires. If
// the certificate cannot be fetched, the last known value stays.
func (m *Metrics) PublicCertificate(bot string, notAfter time.Time, valid bool) {
	m.guarded.mu.Lock()
	defer m.guarded.mu.Unlock()
	value := 0.
	if valid {
		value = 1
	}
	m.guarded.valid.WithLabelValues(bot).Set(value)
	if notAfter.IsZero() {
		return
	}
	gauge := m.guarded.public[bot]
	if gauge == nil {
		gauge = prometheus.NewGauge(expiry("public", bot))
		m.registry.MustRegister(gauge)
		m.guarded.public[bot] = gauge
	}
	gauge.Set(float64(notAfter.Unix()))
}
