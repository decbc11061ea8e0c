package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
)

// benchReply measures from the webhook's request to the bot's answer at Telegram,
// at a steady rate that does not wait for answers.
func benchReply(ctx context.Context, b *bench) (benchResult, error) {
	town, stop, err := b.people(ctx)
	if err != nil {
		return benchResult{}, err
	}
	defer stop()
	times, err := town.ask(b.For)
	if err != nil {
		return benchResult{}, err
	}
	return benchResult{
		Value: percentile(times, .5), Unit: "ms p50",
		Notes: map[string]float64{"p95 ms": percentile(times, .95), "p99 ms": percentile(times, .99)},
	}, nil
}

// benchBeside measures the same twice, the second time beside a chat whose messages
// always fail and one whose message takes 10 s.
func benchBeside(ctx context.Context, b *bench) (benchResult, error) {
	town, stop, err := b.people(ctx)
	if err != nil {
		return benchResult{}, err
	}
	defer stop()
	if _, err := town.ask(time.Second); err != nil { // all is warm
		return benchResult{}, err
	}
	calm, err := town.ask(b.For)
	if err != nil {
		return benchResult{}, err
	}
	const failing, slow = 7, 8
	town.SetFaults(telegramsim.Fault{Method: "sendMessage", Chat: failing, Status: http.StatusBadGateway},
		telegramsim.Fault{Method: "sendMessage", Chat: slow, DelayMS: 10_000})
	for _, chat := range []int64{failing, slow} {
		town.Say(chat, "hello")
		town.Say(chat, "thank you")
	}
	beside, err := town.ask(b.For)
	if err != nil {
		return benchResult{}, err
	}
	return benchResult{Value: percentile(beside, .95), Base: percentile(calm, .95), Unit: "ms p95"}, nil
}

// people are customers who write to a bot through the simulator and wait for its answers.
type people struct {
	*simulator
	mu       sync.Mutex
	chats    int64 // that have written so far
	said     map[int64]time.Time
	times    []time.Duration
	answered chan struct{}
}

func (b *bench) people(ctx context.Context) (*people, func(), error) {
	telegram, err := newSimulator(benchBot)
	if err != nil {
		return nil, nil, err
	}
	p := &people{simulator: telegram, said: map[int64]time.Time{}, answered: make(chan struct{}, 1)}
	a, _, stop, err := b.receiver(ctx, p.api)
	if err != nil {
		p.stop()
		return nil, nil, err
	}
	p.OnSend(p.hear)
	if err := p.setWebhook(ctx, "http://"+a.Listener.Addr().String()+"/webhook/demo"); err != nil {
		stop()
		p.stop()
		return nil, nil, err
	}
	return p, func() { stop(); p.stop() }, nil
}

// hear notes when a chat was answered.
func (p *people) hear(chat int64, _ string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begun, ok := p.said[chat]
	if !ok {
		return
	}
	p.times = append(p.times, at.Sub(begun))
	if delete(p.said, chat); len(p.said) == 0 {
		select {
		case p.answered <- struct{}{}:
		default:
		}
	}
}

const (
	// askedPerSecond is how many customers write in a second.
	askedPerSecond = 200
	// answerPatience limits the wait for the last answer.
	answerPatience = 10 * time.Second
)

// ask lets one customer after the other write for a while, and returns the times of their answers, sorted.
func (p *people) ask(length time.Duration) ([]time.Duration, error) {
	total := int(length.Seconds() * askedPerSecond)
	tick := time.NewTicker(time.Second / askedPerSecond)
	defer tick.Stop()
	p.mu.Lock()
	p.times = nil
	p.mu.Unlock()
	for range total {
		<-tick.C
		p.mu.Lock()
		p.chats++
		chat := 1000 + p.chats
		p.said[chat] = time.Now()
		p.mu.Unlock()
		p.Say(chat, "I can't log in, please help")
	}
	for end := time.After(answerPatience); ; {
		p.mu.Lock()
		times := p.times
		p.mu.Unlock()
		if len(times) == total {
			slices.Sort(times)
			return times, nil
		}
		select {
		case <-p.answered:
		case <-end:
			return nil, fmt.Errorf("%d of %d answers after %s", len(times), total, answerPatience)
		}
	}
}
