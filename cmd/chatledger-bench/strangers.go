package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/load"
)

const (
	// strangers is how many hostile connections are open at once: nearly as many as a server allows in all.
	strangers = 2000
	// strangerBody is what they send, in bytes: as much as a webhook reads.
	strangerBody = 1 << 20
	// strangerPause is the pause after which a hostile client connects again: together they send up to
	// 100 MB a second, as much as a gigabit line carries.
	strangerPause = 10 * time.Second
	// strangerHold is how long a hostile sender holds its last byte back.
	strangerHold = 20 * time.Second
	// strangersWarm is how long a process serves before it is measured.
	strangersWarm = 3 * time.Second
	// genuineRate and genuineSenders are Telegram's share: updates a second, and connections.
	genuineRate    = 200
	genuineSenders = 20
)

// benchStrangers measures a process's memory and its answers to Telegram beside hostile connections.
// The answers are compared with those of the same process before, and the memory with that of a process
// that has only Telegram's load.
func benchStrangers(ctx context.Context, b *bench) (benchResult, error) {
	_, _, quiet, err := b.besideStrangers(ctx, 0)
	if err != nil {
		return benchResult{}, err
	}
	calm, times, mib, err := b.besideStrangers(ctx, strangers)
	if err != nil {
		return benchResult{}, err
	}
	return benchResult{
		Value: percentile(times, .95), Base: percentile(calm, .95), Unit: "ms p95",
		Notes: map[string]float64{"MiB more": mib - quiet, "MiB": mib},
	}, nil
}

// besideStrangers runs serve, and returns how long Telegram's updates took before and beside hostile
// connections, sorted, and the peak of its memory in MiB.
func (b *bench) besideStrangers(
	ctx context.Context, hostile int,
) (calm, times []time.Duration, mib float64, err error) {
	dsn, drop, err := b.database(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	defer drop()
	dir, err := os.MkdirTemp("", "chatledger-bots-")
	if err != nil {
		return nil, nil, 0, err
	}
	defer os.RemoveAll(dir)
	bots := filepath.Join(dir, "bots.yaml")
	text := fmt.Appendf(nil, "bots:\n  demo: {token: %q, secret: %s, relay_secret: %s, chat_limit: {count: 0},\n"+
		"    zendesk: {url: 'http://127.0.0.1:1', email: a@b, token: x, webhook_secret: s}}\n",
		dev.Token, dev.Secret, strings.Repeat("r", 32))
	if err := os.WriteFile(bots, text, 0o600); err != nil {
		return nil, nil, 0, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, nil, 0, err
	}
	command := b.child(ctx, dsn, "serve", "--bots", bots, "--listen", address, "--telegram-url", "http://127.0.0.1:1")
	command.Stderr = nil // each rejection of Telegram's calls is logged
	mib, err = peak(command, func() error {
		if err := ready(ctx, address); err != nil {
			return err
		}
		post := load.Poster(address, "/webhook/demo", dev.Secret, genuineSenders)
		if _, err := steady(ctx, strangersWarm, 0, post); err != nil {
			return err
		}
		if calm, err = steady(ctx, b.For, warmed, post); err != nil {
			return err
		}
		crowd, leave := context.WithCancel(ctx)
		var all sync.WaitGroup
		defer all.Wait()
		defer leave()
		var met atomic.Int64
		for n := range hostile {
			all.Go(func() { stranger(crowd, address, n, &met) })
			time.Sleep(strangerPause / strangers) // they come one after the other, and go on so
		}
		for met.Load() < int64(hostile) { // all have begun
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(benchLook):
			}
		}
		times, err = steady(ctx, b.For, 2*warmed, post)
		return err
	})
	return calm, times, mib, err
}

// steady posts updates at a steady rate that does not wait for answers, and returns how long each took.
func steady(
	ctx context.Context, length time.Duration, first int64, post func(context.Context, []byte) error,
) ([]time.Duration, error) {
	total := int64(length.Seconds() * genuineRate)
	begun := time.Now()
	return collect(genuineSenders, func(sender int64) (times []time.Duration, err error) {
		for n := sender; n < total; n += genuineSenders {
			due := begun.Add(time.Duration(n) * time.Second / genuineRate)
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Until(due)):
			}
			if err := post(ctx, load.Update(first+n+1, 1+n%benchChats)); err != nil {
				return nil, err
			}
			times = append(times, time.Since(due))
		}
		return times, nil
	})
}

// collect runs several senders and returns all their times, sorted.
func collect(senders int64, send func(int64) ([]time.Duration, error)) (sorted []time.Duration, err error) {
	var all sync.WaitGroup
	var mu sync.Mutex
	for n := range senders {
		all.Go(func() {
			times, failed := send(n)
			mu.Lock()
			defer mu.Unlock()
			if sorted = append(sorted, times...); failed != nil {
				err = failed
			}
		})
	}
	all.Wait()
	slices.Sort(sorted)
	return sorted, err
}

// stranger connects again and again, and counts in met when its first connection is open. Each stranger
// has an address of its own, so that no limit by address helps.
func stranger(ctx context.Context, address string, n int, met *atomic.Int64) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(n/250), byte(1+n%250))}}
	first := true
	for ctx.Err() == nil {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if first {
			first = false
			met.Add(1)
		}
		if err == nil {
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			harass(conn, address, n)
			stop()
			conn.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(strangerPause):
		}
	}
}

// heldBack is a body without its last byte.
var heldBack = make([]byte, strangerBody-1)

// harass sends one of four kinds of hostile requests, and waits for the answer or the end.
func harass(conn net.Conn, address string, n int) {
	request := func(path, headers string, length int) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n",
			path, address, length, headers)
	}
	now := time.Now()
	hold := func(head string) { // the last byte is held back
		io.WriteString(conn, head)
		if _, err := conn.Write(heldBack); err == nil {
			conn.SetDeadline(now.Add(strangerHold))
		}
	}
	switch n % 4 {
	case 0:
		hold(request("/zendesk/demo", "X-Zendesk-Webhook-Signature-Timestamp: "+now.UTC().Format(time.RFC3339)+
			"\r\nX-Zendesk-Webhook-Signature: bm8=\r\n", strangerBody))
	case 1:
		hold(request("/webhook/demo", fmt.Sprintf("X-Signature-Timestamp: %d\r\nX-Signature-256: sha256=00\r\n", now.Unix()),
			strangerBody))
	case 2:
		io.WriteString(conn, request("/webhook/demo", "X-Telegram-Bot-Api-Secret-Token: guess\r\n", 2)+"{}")
	case 3:
		io.WriteString(conn, "POST /webhook/demo HTTP/1.1\r\nHost: x\r\nX-Slow: ") // and no more
	}
	if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		answer.Body.Close()
	}
}
