package main

import (
	"fmt"

	"github.com/chatledger/chatledger/schema"
)

type migrateCmd struct {
	database
	Roles      bool   `help:"Also create or update the database roles: owner, application, analyst."`
	RolePrefix string `default:"chatledger" placeholder:"NAME" help:"The prefix of the role names."`
}

// Run migrates the schema forward. Several processes may run it at the same time.
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
	r, err := schema.MakeRoles(e.ctx, dsn, c.RolePrefix, func(warning string) { e.log.Warn(warning) })
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, `roles are in place; a role can log in once it has a password, which psql's \password sets
  %s owns the schema: use it for migrate, rebase, import and replay
  %s is for serve and every other command; it cannot change an event
  %s reads readmodel
`, r.Owner, r.App, r.Analyst)
	return nil
}
