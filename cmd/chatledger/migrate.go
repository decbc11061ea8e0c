package main

import (
	"fmt"

	"github.com/chatledger/chatledger/schema"
)

type migrateCmd struct {
	database
	Roles      bool   `help:"Make the roles of the database, too, or extend their rights to what is new: an owner, one to serve as, one for analysts."`
	RolePrefix string `default:"chatledger" placeholder:"NAME" help:"What the roles' names begin with."`
}

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
	} else {
		fmt.Fprintf(e.stdout, "schema migrated from version %d to %d\n", from, to)
	}
	if !c.Roles {
		return nil
	}
	r, err := schema.MakeRoles(e.ctx, dsn, c.RolePrefix, func(said string) { e.log.Warn(said) })
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, `roles are in place; psql's \password sets the password of one, without which nobody can log in with one
  %s owns the schema: migrate, rebase, import and replay
  %s has what serve and all else need, and cannot change an event
  %s reads readmodel
`, r.Owner, r.App, r.Analyst)
	return nil
}
