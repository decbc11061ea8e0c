//go:build unix

package postgres_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/waittest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// An appended event is read back whole.
func TestAppend_Event_ReadBackWhole(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	cause, chain := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	first := event(chat.MessageReceived{Update: chat.Update{ID: 7, Key: 1<<64 - 1}, Text: "grüß dich 👋", Date: at})
	second := event(chat.ReplyQueued{Answer: chat.Answer{To: 1}, Text: "hello", Author: chat.Author{Kind: chat.Bot}})
	second.Causation, second.Correlation, second.Actor = cause, chain, "bot"
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: []commands.NewEvent{first, second}})

	got := stream(t, s, "chat-demo:1")
	if len(got) != 2 {
		t.Fatalf("%d events, want 2", len(got))
	}
	for i, want := range []commands.NewEvent{first, second} {
		r := got[i]
		if diff := cmp.Diff(want.Event, r.Event); diff != "" {
			t.Errorf("event %d (-stored +read):\n%s", i, diff)
		}
		if r.ID != want.ID || r.Causation != want.Causation || r.Correlation != want.Correlation ||
			r.Actor != want.Actor || !r.OccurredAt.Equal(want.OccurredAt) {
			t.Errorf("event %d: read %+v, stored %+v", i, r, want)
		}
		if r.Stream != "chat-demo:1" || r.RecordedAt.IsZero() || r.Position.Transaction == 0 ||
			r.Position.Number == 0 {
			t.Errorf("event %d stands nowhere: %+v", i, r)
		}
	}
	if !got[0].Position.Before(got[1].Position) {
		t.Errorf("positions %v and %v are not in order", got[0].Position, got[1].Position)
	}
	if n := pgtest.Ask[int](t, s.Pool(),
		`select count(*) from eventstore.streams where stream_id = 'chat-demo:1'`); n != 1 {
		t.Errorf("the stream is listed %d times", n)
	}
}

// All writers of a round have read the same version; some are two processes.
func TestAppend_SameExpectedVersion_OneWins(t *testing.T) {
	t.Parallel()
	const rounds, writers = 40, 6
	dsn := pgtest.Database(t)
	stores := []*process{open(t, dsn), open(t, dsn)}
	id := domain.StreamID("chat-demo:1")
	rng := rand.New(rand.NewPCG(1, 2))
	var version domain.Version
	stored := map[uuid.UUID]bool{}
	for round := range rounds {
		var wg sync.WaitGroup
		batches, outcomes := make([][]commands.NewEvent, writers), make([]error, writers)
		start := make(chan struct{})
		for w := range writers {
			batches[w] = said(1 + rng.IntN(3))
			wg.Go(func() {
				<-start
				errs, err := stores[w%2].Append(t.Context(),
					[]commands.Append{{Stream: id, Expected: version, Events: batches[w]}})
				if outcomes[w] = err; err == nil {
					outcomes[w] = errs[0]
				}
			})
		}
		close(start)
		wg.Wait()
		won := 0
		for w, err := range outcomes {
			switch {
			case err == nil:
				won++
				version += domain.Version(len(batches[w]))
				for _, e := range batches[w] {
					stored[e.ID] = true
				}
			case !errors.Is(err, commands.ErrConflict):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d of %d writers won", round, won, writers)
		}
	}
	events := stream(t, stores[0], id)
	if len(events) != int(version) {
		t.Errorf("%d events are stored, %d were acknowledged", len(events), version)
	}
	for _, r := range events {
		if !stored[r.ID] {
			t.Errorf("version %d was stored though its writer was told of a conflict", r.Version)
		}
	}
}

// Every other version than the stream's is a conflict, with and without others in the batch.
func TestAppend_WrongExpectedVersion_Conflict(t *testing.T) {
	t.Parallel()
	for _, company := range []int{0, 3} {
		for name, expected := range map[string]domain.Version{
			"behind": 2, "far behind": 0, "ahead": 4, "far ahead": 40,
		} {
			t.Run(fmt.Sprintf("%s in a batch of %d", name, company+1), func(t *testing.T) {
				t.Parallel()
				s := newStore(t)
				must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(3)})
				batch := []commands.Append{{Stream: "chat-demo:1", Expected: expected, Events: said(2)}}
				for i := range company {
					batch = append(batch,
						commands.Append{Stream: domain.ChatStream("demo", int64(2+i)), Events: said(1)})
				}
				errs, err := s.Append(t.Context(), batch)
				if err != nil {
					t.Fatal(err)
				}
				if !errors.Is(errs[0], commands.ErrConflict) {
					t.Errorf("got %v, want a conflict", errs[0])
				}
				if n := len(stream(t, s, "chat-demo:1")); n != 3 {
					t.Errorf("%d events, want the 3 that were there", n)
				}
				for i := range company {
					if n := len(stream(t, s, batch[1+i].Stream)); errs[1+i] != nil || n != 1 {
						t.Errorf("%s: %v, %d events; another stream's conflict is none of its business",
							batch[1+i].Stream, errs[1+i], n)
					}
				}
			})
		}
	}
	t.Run("of a stream that does not exist", func(t *testing.T) {
		t.Parallel()
		s := newStore(t)
		if err := appendOne(t, s,
			commands.Append{Stream: "chat-demo:1", Expected: 1, Events: said(1)}); !errors.Is(err,
			commands.ErrConflict) {
			t.Errorf("got %v, want a conflict", err)
		}
		if n := len(stream(t, s, "chat-demo:1")); n != 0 {
			t.Errorf("%d events were stored", n)
		}
	})
}

