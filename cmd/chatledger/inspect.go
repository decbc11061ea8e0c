package main

import (
	"strings"

	"github.com/alecthomas/kong"

	"github.com/chatledger/chatledger/cmd/internal/admin/inspect"
	"github.com/chatledger/chatledger/domain"
)

type eventsCmd struct {
	database
	Stream string `placeholder:"ID" help:"${events_stream}"`
	From   string `placeholder:"PLACE" help:"${events_from}"`
	Follow bool   `help:"Print new events as they are stored, until stopped."`
	JSON   bool   `name:"json" help:"Print one JSON object a line."`
}

// inspectHelp has the help texts of events and why, by the names that the tags use.
var inspectHelp = kong.Vars{
	"events_stream": "Print the events of one chat, for example demo:42, or of another stream, for example bot-demo. " +
		"Without it, print the whole feed.",
	"events_from": "Print only the events after this place: with --stream a version, otherwise a position as " +
		"<transaction>/<number>.",
	"why_key": "The row's key: a chat such as demo:42, a ticket such as demo:42#1, a message such as demo:42/17, " +
		"or a day such as demo:42/2026-11-21.",
}

// Run prints events, oldest first.
func (c *eventsCmd) Run(e *env) error {
	events, err := inspect.EventsAfter(domain.NamedStream(c.Stream), c.From)
	if err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	return events.Print(e.ctx, store, inspect.NewEventPrinter(e.stdout, c.JSON), c.Follow)
}

type stateCmd struct {
	database
	Stream   string `arg:"" help:"The chat, for example demo:42."`
	Version  string `xor:"point" placeholder:"V" help:"The state at this version."`
	At       string `xor:"point" placeholder:"TIME" help:"The state at this time, given as 2026-01-31T12:00:00Z."`
	Position string `xor:"point" placeholder:"P" help:"The state at this position, given as <transaction>/<number>."`
	Diff     string `placeholder:"POINT" help:"A second point of the same kind: print what changed between the two."`
}

// Run prints the state of a chat at a point, or what changed between two points.
func (c *stateCmd) Run(e *env) error {
	at, err := inspect.ParsePoint(c.Version, c.At, c.Position)
	if err != nil {
		return err
	}
	var second inspect.Point
	if c.Diff != "" {
		if second, err = at.Second(c.Diff); err != nil {
			return err
		}
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	if c.Diff != "" {
		return inspect.PrintStateDiff(e.ctx, store, e.stdout, domain.NamedStream(c.Stream), at, second)
	}
	return inspect.PrintState(e.ctx, store, e.stdout, domain.NamedStream(c.Stream), at)
}

type whyCmd struct {
	database
	Table string `arg:"" enum:"conversations,tickets,messages,chat_days" help:"One of ${enum}."`
	Key   string `arg:"" help:"${why_key}"`
}

// Run prints the update, the events and the deliveries that led to a read-model row.
func (c *whyCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	return inspect.PrintWhy(e.ctx, store, e.stdout, c.Table, whyKey(c.Table, c.Key))
}

// whyKey returns the key of a row as the table stores it: a ticket's key has no prefix chat-, every
// other key has it.
func whyKey(table, key string) string {
	if table == "tickets" {
		return strings.TrimPrefix(key, "chat-")
	}
	return string(domain.NamedStream(key))
}
