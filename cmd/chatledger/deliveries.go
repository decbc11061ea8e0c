package main

import (
	"cmp"
	"fmt"
	"math"

	"github.com/alecthomas/kong"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/cmd/internal/admin/deliveries"
	"github.com/chatledger/chatledger/domain"
)

// deliveriesCmd lists deliveries and decides about those that failed; each decision is an
// event of the chat.
type deliveriesCmd struct {
	List  listDeliveriesCmd  `cmd:"" default:"withargs" help:"List dead letters and what waits behind them, or others."`
	Show  showDeliveryCmd    `cmd:"" help:"Print one delivery with its events."`
	Retry retryDeliveriesCmd `cmd:"" help:"Attempt deliveries again."`
	Skip  skipDeliveriesCmd  `cmd:"" help:"Give deliveries up; the deliveries behind them are sent."`
}

// rowsListed is how many deliveries the list shows unless --limit says otherwise: a few screens.
const rowsListed = 100

// deliverySelector selects deliveries.
type deliverySelector struct {
	database
	ID          []uuid.UUID            `arg:"" optional:"" help:"These deliveries, in any state."`
	Chat        string                 `placeholder:"CHAT" help:"The deliveries of this chat, for example demo:42."`
	Destination string                 `placeholder:"NAME" help:"The deliveries to this destination."`
	State       []domain.DeliveryState `enum:"${delivery_states}" help:"One of ${enum}; the default is dead letters."`
	Reason      string                 `placeholder:"TEXT" help:"The deliveries whose last error contains this text."`
}

// deliveriesHelp has the states that --state accepts.
var deliveriesHelp = kong.Vars{
	"delivery_states": "waiting,sending,done,refused,unknown,dead,skipped",
}

// selection selects dead letters when neither an id nor a state is given.
func (s deliverySelector) selection() (which outbox.Selection, err error) {
	which = outbox.Selection{
		IDs: s.ID, Destination: s.Destination, States: s.State, Reason: s.Reason,
		DeadLetters: len(s.ID)+len(s.State) == 0,
	}
	if s.Chat != "" {
		which.Stream, err = chatStream(s.Chat)
	}
	return which, err
}

type listDeliveriesCmd struct {
	deliverySelector
	All   bool `help:"List deliveries in every state."`
	Limit int  `placeholder:"N" help:"List at most this many; the default is 100, and with --json all."`
	JSON  bool `name:"json" help:"Print one JSON object a line."`
}

// Run lists deliveries, oldest first.
func (c *listDeliveriesCmd) Run(e *env) error {
	which, err := c.selection()
	if err != nil {
		return err
	}
	which.DeadLetters = which.DeadLetters && !c.All
	which.Behind, which.Unknown = which.DeadLetters, which.DeadLetters
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	if c.JSON {
		return deliveries.ListJSON(e.ctx, store, e.stdout, e.log, which, cmp.Or(c.Limit, math.MaxInt))
	}
	return deliveries.List(e.ctx, store, e.stdout, e.log, which, cmp.Or(c.Limit, rowsListed))
}

type showDeliveryCmd struct {
	database
	ID   uuid.UUID `arg:"" help:"The delivery."`
	JSON bool      `name:"json" help:"Print one JSON object a line: the delivery, then each of its events."`
}

// Run prints a delivery and its events.
func (c *showDeliveryCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	return deliveries.Show(e.ctx, store, e.stdout, c.ID, c.JSON)
}

// decisionFlags are the flags of retry and skip.
type decisionFlags struct {
	botSettings
	deliverySelector
	All    bool   `help:"Select all dead letters."`
	Why    string `placeholder:"TEXT" help:"The reason, for the events of the chat."`
	As     string `default:"operator" env:"USER" help:"The operator who decides."`
	Rate   int    `placeholder:"N" help:"Handle at most this many a second; the default is 20."`
	DryRun bool   `help:"Only print what would be done."`
}

// prepare checks the flags and connects.
func (c *decisionFlags) prepare(e *env, verb string) (d deliveries.Decisions, which outbox.Selection, err error) {
	if which, err = c.selection(); err != nil {
		return d, which, err
	}
	if which.DeadLetters && c.Chat+c.Destination+c.Reason == "" && !c.All {
		return d, which, fmt.Errorf("select what to %s: an id, --chat, --destination, --state or --reason,"+
			" or --all for every dead letter", verb)
	}
	if c.Rate < 0 || c.Rate > deliveries.MaxRate {
		return d, which, fmt.Errorf("--rate is the number of deliveries a second, 1 to %d", deliveries.MaxRate)
	}
	with, err := c.settingsOf(e)
	if err != nil {
		return d, which, err
	}
	store, err := openStore(e.ctx, c.database)
	return deliveries.Decisions{
		Store: store, Settings: with, Now: e.now, Out: e.stdout,
		Operator: c.As, Reason: c.Why, Rate: c.Rate, DryRun: c.DryRun,
	}, which, err
}

type retryDeliveriesCmd struct {
	decisionFlags
	Again bool `help:"Also repeat deliveries that were done."`
}

// Run attempts deliveries again.
func (c *retryDeliveriesCmd) Run(e *env) error {
	decisions, which, err := c.prepare(e, "retry")
	if err != nil {
		return err
	}
	defer decisions.Store.Close()
	return decisions.Retry(e.ctx, which, c.Again)
}

type skipDeliveriesCmd struct{ decisionFlags }

// Run gives deliveries up.
func (c *skipDeliveriesCmd) Run(e *env) error {
	decisions, which, err := c.prepare(e, "skip")
	if err != nil {
		return err
	}
	defer decisions.Store.Close()
	return decisions.Skip(e.ctx, which)
}
