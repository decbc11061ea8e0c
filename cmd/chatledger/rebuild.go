package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/projections"
)

type rebuildCmd struct {
	database
	Projections []string `arg:"" optional:"" name:"projection" help:"conversations, tickets, messages, chat_days."`
	All         bool     `help:"All of them, one after the other."`
	DryRun      bool     `xor:"instead" help:"Stop before the swap, and exit with 1 when rows of the live table differ from what the events lead to."`
	Rollback    bool     `xor:"instead" help:"Put the table that the last rebuild replaced back in its place; a second time undoes it."`
}

// Run folds tables anew, beside the live ones, compares, and swaps them in.
func (c *rebuildCmd) Run(e *env) error {
	if c.All == (len(c.Projections) > 0) {
		return errors.New("give either a <projection> or several, or --all")
	}
	list, err := named(c.Projections)
	if err != nil {
		return err
	}
	store, conn, leave, err := openSession(e.ctx, c.database, "rebuild")
	if err != nil {
		return err
	}
	defer leave()
	var differing error
	for _, p := range list {
		if c.Rollback {
			err = c.rollback(e, conn, p)
		} else {
			var n int64
			n, err = c.rebuild(e, conn, postgres.Ledger{Store: store}, p)
			if c.DryRun && n > 0 {
				differing = errors.Join(differing, fmt.Errorf("readmodel.%s differs in %d rows; `chatledger rebuild %s` mends it", p.Name(), n, p.Name()))
			}
		}
		if err != nil {
			return err
		}
	}
	return differing
}

// named finds projections by their names; without any, all.
func named(names []string) (list []projections.Projection, err error) {
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

// rebuild rebuilds one table, and tells how many rows of the live one were not the same.
func (c *rebuildCmd) rebuild(e *env, conn *pgx.Conn, ledger projections.Ledger, p projections.Projection) (differing int64, err error) {
	shown := newMeter(e.stdout, p.Name())
	done, err := projections.Rebuild(e.ctx, conn, ledger, p, projections.How{DryRun: c.DryRun, Progress: shown.tell})
	shown.end()
	if done.Comparison != nil {
		differing = done.Comparison.Differences()
		fmt.Fprint(e.stdout, summary(p.Name(), *done.Comparison))
	}
	if err == nil && !c.DryRun {
		fmt.Fprintf(e.stdout, "%s: rebuilt from %d events into %d rows in %s\n", p.Name(), done.Events, done.Rows, done.Took.Round(time.Millisecond))
	}
	return differing, err
}

// summary is a comparison in words.
func summary(table string, c projections.Comparison) string {
	if c.Rows == 0 {
		return fmt.Sprintf("%s: there are no rows to compare at position %v\n", table, c.At)
	}
	n := c.Differences()
	if n == 0 {
		return fmt.Sprintf("%s: compared %d rows at position %v: all are the same\n", table, c.Rows, c.At)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: compared %d rows at position %v: %d differ, %d are only in the live table, %d only in the new one\n",
		table, c.Rows, c.At, c.Differ, c.OnlyOld, c.OnlyNew)
	for _, d := range c.First {
		fmt.Fprintf(&b, "  %v\n", d)
	}
	if more := n - int64(len(c.First)); more > 0 {
		fmt.Fprintf(&b, "  and %d more\n", more)
	}
	return b.String()
}

// rollback exchanges a table for the one before.
func (c *rebuildCmd) rollback(e *env, conn *pgx.Conn, p projections.Projection) error {
	at, version, err := projections.Rollback(e.ctx, conn, p)
	if err != nil {
		return err
	}
	text := "the running consumer follows from there"
	if version != p.Version() {
		text = fmt.Sprintf("the consumer of a program with that version follows from there; this one has version %d", p.Version())
	}
	fmt.Fprintf(e.stdout, "%s: rolled back to the table of version %d, at position %v; %s\n", p.Name(), version, at, text)
	return nil
}
