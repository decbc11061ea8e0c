package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/adapters/telegram/telegramtest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// deliverChats is how many chats the replies are spread over: many more than are sent to
// at once, and each has several in its line.
const deliverChats = 1000

// benchDeliver queues replies of a person, without limits, and measures how fast they
// arrive, from the first to the last: the ledger is written, claimed, sent from, and
// settled all the while.
func benchDeliver(ctx context.Context, b *bench) (benchResult, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return benchResult{}, err
	}
	simulator := telegramtest.New(telegramtest.Options{Bots: []telegramtest.Bot{{Token: demoToken, Username: "demo_bot", Name: "demo"}}})
	server := &http.Server{Handler: simulator}
	go server.Serve(listener)
	defer server.Close()
	defer simulator.Close()
	for chat := range int64(deliverChats) {
		simulator.Say(1+chat, "hello") // nobody listens; the chat is open
	}
	a, dsn, stop, err := b.receiver(ctx, "http://"+listener.Addr().String())
	if err != nil {
		return benchResult{}, err
	}
	defer stop()

	replies := b.scaled(10_000)
	requests := make([]commands.Request, replies)
	for i := range requests {
		requests[i] = commands.Request{Stream: domain.ChatStream("demo", int64(1+i%deliverChats)), Actor: "person:bench", At: now(),
			Command: chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "bench"}, Text: fmt.Sprint("message ", i)}}
	}
	var arrived atomic.Int64
	var first, last atomic.Pointer[time.Time]
	all := make(chan struct{})
	simulator.OnSend(func(_ int64, _ string, at time.Time) {
		first.CompareAndSwap(nil, &at)
		if arrived.Add(1) == int64(replies) {
			last.Store(&at)
			close(all)
		}
	})
	if _, err := a.handler.HandleAll(ctx, requests); err != nil {
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
	return benchResult{Value: rate(replies, last.Load().Sub(*first.Load())), Unit: "messages/s", Notes: map[string]float64{"caught up after s": behind.Seconds()}}, nil
}