func TestAppend_OneRejected_OthersStored(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(2)})
	must(t, s,
		commands.Append{
			Stream: "chat-demo:2", Events: said(1), Updates: []commands.ConsumedUpdate{
				{Bot: "demo", ID: 100, Version: 1},
			},
		})
	must(t, s, commands.Append{Stream: "chat-demo:3", Events: said(1)})
	lost := claimed(t, s, "chat-demo:4")
	takeOver(t, s)

	settled := func(c commands.Claimed) []commands.Settlement {
		return []commands.Settlement{{Delivery: c.ID, Fence: c.Fence, State: "done"}}
	}
	batch := []commands.Append{
		{Stream: "chat-demo:5", Events: said(2)},
		{Stream: "chat-demo:1", Expected: 1, Events: said(1)},
		{Stream: "chat-demo:3", Expected: 1, Events: said(3)},
		{
			Stream: "chat-demo:6", Events: said(1), Updates: []commands.ConsumedUpdate{
				{Bot: "demo", ID: 100, Version: 1}, {Bot: "demo", ID: 101, Version: 1},
			},
		},
		{
			Stream: "chat-demo:7", Events: said(1), Updates: []commands.ConsumedUpdate{
				{Bot: "other", ID: 100, Version: 1},
			},
		},
		{Stream: "chat-demo:8", Events: said(1), Settled: settled(lost)},
	}
	errs, err := s.Append(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	want := []error{nil, commands.ErrConflict, nil, commands.Repeated{100}, nil, commands.Fenced{lost.ID}}
	counts := []int{2, 2, 4, 0, 1, 0}
	for i, a := range batch {
		if fmt.Sprint(errs[i]) != fmt.Sprint(want[i]) {
			t.Errorf("%s: %v, want %v", a.Stream, errs[i], want[i])
		}
		if n := len(stream(t, s, a.Stream)); n != counts[i] {
			t.Errorf("%s has %d events, want %d", a.Stream, n, counts[i])
		}
	}
	// Other updates of a rejected request are not stored either, and can be sent again.
	must(t, s,
		commands.Append{
			Stream: "chat-demo:6", Events: said(1), Updates: []commands.ConsumedUpdate{
				{Bot: "demo", ID: 101, Version: 1},
			},
		})
}

// The server is told of both in one statement, so no snapshot shows the one to the other.
func TestAppend_UpdateTwiceInBatch_StoredOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var batch []commands.Append
	for i := range int64(4) {
		batch = append(batch, commands.Append{Stream: domain.ChatStream("demo", i+1), Events: said(1),
			Updates: []commands.ConsumedUpdate{{Bot: "demo", ID: 5 + i/2, Version: 1}}})
	}
	errs, err := s.Append(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(2) {
		pair := errs[2*i : 2*i+2]
		accepted := slices.IndexFunc(pair, func(err error) bool { return err == nil })
		var repeated commands.Repeated
		if accepted < 0 || !errors.As(pair[1-accepted], &repeated) || !slices.Equal(repeated,
			commands.Repeated{5 + i}) {
			t.Errorf("update %d: got %v, want one accepted and one repeated", 5+i, pair)
		}
		if n := len(stream(t, s, batch[2*i].Stream)) + len(stream(t, s, batch[2*i+1].Stream)); n != 1 {
			t.Errorf("update %d led to %d events", 5+i, n)
		}
	}
}

