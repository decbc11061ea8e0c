package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/quarantine"
)

type quarantineCmd struct {
	List listQuarantine `cmd:"" default:"withargs" help:"List them, newest first."`
	Show showQuarantine `cmd:"" help:"Write the body of one to stdout as it came, byte by byte."`
}

type listQuarantine struct {
	database
	Bot   string `placeholder:"NAME" help:"Of this bot; zendesk:NAME for what Zendesk was to have sent."`
	Limit int    `default:"100" placeholder:"N" help:"At most so many."`
}

// Run lists without the bodies: they may hold anything, and a terminal may obey it.
func (c *listQuarantine) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	found, err := quarantine.New(store.DB).List(e.ctx, c.Bot, c.Limit)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		fmt.Fprintln(e.stdout, "nothing is in quarantine")
		return nil
	}
	table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, q := range found {
		fmt.Fprintf(table, "%d\t%s\t%s\t%d bytes\t%d times\t%s\n", q.ID, q.ReceivedAt.UTC().Format(time.RFC3339), q.Bot, q.Bytes, q.Times, brief(q.Reason))
	}
	return table.Flush()
}

type showQuarantine struct {
	database
	ID int64 `arg:"" help:"Its number in the list."`
}

// Run writes one body.
func (c *showQuarantine) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	body, found, err := quarantine.New(store.DB).Body(e.ctx, c.ID)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("nothing in quarantine has number %d: `chatledger quarantine` lists what is there", c.ID)
	}
	_, err = e.stdout.Write(body)
	return err
}
