// Package progress shows how far a long command has come.
package progress

import (
	"fmt"
	"io"
	"time"
)

// LineEvery is the time between two progress lines: a reader of a log file sees that the
// command is alive.
const LineEvery = 2 * time.Second

// Counter counts events, and prints a line with their number and rate every LineEvery.
type Counter struct {
	out          io.Writer
	verb         string // "exported"
	events       int64
	total        int64 // 0 when it is unknown
	begun, lined time.Time
}

// NewCounter counts towards total, or without end when total is 0. The verb is what is done
// to each event, such as "exported".
func NewCounter(out io.Writer, verb string, total int64) *Counter {
	return &Counter{out: out, verb: verb, total: total, begun: time.Now(), lined: time.Now()}
}

// Add counts events, and prints a line when one is due.
func (c *Counter) Add(events int64) {
	c.events += events
	if time.Since(c.lined) >= LineEvery {
		c.lined = time.Now()
		fmt.Fprintln(c.out, c)
	}
}

// Events returns the number of events counted.
func (c *Counter) Events() int64 { return c.events }

// String returns the line.
func (c *Counter) String() string {
	took := time.Since(c.begun)
	rate := float64(c.events) / took.Seconds()
	if c.total > c.events && c.events > 0 {
		left := time.Duration(float64(c.total-c.events) / rate * float64(time.Second))
		return fmt.Sprintf("%s %d of %d events, %.0f/s, %s left", c.verb, c.events, c.total, rate,
			left.Round(time.Second))
	}
	return fmt.Sprintf("%s %d events in %s, %.0f/s", c.verb, c.events, took.Round(time.Millisecond), rate)
}