// A repeated update is refused by its ID and bot.
func TestAppend_RepeatedUpdate_Rejected(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	receive := func(stream domain.StreamID, expected domain.Version, bot string, id int64) error {
		return appendOne(t, s, commands.Append{Stream: stream, Expected: expected, Events: said(1),
			Updates: []commands.ConsumedUpdate{{Bot: bot, ID: id, Version: expected + 1}}})
	}
	if err := receive("chat-demo:1", 0, "demo", 9); err != nil {
		t.Fatal(err)
	}
	if err := receive("chat-demo:1", 1, "demo", 9); fmt.Sprint(err) != fmt.Sprint(commands.Repeated{9}) {
		t.Errorf("the same update again: %v", err)
	}
	if err := receive("chat-other:1", 0, "other", 9); err != nil {
		t.Errorf("another bot's update of the same number: %v", err)
	}
	var stream string
	var version int64
	if err := s.Pool().QueryRow(t.Context(),
		`select stream_id, version from eventstore.inbox where bot = 'demo' and update_id = 9`).Scan(&stream,
		&version); err != nil {
		t.Fatal(err)
	}
	if stream != "chat-demo:1" || version != 1 {
		t.Errorf("the inbox says %s version %d", stream, version)
	}
}

// Two processes receive the same updates of the same chats at the same moment,
// in batches of different order.
func TestAppend_TwoProcesses_StoredOnce(t *testing.T) {
	t.Parallel()
	const rounds, streams = 25, 30
	dsn := pgtest.Database(t)
	stores := []*process{open(t, dsn), open(t, dsn)}
	for round := range rounds {
		rng := rand.New(rand.NewPCG(uint64(round), 3))
		var wg sync.WaitGroup
		var batches [2][]commands.Append
		var outcomes [2][]error
		start := make(chan struct{})
		for p := range 2 {
			for _, chatID := range rng.Perm(streams) {
				batches[p] = append(batches[p], commands.Append{
					Stream: domain.ChatStream("demo", int64(chatID)), Expected: domain.Version(round), Events: said(1),
					Updates: []commands.ConsumedUpdate{
						{Bot: "demo", ID: int64(round*streams + chatID), Version: domain.Version(round + 1)},
					},
				})
			}
			wg.Go(func() {
				<-start
				var err error
				if outcomes[p], err = stores[p].Append(t.Context(), batches[p]); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			})
		}
		close(start)
		wg.Wait()
		if t.Failed() {
			return
		}
		won := map[domain.StreamID]int{}
		for p, errs := range outcomes {
			for i, err := range errs {
				var repeated commands.Repeated
				switch {
				case err == nil:
					won[batches[p][i].Stream]++
				case errors.Is(err, commands.ErrConflict), errors.As(err, &repeated):
				default:
					t.Fatalf("round %d: %v", round, err)
				}
			}
		}
		for i := range streams {
			if n := won[domain.ChatStream("demo", int64(i))]; n != 1 {
				t.Fatalf("round %d: chat %d was appended to %d times", round, i, n)
			}
		}
	}
	for i := range streams {
		if n := len(stream(t, stores[0], domain.ChatStream("demo", int64(i)))); n != rounds {
			t.Errorf("chat %d has %d events, want %d", i, n, rounds)
		}
	}
}

