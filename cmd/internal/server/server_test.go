package server

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/config"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A New that fails when nearly everything is open leaves no database connection, goroutine or
// port behind.
func TestNew_FailsLate_ReleasesEverything(t *testing.T) {
	dsn := pgtest.Database(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	bot := config.Bot{Token: "1:token", Secret: "secret", ChatLimit: &config.ChatLimit{}}
	broken := bot
	broken.Knowledge = "/no/such/folder"
	c := Config{
		DSN: dsn, Listener: listener, TelegramURL: "http://127.0.0.1:1",
		Log:  slog.New(slog.NewTextHandler(io.Discard, nil)),
		Bots: map[string]config.Bot{"a": bot, "z": broken},
	}
	fails := func() {
		t.Helper()
		if s, err := New(t.Context(), c); err == nil || s != nil || !strings.Contains(err.Error(), "bot z") {
			t.Fatalf("New returned %v, %v, want the error of bot z", s, err)
		}
	}
	fails() // what is read once and kept, such as the shop's knowledge, is not a leak
	http.DefaultClient.CloseIdleConnections()
	before := runtime.NumGoroutine()
	fails()
	left := 0
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		const others = `
			select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`
		if err := conn.QueryRow(t.Context(), others).Scan(&left); err != nil {
			t.Fatal(err)
		}
		if left == 0 && runtime.NumGoroutine() <= before {
			return
		}
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	t.Errorf("%d connections are open, %d goroutines run (%d before)\n%s",
		left, runtime.NumGoroutine(), before, stacks)
}
