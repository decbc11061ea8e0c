// Package readmodel rebuilds, verifies and rolls back the read-model tables for people, and
// prints what it finds.
package readmodel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/cmd/internal/admin/progress"
	"github.com/chatledger/chatledger/cmd/internal/terminal"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// Tables works on read-model tables over a session of its own beside the store's pool.
type Tables struct {
	Store   *eventstore.Store
	Session *pgx.Conn
	Out     io.Writer
}

const (
	// namedStreams is how many streams that are not folded up to their ends are named.
	namedStreams = 10
	// maxLine is how many characters of a reason are printed.
	maxLine = 1000
)

func (t Tables) ledger() eventstore.Ledger { return eventstore.Ledger{Store: t.Store} }

// Named returns the projections with these names, or all of them when there are no names.
func Named(names []string) (list []projections.Projection, err error) {
	for i, name := range names {
		p, err := projections.Named(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(names[:i], name) {
			return nil, fmt.Errorf("%s is given twice", name)
		}
		list = append(list, p)
	}
	if len(names) == 0 {
		return projections.All(), nil
	}
	return list, nil
}

// Rebuild folds the tables anew beside the live ones, compares the two, and swaps the new
// ones in. A dry run stops before the swap; a difference is then an error.
func (t Tables) Rebuild(ctx context.Context, list []projections.Projection, dryRun bool) error {
	var differing error
	for _, p := range list {
		rows, err := t.rebuild(ctx, p, dryRun)
		if err != nil {
			return err
		}
		if dryRun && rows > 0 {
			differing = errors.Join(differing,
				fmt.Errorf("readmodel.%s differs in %d rows; `chatledger rebuild %s` repairs it", p.Name(), rows, p.Name()))
		}
	}
	return differing
}

// rebuild rebuilds one table, and returns the number of live rows that differed.
func (t Tables) rebuild(ctx context.Context, p projections.Projection, dryRun bool) (differing int64, err error) {
	shown := progress.NewRebuild(t.Out, p.Name())
	done, err := rebuild.Table(ctx, t.Session, t.ledger(), p,
		rebuild.Options{DryRun: dryRun, Progress: shown.Show})
	shown.End()
	if done.Comparison != nil {
		differing = done.Comparison.Differences()
		fmt.Fprint(t.Out, comparisonInWords(p.Name(), *done.Comparison))
	}
	if err == nil && !dryRun {
		fmt.Fprintf(t.Out, "%s: rebuilt from %d events into %d rows in %s\n",
			p.Name(), done.Events, done.Rows, done.Took.Round(time.Millisecond))
	}
	fmt.Fprint(t.Out, stoppedInWords(p.Name(), done.Parked, len(done.Parked)))
	return differing, err
}

// stoppedInWords names the first of n streams that are not folded up to their ends.
func stoppedInWords(table string, stopped []rebuild.Stopped, n int) string {
	var b strings.Builder
	for _, s := range stopped[:min(len(stopped), namedStreams)] {
		next := "`chatledger parked show " + table + " " + string(s.Stream) + "` shows it"
		if !s.Parked {
			next = "use a program that knows the event"
		}
		fmt.Fprintf(&b, "%s: %s; %s\n", table, terminal.OneLine(s.String(), maxLine), next)
	}
	if more := n - namedStreams; more > 0 {
		fmt.Fprintf(&b, "%s: and %d more streams\n", table, more)
	}
	return b.String()
}

func comparisonInWords(table string, c rebuild.Comparison) string {
	if c.Rows == 0 {
		return fmt.Sprintf("%s: there are no rows to compare at position %v\n", table, c.At)
	}
	n := c.Differences()
	if n == 0 {
		return fmt.Sprintf("%s: compared %d rows at position %v: all are the same\n", table, c.Rows, c.At)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: compared %d rows at position %v: %d differ,"+
		" %d are only in the live table, %d only in the new one\n",
		table, c.Rows, c.At, c.Differ, c.OnlyOld, c.OnlyNew)
	for _, d := range c.First {
		fmt.Fprintf(&b, "  %v\n", d)
	}
	if more := n - int64(len(c.First)); more > 0 {
		fmt.Fprintf(&b, "  and %d more\n", more)
	}
	return b.String()
}

// Rollback swaps each table for the one that its last rebuild replaced.
func (t Tables) Rollback(ctx context.Context, list []projections.Projection) error {
	for _, p := range list {
		at, version, err := rebuild.Rollback(ctx, t.Session, p)
		if err != nil {
			return err
		}
		next := "the running consumer continues from there"
		if version != p.Version() {
			next = fmt.Sprintf("a program with that version of the projection continues from there; this one has version %d",
				p.Version())
		}
		fmt.Fprintf(t.Out, "%s: rolled back to the table of version %d, at position %v; %s\n", p.Name(),
			version, at, next)
	}
	return nil
}
