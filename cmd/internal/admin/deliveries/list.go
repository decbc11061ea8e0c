// Package deliveries lists the deliveries of a ledger for operators, and carries out their
// decisions about those that failed. Each decision is an event of the chat.
package deliveries

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/outbox"
	"github.com/chatledger/chatledger/cmd/internal/admin/inspect"
	"github.com/chatledger/chatledger/cmd/internal/terminal"
	"github.com/chatledger/chatledger/commands"
)

// columnWidth limits a payload or a reason in a line, in characters.
const columnWidth = 60

// List prints a table of at most limit deliveries, oldest first.
func List(
	ctx context.Context, store *eventstore.Store, out io.Writer, log *slog.Logger, which outbox.Selection, limit int,
) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tSTATE\tAGE\tTRIED\tCHAT\tKIND\tWHAT\tWHY")
	n, err := each(ctx, store, log, which, limit, func(d outbox.Entry) error { return printRow(table, d) })
	if err != nil {
		return err
	}
	if n == 0 {
		_, err := fmt.Fprintln(out, noneFound(which))
		return err
	}
	return table.Flush()
}

// ListJSON prints at most limit deliveries, oldest first, one JSON object a line.
func ListJSON(
	ctx context.Context, store *eventstore.Store, out io.Writer, log *slog.Logger, which outbox.Selection, limit int,
) error {
	_, err := each(ctx, store, log, which, limit, func(d outbox.Entry) error { return json.NewEncoder(out).Encode(d) })
	return err
}

// each calls print for at most limit deliveries, and warns when there are more.
func each(
	ctx context.Context, store *eventstore.Store, log *slog.Logger, which outbox.Selection, limit int,
	print func(outbox.Entry) error,
) (n int, err error) {
	for d, err := range outbox.New(store.DB).Deliveries(ctx, which) {
		if err != nil {
			return n, err
		}
		if n++; n > limit {
			log.Warn("not all deliveries are shown: raise --limit", "shown", limit)
			return n, nil
		}
		if err := print(d); err != nil {
			return n, err
		}
	}
	return n, nil
}

// noneFound says what was looked for and not found.
func noneFound(which outbox.Selection) string {
	if which.DeadLetters {
		return "no dead letters or unknown outcomes; --all lists deliveries in every state"
	}
	return "no deliveries match"
}

func printRow(w io.Writer, d outbox.Entry) error {
	why := d.Reason
	if d.Behind != nil {
		why = "behind " + d.Behind.String()
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n",
		d.ID, d.State, terminal.Age(d.CreatedAt, time.Now()), d.Attempts, chatOf(d), d.Kind,
		terminal.OneLine(contentOf(d), columnWidth), terminal.OneLine(why, columnWidth))
	return err
}

// chatOf returns the chat as operators write it: <bot>:<chat id>.
func chatOf(d outbox.Entry) string { return strings.TrimPrefix(string(d.Stream), "chat-") }

// contentOf returns the text of a message, or the whole payload of another delivery.
func contentOf(d outbox.Entry) string {
	var message commands.SendMessage
	if err := json.Unmarshal(d.Payload, &message); err == nil && message.Text != "" {
		return message.Text
	}
	return string(d.Payload)
}

// Show prints one delivery as JSON, then the events that caused it, report its outcome and
// decide about it.
func Show(ctx context.Context, store *eventstore.Store, out io.Writer, id uuid.UUID, asJSON bool) error {
	var d outbox.Entry
	var err error
	for d, err = range outbox.New(store.DB).Deliveries(ctx, outbox.Selection{IDs: []uuid.UUID{id}}) {
		if err != nil {
			return err
		}
	}
	if d.ID != id {
		return fmt.Errorf("there is no delivery %s: `chatledger deliveries --all` lists them", id)
	}
	history, err := inspect.Stream(ctx, store, d.Stream)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	if !asJSON {
		encoder.SetIndent("", "  ")
	}
	if err := encoder.Encode(d); err != nil {
		return err
	}
	events := inspect.NewEventPrinter(out, asJSON)
	for _, r := range history {
		if r.ID == d.ID || r.Causation == d.ID {
			if err := events.Print(r); err != nil {
				return err
			}
		}
	}
	return nil
}
