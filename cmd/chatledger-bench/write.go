package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/load"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/commands"
)

// benchChats is how many chats the load is spread over: more than write within the same second, few enough
// that a chat writes again.
const benchChats = 10_000

// warmed is above the ids of the updates that warm up: message ids rise within a
// chat, and one that does not is looked for in the store.
const warmed = 1 << 30

// aloneChats is how many customers write to a bot that gets one update at a time.
const aloneChats = 100

// benchAppend calls the store as receivers do, without HTTP.
func benchAppend(ctx context.Context, b *bench) (benchResult, error) {
	base, err := b.pgbench(ctx, 32)
	if err != nil {
		return benchResult{}, err
	}
	store, _, drop, err := b.open(ctx)
	if err != nil {
		return benchResult{}, err
	}
	defer drop()
	handler := commands.NewHandler(store, commands.Config{})
	defer handler.Close()
	times, took, err := callFor(ctx, 32, b.For, func(ctx context.Context, n int64) error {
		request, err := load.Translate(load.Update(n, 1+n%benchChats), clock.Now())
		if err != nil {
			return err
		}
		_, err = handler.Handle(ctx, request)
		return err
	})
	if err != nil {
		return benchResult{}, err
	}
	return benchResult{Value: rate(len(times), took), Base: base, Unit: "updates/s", Notes: latencyNotes(times)}, nil
}

// benchIntake posts to a whole receiver over HTTP while the projections read, and then waits for them to
// catch up.
func benchIntake(ctx context.Context, b *bench) (benchResult, error) {
	base, err := b.pgbench(ctx, 32)
	if err != nil {
		return benchResult{}, err
	}
	return b.webhooks(ctx, 100, benchChats, base)
}

// benchAlone posts one update after the other.
func benchAlone(ctx context.Context, b *bench) (benchResult, error) {
	base, err := b.pgbench(ctx, 1)
	if err != nil {
		return benchResult{}, err
	}
	return b.webhooks(ctx, 1, aloneChats, base)
}

func (b *bench) webhooks(ctx context.Context, connections int, chats int64, base float64) (benchResult, error) {
	a, dsn, stop, err := b.receiver(ctx, "http://127.0.0.1:1")
	if err != nil {
		return benchResult{}, err
	}
	defer stop()
	post := load.Poster(a.Listener.Addr().String(), "/webhook/demo", dev.Secret, connections)
	if _, _, err := callFor(ctx, connections, time.Second, func(ctx context.Context, n int64) error {
		return post(ctx, load.Update(n, 1+n%chats))
	}); err != nil {
		return benchResult{}, err
	}
	times, took, err := callFor(ctx, connections, b.For, func(ctx context.Context, n int64) error {
		return post(ctx, load.Update(warmed+n, 1+n%chats))
	})
	if err != nil {
		return benchResult{}, err
	}
	behind, err := caughtUp(ctx, dsn)
	if err != nil {
		return benchResult{}, err
	}
	r := benchResult{Value: rate(len(times), took), Base: base, Unit: "updates/s", Notes: latencyNotes(times)}
	r.Notes["caught up after s"] = behind.Seconds()
	return r, nil
}

// receiver starts a whole app for one bot on a fresh database.
func (b *bench) receiver(ctx context.Context, api string) (a *server.Server, dsn string, stop func(), err error) {
	dsn, drop, err := b.database(ctx)
	if err != nil {
		return nil, "", nil, err
	}
	a, end, err := startApp(ctx, server.Config{DSN: dsn, TelegramURL: api, Log: b.log,
		Bots: map[string]config.Bot{
			"demo": {Token: dev.Token, Secret: dev.Secret, ChatLimit: &config.ChatLimit{}, Orders: "demo"},
		},
	})
	if err != nil {
		drop()
		return nil, "", nil, err
	}
	return a, dsn, func() { end(); drop() }, nil
}

// startApp runs an app on a free port until the returned function is called.
func startApp(ctx context.Context, c server.Config) (*server.Server, func(), error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	c.Listener = listener
	a, err := server.New(ctx, c)
	if err != nil {
		listener.Close()
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			c.Log.Error("app ended", "error", err)
		}
	})
	<-a.Router.Running()
	return a, func() { cancel(); running.Wait() }, nil
}

// caughtUp waits until the projections' checkpoints are at the last event, and returns how long that took.
func caughtUp(ctx context.Context, dsn string) (time.Duration, error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		var behind bool
		err := conn.QueryRow(ctx, `
			select exists (select from eventstore.events e
			               join eventstore.checkpoints c on c.consumer_group in ('conversations', 'tickets')
			               where (e.transaction_id, e.position) > (c.transaction_id, c.position))`).Scan(&behind)
		if err != nil || !behind {
			return time.Since(begun), err
		}
	}
}

// pgbench measures the server with the update alone: a prepared single-row INSERT into a table with a key,
// committed one by one.
func (b *bench) pgbench(ctx context.Context, clients int) (float64, error) {
	dsn, drop, err := b.database(ctx)
	if err != nil {
		return 0, err
	}
	defer drop()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `
		create table plain (id bigint generated always as identity primary key, update jsonb not null)`); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "chatledger-pgbench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "insert.sql")
	update := strings.ReplaceAll(string(load.Update(1, 123456789)), "'", "''")
	statement := "insert into plain (update) values ('" + update + "');\n"
	if err := os.WriteFile(script, []byte(statement), 0o600); err != nil {
		return 0, err
	}
	config := conn.Config()
	command := exec.CommandContext(ctx, filepath.Join(b.server.BinDir(), "pgbench"),
		"-n", "-M", "prepared", "-c", strconv.Itoa(clients),
		"-j", strconv.Itoa(min(clients, runtime.NumCPU())), "-T", strconv.Itoa(max(1, int(b.For.Seconds()))), "-f", script,
		"-h", config.Host, "-p", strconv.Itoa(int(config.Port)), "-U", config.User, config.Database)
	command.Env = append(os.Environ(), "PGPASSWORD="+config.Password)
	output, err := command.CombinedOutput()
	if err != nil {
		first, _, _ := bytes.Cut(output, []byte("\n"))
		return 0, fmt.Errorf("pgbench: %w: %s", err, first)
	}
	match := regexp.MustCompile(`tps = ([0-9.]+)`).FindSubmatch(output)
	if match == nil {
		return 0, fmt.Errorf("pgbench printed no rate: %s", output)
	}
	return strconv.ParseFloat(string(match[1]), 64)
}
