package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/quarantine"
	"github.com/chatledger/chatledger/cmd/internal/terminal"
)

type quarantineCmd struct {
	List listQuarantineCmd `cmd:"" default:"withargs" help:"List the quarantined bodies, newest first, with the reasons."`
	Show showQuarantineCmd `cmd:"" help:"Write one body to stdout, unchanged."`
}

// Help is what --help prints below the usage.
func (quarantineCmd) Help() string {
	return "In quarantine are bodies that are not updates, repeats of an update_id with other content, and updates " +
		"for a chat that cannot be read."
}

type listQuarantineCmd struct {
	database
	Bot   string `placeholder:"NAME" help:"List the bodies of this bot; zendesk:NAME for those of its Zendesk webhook."`
	Limit int    `default:"100" placeholder:"N" help:"List at most this many."`
}

// reasonWidth limits the reason in a line, in characters.
const reasonWidth = 60

// Run lists without the bodies: a body may hold control characters that a terminal obeys.
func (c *listQuarantineCmd) Run(e *env) error {
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
		fmt.Fprintf(table, "%d\t%s\t%s\t%d bytes\t%d times\t%s\n", q.ID, q.ReceivedAt.UTC().Format(time.RFC3339),
			q.Bot, q.Bytes, q.Times, terminal.OneLine(q.Reason, reasonWidth))
	}
	return table.Flush()
}

type showQuarantineCmd struct {
	database
	ID int64 `arg:"" help:"The body's number in the list."`
}

// Run writes one body.
func (c *showQuarantineCmd) Run(e *env) error {
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
		return fmt.Errorf("body %d is not in quarantine: `chatledger quarantine` lists the numbers", c.ID)
	}
	_, err = e.stdout.Write(body)
	return err
}
