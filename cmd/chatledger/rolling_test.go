package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/load"
)

// stopWithin is how long a process takes at most to stop: a balancer's notice, and the requests in
// progress.
const stopWithin = 10 * time.Second

// Both of two processes are replaced, twice, while updates arrive as fast as they are stored. Every update
// is acknowledged at the first attempt, each process ends in time, and no open work is lost or done twice.
func TestRollingRestart_UnderLoad_NoWebhookFails(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 25 s")
	}
	const senders, chats, rounds = 8, 40, 2
	w := newTown(t, pgtest.Database(t))
	processes := []*program{w.serve(), w.serve()}
	b := newBalancer(t, processes...)
	for chat := range int64(chats) {
		w.openChat(1 + chat)
	}

	var stop atomic.Bool
	var sent, failed atomic.Int64
	post := load.Poster(b.Addr().String(), "/webhook/demo", dev.Secret, senders)
	var all sync.WaitGroup
	end := func() { stop.Store(true); all.Wait() }
	defer end()
	for range senders {
		all.Go(func() {
			for !stop.Load() {
				n := sent.Add(1)
				if err := post(t.Context(),
					[]byte(messageUpdate(1000+n, 1+n%chats, 1000+n, "where is my order 1001?"))); err != nil {
					failed.Add(1)
					t.Errorf("update %d: %v", n, err)
				}
				time.Sleep(20 * time.Millisecond) // half as much as a busy machine takes in
			}
		})
	}
	for range rounds {
		for i, old := range processes {
			before := sent.Load()
			begun := time.Now()
			if err := w.end(old, syscall.SIGTERM); err != nil {
				t.Errorf("asked to stop, the program ends with %v", err)
			}
			if took := time.Since(begun); took > stopWithin {
				t.Errorf("it took %v to stop", took)
			} else {
				t.Logf("stopped in %v, %d updates meanwhile", took.Round(time.Millisecond), sent.Load()-before)
			}
			processes[i] = w.serve()
			b.set(i, processes[i].url)
			w.eventually("the balancer sees it", func() string { return unless(b.sees(i), "it does not") })
		}
	}
	end()
	w.eventually("everything comes to rest", func() string { return w.rows(unsettled) })
	n := sent.Load()
	t.Logf("%d updates, %d failed", n, failed.Load())
	w.wantRows(fmt.Sprint(n), `select count(*) from eventstore.events where name = 'message_received'`)
	w.wantRows("done, 1, 0", `select distinct state, attempts, unsure from eventstore.deliveries`)
	w.wantRows(fmt.Sprint(w.Stats().Calls["sendMessage"]["200"]),
		`select count(*) from eventstore.events where name = 'reply_queued'`)
	w.gapless()
	w.clean()
}

// balancer forwards connections to processes that report readiness, in turn.
type balancer struct {
	net.Listener
	mu    sync.Mutex
	urls  []string
	ready []bool
	next  int
}

// lookEvery is how often a balancer checks readiness: a quarter of the notice that a process gives.
const lookEvery = 500 * time.Millisecond

func newBalancer(t *testing.T, processes ...*program) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{Listener: l, urls: make([]string, len(processes)), ready: make([]bool, len(processes))}
	for i, p := range processes {
		b.set(i, p.url)
	}
	b.look()
	done := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		for tick := time.NewTicker(lookEvery); ; {
			select {
			case <-tick.C:
				b.look()
			case <-done:
				tick.Stop()
				return
			}
		}
	})
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go carry(conn, b.choose()) // ends with the sender, who ends with the test
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(done)
		work.Wait()
	})
	return b
}

func (b *balancer) set(i int, url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.urls[i], b.ready[i] = url, false
}

func (b *balancer) sees(i int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready[i]
}

func (b *balancer) look() {
	b.mu.Lock()
	urls := slices.Clone(b.urls)
	b.mu.Unlock()
	var all sync.WaitGroup
	for i, url := range urls { // at once: who answers slowly does not hide that another leaves
		all.Go(func() {
			status, _, err := get(url + "/readyz")
			b.mu.Lock()
			defer b.mu.Unlock()
			b.ready[i] = err == nil && status == http.StatusOK && b.urls[i] == url
		})
	}
	all.Wait()
}

// choose returns the address of the next process that is ready, or "".
func (b *balancer) choose() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.urls {
		if b.next = (b.next + 1) % len(b.urls); b.ready[b.next] {
			return strings.TrimPrefix(b.urls[b.next], "http://")
		}
	}
	return ""
}

// carry copies between two connections until either of them ends.
func carry(here net.Conn, address string) {
	defer here.Close()
	there, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer there.Close()
	go func() {
		defer there.Close()
		_, _ = io.Copy(there, here)
	}()
	_, _ = io.Copy(here, there)
}
