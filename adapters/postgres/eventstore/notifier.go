package eventstore

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/chatledger/chatledger/adapters/postgres"
	"github.com/chatledger/chatledger/adapters/wait"
)

// An append wakes the consumers of its own process directly. Other processes are notified by NOTIFY,
// in a separate session and at most once per notifyEvery: with NOTIFY inside the commit, all writers
// would wait for one lock.
const (
	notifyEvery = 5 * time.Millisecond
	channel     = "chatledger_feed"
)

// groups counts consumer groups, to find out whether other processes need notifications.
type groups struct {
	mu      sync.Mutex
	led     int // groups that this process wanted to lead
	waiting int // of these, groups that another process leads
}

// waits counts a group as led by another process until the returned function is called.
func (a *groups) waits(string) func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.led++
	a.waiting++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.waiting--
	}
}

// needed reports whether another process may wait for notifications. It is false while this process
// leads every group itself.
func (a *groups) needed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.led == 0 || a.waiting > 0
}

// RunNotifier notifies other processes of this one's appends and listens for theirs, until
// ctx ends. It opens a lost connection again; polling covers the gap.
func (s *Store) RunNotifier(ctx context.Context, log *slog.Logger) {
	var both sync.WaitGroup
	for _, run := range []func(context.Context, *pgx.Conn) error{s.notifyLoop, s.listen} {
		both.Go(func() {
			for ctx.Err() == nil {
				err := s.withSession(ctx, " announcements", run)
				if ctx.Err() != nil || wait.For(ctx, postgres.ReconnectEvery) != nil {
					return
				}
				log.Warn("LISTEN/NOTIFY connection lost; consumers poll until it is open again", "error", err)
			}
		})
	}
	both.Wait()
}

func (s *Store) withSession(ctx context.Context, name string, run func(context.Context, *pgx.Conn) error) error {
	config := s.Config()
	config.RuntimeParams["application_name"] += name
	config.RuntimeParams["synchronous_commit"] = "off" // a notification need not be durable
	conn, err := s.Connect(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), postgres.CloseTimeout)
		defer cancel()
		conn.Close(ctx)
	}()
	return run(ctx, conn)
}

func (s *Store) notifyLoop(ctx context.Context, conn *pgx.Conn) error {
	appended := s.appended.Next()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-appended:
			appended = s.appended.Next() // before notifying: appends during it are notified next
		}
		if s.groups.needed() {
			if err := s.notify(ctx, conn); err != nil {
				return err
			}
		}
		if err := wait.For(ctx, notifyEvery); err != nil {
			return err
		}
	}
}

// NotifyProcesses notifies other processes once, for a program that appends and ends.
func (s *Store) NotifyProcesses(ctx context.Context) error { return s.notify(ctx, s.Pool()) }

func (s *Store) notify(ctx context.Context, on interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}) error {
	if _, err := on.Exec(ctx, `select pg_notify($1, $2)`, channel, s.Process()); err != nil {
		return fmt.Errorf("notify other processes of appends: %w", err)
	}
	return nil
}

func (s *Store) listen(ctx context.Context, conn *pgx.Conn) error {
	if err := s.Presence.Hold(ctx, conn); err != nil {
		return err
	}
	defer s.Presence.Release()
	if _, err := conn.Exec(ctx, `listen `+channel); err != nil {
		return fmt.Errorf("listen for appends: %w", err)
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("listen for appends: %w", err)
		}
		if n.Payload != s.Process() {
			s.feed.Notify()
		}
	}
}
