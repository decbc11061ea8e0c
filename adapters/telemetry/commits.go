package telemetry

import (
	"runtime"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chatledger/chatledger/commands"
)

// commits are the metrics of batches that the committers append.
type commits struct {
	append    prometheus.Histogram
	events    prometheus.Histogram
	conflicts prometheus.Counter
	failures  prometheus.Counter
	memory    prometheus.Counter
	store     prometheus.Counter
}

func newCommits(r *prometheus.Registry) commits {
	states := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chatledger_states_total",
		Help: "Stream states that commands were decided on, by origin: memory (the cache) or store (loaded)."},
		[]string{"from"})
	c := commits{
		append: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "chatledger_append_seconds",
			Help: "Time to append a batch of events durably.", Buckets: latencies}),
		events: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "chatledger_append_events",
			Help: "Events in an appended batch.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "chatledger_append_conflicts_total",
			Help: "Streams that were loaded and decided again because another writer appended first."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "chatledger_append_failures_total",
			Help: "Batches that failed to be appended."}),
		memory: states.WithLabelValues("memory"), store: states.WithLabelValues("store"),
	}
	r.MustRegister(c.append, c.events, c.conflicts, c.failures, states)
	return c
}

// Commit records a batch, whether it was appended or failed.
func (m *Metrics) Commit(r commands.Commit) {
	m.commits.memory.Add(float64(r.Cached))
	m.commits.store.Add(float64(r.Streams - r.Cached))
	m.commits.conflicts.Add(float64(r.Conflicts))
	switch {
	case r.Err != nil:
		m.commits.failures.Inc()
	case r.AppendTime > 0:
		m.commits.append.Observe(r.AppendTime.Seconds())
		m.commits.events.Observe(float64(r.Events))
	}
}

// Waiting exposes the number of requests in the queues.
func (m *Metrics) Waiting(waiting func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chatledger_queued_requests",
		Help: "Requests in the queues of this process."}, func() float64 { return float64(waiting()) }))
}

// Pool exposes the use of the connection pool.
func (m *Metrics) Pool(pool *pgxpool.Pool) {
	gauge := func(name, help string, value func(*pgxpool.Stat) float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return value(pool.Stat()) }))
	}
	gauge("chatledger_pool_used_connections", "Database connections in use.",
		func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) })
	gauge("chatledger_pool_max_connections", "Maximum number of database connections.",
		func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) })
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chatledger_pool_wait_seconds_total",
		Help: "Total time spent waiting for a free connection."}, func() float64 {
		return pool.Stat().EmptyAcquireWaitTime().Seconds()
	}))
}

// Build exposes the version of the program.
func (m *Metrics) Build(version string) {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "chatledger_build_info", Help: "Always 1, with the version of the program and of Go.",
	}, []string{"version", "goversion"})
	m.registry.MustRegister(build)
	build.WithLabelValues(version, runtime.Version()).Set(1)
}
