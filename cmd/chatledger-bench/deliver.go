package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// deliverChats is how many chats the replies are spread over: many more than are sent to at once, and each
// has several pending replies.
const deliverChats = 1000

// benchDeliver queues replies of an operator, without rate limits, and measures how fast they arrive, from
// the first to the last, while the ledger is written, claimed, sent from, and settled.
func benchDeliver(ctx context.Context, b *bench) (benchResult, error) {
	telegram, err := newSimulator(benchBot)
	if err != nil {
		return benchResult{}, err
	}
	defer telegram.stop()
	for chat := range int64(deliverChats) {
		telegram.Say(1+chat, "hello") // nobody listens; the chat is open
	}
	a, dsn, stop, err := b.receiver(ctx, telegram.api)
	if err != nil {
		return benchResult{}, err
	}
	defer stop()

	replies := b.scaled(10_000)
	requests := make([]commands.Request, replies)
	for i := range requests {
		requests[i] = commands.Request{Stream: domain.ChatStream("demo", int64(1+i%deliverChats)),
			Actor: "operator:bench", At: clock.Now(),
			Command: chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "bench"}, Text: fmt.Sprint("message ", i)}}
	}
	var arrived atomic.Int64
	var first, last atomic.Pointer[time.Time]
	all := make(chan struct{})
	telegram.OnSend(func(_ int64, _ string, at time.Time) {
		first.CompareAndSwap(nil, &at)
		if arrived.Add(1) == int64(replies) {
			last.Store(&at)
			close(all)
		}
	})
	if _, err := a.Handler.HandleAll(ctx, requests); err != nil {
		return benchResult{}, err
	}
	const patience = time.Minute
	select {
	case <-all:
	case <-time.After(patience):
		return benchResult{}, fmt.Errorf("%d of %d messages arrived within %s", arrived.Load(), replies, patience)
	case <-ctx.Done():
		return benchResult{}, ctx.Err()
	}
	behind, err := caughtUp(ctx, dsn)
	if err != nil {
		return benchResult{}, err
	}
	return benchResult{
		Value: rate(replies, last.Load().Sub(*first.Load())), Unit: "messages/s",
		Notes: map[string]float64{"caught up after s": behind.Seconds()},
	}, nil
}
