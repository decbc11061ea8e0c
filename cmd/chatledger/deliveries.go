package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/cmd/internal/admin/inspect"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// deliveriesCmd is the operators' desk: what could not be delivered waits here for
// somebody to decide, and each decision is an event of the chat.
type deliveriesCmd struct {
	List  listDeliveries  `cmd:"" default:"withargs" help:"List dead letters and what waits behind them, or any others."`
	Show  showDelivery    `cmd:"" help:"Print all that is known of a delivery, and its events."`
	Retry retryDeliveries `cmd:"" help:"Attempt deliveries anew."`
	Skip  skipDeliveries  `cmd:"" help:"Give deliveries up for good, and let their chats go on."`
}

const (
	// listedMost is how many deliveries a person is shown unless more are wanted: a few screens.
	listedMost = 100
	// decisionsPerSecond is the pace of a bulk decision. What is retried is sent beside
	// what customers wait for; Telegram takes some 30 messages a second from a bot.
	decisionsPerSecond = 20
	// fastest is the highest pace: nearly as fast as one commit follows another.
	fastest = 1000
	// briefMost bounds what a line shows of a payload or a reason, in characters.
	briefMost = 60
)

// selectors say which deliveries are meant.
type selectors struct {
	database
	ID          []uuid.UUID      `arg:"" optional:"" help:"These deliveries, whatever their state."`
	Chat        string           `placeholder:"CHAT" help:"Of this chat, as <bot>:<chat id>, for example demo:42."`
	Destination string           `placeholder:"NAME" help:"To this destination, for example telegram:demo."`
	State       []commands.State `enum:"waiting,sending,done,refused,unknown,dead,skipped" help:"In these states: ${enum}. Without it, dead letters."`
	Reason      string           `placeholder:"TEXT" help:"With this in the reason of their failure."`
}

// selection is what they say: dead letters, when neither an id nor a state is given.
func (s selectors) selection() (which postgres.Selection, err error) {
	which = postgres.Selection{IDs: s.ID, Destination: s.Destination, States: s.State, Reason: s.Reason, Letters: len(s.ID)+len(s.State) == 0}
	if s.Chat != "" {
		which.Stream, err = (&onChat{Chat: s.Chat}).stream()
	}
	return which, err
}

type listDeliveries struct {
	selectors
	All   bool `help:"Whatever their state."`
	Limit int  `placeholder:"N" help:"At most this many; 100 unless said otherwise, and with --json all."`
	JSON  bool `name:"json" help:"One JSON object a line."`
}

// Run lists deliveries, oldest first.
func (c *listDeliveries) Run(e *env) error {
	which, err := c.selection()
	if err != nil {
		return err
	}
	which.Letters = which.Letters && !c.All
	which.Behind = which.Letters
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	table := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	limit, print := cmp.Or(c.Limit, listedMost), func(d postgres.Entry) error { return row(table, d) }
	if c.JSON {
		limit, print = cmp.Or(c.Limit, math.MaxInt), func(d postgres.Entry) error { return json.NewEncoder(e.stdout).Encode(d) }
	} else {
		fmt.Fprintln(table, "ID\tSTATE\tAGE\tTRIED\tCHAT\tKIND\tWHAT\tWHY")
	}
	n := 0
	for d, err := range store.Deliveries(e.ctx, which) {
		if err != nil {
			return err
		}
		if n++; n > limit {
			e.log.Warn("there are more deliveries: --limit shows them", "shown", limit)
			break
		}
		if err := print(d); err != nil {
			return err
		}
	}
	if n == 0 && !c.JSON {
		_, err := fmt.Fprintln(e.stdout, "none: nothing of this kind is in the ledger")
		return err
	}
	return table.Flush()
}

// row is a delivery in one line for people.
func row(w io.Writer, d postgres.Entry) error {
	why := d.Reason
	if d.Behind != nil {
		why = "behind " + d.Behind.String()
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", d.ID, d.State, age(d.CreatedAt), d.Attempts, place(d), d.Kind, brief(content(d)), brief(why))
	return err
}

// age is how long ago something was, to a person's precision.
func age(at time.Time) string {
	switch d := time.Since(at); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// place is the chat as people write it.
func place(d postgres.Entry) string { return strings.TrimPrefix(string(d.Stream), "chat-") }

// content is the text to be sent, or the whole payload when it is no text.
func content(d postgres.Entry) string {
	var message commands.SendMessage
	if err := json.Unmarshal(d.Payload, &message); err == nil && message.Text != "" {
		return message.Text
	}
	return string(d.Payload)
}

// brief is a text for one line. Much of it is others' words, and a terminal must not
// obey them.
func brief(text string) string {
	shown := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text))
	if len(shown) > briefMost {
		shown = append(shown[:briefMost-1], '…')
	}
	return string(shown)
}

type showDelivery struct {
	database
	ID   uuid.UUID `arg:"" help:"The delivery."`
	JSON bool      `name:"json" help:"The delivery as a JSON object, then each of its events."`
}

