package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgdev"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/schema"
)

type benchCmd struct {
	Rows   []string      `arg:"" optional:"" help:"${rows_help}"`
	JSON   bool          `name:"json" help:"Print JSON instead of a table."`
	Rounds int           `default:"3" help:"Measure each row and its baseline this many times, in turn."`
	For    time.Duration `default:"5s" help:"The length of one measurement of a rate."`
	Scale  float64       `default:"1" help:"Multiply the numbers of stored events by this, to try the program itself."`

	Profile string `placeholder:"FILE" help:"Write a CPU profile of this program to a file."`
	Program string `placeholder:"FILE" help:"The chatledger program; the default is the one beside this."`
}

// benchHelp has the help text of the rows.
var benchHelp = kong.Vars{
	"rows_help": "The rows to measure: append, intake, alone, live, rebuild, reply, beside, bots, deliver, strangers, " +
		"growth, long, memory; the default is all of these. Also soak: load and faults, with --for 10m.",
}

// A benchRow measures one promise beside a baseline of the same machine.
type benchRow struct {
	name, what, against string
	run                 func(context.Context, *bench) (benchResult, error)
}

// benchResult is one round of a row. Base is 0 when there is no baseline.
type benchResult struct {
	Value, Base float64
	Unit        string
	Notes       map[string]float64 // further figures of the same round
}

var benchRows = []benchRow{
	{
		"append", "updates appended as full events, 32 callers",
		"pgbench, single-row INSERT of the same JSONB, 32 clients", benchAppend,
	},
	{"intake", "webhook to durable 200, 100 connections, projections running", "the same INSERT", benchIntake},
	{"alone", "webhook to durable 200, 1 connection", "the same INSERT, 1 client", benchAlone},
	{"live", "events folded by conversations through the router, from a backlog", "ordered COPY out", benchLive},
	{"rebuild", "events of a full rebuild of conversations and tickets", "ordered COPY out", benchRebuild},
	{"reply", "webhook received to sendMessage received, 200 updates/s", "", benchReply},
	{"beside", "the same, beside a chat that always fails and one that takes 10 s", "without these two", benchBeside},
	{
		"bots",
		"p95 of seven bots' answers beside a wrong token, a flood and a dead Zendesk: the worst bot," +
			" in multiples of its p95 alone",
		"the flood spread over the seven", benchBots,
	},
	{"deliver", "replies received by Telegram without limits, 1,000 chats", "", benchDeliver},
	{
		"strangers", "webhook to durable 200, 200 updates/s, beside 2,000 hostile connections",
		"without them", benchStrangers,
	},
	{"growth", "append, page read and chat load at 100x the events", "the same at 1x", benchGrowth},
	{"long", "a cold process's update of a chat of 1,000,000 events", "of a chat of 10 events", benchLong},
	{"memory", "peak resident memory of serve, and of a rebuild", "", benchMemory},
}

// soakRow is measured only when it is named: it takes as long as --for says, and checks that
// promises are kept.
var soakRow = benchRow{
	"soak", "longest time until the lag is below 2 s again after a fault, at 300 updates/s", "", benchSoak,
}

// bench provides a row with a durable PostgreSQL server, and with a fresh database for each
// measurement.
type bench struct {
	benchCmd
	server *pgdev.Server
	log    *slog.Logger
	out    io.Writer
	n      int
}

// measured is a row of the report, with the medians of the rounds.
type measured struct {
	Row     string             `json:"row"`
	What    string             `json:"what"`
	Against string             `json:"against,omitempty"`
	Value   float64            `json:"value"`
	Base    float64            `json:"base,omitempty"`
	Ratio   float64            `json:"ratio,omitempty"`
	Unit    string             `json:"unit"`
	Notes   map[string]float64 `json:"notes,omitempty"`
}

// Run measures the rows and prints them.
func (c *benchCmd) Run(e *env) error {
	rows, err := c.chosen()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "chatledger-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // the server runs as another user
		return err
	}
	server, err := pgdev.Start(e.ctx, pgdev.Config{Dir: dir, Log: e.log})
	if err != nil {
		return err
	}
	defer server.Stop(context.WithoutCancel(e.ctx))
	if c.Profile != "" {
		profile, err := os.Create(c.Profile)
		if err != nil {
			return err
		}
		defer profile.Close()
		if err := pprof.StartCPUProfile(profile); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	b := &bench{benchCmd: *c, server: server, log: e.log, out: e.stdout}
	var report []measured
	for _, row := range rows {
		var rounds []benchResult
		for range c.roundsOf(row) {
			result, err := row.run(e.ctx, b)
			if err != nil {
				return fmt.Errorf("bench %s: %w", row.name, err)
			}
			rounds = append(rounds, result)
			if !c.JSON {
				fmt.Fprintf(e.stdout, "%s: %s\n", row.name, result)
			}
		}
		report = append(report, medians(row, rounds))
	}
	if c.JSON {
		return json.NewEncoder(e.stdout).Encode(map[string]any{"machine": machine(), "rows": report})
	}
	return printBench(e.stdout, report)
}

