package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// followEvery is how often Events looks for new events while it follows a ledger.
const followEvery = 200 * time.Millisecond

// Events reads the events of one stream, or of the whole feed, a page at a time.
type Events struct {
	stream    domain.StreamID // empty for the feed
	fromStart bool
	version   domain.Version  // the last one read of the stream
	position  domain.Position // the last one read of the feed
}

// EventsAfter reads the events behind from: a version of the stream or, when stream is
// empty, a position of the feed. An empty from means the beginning.
func EventsAfter(stream domain.StreamID, from string) (*Events, error) {
	e := &Events{stream: stream, fromStart: from == ""}
	switch {
	case from == "":
	case stream != "":
		if _, err := fmt.Sscanf(from, "%d", &e.version); err != nil {
			return nil, fmt.Errorf("--from %q: with --stream, give a version (a whole number)", from)
		}
	default:
		var err error
		if e.position, err = ParsePosition(from); err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
	}
	return e, nil
}

// Print prints the events, oldest first. With follow it waits for new events until ctx ends.
func (e *Events) Print(ctx context.Context, store *eventstore.Store, out EventPrinter, follow bool) error {
	printed := false
	for {
		page, err := e.next(ctx, store)
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := out.Print(r); err != nil {
				return err
			}
		}
		switch {
		case len(page) > 0:
			printed = true
		case follow:
			if wait.For(ctx, followEvery) != nil {
				return nil
			}
		case e.stream != "" && e.fromStart && !printed:
			return NoStream(e.stream)
		default:
			return nil
		}
	}
}

func (e *Events) next(ctx context.Context, store *eventstore.Store) (page []domain.Recorded, err error) {
	if e.stream != "" {
		page, err = store.ReadStream(ctx, store.Pool(), e.stream, e.version, pageSize)
	} else {
		page, err = store.ReadFeed(ctx, store.Pool(), e.position, pageSize)
	}
	if len(page) > 0 {
		last := page[len(page)-1]
		e.version, e.position = last.Version, last.Position
	}
	return page, err
}

// EventPrinter prints events, one a line.
type EventPrinter struct {
	out   io.Writer
	json  bool
	codec *domain.Codec
}

// NewEventPrinter prints to out, in columns or, with asJSON, one JSON object a line.
func NewEventPrinter(out io.Writer, asJSON bool) EventPrinter {
	return EventPrinter{out, asJSON, chat.NewCodec()}
}

// eventLine is an event as it is printed with --json.
type eventLine struct {
	Position    string         `json:"position"`
	Stream      string         `json:"stream"`
	Version     domain.Version `json:"version"`
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Actor       domain.Actor   `json:"actor"`
	Causation   string         `json:"causation,omitempty"`
	Correlation string         `json:"correlation"`
	OccurredAt  time.Time      `json:"occurred_at"`
	Payload     domain.Event   `json:"payload"`
}

func (p EventPrinter) name(r domain.Recorded) string {
	if r.Unreadable != nil {
		return r.Unreadable.Name
	}
	return p.codec.Name(r.Event)
}

// unreadable stands in the place of a payload that cannot be decoded.
type unreadable struct {
	Unreadable string `json:"unreadable"`
}

// Print prints one event, with the reason in place of a payload that this program cannot decode.
func (p EventPrinter) Print(r domain.Recorded) error {
	line := eventLine{
		Position:    r.Position.String(),
		Stream:      string(r.Stream),
		Version:     r.Version,
		ID:          r.ID.String(),
		Name:        p.name(r),
		Actor:       r.Actor,
		Correlation: r.Correlation.String(),
		OccurredAt:  r.OccurredAt.UTC(),
		Payload:     r.Event,
	}
	if r.Unreadable != nil {
		line.Payload = unreadable{r.Unreadable.Error()}
	}
	if r.Causation != uuid.Nil {
		line.Causation = r.Causation.String()
	}
	if p.json {
		return json.NewEncoder(p.out).Encode(line)
	}
	payload, err := json.Marshal(line.Payload)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%-12s %s %-24s %4d  %-22s %-10s %s\n",
		line.Position, line.OccurredAt.Format("2006-01-02 15:04:05.000"), line.Stream, line.Version,
		line.Name, line.Actor, strings.TrimSpace(string(payload)))
	return err
}