// Run prints a delivery, then the events that asked for it, report on it and rule about it.
func (c *showDelivery) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	var d postgres.Entry
	for d, err = range store.Deliveries(e.ctx, postgres.Selection{IDs: []uuid.UUID{c.ID}}) {
		if err != nil {
			return err
		}
	}
	if d.ID != c.ID {
		return fmt.Errorf("there is no delivery %s: `chatledger deliveries --all` lists them", c.ID)
	}
	history, err := inspect.Stream(e.ctx, store, d.Stream)
	if err != nil {
		return err
	}
	out := json.NewEncoder(e.stdout)
	if !c.JSON {
		out.SetIndent("", "  ")
	}
	if err := out.Encode(d); err != nil {
		return err
	}
	events := inspect.NewEventPrinter(e.stdout, c.JSON)
	for _, r := range history {
		if r.ID == d.ID || r.Causation == d.ID {
			if err := events.Print(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// decision is what retrying and skipping have in common.
type decision struct {
	aware
	selectors
	All    bool   `help:"All dead letters there are."`
	Why    string `placeholder:"TEXT" help:"Why, for the chat's events."`
	As     string `default:"operator" env:"USER" help:"Who decides."`
	Rate   int    `placeholder:"N" help:"At most this many a second; 20 unless said otherwise."`
	DryRun bool   `help:"Only say what would be done."`
}

type retryDeliveries struct {
	decision
	Again bool `help:"Also what was done already: it is done a second time."`
}

type skipDeliveries struct{ decision }

// ruling is one of the decisions there are.
type ruling struct {
	verb, done string
	to         commands.State
	refuse     func(postgres.Entry) string // why not; "" when it may be decided so
	command    func(postgres.Entry) chat.Command
}

// Run lets deliveries be attempted anew. A dead letter is the first of its lane; what
// its lane went on without is sent out of order.
func (c *retryDeliveries) Run(e *env) error {
	return c.decide(e, ruling{"retry", "retried", commands.Waiting,
		func(d postgres.Entry) string {
			switch {
			case d.State == commands.Waiting || d.State == commands.Sending:
				return "it is on its way"
			case d.State == commands.Done && !c.Again:
				return "it was done; --again does it a second time"
			}
			return ""
		},
		func(d postgres.Entry) chat.Command {
			return chat.RetryDelivery{Delivery: d.ID, Kind: d.Kind, Was: string(d.State), Reason: c.Why}
		}})
}

// Run gives deliveries up. What waits behind them goes on.
func (c *skipDeliveries) Run(e *env) error {
	return c.decide(e, ruling{"skip", "skipped", commands.Skipped,
		func(d postgres.Entry) string {
			switch {
			case d.State == commands.Sending:
				return "it is being sent"
			case d.FinishedAt != nil:
				return "it is over"
			}
			return ""
		},
		func(d postgres.Entry) chat.Command {
			asked := toolOf(d)
			return chat.SkipDelivery{Delivery: d.ID, Kind: d.Kind, Was: string(d.State), Reason: c.Why, To: asked.To, About: asked.About, At: now()}
		}})
}

// toolOf is the use of a tool that a delivery is; zero when it is something else, or when
// a newer program wrote it in another way.
func toolOf(d postgres.Entry) (asked commands.UseTool) {
	if _, uses := chat.ToolOf(d.Kind); uses {
		_ = json.Unmarshal(d.Payload, &asked)
	}
	return asked
}

// decide rules about all that are selected, one after the other and each in a commit
// of its own: when it is interrupted, what it has printed is done.
func (c *decision) decide(e *env, r ruling) error {
	which, err := c.selection()
	switch {
	case err != nil:
		return err
	case which.Letters && c.Chat+c.Destination+c.Reason == "" && !c.All:
		return fmt.Errorf("say what to %s: an id, --chat, --destination, --state or --reason, or --all for every dead letter", r.verb)
	case c.Rate < 0 || c.Rate > fastest:
		return fmt.Errorf("--rate is a number of deliveries a second, 1 to %d", fastest)
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	with, err := c.with(e)
	if err != nil {
		return err
	}
	handler := commands.NewHandler(store, commands.Settings{Carriers: 1, Cached: 1, With: with})
	defer handler.Close()
	pace := time.NewTicker(time.Second / time.Duration(cmp.Or(c.Rate, decisionsPerSecond)))
	defer pace.Stop()
	absent := map[uuid.UUID]bool{}
	for _, id := range c.ID {
		absent[id] = true
	}
	decided, left := 0, 0
	for d, err := range store.Deliveries(e.ctx, which) {
		if err != nil {
			return err
		}
		delete(absent, d.ID)
		why, outcome := r.refuse(d), r.done
		if c.DryRun {
			outcome = "would be " + outcome
		} else if why == "" {
			select {
			case <-pace.C:
			case <-e.ctx.Done():
				return e.ctx.Err()
			}
			if why, err = c.rule(e.ctx, handler, r, d); err != nil {
				return err
			}
		}
		if decided++; why != "" {
			outcome = "left as it is: " + why
			decided--
			left++
		}
		fmt.Fprintf(e.stdout, "%s %s %s %q: %s\n", d.ID, place(d), d.Kind, brief(content(d)), outcome)
	}
	if err := store.Tell(e.ctx); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%d %s\n", decided, r.done)
	if left+len(absent) > 0 {
		return fmt.Errorf("%d were left as they are, %d are not there", left, len(absent))
	}
	return nil
}

// rule takes one decision, unless the delivery has changed since it was looked at.
func (c *decision) rule(ctx context.Context, handler *commands.Handler, r ruling, d postgres.Entry) (why string, err error) {
	_, err = handler.Handle(ctx, commands.Request{
		Stream: d.Stream, Command: r.command(d), Actor: "person:" + c.As, Causation: d.ID, Correlation: d.Correlation, At: now(),
		Settles: &commands.Settlement{Delivery: d.ID, Was: d.State, Fence: d.Fence, State: r.to,
			Reason: strings.TrimSuffix(fmt.Sprintf("%s by %s: %s", r.done, c.As, c.Why), ": ")},
	})
	var fenced commands.Fenced
	if errors.As(err, &fenced) {
		return "it has changed meanwhile", nil
	}
	return "", err
}
