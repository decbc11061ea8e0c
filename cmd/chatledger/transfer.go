package main

import (
	"context"

	"github.com/chatledger/chatledger/adapters/archive"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/cmd/internal/admin/transfer"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

type exportCmd struct {
	database
	To         string         `required:"" placeholder:"DIR" help:"A new archive, or one to continue; - is stdout."`
	Format     archive.Format `placeholder:"NAME" help:"ndjson, cloudevents or parquet; else the archive's, or ndjson."`
	After      string         `placeholder:"POSITION" help:"With --to -: only events after <transaction>/<number>."`
	PartEvents int64          `placeholder:"N" help:"Number of events in one file; the default is 50000."`
}

// Run writes the events that are stored now, in feed order.
func (c *exportCmd) Run(e *env) error {
	export := transfer.Export{
		To: c.To, Format: c.Format, After: c.After, PartEvents: c.PartEvents, Responder: server.Responder,
	}
	if err := export.Check(); err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return transfer.Interrupted(e.ctx, err)
	}
	defer store.Close()
	return export.Run(e.ctx, store, e.stdout, e.stderr)
}

// policies are the consumer groups that act on events and do not only fold them.
var policies = []string{server.Outbox, server.Responder}

type importCmd struct {
	database
	From       string         `required:"" placeholder:"DIR" help:"An archive directory; - is stdin."`
	Format     archive.Format `placeholder:"NAME" help:"With --from -: ndjson or cloudevents."`
	Incomplete bool           `help:"Also import an archive whose export did not reach its end, as far as it goes."`
}

// Run fills a store with the events of an archive. It sends nothing.
func (c *importCmd) Run(e *env) error {
	connect := func(ctx context.Context) (*eventstore.Store, error) { return openStore(ctx, c.database) }
	x := transfer.Import{
		From: c.From, Format: c.Format, Incomplete: c.Incomplete,
		Policies: policies, Now: e.now,
	}
	return x.Run(e.ctx, connect, e.stdout, e.stderr)
}
