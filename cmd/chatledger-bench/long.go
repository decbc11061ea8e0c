package main

import (
	"context"
	"slices"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/load"
	"github.com/chatledger/chatledger/commands"
)

// shortEvents are the events of the chat that the long one is measured against.
const shortEvents = 10

// benchLong measures an update of a chat of many events, by a process that has nothing of it in
// memory, against the same of a chat of few. Both stores are filled first and measured in turn. The
// first update of the long chat finds no snapshot and is noted apart.
func benchLong(ctx context.Context, b *bench) (benchResult, error) {
	long, drop, err := b.oneChat(ctx, b.scaled(1_000_000))
	if err != nil {
		return benchResult{}, err
	}
	defer drop()
	short, drop, err := b.oneChat(ctx, shortEvents)
	if err != nil {
		return benchResult{}, err
	}
	defer drop()
	n := int64(warmed)
	first, err := cold(ctx, long, n)
	if err != nil {
		return benchResult{}, err
	}
	var many, few []time.Duration
	for begun := time.Now(); time.Since(begun) < time.Duration(b.Rounds)*b.For; {
		for store, times := range map[*eventstore.Store]*[]time.Duration{long: &many, short: &few} {
			n++
			took, err := cold(ctx, store, n)
			if err != nil {
				return benchResult{}, err
			}
			*times = append(*times, took)
		}
	}
	slices.Sort(many)
	slices.Sort(few)
	return benchResult{
		Value: percentile(many, .5), Base: percentile(few, .5), Unit: "ms p50",
		Notes: map[string]float64{"p95 ms": percentile(many, .95), "first ms": percentile([]time.Duration{first}, .5)},
	}, nil
}

// oneChat is a store whose events are all of chat 1.
func (b *bench) oneChat(ctx context.Context, events int) (*eventstore.Store, func(), error) {
	store, dsn, drop, err := b.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := load.Fill(ctx, dsn, events, 1); err != nil {
		drop()
		return nil, nil, err
	}
	return store, drop, nil
}

// cold handles one update of chat 1 with a handler that has nothing in memory.
func cold(ctx context.Context, store *eventstore.Store, n int64) (time.Duration, error) {
	request, err := load.Translate(load.Update(n, 1), clock.Now())
	if err != nil {
		return 0, err
	}
	handler := commands.NewHandler(store, commands.Config{})
	defer handler.Close() // after which a snapshot that was due has been saved
	begun := time.Now()
	_, err = handler.Handle(ctx, request)
	return time.Since(begun), err
}
