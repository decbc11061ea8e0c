package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// readings are gauges that are read from the database. A reading replaces all values at once: a scrape gets
// one complete reading, without series of destinations that no longer exist.
type readings struct {
	known  map[string]*prometheus.Desc
	latest atomic.Pointer[[]prometheus.Metric]
}

// newReadings declares the gauges. All processes on one database expose the same values, so queries must use
// their maximum, not their sum.
func newReadings() *readings {
	r := &readings{known: map[string]*prometheus.Desc{}}
	for _, one := range []struct {
		name, help string
		labels     []string
	}{
		{"chatledger_parked_streams", "Parked streams: a consumer group could not handle one of their events, by group.",
			[]string{"group"}},
		{"chatledger_consumer_lag_events",
			"Events that a consumer group has not read yet, by group; an upper estimate, because positions have gaps.",
			[]string{"group"}},
		{"chatledger_consumer_lag_seconds",
			"Age of the oldest event that a consumer group has not read yet, by group.", []string{"group"}},
		{"chatledger_deliveries_open",
			"Deliveries that are not finished, by destination and state.", []string{"destination", "state"}},
		{"chatledger_delivery_oldest_seconds",
			"Age of the oldest unfinished delivery, by destination and state.", []string{"destination", "state"}},
		{"chatledger_dead_letters",
			"Dead letters: deliveries that an operator must retry or skip, by destination.", []string{"destination"}},
		{"chatledger_tickets_waiting", "Unresolved tickets, by priority.", []string{"priority"}},
		{"chatledger_ticket_oldest_seconds", "Age of the oldest unresolved ticket, by priority.", []string{"priority"}},
		{"chatledger_tickets_overdue", "Tickets whose first reply is overdue, by priority.", []string{"priority"}},
		{"chatledger_ticket_overdue_seconds",
			"Time by which the most overdue first reply is late, by priority.", []string{"priority"}},
		{"chatledger_model_budget_used_ratio",
			"Part of its daily budget that a bot's language model has used, by bot and of what: calls, tokens or cost.",
			[]string{"bot", "of"}},
		{"chatledger_database_bytes", "Size of the database on disk.", nil},
	} {
		r.known[one.name] = prometheus.NewDesc(one.name, one.help, one.labels, nil)
	}
	return r
}

func (r *readings) Describe(out chan<- *prometheus.Desc) {
	for _, d := range r.known {
		out <- d
	}
}

func (r *readings) Collect(out chan<- prometheus.Metric) {
	if latest := r.latest.Load(); latest != nil {
		for _, m := range *latest {
			out <- m
		}
	}
}

// Read replaces all readings by the values with which read calls set.
func (m *Metrics) Read(read func(set func(name string, labels []string, value float64))) {
	var latest []prometheus.Metric
	read(func(name string, labels []string, value float64) {
		latest = append(latest,
			prometheus.MustNewConstMetric(m.readings.known[name], prometheus.GaugeValue, value, labels...))
	})
	m.readings.latest.Store(&latest)
}
