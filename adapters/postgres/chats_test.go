//go:build unix

package postgres_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

// reading runs f in a transaction that cannot write.
func reading(t *testing.T, s *process, f func(context.Context, pgx.Tx) error) {
	t.Helper()
	ctx := waittest.Context(t)
	err := pgx.BeginTxFunc(ctx, s.Pool(), pgx.TxOptions{AccessMode: pgx.ReadOnly},
		func(tx pgx.Tx) error { return f(ctx, tx) })
	if err != nil {
		t.Fatal(err)
	}
}

// Chats are listed by bot and by when something was recorded.
func TestChats_BotAndTime_Filtered(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	begin := func(streams ...domain.StreamID) {
		for _, stream := range streams {
			must(t, s, commands.Append{Stream: stream, Events: said(2)})
		}
	}
	begin("chat-shop:1", "chat-shop:-100", "chat-shop-eu:1", "chat-sho:1", "bot-shop")
	since := pgtest.Ask[time.Time](t, s.Pool(), `select clock_timestamp()`)
	begin("chat-shop:2", "chat-zoo:1")
	must(t, s, commands.Append{Stream: "chat-shop:1", Expected: 2, Events: said(1)})

	list := func(bot string, since time.Time, batch int) (all []string) {
		reading(t, s, func(ctx context.Context, tx pgx.Tx) error {
			for after := domain.StreamID(""); ; {
				page, err := eventstore.Ledger{Store: s.events}.Chats(ctx, tx, bot, since, after, batch)
				if err != nil || len(page) == 0 {
					return err
				}
				if len(page) > batch {
					t.Errorf("%d chats in a page of %d", len(page), batch)
				}
				for _, stream := range page {
					all = append(all, string(stream))
				}
				after = page[len(page)-1]
			}
		})
		return all
	}
	for _, c := range []struct {
		bot   string
		since time.Time
		want  string
	}{
		{"", time.Time{}, "chat-sho:1 chat-shop-eu:1 chat-shop:-100 chat-shop:1 chat-shop:2 chat-zoo:1"},
		{"shop", time.Time{}, "chat-shop:-100 chat-shop:1 chat-shop:2"},
		{"", since, "chat-shop:1 chat-shop:2 chat-zoo:1"},
		{"shop", since, "chat-shop:1 chat-shop:2"},
		{"nobody", time.Time{}, ""},
	} {
		for _, batch := range []int{1, 2, 100} {
			if got := strings.Join(list(c.bot, c.since, batch), " "); got != c.want {
				t.Errorf("bot %q since %v, %d at once:\n got  %s\n want %s", c.bot, c.since, batch, got, c.want)
			}
		}
	}
}

// Updates are read as they were sent.
func TestUpdates_Stored_ReadAsSent(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const chat, other = domain.StreamID("chat-demo:1"), domain.StreamID("chat-demo:2")
	events := said(3)
	// the second event is nobody's update
	events[0].Raw, events[2].Raw = []byte(`{"update_id": 1}`), []byte(`{"text":"a\u0000b"}`)
	must(t, s, commands.Append{Stream: chat, Events: events})
	must(t, s, commands.Append{Stream: other, Events: said(1)})
	reading(t, s, func(ctx context.Context, tx pgx.Tx) error {
		updates, err := eventstore.Ledger{Store: s.events}.Updates(ctx, tx, []domain.StreamID{chat, other})
		if got := updates[chat]; len(updates) != 1 || len(got) != 2 || !slices.Equal(got[1], events[0].Raw) ||
			!slices.Equal(got[3], events[2].Raw) {
			t.Errorf("found %v", updates)
		}
		return err
	})
}

// A group that never read has reached nothing.
func TestReached_GroupNeverRead_False(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := eventstore.Ledger{Store: s.events}
	if at, err := l.Reached(waittest.Context(t), "responder"); err != nil || at != (domain.Position{}) {
		t.Errorf("%v, error %v", at, err)
	}
	pgtest.Exec(t, s.Pool(),
		`insert into eventstore.checkpoints (consumer_group, transaction_id, position) values ('responder', '7', 9)`)
	if at, err := l.Reached(waittest.Context(t), "responder"); err != nil ||
		at != (domain.Position{Transaction: 7, Number: 9}) {
		t.Errorf("%v, error %v", at, err)
	}
}
