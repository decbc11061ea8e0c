package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgdev"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/load"
	"github.com/chatledger/chatledger/schema"
)

const (
	soakRate    = 300 // updates a second
	soakSenders = 60  // each sends again what was not acknowledged, and nothing else before
	soakChats   = 600
	// soakPeriod has a kill -9 of one of the two processes, and a restart of the database.
	soakPeriod = time.Minute
	// soakAgain is how long a sender waits before it tries the other process.
	soakAgain = 100 * time.Millisecond
	// soakRevive is how long a process stays away: as the unit of docs/operations says.
	soakRevive = time.Second
	// soakLook is how often lag is measured, and memory.
	soakLook = 100 * time.Millisecond
	// What is promised: the lag is back below soakLag within soakBack of each fault, and
	// the median of memory grows from the first half to the second by less than
	// soakGrowth, its peaks, which are what came in while the database was away, not above
	// soakMemory, in MiB, which is promised of serve.
	soakLag    = 2 * time.Second
	soakBack   = 10 * time.Second
	soakGrowth = 1.25
	soakMemory = 300
)

// soak is two processes on a server of their own, customers who write to them, and the faults.
type soak struct {
	*bench
	cluster  *pgdev.Server
	dir      string
	dsn      string
	bots     string // file
	telegram *simulator
	sides    [2]*side
	begun    time.Time
	faults   []fault

	mu     sync.Mutex
	times  []time.Duration // from an update's first attempt until it is acknowledged
	asked  []time.Time     // by number of the update; answers are dated by it
	heard  []int           // how often each was answered
	waited []time.Duration // from the first attempt to the answer
	lags   []lag           // oldest first
	memory [2][]float64    // MiB, of both processes, by half
	again  atomic.Int64    // attempts that were not acknowledged
}

// side is one of the two processes, by address; it is started again when it ends.
type side struct {
	address string
	post    func(context.Context, []byte) error
	mu      sync.Mutex
	command *exec.Cmd
}

// fault is one fault, with its time.
type fault struct {
	what string
	at   time.Time
}

// lag is how long the oldest event waits for one of the groups; unknown while the database is unreachable.
type lag struct {
	at      time.Time
	lag     time.Duration
	unknown bool
}

// benchSoak measures a long load with faults. It fails when an update is lost or answered twice, or when a
// promise is broken.
func benchSoak(ctx context.Context, b *bench) (benchResult, error) {
	s := &soak{bench: b}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop, err := s.open(ctx)
	if err != nil {
		return benchResult{}, err
	}
	defer stop()
	if s.cluster, err = pgdev.Start(ctx, pgdev.Config{Dir: s.dir, Log: b.log}); err != nil {
		return benchResult{}, err
	}
	defer func() { s.cluster.Stop(context.WithoutCancel(ctx)) }()
	s.dsn = s.cluster.DSN()
	if _, _, err := schema.Migrate(ctx, s.dsn); err != nil {
		return benchResult{}, err
	}
	running, end := context.WithCancel(ctx)
	var work, senders, processes sync.WaitGroup
	defer processes.Wait()
	defer end()
	for _, one := range s.sides {
		processes.Go(func() { s.keepUp(running, one) })
	}
	for _, one := range s.sides {
		if err := ready(ctx, one.address); err != nil {
			return benchResult{}, err
		}
	}
	measuring, enough := context.WithCancel(ctx)
	defer enough()
	s.begun = time.Now()
	total := int(s.For.Seconds() * soakRate)
	s.asked, s.heard = make([]time.Time, total), make([]int, total)
	work.Go(func() { s.measure(measuring) })
	for i := range soakSenders {
		senders.Go(func() { s.send(ctx, i, total) })
	}
	if err := s.harm(ctx); err != nil {
		return benchResult{}, err
	}
	senders.Wait()
	rest := settled(ctx, s.dsn, "%")
	enough()
	work.Wait()
	end()
	processes.Wait()
	return s.report(ctx, total, rest)
}

// open prepares a folder, a Telegram simulator, and two addresses.
func (s *soak) open(ctx context.Context) (stop func(), err error) {
	if s.dir, err = os.MkdirTemp("", "chatledger-soak-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // the server's user must get in
		return nil, err
	}
	if s.telegram, err = newSimulator(benchBot); err != nil {
		return nil, err
	}
	s.telegram.OnSend(s.hear)
	for chat := range int64(soakChats) {
		if err := s.telegram.openChat(benchBot.Username, 1+chat); err != nil {
			return nil, err
		}
	}
	for i := range s.sides {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		s.sides[i] = &side{address: address, post: load.Poster(address, "/webhook/demo", dev.Secret, soakSenders)}
	}
	s.bots = filepath.Join(s.dir, "bots.yaml")
	err = os.WriteFile(
		s.bots,
		fmt.Appendf(nil, "bots:\n  demo: {token: %q, secret: %s, orders: demo, chat_limit: {count: 0},"+
			" rate: {bot: 0, chat: 0, group_per_minute: 0}}\n", dev.Token, dev.Secret),
		0o600,
	)
	return func() {
		s.telegram.stop()
		os.RemoveAll(s.dir)
	}, err
}