func TestOutcome_WithoutLease_Rejected(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	first := claimed(t, s, "chat-demo:1")
	takeOver(t, s)
	second := claimAll(t, s, leaseLong)
	if len(second) != 1 || second[0].ID != first.ID || second[0].Fence <= first.Fence {
		t.Fatalf("claimed %+v after the take-over, want %s under a new fence", second, first.ID)
	}
	settle := func(c commands.Claimed, expected domain.Version, state domain.DeliveryState) error {
		return appendOne(t, s, commands.Append{Stream: "chat-demo:1", Expected: expected, Events: said(1),
			Settled: []commands.Settlement{
				{
					Delivery: c.ID, Fence: c.Fence, State: state, Outcome: []byte(`{"message_id": 5}`),
					Reason: "why\x00",
				},
			}})
	}
	var fenced commands.Fenced
	if err := settle(first, 0, "done"); !errors.As(err, &fenced) || !slices.Equal(fenced, commands.Fenced{first.ID}) {
		t.Errorf("an outcome under a lost lease: %v", err)
	}
	if n := len(stream(t, s, "chat-demo:1")); n != 0 {
		t.Errorf("%d events were appended with it", n)
	}
	if err := settle(second[0], 0, "refused"); err != nil {
		t.Fatalf("an outcome under the lease: %v", err)
	}
	if err := settle(second[0], 1, "done"); !errors.As(err, &fenced) {
		t.Errorf("the outcome a second time: %v", err)
	}
	if n := len(stream(t, s, "chat-demo:1")); n != 1 {
		t.Errorf("%d events, want the one of the outcome", n)
	}
	var state, outcome, reason string
	var finished, owned bool
	err := s.Pool().QueryRow(t.Context(),
		`select state, outcome::text, reason, finished_at is not null, lease_owner is not null from eventstore.deliveries`).
		Scan(&state, &outcome, &reason, &finished, &owned)
	if err != nil {
		t.Fatal(err)
	}
	if state != "refused" || outcome != `{"message_id": 5}` || reason != "why␀" || !finished || owned {
		t.Errorf("the row says %s, %s, %q, finished %t, owned %t", state, outcome, reason, finished, owned)
	}
}

// One lease, many who think they hold it.
func TestOutcome_ManyUnderOneLease_OneStored(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	stores := []*process{open(t, dsn), open(t, dsn)}
	for round := range 20 {
		id := domain.ChatStream("demo", int64(round))
		c := claimed(t, stores[0], id)
		var wg sync.WaitGroup
		outcomes := make([]error, 4)
		start := make(chan struct{})
		for w := range outcomes {
			wg.Go(func() {
				<-start
				// Each on a stream of its own, so that nothing but the lease keeps them apart.
				errs, err := stores[w%2].Append(t.Context(),
					[]commands.Append{{Stream: domain.StreamID(fmt.Sprintf("%s%d", id, w)), Events: said(1),
						Settled: []commands.Settlement{{Delivery: c.ID, Fence: c.Fence, State: "done"}}}})
				if outcomes[w] = err; err == nil {
					outcomes[w] = errs[0]
				}
			})
		}
		close(start)
		wg.Wait()
		won := 0
		for w, err := range outcomes {
			var fenced commands.Fenced
			switch n := len(stream(t, stores[0], domain.StreamID(fmt.Sprintf("%s%d", id, w)))); {
			case err == nil && n == 1:
				won++
			case errors.As(err, &fenced) && n == 0:
			default:
				t.Fatalf("round %d: %v, and %d events", round, err, n)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d outcomes of one attempt were kept", round, won)
		}
	}
}

// A request that cannot be stored must not make the others of the batch fail.
func TestAppend_Unstorable_FailsAlone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	broken := said(1)
	broken[0].Trace = "00-\x00" // a text column cannot hold it, and it is no JSON that could be sealed
	errs, err := s.Append(t.Context(), []commands.Append{
		{Stream: "chat-demo:1", Events: said(1)}, {Stream: "chat-demo:2", Events: broken}, {
			Stream: "chat-demo:3", Events: said(1),
		},
	})
	if err != nil {
		t.Fatalf("the whole batch failed: %v", err)
	}
	if errs[0] != nil || errs[1] == nil || errs[2] != nil {
		t.Errorf("got %v, want the second alone refused", errs)
	}
	for i, want := range []int{1, 0, 1} {
		if n := len(stream(t, s, domain.ChatStream("demo", int64(i+1)))); n != want {
			t.Errorf("chat %d has %d events, want %d", i+1, n, want)
		}
	}
}

