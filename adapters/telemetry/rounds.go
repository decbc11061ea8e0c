package telemetry

import (
	"runtime"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chatledger/chatledger/commands"
)

// rounds is what is known of the way to the store.
type rounds struct {
	append    prometheus.Histogram
	events    prometheus.Histogram
	conflicts prometheus.Counter
	failures  prometheus.Counter
	memory    prometheus.Counter
	store     prometheus.Counter
}

func newRounds(r *prometheus.Registry) rounds {
	states := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_states_total",
		Help: "States of chats that were decided upon, by where they came from: memory or store."}, []string{"from"})
	rs := rounds{
		append: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "chatledger_append_seconds",
			Help: "Time to append a batch, until it is durable.", Buckets: latencies}),
		events: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "chatledger_append_events",
			Help: "Events in a batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "chatledger_append_conflicts_total",
			Help: "Streams on which another writer was faster, so that they were decided again."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "chatledger_append_failures_total",
			Help: "Batches that could not be appended."}),
		memory: states.WithLabelValues("memory"), store: states.WithLabelValues("store"),
	}
	r.MustRegister(rs.append, rs.events, rs.conflicts, rs.failures, states)
	return rs
}

// Round records a batch on its way to the store.
func (m *Metrics) Round(r commands.Commit) {
	m.rounds.memory.Add(float64(r.Cached))
	m.rounds.store.Add(float64(r.Streams - r.Cached))
	m.rounds.conflicts.Add(float64(r.Conflicts))
	switch {
	case r.Err != nil:
		m.rounds.failures.Inc()
	case r.AppendTime > 0:
		m.rounds.append.Observe(r.AppendTime.Seconds())
		m.rounds.events.Observe(float64(r.Events))
	}
}

// Waiting shows how many requests wait to be taken up.
func (m *Metrics) Waiting(waiting func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chatledger_requests_waiting",
		Help: "Commands of this process that wait to be decided."}, func() float64 { return float64(waiting()) }))
}

// Pool shows the connections that this process shares.
func (m *Metrics) Pool(pool *pgxpool.Pool) {
	gauge := func(name, help string, value func(*pgxpool.Stat) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(pool.Stat()) }))
	}
	gauge("chatledger_pool_used_connections", "Database connections in use.", func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) })
	gauge("chatledger_pool_max_connections", "Database connections that there may be.", func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) })
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chatledger_pool_wait_seconds_total",
		Help: "Time spent waiting for a free connection, added up."}, func() float64 { return pool.Stat().EmptyAcquireWaitTime().Seconds() }))
}

// Build shows which program this is.
func (m *Metrics) Build(version string) {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "chatledger_build_info", Help: "1, by version of the program and of Go."}, []string{"version", "goversion"})
	m.registry.MustRegister(build)
	build.WithLabelValues(version, runtime.Version()).Set(1)
}