// keepUp runs a process until ctx ends, and starts it again whenever it has ended.
func (s *soak) keepUp(ctx context.Context, one *side) {
	for ctx.Err() == nil {
		command := s.child(
			context.WithoutCancel(ctx), s.dsn, "serve", "--bots", s.bots, "--listen", one.address,
			"--telegram-url", s.telegram.api, "--notice", "0s",
		)
		command.Stderr = nil // it says that the database is away
		one.mu.Lock()
		err := command.Start()
		one.command = command
		one.mu.Unlock()
		if err != nil {
			s.log.Error("a process does not start", "error", err)
			return
		}
		stop := context.AfterFunc(ctx, func() { command.Process.Signal(os.Interrupt) })
		_ = command.Wait() // however it ended
		stop()
		_ = wait.For(ctx, soakRevive) // the loop sees that ctx ended
	}
}

// ready waits until a process at an address is ready.
func ready(ctx context.Context, address string) error {
	for deadline := time.Now().Add(benchPatience); ; time.Sleep(benchLook) {
		answer, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("%s is not ready after %s", address, benchPatience), err)
		}
	}
}

// freeAddress returns an address at which no server listens.
func freeAddress() (string, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return free.Addr().String(), free.Close()
}

// send is one sender's part of the load: each update at its time, or as soon as the earlier ones are
// acknowledged.
func (s *soak) send(ctx context.Context, sender, total int) {
	random := rand.New(rand.NewPCG(1, uint64(sender)))
	for n := sender; n < total && ctx.Err() == nil; n += soakSenders {
		time.Sleep(time.Until(s.begun.Add(time.Duration(n) * time.Second / soakRate)))
		chat := 1 + sender + soakSenders*random.IntN(soakChats/soakSenders)
		body := orderQuestion(int64(1+n), int64(chat))
		first := time.Now()
		s.mu.Lock()
		s.asked[n] = first
		s.mu.Unlock()
		for to := n; s.sides[to%2].post(ctx, body) != nil && ctx.Err() == nil; to++ {
			s.again.Add(1)
			time.Sleep(soakAgain)
		}
		s.mu.Lock()
		s.times = append(s.times, time.Since(first))
		s.mu.Unlock()
	}
}

func (s *soak) hear(_ int64, text string, at time.Time) {
	id, ok := answered(text)
	if !ok {
		return // the update will be missed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := id - 1; n >= 0 && n < int64(len(s.heard)) {
		if s.heard[n]++; s.heard[n] == 1 {
			s.waited = append(s.waited, at.Sub(s.asked[n]))
		}
	}
}

// harm kills one process or the other, and restarts the database, once each in every period. Every other
// restart is a crash.
func (s *soak) harm(ctx context.Context) error {
	period := min(soakPeriod, s.For)
	for n := 0; ; n++ {
		at := s.begun.Add(period/4 + time.Duration(n)*period/2)
		if at.After(s.begun.Add(s.For)) {
			return nil
		}
		if err := wait.For(ctx, time.Until(at)); err != nil {
			return err
		}
		f := fault{
			[]string{"kill -9 of a process", "restart of the database", "kill -9 of a process", "crash of the database"}[n%4],
			time.Now(),
		}
		s.faults = append(s.faults, f)
		if n%2 == 0 {
			one := s.sides[n/2%2]
			one.mu.Lock()
			one.command.Process.Kill()
			one.mu.Unlock()
		} else if err := s.restart(ctx, n%4 == 3); err != nil {
			return err
		}
	}
}

// restart stops the database, at once or in good order, and starts it again.
func (s *soak) restart(ctx context.Context, atOnce bool) error {
	stopping, cancel := context.WithCancel(ctx)
	defer cancel()
	if atOnce {
		cancel()
	}
	if err := s.cluster.Stop(stopping); err != nil && !atOnce {
		return err
	}
	server, err := pgdev.Start(ctx, pgdev.Config{Dir: s.dir, Log: s.log})
	if err != nil {
		return err
	}
	if s.cluster = server; server.DSN() != s.dsn {
		return errors.New("the database came back at another address")
	}
	return nil
}
