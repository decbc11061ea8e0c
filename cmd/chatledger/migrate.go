package main

import (
	"fmt"

	"github.com/chatledger/chatledger/schema"
)

type migrateCmd struct{ database }

// Run migrates forward; several processes may do so at once.
func (c *migrateCmd) Run(e *env) error {
	dsn, err := c.dsn()
	if err != nil {
		return err
	}
	from, to, err := schema.Migrate(e.ctx, dsn)
	if err != nil {
		return err
	}
	if from == to {
		fmt.Fprintf(e.stdout, "schema is up to date at version %d\n", to)
		return nil
	}
	fmt.Fprintf(e.stdout, "schema migrated from version %d to %d\n", from, to)
	return nil
}
