package main

import (
	"context"
	"fmt"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/projections"
)

type rebuildCmd struct {
	database
	Projection string `arg:"" help:"conversations or tickets."`
}

// Run folds a table anew, beside the live one, and swaps it in.
func (c *rebuildCmd) Run(e *env) error {
	p, err := projections.Named(c.Projection)
	if err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	conn, err := store.Session(e.ctx, "rebuild")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(e.ctx))
	const every = 2 * time.Second // a line now and then shows that it lives
	begun, told := time.Now(), time.Now()
	done, err := projections.Rebuild(e.ctx, conn, postgres.Ledger{Store: store}, p, func(events int64) {
		if time.Since(told) >= every {
			told = time.Now()
			fmt.Fprintf(e.stdout, "%s: %d events, %.0f/s\n", p.Name(), events, float64(events)/time.Since(begun).Seconds())
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s: rebuilt from %d events into %d rows in %s\n", p.Name(), done.Events, done.Rows, done.Took.Round(time.Millisecond))
	return nil
}

type verifyCmd struct {
	database
	Projection string `arg:"" optional:"" help:"conversations or tickets; without it all."`
}

// Run compares tables with what the events lead to; a difference is an error.
func (c *verifyCmd) Run(e *env) error {
	list := projections.All()
	if c.Projection != "" {
		p, err := projections.Named(c.Projection)
		if err != nil {
			return err
		}
		list = []projections.Projection{p}
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	conn, err := store.Session(e.ctx, "verify")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(e.ctx))
	for _, p := range list {
		v, err := projections.Verify(e.ctx, conn, postgres.Ledger{Store: store}, p)
		if err != nil {
			return err
		}
		if v.First != nil {
			return fmt.Errorf("%v; `chatledger rebuild %s` mends it", v.First, p.Name())
		}
		fmt.Fprintf(e.stdout, "%s: clean, %d rows of %d streams at position %v\n", p.Name(), v.Rows, v.Streams, v.At)
	}
	return nil
}
