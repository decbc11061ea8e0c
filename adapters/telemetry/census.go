package telemetry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// census shows what was last counted in the database. It replaces all at once, so that
// nobody sees half of it, nor a queue that is no more.
type census struct {
	known    map[string]*prometheus.Desc
	readings atomic.Pointer[[]prometheus.Metric]
}

// newCensus knows what can be counted. All processes on one database show the same:
// take the greatest, not the sum.
func newCensus() *census {
	c := &census{known: map[string]*prometheus.Desc{}}
	for _, one := range []struct {
		name, help string
		labels     []string
	}{
		{"chatledger_consumer_lag_events", "Events that a consumer group has not seen yet, by group; a few too many, for numbers have gaps.", []string{"group"}},
		{"chatledger_consumer_lag_seconds", "Age of the oldest event that a consumer group has not seen yet, by group.", []string{"group"}},
		{"chatledger_deliveries_open", "Deliveries that hold their lane, by destination and state.", []string{"destination", "state"}},
		{"chatledger_delivery_oldest_seconds", "Age of the oldest of them, by destination and state.", []string{"destination", "state"}},
		{"chatledger_dead_letters", "Deliveries that wait for an operator's decision, by destination.", []string{"destination"}},
		{"chatledger_tickets_waiting", "Tickets that are not resolved, by priority.", []string{"priority"}},
		{"chatledger_ticket_oldest_seconds", "Age of the oldest ticket that is not resolved, by priority.", []string{"priority"}},
		{"chatledger_tickets_overdue", "Tickets to which nobody has replied though it was due, by priority.", []string{"priority"}},
		{"chatledger_ticket_overdue_seconds", "How long the longest overdue of them is, by priority.", []string{"priority"}},
		{"chatledger_database_bytes", "Size of the database on disk.", nil},
	} {
		c.known[one.name] = prometheus.NewDesc(one.name, one.help, one.labels, nil)
	}
	return c
}

func (c *census) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.known {
		out <- d
	}
}

func (c *census) Collect(out chan<- prometheus.Metric) {
	if readings := c.readings.Load(); readings != nil {
		for _, m := range *readings {
			out <- m
		}
	}
}

// Census shows what count tells of from now on, in place of what was shown before.
func (m *Metrics) Census(count func(show func(name string, labels []string, value float64))) {
	var readings []prometheus.Metric
	count(func(name string, labels []string, value float64) {
		readings = append(readings, prometheus.MustNewConstMetric(m.census.known[name], prometheus.GaugeValue, value, labels...))
	})
	m.census.readings.Store(&readings)
}
