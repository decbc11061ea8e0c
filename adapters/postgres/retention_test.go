//go:build unix

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/postgres/quarantine"
	"github.com/chatledger/chatledger/adapters/postgres/retention"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

const day = 24 * time.Hour

// received are events of which each has received an update.
func received(n int) []commands.NewEvent {
	events := said(n)
	for i := range events {
		events[i].Raw = fmt.Appendf(nil, `{"update_id": %d, "message": {"text": "private"}}`, i)
	}
	return events
}

// final waits until no open write, of another test in this server either, holds the feed
// back: what stands behind one is not removed.
func final(t *testing.T, s *process) {
	t.Helper()
	waittest.Until(t, "the feed is final", func() bool {
		return pgtest.Ask[bool](t, s.Pool(),
			`select not exists (select from eventstore.events where transaction_id >= pg_snapshot_xmin(pg_current_snapshot()))`)
	})
}

// retain removes what is final, and returns how much of what, in the order in which it
// happened.
func retain(t *testing.T, s *process, bots map[string]retention.Period) string {
	t.Helper()
	final(t, s)
	return retainNow(t, s, bots)
}

func retainNow(t *testing.T, s *process, bots map[string]retention.Period) string {
	t.Helper()
	var order []string
	rows := map[string]int64{}
	if err := retention.Remove(waittest.Context(t), s.DB, always(bots), func(what, bot string, n int64) {
		key := strings.TrimSpace(what + " " + bot)
		if rows[key] == 0 && n > 0 {
			order = append(order, key)
		}
		rows[key] += n
	}); err != nil {
		t.Fatal(err)
	}
	for i, key := range order {
		order[i] = fmt.Sprintf("%s: %d", key, rows[key])
	}
	return strings.Join(order, "; ")
}

func always(bots map[string]retention.Period) func() map[string]retention.Period {
	return func() map[string]retention.Period { return bots }
}

// kept are the streams with the numbers of the events whose update is there.
func kept(t *testing.T, s *process) string {
	t.Helper()
	return pgtest.Ask[string](t, s.Pool(), `
		select coalesce(string_agg(stream_id || ' ' || versions, '; ' order by stream_id), '') from (
			select stream_id, string_agg(version::text, ' ' order by version) as versions
			from eventstore.events where raw ? 'update_id' group by 1) kept`)
}

// wave appends as many events to each of these streams, in one transaction.
func wave(t *testing.T, s *process, expected domain.Version, n int, streams ...domain.StreamID) {
	t.Helper()
	var batch []commands.Append
	for _, stream := range streams {
		batch = append(batch, commands.Append{Stream: stream, Expected: expected, Events: received(n)})
	}
	errs, err := s.Append(t.Context(), batch)
	if err = errors.Join(append(errs, err)...); err != nil {
		t.Fatal(err)
	}
}

// age makes events look older than they are.
func age(t *testing.T, s *process, by time.Duration, where string) {
	t.Helper()
	pgtest.Exec(t, s.Pool(), `update eventstore.events set recorded_at = recorded_at - $1::interval where `+where, by)
}

