package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

type eventsCmd struct {
	database
	Stream string `placeholder:"ID" help:"One stream, for example chat-demo:42; without it the whole feed."`
	From   string `placeholder:"PLACE" help:"With --stream a version, otherwise a position as <transaction>/<number>: begin behind it."`
	Follow bool   `help:"Go on with new events until stopped."`
	JSON   bool   `name:"json" help:"One JSON object a line."`
}

const (
	// eventsPage is how many events are read at once, for printing.
	eventsPage = 1000
	// followEvery is how often --follow looks for more: a person is watching.
	followEvery = 200 * time.Millisecond
)

// Run prints events, oldest first.
func (c *eventsCmd) Run(e *env) error {
	next, err := c.begin()
	if err != nil {
		return err
	}
	store, err := openStore(e.ctx, c.database)
	if err != nil {
		return err
	}
	defer store.Close()
	codec := chat.NewCodec()
	printed := false
	for {
		page, err := next(e.ctx, store)
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := c.print(e, codec, r); err != nil {
				return err
			}
		}
		if len(page) > 0 {
			printed = true
			continue
		}
		if !c.Follow {
			if c.Stream != "" && !printed && c.From == "" {
				return fmt.Errorf("there is no stream %s: `chatledger events` shows those there are", c.Stream)
			}
			return nil
		}
		if pause(e.ctx, followEvery) != nil {
			return nil
		}
	}
}

// begin returns what reads the next page each time it is called.
func (c *eventsCmd) begin() (func(context.Context, *postgres.Store) ([]domain.Recorded, error), error) {
	if c.Stream != "" {
		var version domain.Version
		if c.From != "" {
			if _, err := fmt.Sscanf(c.From, "%d", &version); err != nil {
				return nil, fmt.Errorf("--from %q: with --stream give a version, a whole number", c.From)
			}
		}
		return func(ctx context.Context, s *postgres.Store) ([]domain.Recorded, error) {
			page, err := s.ReadStream(ctx, s.Pool(), domain.StreamID(c.Stream), version, eventsPage)
			if len(page) > 0 {
				version = page[len(page)-1].Version
			}
			return page, err
		}, nil
	}
	var at domain.Position
	if c.From != "" {
		var err error
		if at, err = parsePosition(c.From); err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
	}
	return func(ctx context.Context, s *postgres.Store) ([]domain.Recorded, error) {
		page, err := s.ReadFeed(ctx, s.Pool(), at, eventsPage)
		if len(page) > 0 {
			at = page[len(page)-1].Position
		}
		return page, err
	}, nil
}

// line is an event as --json prints it.
type line struct {
	Position    string         `json:"position"`
	Stream      string         `json:"stream"`
	Version     domain.Version `json:"version"`
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Actor       string         `json:"actor"`
	Causation   string         `json:"causation,omitempty"`
	Correlation string         `json:"correlation"`
	OccurredAt  time.Time      `json:"occurred_at"`
	Payload     domain.Event   `json:"payload"`
}

func (c *eventsCmd) print(e *env, codec *domain.Codec, r domain.Recorded) error {
	l := line{r.Position.String(), string(r.Stream), r.Version, r.ID.String(), codec.Name(r.Event), r.Actor, "", r.Correlation.String(), r.OccurredAt.UTC(), r.Event}
	if r.Causation != (domain.Recorded{}).Causation {
		l.Causation = r.Causation.String()
	}
	if c.JSON {
		return json.NewEncoder(e.stdout).Encode(l)
	}
	payload, err := json.Marshal(r.Event)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "%-12s %s %-24s %4d  %-22s %-10s %s\n", l.Position, l.OccurredAt.Format("2006-01-02 15:04:05.000"),
		l.Stream, l.Version, l.Name, l.Actor, strings.TrimSpace(string(payload)))
	return err
}
