//go:build unix

package postgres_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/postgres/modelusage"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/commands"
)

// Two processes that ask at the same time never exceed a bot's budget together. A restart does not
// reset it; the next day does.
func TestModelUsage_TwoProcesses_BudgetKept(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	now := clockAt(time.Date(2026, 3, 4, 23, 0, 0, 0, time.UTC))
	start := func() *modelusage.Store {
		db, err := postgres.Open(t.Context(), dsn, "process")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		s := modelusage.New(db)
		s.Now = now.now
		return s
	}
	most := commands.ModelUsage{Calls: 1, Tokens: 100, Cost: 10}
	for name, c := range map[string]struct {
		budget commands.ModelUsage
		want   int64
	}{
		"calls":  {commands.ModelUsage{Calls: 7, Tokens: 1e6}, 7},
		"tokens": {commands.ModelUsage{Calls: 1000, Tokens: 550}, 5},
		"money":  {commands.ModelUsage{Calls: 1000, Tokens: 1e6, Cost: 30}, 3},
	} {
		processes := []*modelusage.Store{start(), start()}
		var granted atomic.Int64
		var asking sync.WaitGroup
		for n := range 30 {
			asking.Go(func() {
				_, ok, err := processes[n%2].Reserve(t.Context(), name, most, c.budget)
				if err != nil {
					t.Error(err)
				}
				if ok {
					granted.Add(1)
				}
			})
		}
		asking.Wait()
		if granted.Load() != c.want {
			t.Errorf("%s: %d questions were granted, want %d", name, granted.Load(), c.want)
		}
		if _, ok, err := start().Reserve(t.Context(), name, most, c.budget); ok || err != nil {
			t.Errorf("%s: a restart grants another: %v %v", name, ok, err)
		}
	}
	now.set(now.now().Add(2 * time.Hour))
	day, ok, err := start().Reserve(t.Context(), "calls", most, commands.ModelUsage{Calls: 7, Tokens: 1e6})
	if !ok || err != nil {
		t.Fatalf("the next day grants nothing: %v %v", ok, err)
	}
	took := commands.ModelUsage{Calls: 1, Tokens: 30, Cost: 2}
	if err := start().Settle(t.Context(), day, most, took); err != nil {
		t.Fatal(err)
	}
	used, err := start().Today(t.Context())
	if err != nil || len(used) != 1 || used["calls"] != took {
		t.Errorf("today is used %+v, %v", used, err)
	}
}
