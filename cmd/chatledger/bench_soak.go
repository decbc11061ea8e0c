package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgdev"
	"github.com/chatledger/chatledger/adapters/telegram/telegramtest"
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
	// soakEnd bounds the wait for the last answers; a lease that a kill left behind takes
	// 15 s of it.
	soakEnd = time.Minute
)

// soak is two processes on a server of their own, people who write to them, and whoever
// does them harm.
type soak struct {
	*bench
	cluster *pgdev.Server
	dir     string
	dsn     string
	bots    string // file
	api     string // Telegram's
	sides   [2]*side
	begun   time.Time
	faults  []fault

	mu     sync.Mutex
	times  []time.Duration   // from an update's first attempt until it is acknowledged
	asked  []time.Time       // by number of the update; answers are dated by it
	heard  []int             // how often each was answered
	waited []time.Duration   // from the first attempt to the answer
	lags   []lag             // oldest first
	memory [2][]float64      // MiB, of both processes, by half
	again  atomic.Int64      // attempts that were not acknowledged
}

// side is one of the two processes, by address; it is started again when it ends.
type side struct {
	address string
	post    func(context.Context, []byte) error
	mu      sync.Mutex
	command *exec.Cmd
}

// fault is what was done to them.
type fault struct {
	what string
	at   time.Time
}

// lag is how long the oldest event waits for one of the groups; unknown while the database
// is away.
type lag struct {
	at      time.Time
	lag     time.Duration
	unknown bool
}

// benchSoak measures what a long load does, and what faults do to it. It fails when
// something is lost or told twice, or when what is promised is not kept.
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
	if err := s.ready(ctx); err != nil {
		return benchResult{}, err
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
	rest := s.rest(ctx)
	enough()
	work.Wait()
	end()
	processes.Wait()
	return s.report(ctx, total, rest)
}

// open prepares a folder, a Telegram that takes messages, and two addresses.
func (s *soak) open(ctx context.Context) (stop func(), err error) {
	if s.dir, err = os.MkdirTemp("", "chatledger-soak-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // the server's user must get in
		return nil, err
	}
	telegram := telegramtest.New(telegramtest.Options{Bots: []telegramtest.Bot{{Token: demoToken, Username: "demo_bot", Name: "demo"}}})
	for chat := range soakChats {
		telegram.Post(map[string]any{"telepathy": map[string]any{"chat": map[string]any{"id": 1 + chat, "type": "private"}}}) // so that it exists
	}
	telegram.OnSend(s.hear)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	front := &http.Server{Handler: telegram}
	go front.Serve(listener)
	s.api = "http://" + listener.Addr().String()
	for i := range s.sides {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		address := free.Addr().String()
		free.Close()
		s.sides[i] = &side{address: address, post: poster(address, "/webhook/demo", soakSenders)}
	}
	s.bots = filepath.Join(s.dir, "bots.yaml")
	err = os.WriteFile(s.bots, fmt.Appendf(nil, "bots:\n  demo: {token: %q, secret: %s, orders: demo, chat_limit: {count: 0}, rate: {bot: 0, chat: 0, group_per_minute: 0}}\n", demoToken, demoSecret), 0o600)
	return func() {
		front.Close()
		telegram.Close()
		os.RemoveAll(s.dir)
	}, err
}

// keepUp runs a process until ctx ends, and starts it again whenever it is gone.
func (s *soak) keepUp(ctx context.Context, one *side) {
	for ctx.Err() == nil {
		command := s.child(context.WithoutCancel(ctx), s.dsn, "serve", "--bots", s.bots, "--listen", one.address, "--telegram-url", s.api, "--notice", "0s")
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
		select {
		case <-time.After(soakRevive):
		case <-ctx.Done():
		}
	}
}

func (s *soak) ready(ctx context.Context) error {
	for _, one := range s.sides {
		for deadline := time.Now().Add(soakEnd); ; time.Sleep(soakLook) {
			answer, err := http.Get("http://" + one.address + "/readyz")
			if err == nil {
				answer.Body.Close()
				if answer.StatusCode == http.StatusOK {
					break
				}
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return errors.Join(fmt.Errorf("%s is not ready after %s", one.address, soakEnd), err)
			}
		}
	}
	return nil
}

