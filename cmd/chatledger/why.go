package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

type whyCmd struct {
	database
	Table string `arg:"" enum:"conversations,tickets,messages,chat_days" help:"conversations, tickets, messages or chat_days."`
	Key   string `arg:"" help:"The row's key: a stream such as chat-demo:42, a ticket such as demo:42#1, a message such as chat-demo:42/17, or a day such as chat-demo:42/2026-11-21."`
}

// Run follows a read-model row back to the update that began the chain that last
// changed it, and forward to what was sent.
func (c *whyCmd) Run(e *env) error {
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	key := map[string]string{"conversations": "stream_id", "tickets": "ticket_id", "messages": "message_id", "chat_days": "chat_day"}[c.Table]
	var stream string
	var version domain.Version
	err = store.Pool().QueryRow(e.ctx, `select stream_id, version from readmodel.`+c.Table+` where `+key+` = $1`, c.Key).Scan(&stream, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("readmodel.%s has no row %s: `chatledger why --help` shows what its keys look like", c.Table, c.Key)
	}
	if err != nil {
		return err
	}
	history, err := readAll(e.ctx, store, domain.StreamID(stream))
	if err != nil {
		return err
	}
	if int(version) > len(history) {
		return fmt.Errorf("the row says version %d and %s has only %d: run `chatledger verify %s`", version, stream, len(history), c.Table)
	}
	changed := history[version-1]
	fmt.Fprintf(e.stdout, "readmodel.%s %s was last changed by version %d of %s (%s)\n", c.Table, c.Key, version, stream, chat.NewCodec().Name(changed.Event))
	return c.chain(e, store, history, changed)
}

// chain prints everything of one correlation: the update, the events each under
// what caused it, and the deliveries.
func (c *whyCmd) chain(e *env, store *postgres.Store, history []domain.Recorded, changed domain.Recorded) error {
	codec := chat.NewCodec()
	children := map[uuid.UUID][]domain.Recorded{}
	known := map[uuid.UUID]bool{}
	for _, r := range history {
		if r.Correlation == changed.Correlation {
			known[r.ID] = true
		}
	}
	for _, r := range history {
		if known[r.ID] {
			cause := r.Causation
			if !known[cause] {
				cause = uuid.Nil
			}
			children[cause] = append(children[cause], r)
		}
	}
	var raw []byte
	err := store.Pool().QueryRow(e.ctx, `select raw from eventstore.events where stream_id = $1 and version = $2`,
		string(changed.Stream), int64(children[uuid.Nil][0].Version)).Scan(&raw)
	if err != nil {
		return err
	}
	if raw != nil {
		fmt.Fprintf(e.stdout, "update   %s\n", raw)
	}
	var print func(cause uuid.UUID, indent string) error
	print = func(cause uuid.UUID, indent string) error {
		for _, r := range children[cause] {
			payload, err := json.Marshal(r.Event)
			if err != nil {
				return err
			}
			mark := " "
			if r.Version == changed.Version {
				mark = "*"
			}
			fmt.Fprintf(e.stdout, "event  %s %s%d %s by %s at %s %s\n", mark, indent, r.Version, codec.Name(r.Event), r.Actor, r.OccurredAt.UTC().Format(time.RFC3339Nano), payload)
			if err := print(r.ID, indent+"  "); err != nil {
				return err
			}
		}
		return nil
	}
	if err := print(uuid.Nil, ""); err != nil {
		return err
	}
	rows, err := store.Pool().Query(e.ctx, `
		select format('delivery %s to %s: %s after %s attempts%s', kind, destination, state, attempts, coalesce(', ' || reason, ''))
		from eventstore.deliveries where stream_id = $1 and correlation_id = $2 order by seq`, string(changed.Stream), changed.Correlation.String())
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, l := range lines {
		fmt.Fprintln(e.stdout, l)
	}
	return err
}
