package main

import (
	"context"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/load"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// benchGrowth compares a store of many events with one of few: the time of an
// append, of a page of the feed, and of loading one chat. Both are filled first and then
// measured in turn; of each of the three ratios the median counts, and of these the worst.
func benchGrowth(ctx context.Context, b *bench) (benchResult, error) {
	small, err := b.grow(ctx, b.scaled(100_000))
	if err != nil {
		return benchResult{}, err
	}
	defer small.drop()
	large, err := b.grow(ctx, b.scaled(10_000_000))
	if err != nil {
		return benchResult{}, err
	}
	defer large.drop()
	ratios := map[string][]float64{}
	for range b.Rounds {
		few, err := small.measure(ctx)
		if err != nil {
			return benchResult{}, err
		}
		many, err := large.measure(ctx)
		if err != nil {
			return benchResult{}, err
		}
		for key, value := range many {
			ratios[key] = append(ratios[key], value/few[key])
		}
	}
	r := benchResult{Unit: "times", Notes: map[string]float64{}}
	for key, values := range ratios {
		ratio := median(values)
		r.Notes[key+" x"], r.Value = ratio, max(r.Value, ratio)
	}
	return r, nil
}

// writing is how many chats write during growth, spread over all chats: the same number in both stores.
const writing = 2000

// grown is a store with a number of events. Chats have 50 events each, however many
// there are.
type grown struct {
	*bench
	store   *eventstore.Store
	handler *commands.Handler
	chats   int
	middle  domain.Position // of the events, where a page is read
	written int64           // updates
	drop    func()
}

func (b *bench) grow(ctx context.Context, events int) (*grown, error) {
	store, dsn, drop, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	g := &grown{bench: b, store: store, handler: commands.NewHandler(store, commands.Config{}), chats: events / 50}
	g.drop = func() { g.handler.Close(); drop() }
	err = load.Fill(ctx, dsn, events, g.chats)
	if err == nil {
		err = store.Pool().QueryRow(ctx, `
			select transaction_id, position from eventstore.events
			order by transaction_id, position offset $1 limit 1`, events/2).
			Scan(&g.middle.Transaction, &g.middle.Number)
	}
	if err == nil { // what is left of the filling must not be written during the measurement
		_, err = store.Pool().Exec(ctx, `checkpoint`)
	}
	if err == nil {
		_, err = g.append(ctx) // now all chats that write are in memory
	}
	if err != nil {
		g.drop()
		return nil, err
	}
	return g, nil
}

// append is the time of an append, in seconds.
func (g *grown) append(ctx context.Context) (float64, error) {
	first := warmed + g.written
	times, took, err := callFor(ctx, 32, g.For, func(ctx context.Context, n int64) error {
		request, err := load.Translate(load.Update(first+n, 1+(n%writing)*int64(max(1, g.chats/writing))), clock.Now())
		if err != nil {
			return err
		}
		_, err = g.handler.Handle(ctx, request)
		return err
	})
	g.written += 2 * int64(len(times)) // some were begun and not counted
	return 1 / rate(len(times), took), err
}

// measure returns the times of an append, a page and a load.
func (g *grown) measure(ctx context.Context) (map[string]float64, error) {
	appended, err := g.append(ctx)
	if err != nil {
		return nil, err
	}
	pages, _, err := callFor(ctx, 1, g.For/2, func(ctx context.Context, _ int64) error {
		_, err := g.store.ReadFeed(ctx, g.store.Pool(), g.middle, 1000)
		return err
	})
	if err != nil {
		return nil, err
	}
	loads, _, err := callFor(ctx, 1, g.For/2, func(ctx context.Context, n int64) error {
		_, err := g.store.Load(ctx,
			[]commands.Cursor{{Stream: domain.ChatStream("demo", 1+(n*104729)%int64(g.chats))}})
		return err
	})
	return map[string]float64{"append": appended, "page": percentile(pages, .5), "load": percentile(loads, .5)}, err
}