// Nobody else writes, so what is refused once alone will be refused again.
func TestAppend_RejectedAlone_NotRetried(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ appends, refused, statements int }{
		{1, 0, 2}, // as if it were certain, and carefully
		{4, 3, 6}, // the same, the first half, the second, and each of its two
		{5, 0, 6},
	} {
		t.Run(fmt.Sprintf("the one at %d of %d", c.refused, c.appends), func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			pgtest.Exec(t, s.Pool(), `
				create sequence public.statements;
				create function public.count_statement() returns trigger language plpgsql as $$
					begin perform nextval('public.statements'); return null; end $$;
				create trigger count before insert on eventstore.events
					for each statement execute function public.count_statement();
				alter table eventstore.events add constraint no_such_actor check (actor <> 'nobody')`)
			batch := make([]commands.Append, c.appends)
			for i := range batch {
				batch[i] = commands.Append{Stream: domain.ChatStream("demo", int64(i)), Events: said(i + 1)}
			}
			batch[c.refused].Events[0].Actor = "nobody"
			errs, err := s.Append(t.Context(), batch)
			if err != nil || len(errs) != c.appends {
				t.Fatalf("%d results of %d, and %v", len(errs), c.appends, err)
			}
			for i, a := range batch {
				want := i + 1
				if i == c.refused {
					want = 0
				}
				if n := len(stream(t, s, a.Stream)); n != want || (errs[i] == nil) != (want > 0) {
					t.Errorf("place %d: %d events and %v, want %d events", i, n, errs[i], want)
				}
			}
			// A sequence keeps what a transaction that failed took from it.
			if n := pgtest.Ask[int](t, s.Pool(), `select last_value from public.statements`); n != c.statements {
				t.Errorf("%d statements, want %d", n, c.statements)
			}
		})
	}
}

func TestLoad_Cursors_ReadsWhatFollows(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	one, two := said(5), said(2)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: one})
	must(t, s, commands.Append{Stream: "chat-demo:2", Events: two})
	cursors := []commands.Cursor{
		{Stream: "chat-demo:2"}, {Stream: "chat-demo:1", After: 3}, {Stream: "chat-demo:3"}, {
			Stream: "chat-demo:2", After: 2,
		}, {Stream: "chat-demo:1", After: 9},
	}
	got, err := s.Load(t.Context(), cursors)
	if err != nil {
		t.Fatal(err)
	}
	want := []commands.History{
		{Events: []domain.Event{two[0].Event, two[1].Event}, Version: 2},
		{Events: []domain.Event{one[3].Event, one[4].Event}, Version: 5},
		{},
		{Version: 2},
		{Version: 9},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An error of one stream is reported with that stream and does not affect the others.
func TestLoad_VersionGap_ReportedForStream(t *testing.T) {
	t.Parallel()
	for _, missing := range []int{1, 2} {
		s := newStore(t)
		must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(3)})
		must(t, s, commands.Append{Stream: "chat-demo:2", Events: said(2)})
		pgtest.Exec(t, s.Pool(), `delete from eventstore.events where stream_id = 'chat-demo:1' and version = $1`,
			missing)
		got, err := s.Load(t.Context(), []commands.Cursor{{Stream: "chat-demo:1"}, {Stream: "chat-demo:2"}})
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("version %d follows %d: the stream has a gap", missing+1, missing-1)
		if got[0].Err == nil || got[0].Err.Error() != want {
			t.Errorf("got %v, want %s", got[0].Err, want)
		}
		if got[1].Err != nil || got[1].Version != 2 || len(got[1].Events) != 2 {
			t.Errorf("the other stream: %+v", got[1])
		}
	}
}

// An unknown name or version fails a load. Other readers get the event as Unreadable, so that
// only its stream is left out.
func TestRead_UnknownEventType_Unreadable(t *testing.T) {
	t.Parallel()
	for stored, change := range map[string]string{
		"from_elsewhere@3":    `update eventstore.events set name = 'from_elsewhere', event_version = 3 where version = 2`,
		"message_received@99": `update eventstore.events set event_version = 99 where version = 2`,
	} {
		t.Run(stored, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(2)})
			pgtest.Exec(t, s.Pool(), change)
			loaded, err := s.Load(t.Context(), []commands.Cursor{{Stream: "chat-demo:1"}})
			if err != nil {
				t.Fatal(err)
			}
			if err := loaded[0].Err; err == nil || !containsAll(err.Error(), "version 2", stored) {
				t.Errorf("loading: %v, want version and name", err)
			}
			unreadable := func(reader string, events []domain.Recorded) {
				t.Helper()
				if len(events) != 2 || events[0].Event == nil || events[0].Unreadable != nil {
					t.Fatalf("%s: %+v, want two events, the first one readable", reader, events)
				}
				if e := events[1]; e.Event != nil || e.Unreadable == nil || e.Version != 2 ||
					!strings.Contains(e.Unreadable.Error(), stored) {
					t.Errorf("%s: %+v, want %s as Unreadable", reader, e, stored)
				}
			}
			events, err := s.ReadStream(t.Context(), s.Pool(), "chat-demo:1", 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			unreadable("reading the stream", events)
			waittest.Until(t, "the events stand in the feed", func() bool {
				events, err = s.ReadFeed(t.Context(), s.Pool(), domain.Position{}, 10)
				if err != nil {
					t.Fatal(err)
				}
				return len(events) > 0
			})
			unreadable("reading the feed", events)
		})
	}
}