// send is one sender's part of the load: each update at its time, or as soon as those
// before it are acknowledged.
func (s *soak) send(ctx context.Context, sender, total int) {
	random := rand.New(rand.NewPCG(1, uint64(sender)))
	for n := sender; n < total && ctx.Err() == nil; n += soakSenders {
		time.Sleep(time.Until(s.begun.Add(time.Duration(n) * time.Second / soakRate)))
		chat := 1 + sender + soakSenders*random.IntN(soakChats/soakSenders)
		body := fmt.Appendf(nil, `{"update_id":%d,"message":{"message_id":%d,"date":%d,"chat":{"id":%d,"type":"private"},"from":{"id":%[4]d,"is_bot":false,"first_name":"Ada"},"text":"where is my order %d?"}}`,
			1+n, 10+n, time.Now().Unix(), chat, soakOrder+n)
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

// soakOrder is the first number of an order that people ask for. There is none such, which
// the answer says, with the number: so it is known which update was answered.
const soakOrder = 1_000_000

var soakAnswer = regexp.MustCompile(`\b[1-9]\d{6}\b`)

func (s *soak) hear(_ int64, text string, at time.Time) {
	number, err := strconv.Atoi(soakAnswer.FindString(text))
	if err != nil {
		return // it says something else, and the update will be missed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := number - soakOrder; n >= 0 && n < len(s.heard) {
		if s.heard[n]++; s.heard[n] == 1 {
			s.waited = append(s.waited, at.Sub(s.asked[n]))
		}
	}
}

// harm kills one process or the other, and restarts the database, once each in every
// period. Every other restart is a crash.
func (s *soak) harm(ctx context.Context) error {
	period := min(soakPeriod, s.For)
	for n := 0; ; n++ {
		at := s.begun.Add(period/4 + time.Duration(n)*period/2)
		if at.After(s.begun.Add(s.For)) {
			return nil
		}
		select {
		case <-time.After(time.Until(at)):
		case <-ctx.Done():
			return ctx.Err()
		}
		f := fault{[]string{"kill -9 of a process", "restart of the database", "kill -9 of a process", "crash of the database"}[n%4], time.Now()}
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

// measure takes down lag and memory until ctx ends.
func (s *soak) measure(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	every(ctx, soakLook, func() {
		behind, err := s.behind(ctx, &conn)
		at := time.Now() // it is what was found now, perhaps because of a fault meanwhile
		half := 0
		if at.Sub(s.begun) > s.For/2 {
			half = 1
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lags = append(s.lags, lag{at, behind, err != nil})
		for _, one := range s.sides {
			one.mu.Lock()
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", one.command.Process.Pid))
			one.mu.Unlock()
			if now := vmRSS.FindSubmatch(status); err == nil && now != nil {
				kib, _ := strconv.ParseFloat(string(now[1]), 64) // it is digits
				s.memory[half] = append(s.memory[half], kib/1024)
			}
		}
	})
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// behind is how long the oldest event has waited that one of the groups has not handled.
func (s *soak) behind(ctx context.Context, conn **pgx.Conn) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, soakLag)
	defer cancel()
	if *conn == nil || (*conn).IsClosed() {
		var err error
		if *conn, err = pgx.Connect(ctx, s.dsn); err != nil {
			return 0, err
		}
	}
	var seconds float64
	err := (*conn).QueryRow(ctx, `
		select coalesce(max(extract(epoch from clock_timestamp() - first.recorded_at)), 0)::float8
		from eventstore.checkpoints c, lateral (
			select e.recorded_at from eventstore.events e
			where (e.transaction_id, e.position) > (c.transaction_id, c.position)
			order by e.transaction_id, e.position limit 1
		) first`).Scan(&seconds)
	return time.Duration(seconds * float64(time.Second)), err
}

// rest waits until nothing is left to be done, and says what is when it does not come.
func (s *soak) rest(ctx context.Context) error {
	var left int
	var err error
	for deadline := time.Now().Add(soakEnd); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(soakLook) {
		var conn *pgx.Conn
		if conn, err = pgx.Connect(ctx, s.dsn); err != nil {
			continue
		}
		err = conn.QueryRow(ctx, `
			select (select count(*) from eventstore.deliveries where finished_at is null)
				+ (select count(*) from eventstore.events e join eventstore.checkpoints c on (e.transaction_id, e.position) > (c.transaction_id, c.position))`).Scan(&left)
		conn.Close(ctx)
		if err == nil && left == 0 {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("%d events and deliveries are not done with after %s", left, soakEnd), err)
}

// report prints what was found, and fails when a promise was broken.
func (s *soak) report(ctx context.Context, total int, rest error) (benchResult, error) {
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return benchResult{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var stored, distinct, turns, unsure, unknown int
	if err := conn.QueryRow(ctx, `
		select count(*) filter (where name = 'message_received'), count(distinct payload ->> 'update_id') filter (where name = 'message_received'),
			count(*) filter (where name = 'understood'),
			(select count(*) from eventstore.deliveries where unsure > 0), (select count(*) from eventstore.deliveries where state <> 'done')
		from eventstore.events`).Scan(&stored, &distinct, &turns, &unsure, &unknown); err != nil {
		return benchResult{}, err
	}
	verify := s.child(ctx, s.dsn, "verify")
	verified, verifyErr := verify.Output()
	never, more := 0, 0
	for _, n := range s.heard {
		if n == 0 {
			never++
		} else if n > 1 {
			more++
		}
	}
	broken := []error{rest}
	promise := func(kept bool, format string, args ...any) {
		if !kept {
			broken = append(broken, fmt.Errorf(format, args...))
		}
	}
	slices.Sort(s.times)
	slices.Sort(s.waited)
	table := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(table, "soak: %s at %d updates/s, two processes\n", s.For, soakRate)
	row("updates", "%d acknowledged, %d stored, %d twice; %d attempts were not acknowledged and came again", len(s.times), distinct, stored-distinct, s.again.Load())
	row("webhook", "p50 %.3g ms, p99 %.4g ms, longest %.4g ms, all attempts together", percentile(s.times, .5), percentile(s.times, .99), percentile(s.times, 1))
	row("answers", "p50 %.3g ms, p99 %.4g ms, longest %.4g ms; %d heard twice, %d attempts were unsure, %d never heard", percentile(s.waited, .5), percentile(s.waited, .99), percentile(s.waited, 1), more, unsure, never)
	promise(len(s.times) == total && distinct == total && stored == total, "of %d updates %d were acknowledged, %d are stored, %d of them twice", total, len(s.times), distinct, stored-distinct)
	promise(turns == total, "the bot took %d turns for %d updates", turns, total)
	promise(never <= unknown, "%d answers were never heard, and %d are known to be missing", never, unknown)
	promise(more <= unsure, "%d answers were heard twice, and only %d attempts were unsure", more, unsure)
	back := map[string][]time.Duration{}
	for i, f := range s.faults {
		until := s.lags[len(s.lags)-1].at
		if i+1 < len(s.faults) {
			until = s.faults[i+1].at
		}
		back[f.what] = append(back[f.what], s.back(f.at, until))
	}
	worst := time.Duration(0)
	for _, what := range slices.Sorted(maps.Keys(back)) {
		longest := slices.Max(back[what])
		worst = max(worst, longest)
		row(what, "%d times; lag below %s again after %.2g s at the longest", len(back[what]), soakLag, longest.Seconds())
		promise(longest <= soakBack, "%s: lag was above %s for %.3g s", what, soakLag, longest.Seconds())
	}
	first, second := slices.Sorted(slices.Values(s.memory[0])), slices.Sorted(slices.Values(s.memory[1]))
	before, after, peak := first[len(first)/2], second[len(second)/2], max(first[len(first)-1], second[len(second)-1])
	row("memory", "a process has %.4g MiB in the median of the first half, %.4g MiB of the second, %.4g MiB at most", before, after, peak)
	promise(after <= before*soakGrowth && peak <= soakMemory, "memory grew from %.4g to %.4g MiB, and was %.4g MiB at most", before, after, peak)
	promise(verifyErr == nil, "verify: %s %w", bytes.TrimSpace(verified), verifyErr)
	for line := range bytes.Lines(verified) {
		row("verify", "%s", bytes.TrimSpace(line))
	}
	if err := table.Flush(); err != nil {
		return benchResult{}, err
	}
	return benchResult{Value: worst.Seconds(), Unit: "s", Notes: map[string]float64{"updates": float64(stored)}}, errors.Join(broken...)
}

// back is how long after a fault the lag was last above the limit, before the next fault.
func (s *soak) back(at, until time.Time) (after time.Duration) {
	for _, l := range s.lags {
		if l.at.After(at) && l.at.Before(until) && (l.unknown || l.lag > soakLag) {
			after = l.at.Sub(at)
		}
	}
	return after
}