func (c *benchCmd) chosen() ([]benchRow, error) {
	if len(c.Rows) == 0 {
		return benchRows, nil
	}
	var rows []benchRow
	for _, name := range c.Rows {
		if name == soakRow.name {
			rows = append(rows, soakRow)
			continue
		}
		i := slices.IndexFunc(benchRows, func(r benchRow) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q; `chatledger-bench --help` lists the rows", name)
		}
		rows = append(rows, benchRows[i])
	}
	return rows, nil
}

// roundsOf returns the number of rounds: one for the rows that take minutes, which measure
// peaks or have rounds of their own.
func (c *benchCmd) roundsOf(row benchRow) int {
	if row.name == "growth" || row.name == "long" || row.name == "memory" || row.name == soakRow.name {
		return 1
	}
	return c.Rounds
}

func (r benchResult) String() string {
	text := fmt.Sprintf("%.4g %s", r.Value, r.Unit)
	if r.Base != 0 {
		text += fmt.Sprintf(", baseline %.4g, ratio %.2f", r.Base, r.Value/r.Base)
	}
	return text + notes(r.Notes)
}

func notes(n map[string]float64) string {
	var parts []string
	for key, value := range n {
		parts = append(parts, fmt.Sprintf("%s %.4g", key, value))
	}
	slices.Sort(parts)
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// medians condenses the rounds; the ratio is the median of the rounds' ratios,
// because the two sides of a round ran next to each other.
func medians(row benchRow, rounds []benchResult) measured {
	of := func(f func(benchResult) float64) float64 {
		values := make([]float64, len(rounds))
		for i, r := range rounds {
			values[i] = f(r)
		}
		return median(values)
	}
	m := measured{Row: row.name, What: row.what, Against: row.against, Unit: rounds[0].Unit, Notes: map[string]float64{},
		Value: of(func(r benchResult) float64 { return r.Value }), Base: of(func(r benchResult) float64 { return r.Base })}
	if m.Base != 0 {
		m.Ratio = of(func(r benchResult) float64 { return r.Value / r.Base })
	}
	for key := range rounds[0].Notes {
		m.Notes[key] = of(func(r benchResult) float64 { return r.Notes[key] })
	}
	return m
}

func printBench(w io.Writer, report []measured) error {
	fmt.Fprintf(w, "\n%s\n\n", machine())
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "row\tmeasured\tbaseline\tratio\twhat")
	for _, m := range report {
		base, ratio := "", ""
		if m.Base != 0 {
			base, ratio = fmt.Sprintf("%.4g", m.Base), fmt.Sprintf("%.2f", m.Ratio)
		}
		against := ""
		if m.Against != "" {
			against = "; against " + m.Against
		}
		fmt.Fprintf(table, "%s\t%.4g %s%s\t%s\t%s\t%s%s\n",
			m.Row, m.Value, m.Unit, notes(m.Notes), base, ratio, m.What, against)
	}
	return table.Flush()
}

// machine describes the machine of the figures.
func machine() string {
	return fmt.Sprintf("%d cores, %s/%s, %s, PostgreSQL with fsync and synchronous_commit on,"+
		" load and server on one machine",
		runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// database creates a migrated database on the server.
func (b *bench) database(ctx context.Context) (dsn string, drop func(), err error) {
	conn, err := pgx.Connect(ctx, b.server.DSN())
	if err != nil {
		return "", nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	b.n++
	name := fmt.Sprintf("bench%d", b.n)
	if _, err := conn.Exec(ctx, "create database "+name); err != nil {
		return "", nil, err
	}
	config := conn.Config()
	dsn = fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable",
		config.User, config.Password, config.Host, config.Port, name)
	if _, _, err := schema.Migrate(ctx, dsn); err != nil {
		return "", nil, err
	}
	return dsn, func() {
		ctx := context.WithoutCancel(ctx)
		conn, err := pgx.Connect(ctx, b.server.DSN())
		if err != nil {
			return
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, "drop database "+name+" with (force)"); err != nil {
			b.log.Warn("cannot drop the bench database", "error", err)
		}
		// What this round wrote must not be flushed during the next.
		if _, err := conn.Exec(ctx, "checkpoint"); err != nil {
			b.log.Warn("cannot checkpoint between rounds", "error", err)
		}
	}, nil
}

// open creates a database and opens a store on it.
func (b *bench) open(ctx context.Context) (*eventstore.Store, string, func(), error) {
	dsn, drop, err := b.database(ctx)
	if err != nil {
		return nil, "", nil, err
	}
	store, err := eventstore.Open(ctx, dsn, "chatledger bench", chat.NewCodec())
	if err != nil {
		drop()
		return nil, "", nil, err
	}
	return store, dsn, func() { store.Close(); drop() }, nil
}

// scaled multiplies a number of events by --scale.
func (b *bench) scaled(n int) int { return max(1000, int(float64(n)*b.Scale)) }

// percentile returns a percentile of sorted durations, in milliseconds.
func percentile(sorted []time.Duration, p float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(len(sorted)-1, int(float64(len(sorted))*p))].Microseconds()) / 1000
}
