package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// keyColumns are the key columns of the read-model tables, by table.
var keyColumns = map[string]string{
	"conversations": "stream_id",
	"tickets":       "ticket_id",
	"messages":      "message_id",
	"chat_days":     "chat_day",
}

// PrintWhy prints how a read-model row came about: the update that started the chain of
// events which last changed the row, these events, and their deliveries.
func PrintWhy(ctx context.Context, store *eventstore.Store, out io.Writer, table, key string) error {
	column, known := keyColumns[table]
	if !known {
		return fmt.Errorf("there is no read-model table %q", table)
	}
	var stream string
	var version domain.Version
	err := store.Pool().
		QueryRow(ctx, `select stream_id, version from readmodel.`+table+` where `+column+` = $1`, key).
		Scan(&stream, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("readmodel.%s has no row %s: `chatledger why --help` shows what its keys look like",
			table, key)
	}
	if err != nil {
		return err
	}
	history, err := Stream(ctx, store, domain.StreamID(stream))
	if err != nil {
		return err
	}
	if int(version) > len(history) {
		return fmt.Errorf("the row has version %d and %s has only %d: run `chatledger verify %s`",
			version, stream, len(history), table)
	}
	changed := history[version-1]
	fmt.Fprintf(out, "readmodel.%s %s was last changed by version %d of %s (%s)\n",
		table, key, version, stream, chat.NewCodec().Name(changed.Event))
	chain := newChain(history, changed)
	if err := chain.printUpdate(ctx, store, out); err != nil {
		return err
	}
	if err := chain.printEvents(out, uuid.Nil, ""); err != nil {
		return err
	}
	return chain.printDeliveries(ctx, store, out)
}

// chain is the events of one correlation, each under the event that caused it.
type chain struct {
	changed domain.Recorded                 // the event that changed the row
	effects map[uuid.UUID][]domain.Recorded // by the event that caused them; uuid.Nil for the first
	codec   *domain.Codec
}

func newChain(history []domain.Recorded, changed domain.Recorded) chain {
	c := chain{changed, map[uuid.UUID][]domain.Recorded{}, chat.NewCodec()}
	within := map[uuid.UUID]bool{}
	for _, r := range history {
		if r.Correlation == changed.Correlation {
			within[r.ID] = true
		}
	}
	for _, r := range history {
		if !within[r.ID] {
			continue
		}
		cause := r.Causation
		if !within[cause] {
			cause = uuid.Nil
		}
		c.effects[cause] = append(c.effects[cause], r)
	}
	return c
}

func (c chain) printUpdate(ctx context.Context, store *eventstore.Store, out io.Writer) error {
	first := c.effects[uuid.Nil][0]
	var raw []byte
	err := store.Pool().
		QueryRow(ctx, `select raw from eventstore.events where stream_id = $1 and version = $2`,
			string(first.Stream), int64(first.Version)).
		Scan(&raw)
	if err == nil && raw != nil {
		fmt.Fprintf(out, "update   %s\n", raw)
	}
	return err
}

// printEvents prints the effects of an event, each followed by its own effects.
func (c chain) printEvents(out io.Writer, cause uuid.UUID, indent string) error {
	for _, r := range c.effects[cause] {
		payload, err := json.Marshal(r.Event)
		if err != nil {
			return err
		}
		mark := " "
		if r.Version == c.changed.Version {
			mark = "*"
		}
		fmt.Fprintf(out, "event  %s %s%d %s by %s at %s %s\n", mark, indent, r.Version,
			c.codec.Name(r.Event), r.Actor, r.OccurredAt.UTC().Format(time.RFC3339Nano), payload)
		if err := c.printEvents(out, r.ID, indent+"  "); err != nil {
			return err
		}
	}
	return nil
}

func (c chain) printDeliveries(ctx context.Context, store *eventstore.Store, out io.Writer) error {
	rows, err := store.Pool().Query(ctx, `
		select format('delivery %s to %s: %s after %s attempts%s', kind, destination, state, attempts,
			coalesce(', ' || reason, ''))
		from eventstore.deliveries where stream_id = $1 and correlation_id = $2 order by seq`,
		string(c.changed.Stream), c.changed.Correlation.String())
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, l := range lines {
		fmt.Fprintln(out, l)
	}
	return err
}
