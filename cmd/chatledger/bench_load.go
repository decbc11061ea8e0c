package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/cmd/internal/server"
)

// load calls f from several callers for a while, each time with the next number.
// It returns the times of all calls, sorted, and the time it took.
func load(ctx context.Context, callers int, length time.Duration, f func(ctx context.Context, n int64) error) ([]time.Duration, time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	times := make([][]time.Duration, callers)
	var n atomic.Int64
	var all sync.WaitGroup
	begun := time.Now()
	for i := range callers {
		all.Go(func() {
			for time.Since(begun) < length && ctx.Err() == nil {
				before := time.Now()
				if err := f(ctx, n.Add(1)); err != nil {
					cancel(err)
					return
				}
				times[i] = append(times[i], time.Since(before))
			}
		})
	}
	all.Wait()
	took := time.Since(begun)
	joined := slices.Concat(times...)
	slices.Sort(joined)
	return joined, took, context.Cause(ctx)
}

func rate(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

func latencyNotes(sorted []time.Duration) map[string]float64 {
	return map[string]float64{"p50 ms": percentile(sorted, .5), "p95 ms": percentile(sorted, .95)}
}

// poster posts updates over kept-alive connections, at most so many at once, and
// wants a 200. A connection on which something went wrong is closed. It writes the requests itself: a client of net/http keeps two
// goroutines for each connection, which on a small machine are in the receiver's way.
func poster(address, path string, connections int) func(context.Context, []byte) error {
	free := make(chan *connection, connections)
	for range connections {
		free <- &connection{}
	}
	return func(ctx context.Context, body []byte) (err error) {
		c, last := <-free, false
		defer func() {
			if c.Conn != nil && (last || err != nil) {
				c.Conn.Close()
				c.Conn = nil
			}
			free <- c
		}()
		if c.Conn == nil {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				return err
			}
			c.Conn, c.answers = conn, bufio.NewReader(conn)
		}
		if err := c.SetDeadline(time.Now().Add(server.RequestTimeout)); err != nil {
			return err
		}
		c.request = fmt.Appendf(c.request[:0], "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
			"X-Telegram-Bot-Api-Secret-Token: %s\r\n\r\n%s", path, address, len(body), demoSecret, body)
		if _, err := c.Write(c.request); err != nil {
			return err
		}
		answer, err := http.ReadResponse(c.answers, nil)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		last = answer.Close
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("the webhook answered %s", answer.Status)
		}
		return nil
	}
}

// connection is one of a poster's; it is opened when it is first used.
type connection struct {
	net.Conn
	answers *bufio.Reader
	request []byte
}
