package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/bus"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/load"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/projections"
	"github.com/chatledger/chatledger/projections/rebuild"
)

// copyOut returns the rate at which the server sends the events in feed order, as text, to a reader that
// discards them.
func copyOut(ctx context.Context, dsn string, events int) (float64, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	begun := time.Now()
	_, err = conn.PgConn().CopyTo(ctx, io.Discard, `
		copy (select position, transaction_id, stream_id, version, event_id, name, event_version,
		             payload, causation_id, correlation_id, actor, occurred_at, recorded_at
		      from eventstore.events order by transaction_id, position) to stdout`)
	return rate(events, time.Since(begun)), err
}

// filled opens a store with a number of events, and measures their COPY.
func (b *bench) filled(
	ctx context.Context, events int,
) (store *eventstore.Store, base float64, drop func(), err error) {
	store, dsn, drop, err := b.open(ctx)
	if err != nil {
		return nil, 0, nil, err
	}
	if err = load.Fill(ctx, dsn, events, events/50); err == nil {
		base, err = copyOut(ctx, dsn, events)
	}
	if err != nil {
		drop()
		return nil, 0, nil, err
	}
	return store, base, drop, nil
}

// benchLive lets the conversations group read a backlog through the router.
func benchLive(ctx context.Context, b *bench) (benchResult, error) {
	events := b.scaled(500_000)
	store, base, drop, err := b.filled(ctx, events)
	if err != nil {
		return benchResult{}, err
	}
	defer drop()
	router, err := bus.NewRouter(b.log)
	if err != nil {
		return benchResult{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	read := 0
	all := make(chan struct{})
	lead := func(ctx context.Context, group string) (bus.Reader, error) { return store.Subscribe(ctx, group) }
	router.Follow(bus.NewLog("conversations", lead, b.log, func(_ string, page []domain.Recorded, _ time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if read += len(page); read == events {
			close(all)
		}
	}), projections.Conversations{}.Apply)
	begun := time.Now()
	var running sync.WaitGroup
	running.Go(func() {
		if err := router.Run(ctx); err != nil {
			b.log.Error("router ended", "error", err)
		}
	})
	select {
	case <-all:
	case <-ctx.Done():
	}
	took := time.Since(begun)
	cancel()
	running.Wait()
	return benchResult{Value: rate(events, took), Base: base, Unit: "events/s"}, nil
}

// benchRebuild rebuilds both tables, one after the other, and counts each event once: an engineer waits
// for both.
func benchRebuild(ctx context.Context, b *bench) (benchResult, error) {
	events := b.scaled(1_000_000)
	store, base, drop, err := b.filled(ctx, events)
	if err != nil {
		return benchResult{}, err
	}
	defer drop()
	begun := time.Now()
	if err := rebuildTables(ctx, store, projections.Conversations{}, projections.Tickets{}); err != nil {
		return benchResult{}, err
	}
	two := time.Since(begun)
	if err := rebuildTables(ctx, store, projections.Messages{}, projections.ChatDays{}); err != nil {
		return benchResult{}, err
	}
	return benchResult{
		Value: rate(events, two), Base: base, Unit: "events/s",
		Notes: map[string]float64{"with the analysts' tables": rate(events, time.Since(begun))},
	}, nil
}

func rebuildTables(ctx context.Context, store *eventstore.Store, tables ...projections.Projection) error {
	conn, err := store.Session(ctx, "rebuild")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, p := range tables {
		if _, err := rebuild.Table(ctx, conn, eventstore.Ledger{Store: store}, p, rebuild.Options{}); err != nil {
			return err
		}
	}
	return nil
}

// benchMemory runs serve and rebuild as processes of their own and reads their
// peaks from the system.
func benchMemory(ctx context.Context, b *bench) (benchResult, error) {
	dsn, drop, err := b.database(ctx)
	if err != nil {
		return benchResult{}, err
	}
	defer drop()
	serve, err := b.serveMemory(ctx, dsn, b.scaled(1_000_000))
	if err != nil {
		return benchResult{}, err
	}
	other, dropOther, err := b.database(ctx)
	if err != nil {
		return benchResult{}, err
	}
	defer dropOther()
	events := b.scaled(10_000_000)
	if err := load.Fill(ctx, other, events, events/50); err != nil {
		return benchResult{}, err
	}
	rebuild, err := peak(b.child(ctx, other, "rebuild", "conversations"), nil)
	if err != nil {
		return benchResult{}, err
	}
	return benchResult{Value: serve, Unit: "MiB serve", Notes: map[string]float64{"rebuild MiB": rebuild}}, nil
}

// serveMemory posts one update to each of a number of chats.
func (b *bench) serveMemory(ctx context.Context, dsn string, chats int) (float64, error) {
	dir, err := os.MkdirTemp("", "chatledger-bots-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	bots := filepath.Join(dir, "bots.yaml")
	if err := os.WriteFile(
		bots,
		fmt.Appendf(nil, "bots:\n  demo: {token: %q, secret: %s,"+
			" rate: {bot: 0, chat: 0, group_per_minute: 0}}\n", dev.Token, dev.Secret),
		0o600,
	); err != nil {
		return 0, err
	}
	address, err := freeAddress()
	if err != nil {
		return 0, err
	}
	command := b.child(ctx, dsn, "serve", "--bots", bots, "--listen", address, "--telegram-url", "http://127.0.0.1:1")
	return peak(command, func() error {
		if err := ready(ctx, address); err != nil {
			return err
		}
		post := load.Poster(address, "/webhook/demo", dev.Secret, 100)
		var mu sync.Mutex
		sent := 0
		_, _, err = callFor(ctx, 100, 24*time.Hour, func(ctx context.Context, n int64) error {
			mu.Lock()
			sent++
			over := sent > chats
			mu.Unlock()
			if over {
				return errEnough
			}
			return post(ctx, load.Update(n, n))
		})
		if err == errEnough {
			err = nil
		}
		if err == nil {
			_, err = caughtUp(ctx, dsn)
		}
		return err
	})
}

type enough struct{}

func (enough) Error() string { return "enough" }

var errEnough error = enough{}

// child prepares a process of the chatledger program.
func (b *bench) child(ctx context.Context, dsn string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, b.Program, args...)
	command.Env = append(os.Environ(), "DATABASE_URL="+dsn)
	command.Stderr = os.Stderr
	return command
}

// peak runs a process, and something against it, and returns its peak resident
// memory in MiB, as Linux keeps it in VmHWM.
func peak(command *exec.Cmd, against func() error) (float64, error) {
	if err := command.Start(); err != nil {
		return 0, err
	}
	status := fmt.Sprintf("/proc/%d/status", command.Process.Pid)
	if against != nil {
		if err := against(); err != nil {
			command.Process.Kill()
			command.Wait()
			return 0, err
		}
		text, err := os.ReadFile(status)
		if err != nil {
			return 0, err
		}
		command.Process.Signal(os.Interrupt)
		command.Wait()
		return highWater(text)
	}
	var last []byte
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	const every = 20 * time.Millisecond
	for {
		select {
		case err := <-done:
			if err != nil {
				return 0, err
			}
			return highWater(last)
		case <-time.After(every):
			// A process that has just ended has a status without memory.
			if text, err := os.ReadFile(status); err == nil && vmHWM.Match(text) {
				last = text
			}
		}
	}
}

var vmHWM = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

func highWater(status []byte) (float64, error) {
	match := vmHWM.FindSubmatch(status)
	if match == nil {
		return 0, fmt.Errorf("this system does not tell a process's peak memory in /proc")
	}
	kib, err := strconv.ParseFloat(string(match[1]), 64)
	return kib / 1024, err
}
