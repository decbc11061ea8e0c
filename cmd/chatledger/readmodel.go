package main

import (
	"errors"

	"github.com/chatledger/chatledger/cmd/internal/admin/readmodel"
)

type rebuildCmd struct {
	database
	Projections []string `arg:"" optional:"" name:"projection" help:"conversations, tickets, messages, chat_days."`
	All         bool     `help:"Rebuild all tables, one after the other."`
	DryRun      bool     `xor:"instead" help:"Stop before the swap; exit with 1 if the tables differ."`
	Rollback    bool     `xor:"instead" help:"Swap back the table of before the last rebuild, or undo that."`
}

// Run folds tables anew beside the live ones, compares them, and swaps them in.
func (c *rebuildCmd) Run(e *env) error {
	if c.All == (len(c.Projections) > 0) {
		return errors.New("give a <projection> or several, or --all")
	}
	list, err := readmodel.Named(c.Projections)
	if err != nil {
		return err
	}
	store, conn, closeBoth, err := openSession(e.ctx, c.database, "rebuild")
	if err != nil {
		return err
	}
	defer closeBoth()
	tables := readmodel.Tables{Store: store, Session: conn, Out: e.stdout}
	if c.Rollback {
		return tables.Rollback(e.ctx, list)
	}
	return tables.Rebuild(e.ctx, list, c.DryRun)
}

type verifyCmd struct {
	database
	Projections []string `arg:"" optional:"" name:"projection" help:"The default is all."`
	Sample      uint     `placeholder:"N" help:"Verify only this many streams, chosen at random."`
}

// Run compares tables with the result of folding the events; a difference is an error.
func (c *verifyCmd) Run(e *env) error {
	list, err := readmodel.Named(c.Projections)
	if err != nil {
		return err
	}
	store, conn, closeBoth, err := openSession(e.ctx, c.database, "verify")
	if err != nil {
		return err
	}
	defer closeBoth()
	tables := readmodel.Tables{Store: store, Session: conn, Out: e.stdout}
	return tables.Verify(e.ctx, list, int(c.Sample))
}
