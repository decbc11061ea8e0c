package main

import (
	"errors"
	"fmt"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/projections"
)

type verifyCmd struct {
	database
	Projections []string `arg:"" optional:"" name:"projection" help:"conversations, tickets, messages, chat_days; without any, all."`
	Sample      uint     `placeholder:"N" help:"Only so many streams, picked at random, each as likely as any other."`
}

// Run compares tables with what the events lead to; a difference is an error.
func (c *verifyCmd) Run(e *env) error {
	list, err := named(c.Projections)
	if err != nil {
		return err
	}
	store, conn, leave, err := openSession(e.ctx, c.database, "verify")
	if err != nil {
		return err
	}
	defer leave()
	var differing error
	for _, p := range list {
		var v projections.Verified
		if ledger := (postgres.Ledger{Store: store}); c.Sample > 0 {
			v, err = projections.VerifySample(e.ctx, conn, ledger, p, int(c.Sample))
		} else {
			v, err = projections.Verify(e.ctx, conn, ledger, p)
		}
		switch {
		case err != nil:
			return err
		case v.First != nil:
			differing = errors.Join(differing, fmt.Errorf("%v; `chatledger rebuild %s` mends it", v.First, p.Name()))
		default:
			fmt.Fprintf(e.stdout, "%s: clean, %d rows of %d streams at position %v\n", p.Name(), v.Rows, v.Streams, v.At)
		}
	}
	return differing
}