// Holds knows the updates of a stream.
func TestHolds_Updates_FoundByStream(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	message := func(key uint64, text string, raw []byte) commands.NewEvent {
		e := event(chat.MessageReceived{Update: chat.Update{ID: 1, Key: key}, Text: text, Date: at})
		e.Raw = raw
		return e
	}
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: []commands.NewEvent{
		message(1<<64-1, "plain", []byte(`{"update_id":1}`)),
		message(7, "sealed: \x00", []byte(`{"update_id":2}`)),
		message(8, "not received", nil),
	}})
	for _, c := range []struct {
		stream domain.StreamID
		key    uint64
		want   bool
	}{
		{"chat-demo:1", 1<<64 - 1, true},
		{"chat-demo:1", 7, true}, // a payload that JSONB cannot hold is searched as well
		{"chat-demo:1", 8, false},
		{"chat-demo:1", 9, false},
		{"chat-demo:2", 7, false},
	} {
		held, err := s.HasUpdate(t.Context(), c.stream, c.key)
		if err != nil {
			t.Fatal(err)
		}
		if held != c.want {
			t.Errorf("%s holds %d: %t, want %t", c.stream, c.key, held, c.want)
		}
	}
}

// A long stream comes in pages, and of a bot's own stream, which nobody folds, the version alone.
func TestLoad_LimitOrBotStream_ReadsNoMore(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	bot := domain.BotStream("demo")
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(5)})
	must(t, s, commands.Append{Stream: bot, Events: said(5)})
	got, err := s.Load(t.Context(), []commands.Cursor{
		{Stream: "chat-demo:1", Limit: 3}, {Stream: "chat-demo:1", After: 3, Limit: 3}, {Stream: bot, Limit: 3}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		events  int
		version domain.Version
		more    bool
	}{{3, 3, true}, {2, 5, false}, {0, 5, false}} {
		if h := got[i]; len(h.Events) != want.events || h.Version != want.version || h.More != want.more ||
			h.Err != nil {
			t.Errorf("cursor %d: %d events to version %d, more %v, error %v", i, len(h.Events), h.Version, h.More,
				h.Err)
		}
	}
}

// A snapshot stands in for the events before it, if it is of the wanted format and its event is
// there: what a replica lost when it was promoted must not come back by a snapshot.
func TestLoad_Snapshot_ReadsWhatIsBehind(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	must(t, s, commands.Append{Stream: "chat-demo:1", Events: said(5)})
	save := func(version domain.Version, format string) {
		t.Helper()
		err := s.SaveSnapshot(t.Context(), "chat-demo:1",
			commands.Snapshot{Version: version, Format: format, State: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
	}
	load := func(c commands.Cursor) commands.History {
		t.Helper()
		c.Stream = "chat-demo:1"
		got, err := s.Load(t.Context(), []commands.Cursor{{Stream: "chat-demo:2", Format: "today"}, c})
		if err != nil {
			t.Fatal(err)
		}
		return got[1]
	}
	save(3, "today")
	save(2, "today") // an older one does not replace it
	if h := load(commands.Cursor{Format: "today", Limit: 2}); h.From == nil || h.From.Version != 3 ||
		len(h.Events) != 2 || h.Version != 5 {
		t.Errorf("from %+v to version %d, %d events", h.From, h.Version, len(h.Events))
	}
	for name, c := range map[string]commands.Cursor{"another format": {Format: "tomorrow"}, "none wanted": {}} {
		if h := load(c); h.From != nil || len(h.Events) != 5 {
			t.Errorf("%s: from %+v, %d events", name, h.From, len(h.Events))
		}
	}
	save(6, "today")
	if h := load(commands.Cursor{Format: "today"}); h.From != nil || len(h.Events) != 5 {
		t.Errorf("its event is not there: from %+v, %d events", h.From, len(h.Events))
	}
}