// Updates are kept as long as their bot wants and facts for ever.
func TestRetention_OldUpdates_RemovedFactsKept(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	all := []domain.StreamID{"bot-shop", "chat-shop:1", "chat-shop:-2", "chat-shop2:1", "chat-sho_:1", "chat-other:1"}
	wave(t, s, 0, 2, all...)
	must(t, s, commands.Append{Stream: "chat-shop:3", Events: said(1)}) // received no update
	wave(t, s, 2, 1, all...)
	age(t, s, 61*day, `version < 3`)
	age(t, s, 59*day, `version = 3`)
	const facts = `select md5(string_agg((to_jsonb(e) - 'raw' || jsonb_build_object('received', raw is not null))::text,
		',' order by position)) from eventstore.events e`
	before := pgtest.Ask[string](t, s.Pool(), facts)

	shop := map[string]retention.Period{
		"shop": {Updates: 60 * day}, "sho_": {Quarantine: 60 * day}, "gone": {Updates: 60 * day},
	}
	if got := retain(t, s, shop); got != "updates shop: 6" {
		t.Errorf("removed %q", got)
	}
	if got, want := kept(t,
		s), "bot-shop 3; chat-other:1 1 2 3; chat-sho_:1 1 2 3; chat-shop2:1 1 2 3; chat-shop:-2 3; chat-shop:1 "+
		"3"; got != want {
		t.Errorf("kept  %s\nwant %s", got, want)
	}
	if after := pgtest.Ask[string](t, s.Pool(), facts); after != before {
		t.Error("the facts are not what they were")
	}
	if got := retain(t, s, shop); got != "" {
		t.Errorf("again: %q", got)
	}
	if got := retain(t, s, map[string]retention.Period{"shop": {Updates: 50 * day}}); got != "updates shop: 3" {
		t.Errorf("kept for less: %q", got)
	}
	if n := pgtest.Ask[int](t, s.Pool(), `select removed from eventstore.retention where bot = 'shop'`); n != 9 {
		t.Errorf("%d are counted", n)
	}
	// A replay decides by the recorded events instead.
	conn := pgtest.Connect(t, s.Pool().Config().ConnString())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	updates, err := eventstore.Ledger{Store: s.events}.Updates(t.Context(), tx,
		[]domain.StreamID{"chat-shop:1", "chat-other:1"})
	if err != nil || len(updates) != 1 || len(updates["chat-other:1"]) != 3 {
		t.Errorf("the updates are %v (%v)", updates, err)
	}
}

// An update that was removed is still known to have come.
func TestRetention_RemovedUpdate_StillDuplicate(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	e := event(chat.MessageReceived{Update: chat.Update{ID: 1, Key: 77}, Text: "once", Date: at})
	e.Raw = []byte(`{"update_id": 1}`)
	must(t, s, commands.Append{Stream: "chat-shop:1", Events: []commands.NewEvent{e}})
	age(t, s, 2*day, `true`)
	if got := retain(t, s, map[string]retention.Period{"shop": {Updates: day}}); got != "updates shop: 1" {
		t.Fatalf("removed %q", got)
	}
	if held, err := s.HasUpdate(t.Context(), "chat-shop:1", 77); err != nil || !held {
		t.Errorf("it would be taken in again: %t, %v", held, err)
	}
}

// A caller of the function cannot remove recent updates.
func TestRetention_UnderOneDay_Kept(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wave(t, s, 0, 2, "chat-shop:1")
	age(t, s, day-time.Minute, `true`)
	if n := pgtest.Ask[int](t, s.Pool(),
		`select removed from eventstore.remove_updates('shop', now() + '1 year', 100)`); n != 0 {
		t.Errorf("%d are removed", n)
	}
}

// What stands behind a write that is still open is looked at later, and so is what is old
// behind what is young.
func TestRetention_Batches_NothingMissed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	shop := map[string]retention.Period{"shop": {Updates: 2 * day}}
	conn := pgtest.Connect(t, s.Pool().Config().ConnString())
	open, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pgtest.Exec(t, open,
		`insert into eventstore.events (stream_id, version, event_id, name, event_version, payload, raw, correlation_id,
			actor, occurred_at, recorded_at)
		values ('chat-shop:9', 1, gen_random_uuid(), 'message_received', 1, '{}', '{"update_id": 9}', gen_random_uuid(),
		'customer', now(), now() - interval '3 days')`)
	wave(t, s, 0, 1, "chat-shop:1")
	age(t, s, 3*day, `true`)
	if got := retainNow(t, s, shop); got != "" {
		t.Errorf("behind an open write: %q", got)
	}
	if err := open.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := retain(t, s, shop); got != "updates shop: 2" {
		t.Errorf("passed by: %s", kept(t, s))
	}
	wave(t, s, 0, 1, "chat-shop:2")
	wave(t, s, 0, 1, "chat-shop:3")
	age(t, s, 3*day, `stream_id = 'chat-shop:3'`)
	if got := retain(t, s, shop); got != "" {
		t.Errorf("behind a young one: %q", got)
	}
	age(t, s, 3*day, `stream_id = 'chat-shop:2'`)
	if got := retain(t, s, shop); got != "updates shop: 2" {
		t.Errorf("when both are old: %q", got)
	}
}

