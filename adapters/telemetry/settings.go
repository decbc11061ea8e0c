package telemetry

import "github.com/prometheus/client_golang/prometheus"

func newRefused(registry *prometheus.Registry) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "chatledger_bots_file_refused",
		Help: "1 while the bots file has a mistake, and what it said before goes on to count."})
	registry.MustRegister(g)
	return g
}

// BotsFile records whether the bots file, as it was read last, was taken.
func (m *Metrics) BotsFile(taken bool) {
	m.refused.Set(1)
	if taken {
		m.refused.Set(0)
	}
}
