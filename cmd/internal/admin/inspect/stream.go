// Package inspect shows people what a ledger holds: its events, the state of a chat at any
// point, and which events and deliveries led to a row of a read-model table.
package inspect

import (
	"context"
	"fmt"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// pageSize is how many events are read at once, for printing.
const pageSize = 1000

// Stream reads a whole stream. A stream that does not exist is an error.
func Stream(ctx context.Context, store *eventstore.Store, stream domain.StreamID) ([]domain.Recorded, error) {
	return streamUntil(ctx, store, stream, func(domain.Recorded) bool { return true })
}

// streamUntil reads a stream up to the first event that is not included, with the rest of its
// page. It fails when the stream has no events.
func streamUntil(
	ctx context.Context, store *eventstore.Store, stream domain.StreamID, includes func(domain.Recorded) bool,
) ([]domain.Recorded, error) {
	var all []domain.Recorded
	for {
		page, err := store.ReadStream(ctx, store.Pool(), stream, domain.Version(len(all)), pageSize)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if !includes(r) {
				break
			}
			if err := commands.CheckReadable(r); err != nil {
				return nil, err
			}
		}
		if all = append(all, page...); len(page) < pageSize || !includes(all[len(all)-1]) {
			break
		}
	}
	if len(all) == 0 {
		return nil, NoStream(stream)
	}
	return all, nil
}

// NoStream is the error for a stream that has no events.
func NoStream(stream domain.StreamID) error {
	return fmt.Errorf("there is no stream %s: `chatledger events` lists the streams with their events", stream)
}

// ParsePosition reads a position as it is printed: <transaction>/<number>.
func ParsePosition(text string) (p domain.Position, err error) {
	if _, err := fmt.Sscanf(text, "%d/%d", &p.Transaction, &p.Number); err != nil {
		return p, fmt.Errorf("position %q: write it as <transaction>/<number>, for example 1042/7", text)
	}
	return p, nil
}