// Batches are short, one process works at a time, and who is stopped goes on from there.
func TestRetention_Stopped_Resumes(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const n = 2500
	wave(t, s, 0, n, "chat-shop:1")
	age(t, s, 3*day, `true`)
	final(t, s)
	shop := map[string]retention.Period{"shop": {Updates: 2 * day}}
	ctx, stop := context.WithCancel(waittest.Context(t))
	var first int64
	err := retention.Remove(ctx, s.DB, always(shop), func(_, _ string, rows int64) {
		first += rows
		if other := retainNow(t, s, shop); other != "" {
			t.Errorf("another removes at the same time: %s", other)
		}
		stop()
	})
	if !errors.Is(err, context.Canceled) || first != 1000 {
		t.Errorf("%d were removed before it was stopped (%v)", first, err)
	}
	waittest.Until(t, "the rest is removed", func() bool { return retain(t, s, shop) == "updates shop: 1500" })
	if got := kept(t, s); got != "" {
		t.Errorf("kept %s", got)
	}
}

func TestRetention_MadeLonger_NextBatchKept(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	wave(t, s, 0, 2500, "chat-shop:1")
	age(t, s, 3*day, `true`)
	final(t, s)
	shop := map[string]retention.Period{"shop": {Updates: 2 * day}}
	var removed int64
	err := retention.Remove(waittest.Context(t), s.DB, func() map[string]retention.Period { return shop },
		func(_, _ string, rows int64) {
			removed += rows
			shop = map[string]retention.Period{"shop": {Updates: 90 * day}}
		})
	if err != nil || removed != 1000 {
		t.Errorf("%d were removed (%v)", removed, err)
	}
	shop = nil // the bot has left
	if got := retainNow(t, s, shop); got != "" {
		t.Errorf("of a bot that is not named any more it removes %s", got)
	}
}

func TestRetention_OldInboxEntries_Removed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	// Some blocks of new numbers below the old ones, as after a quiet week.
	pgtest.Exec(t, s.Pool(), `insert into eventstore.inbox (bot, update_id, stream_id, version, received_at)
		select 'shop', case when n % 2 = 0 then n else 1000000 + n end, 'chat-shop:1', n,
			now() - case when n % 2 = 0 then interval '5 days' else interval '7 days' end
		from generate_series(1, 20000) n`)
	if got := retain(t, s, nil); got != "inbox: 10000" {
		t.Errorf("removed %q", got)
	}
	if n := pgtest.Ask[int](t, s.Pool(),
		`select count(*) from eventstore.inbox where update_id <= 20000`); n != 10000 {
		t.Errorf("%d are left", n)
	}
}

// Quarantine is kept as long as its bot wants.
func TestRetention_Quarantine_KeptAsBotSays(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, bot := range []string{"shop", "zendesk:shop", "shop2", "other"} {
		for _, body := range []string{"old", "young"} {
			if err := quarantine.New(s.DB).Add(t.Context(), bot, []byte(body), "unreadable"); err != nil {
				t.Fatal(err)
			}
		}
	}
	pgtest.Exec(t, s.Pool(),
		`update eventstore.quarantine set received_at = now() - interval '31 days' where body = 'old'`)
	if got := retain(t, s,
		map[string]retention.Period{
			"shop": {Quarantine: 30 * day}, "shop2": {Updates: day},
		}); got != "quarantine shop: 2" {
		t.Errorf("removed %q", got)
	}
	got := pgtest.Ask[string](t, s.Pool(),
		`select string_agg(bot || ' ' || convert_from(body, 'UTF8'), ', ' order by id) from eventstore.quarantine`)
	if diff := cmp.Diff("shop young, zendesk:shop young, shop2 old, shop2 young, other old, other young",
		got); diff != "" {
		t.Error(diff)
	}
}

// The usage of models is kept for somewhat more than a year.
func TestRetention_ModelUsage_YearKept(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	pgtest.Exec(t, s.Pool(), `insert into eventstore.model_usage
		select 'demo', (now() at time zone 'utc')::date - n, 1, 1, 1 from unnest(array[0, 366, 399, 402, 4000]) n`)
	retain(t, s, nil)
	if n := pgtest.Ask[int](t, s.Pool(), `select count(*) from eventstore.model_usage`); n != 3 {
		t.Errorf("%d days are left, want 3", n)
	}
}
