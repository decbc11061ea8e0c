package main

import (
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/cmd/internal/terminal"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// parkedCmd lists the streams that consumer groups left out, and retries or skips them.
type parkedCmd struct {
	List  listParkedCmd  `cmd:"" default:"withargs" help:"List the parked streams."`
	Show  showParkedCmd  `cmd:"" help:"Print one parked stream with the whole reason."`
	Retry retryParkedCmd `cmd:"" help:"Handle the events of parked streams again, in order, from the one that failed."`
	Skip  skipParkedCmd  `cmd:"" help:"Leave out the event that failed; not for read-model tables."`
}

type listParkedCmd struct {
	database
	Group string `placeholder:"NAME" help:"List the parked streams of this consumer group."`
}

// Run lists parked streams.
func (c *listParkedCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	found, err := store.Parked(e.ctx, c.Group)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		fmt.Fprintln(e.stdout, "no stream is parked")
		return nil
	}
	table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, p := range found {
		fmt.Fprintf(table, "%s\t%s\tversion %d\t%s\t%s\t%d tries\t%s\n", p.Group, p.Stream, p.Version,
			terminal.OneLine(p.Event, reasonWidth), p.ParkedAt.UTC().Format(time.RFC3339), p.Tries,
			terminal.OneLine(p.Reason, reasonWidth))
	}
	return table.Flush()
}

// parkedSelector selects one parked stream.
type parkedSelector struct {
	database
	Group string `arg:"" help:"The consumer group."`
	Chat  string `arg:"" name:"stream" help:"The chat, for example demo:42."`
}

func (s parkedSelector) stream() domain.StreamID { return domain.NamedStream(s.Chat) }

func (s parkedSelector) notParked() error {
	return fmt.Errorf("%s is not parked in group %s: `chatledger parked` lists the parked streams", s.stream(), s.Group)
}

type showParkedCmd struct{ parkedSelector }

// Run prints a parked stream.
func (c *showParkedCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	found, err := store.Parked(e.ctx, c.Group)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(found, func(p commands.Parked) bool { return p.Stream == c.stream() })
	if i < 0 {
		return c.notParked()
	}
	p := found[i]
	fmt.Fprintf(e.stdout,
		"group      %s\nstream     %s\nversion    %d\nposition   %s\nevent      %s\n"+
			"parked at  %s\nlast try   %s\ntries      %d\nreason     %s\n",
		p.Group, p.Stream, p.Version, p.Position, terminal.OneLine(p.Event, reasonWidth),
		p.ParkedAt.UTC().Format(time.RFC3339), p.LastTry.UTC().Format(time.RFC3339), p.Tries,
		terminal.OneLine(p.Reason, len(p.Reason)))
	if p.Request != commands.ParkedWaits {
		fmt.Fprintf(e.stdout, "requested  %s\n", p.Request)
	}
	return nil
}

// request asks the group's leader to do something with a parked stream.
func (s parkedSelector) request(e *env, what commands.ParkedRequest) error {
	store, err := openStore(e.ctx, s.database)
	if err != nil {
		return err
	}
	defer store.Close()
	found, err := store.RequestParked(e.ctx, s.Group, s.stream(), what)
	switch {
	case err != nil:
		return err
	case !found:
		return s.notParked()
	}
	fmt.Fprintf(e.stdout,
		"requested: %s of %s in group %s; a running server does it within a second, `chatledger parked` shows the outcome\n",
		what, s.stream(), s.Group)
	return nil
}

type retryParkedCmd struct{ parkedSelector }

// Run requests a retry.
func (c *retryParkedCmd) Run(e *env) error { return c.request(e, commands.ParkedRetry) }

type skipParkedCmd struct{ parkedSelector }

// Run requests that the event is left out. A read-model row without one of its events would be
// wrong, and nothing would say so.
func (c *skipParkedCmd) Run(e *env) error {
	if c.Group != server.Responder && c.Group != server.Outbox {
		return fmt.Errorf("group %s cannot skip an event: the row would be wrong from then on;"+
			" run a program that handles the event, then `chatledger parked retry %s %s`", c.Group, c.Group, c.stream())
	}
	return c.request(e, commands.ParkedSkip)
}
