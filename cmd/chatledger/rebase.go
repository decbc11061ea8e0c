package main

import (
	"fmt"

	"github.com/chatledger/chatledger/adapters/postgres"
)

type rebaseCmd struct{ database }

// Run lets a ledger continue in the cluster that it was restored into.
func (c *rebaseCmd) Run(e *env) error {
	dsn, err := c.dsn()
	if err != nil {
		return err
	}
	newest, done, err := postgres.Rebase(e.ctx, dsn)
	if err != nil {
		return err
	}
	if !done {
		fmt.Fprintln(e.stdout, "nothing to do: new events get greater transaction ids than those stored")
		return nil
	}
	fmt.Fprintf(e.stdout, "rebased: new events get transaction ids above %d, the newest stored\n", newest)
	return nil
}
