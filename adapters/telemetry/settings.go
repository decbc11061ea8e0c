package telemetry

import "github.com/prometheus/client_golang/prometheus"

func newBotsFile(registry *prometheus.Registry) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "chatledger_bots_file_rejected",
		Help: "1 while the bots file is rejected because of a mistake and the previous settings apply."})
	registry.MustRegister(g)
	return g
}

// BotsFile records whether the last version of the bots file was accepted.
func (m *Metrics) BotsFile(accepted bool) {
	m.rejected.Set(1)
	if accepted {
		m.rejected.Set(0)
	}
}
