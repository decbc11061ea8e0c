package commands_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// sharedFor is the handler's.
const sharedFor = time.Second

// one is a handler that takes one batch at a time.
var one = commands.Config{Committers: 1}

func TestHandle_OneStream_DecidedInOrder(t *testing.T) {
	h := handler(t, newMemory(), one)
	results, err := h.HandleAll(t.Context(), []commands.Request{
		ask(anna, chat.OpenTicket{Reason: "seen", Priority: dialog.Low, At: start}),
		ask(anna, chat.AssignTicket{Assignee: "maria"}),
		ask(anna, chat.ResolveTicket{At: start}),
		ask(anna, chat.ReopenTicket{Reason: "again", At: start}),
		ask(anna, chat.HandBack{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.First != domain.Version(i+1) || len(r.Events) != 1 {
			t.Errorf("request %d led to %+v", i+1, r)
		}
	}
}

func TestHandle_Result_HasEventsAndVersions(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	first, err := h.Handle(t.Context(), update(anna, 5))
	if err != nil {
		t.Fatal(err)
	}
	message := first.Events[0]
	turn, err := h.Handle(t.Context(), ask(anna, chat.Respond{To: 1, Event: message, At: start}))
	if err != nil || turn.First != 2 || len(turn.Events) != 2 {
		t.Fatalf("%+v, error %v", turn, err)
	}
	if stored := store.events(anna); len(stored) != 3 {
		t.Errorf("stored %d events", len(stored))
	}
}

func TestHandle_Events_HaveMetadata(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	if _, err := h.Handle(t.Context(), update(anna, 5)); err != nil {
		t.Fatal(err)
	}
	message := store.events(anna)[0]
	turn := ask(anna, chat.Respond{To: 1, Event: message.Event, At: start})
	turn.Causation, turn.Correlation = message.ID, message.Correlation
	if _, err := h.Handle(t.Context(), turn); err != nil {
		t.Fatal(err)
	}
	stored := store.events(anna)
	if string(message.Raw) != `{"update_id": 5}` || message.Actor != "customer" || message.Causation != uuid.Nil ||
		message.Correlation != message.ID || !message.OccurredAt.Equal(start) {
		t.Errorf("the update is stored as %+v", message)
	}
	ids := map[uuid.UUID]bool{message.ID: true}
	for _, e := range stored[1:] {
		if e.Raw != nil || e.Causation != message.ID || e.Correlation != message.ID || ids[e.ID] {
			t.Errorf("the turn is stored as %+v", e)
		}
		ids[e.ID] = true
	}
	if got := store.inbox[inboxKey("demo", 5)]; got != 1 {
		t.Errorf("the inbox says that update 5 is event %d", got)
	}
}

// behind sends requests so that they wait together for a batch that is under way.
func behind(h *commands.Handler, store *memory, requests ...commands.Request) []<-chan answer {
	g := make(gate)
	store.before = g.wait
	ahead := send(h,
		ask(domain.BotStream("ahead"),
			chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "first"}))
	synctest.Wait()
	var answers []<-chan answer
	for _, r := range requests {
		answers = append(answers, send(h, r))
		synctest.Wait()
	}
	close(g)
	<-ahead
	synctest.Wait()
	return answers
}

func TestHandle_WaitingUpdates_SortedByID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := handler(t, store, one)
		answers := behind(h, store, update(anna, 5), update(anna, 3),
			ask(anna, chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hi"}), update(anna, 9),
			update(anna, 4))
		for _, a := range answers {
			if got := <-a; got.err != nil {
				t.Fatal(got.err)
			}
		}
		if got, want := store.received(anna), []int64{3, 4, 0, 5, 9}; !slices.Equal(got, want) {
			t.Errorf("stored in the order %v, want %v", got, want)
		}
		for _, e := range store.events(anna) {
			if m, ok := e.Event.(chat.MessageReceived); ok && m.Late {
				t.Errorf("update %d is marked late", m.ID)
			}
		}
	})
}

func TestHandle_WaitingStreams_ShareCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := handler(t, store, one)
		var requests []commands.Request
		for n := range int64(50) {
			requests = append(requests, update(domain.ChatStream("demo", n), n))
		}
		for _, a := range behind(h, store, requests...) {
			if got := <-a; got.err != nil {
				t.Fatal(got.err)
			}
		}
		if len(store.batches) != 2 || len(store.batches[1]) != 50 {
			t.Errorf("%d commits", len(store.batches))
		}
	})
}

func TestHandle_FloodingChat_CommitBounded(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	var requests []commands.Request
	var want []int64
	for n := range int64(300) {
		requests = append(requests, update(anna, n+1))
		want = append(want, n+1)
	}
	if _, err := h.HandleAll(t.Context(), requests); err != nil {
		t.Fatal(err)
	}
	for _, batch := range store.batches {
		if n := len(batch[0].Events); n > 64 {
			t.Errorf("%d events in one commit", n)
		}
	}
	if got := store.received(anna); !slices.Equal(got, want) {
		t.Errorf("stored in the order %v", got)
	}
}

func TestHandle_Conflict_DecidedAgainAlone(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	overtaken := false
	store.before = func(context.Context, []commands.Append) error {
		if !overtaken {
			overtaken = true
			store.elsewhere(anna, chat.TicketOpened{Ticket: "#1"})
		}
		return nil
	}
	results, err := h.HandleAll(t.Context(), []commands.Request{
		ask(anna, chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hi"}), ask(anna,
			chat.AssignTicket{Assignee: "maria"}), ask(bert,
			chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hi"}),
	})
	if err != nil {
		t.Fatalf("decided again, the ticket is there to be assigned: %v", err)
	}
	if results[0].First != 2 || results[1].First != 3 || results[2].First != 1 {
		t.Errorf("results %+v", results)
	}
	if len(store.batches) != 2 || len(store.batches[0]) != 2 || len(store.batches[1]) != 1 ||
		store.batches[1][0].Stream != anna {
		t.Errorf("batches %+v", store.batches)
	}
	if len(store.events(bert)) != 1 {
		t.Errorf("the other stream has %d events", len(store.events(bert)))
	}
}

func TestHandle_EndlessConflict_FailsAlone(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	store.before = func(_ context.Context, batch []commands.Append) error {
		store.elsewhere(anna, chat.HandedBack{})
		return nil
	}
	var results [2]error
	var done sync.WaitGroup
	for i, stream := range []domain.StreamID{anna, bert} {
		done.Go(func() {
			_, results[i] = h.Handle(context.Background(),
				ask(stream, chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hi"}))
		})
	}
	done.Wait()
	if !errors.Is(results[0], commands.ErrConflict) || results[1] != nil {
		t.Errorf("overtaken: %v; the other: %v", results[0], results[1])
	}
	store.before = nil
	if _, err := h.Handle(t.Context(),
		ask(anna, chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hi"})); err != nil {
		t.Errorf("when the other writer rests: %v", err)
	}
}

func TestHandle_StaleState_Reloaded(t *testing.T) {
	opened := chat.TicketOpened{Ticket: "#1", Priority: dialog.Low}
	assigned := func(to string) chat.TicketAssigned { return chat.TicketAssigned{Ticket: "#1", Assignee: to} }
	tests := map[string]struct {
		before, elsewhere []domain.Event
		command           chat.Command
		want              domain.Event
		err               error
	}{
		"when it would refuse": {[]domain.Event{opened}, []domain.Event{chat.TicketResolved{Ticket: "#1"}},
			chat.ReopenTicket{Reason: "again"}, chat.TicketReopened{
				Ticket: "#1", Reason: "again", Due: time.Time{}.Add(24 * time.Hour),
				Resolve: time.Time{}.Add(72 * time.Hour),
			}, nil},
		"when it would do nothing": {[]domain.Event{opened, assigned("maria")}, []domain.Event{assigned("jo")},
			chat.AssignTicket{Assignee: "maria"}, assigned("maria"), nil},
		"when it would act": {[]domain.Event{opened}, []domain.Event{chat.TicketResolved{Ticket: "#1"}},
			chat.AssignTicket{Assignee: "maria"}, nil, chat.ErrNoTicket},
		"when the bot's turn was taken elsewhere": {[]domain.Event{opened},
			[]domain.Event{chat.HandedBack{Ticket: "#1"}, chat.Understood{Answer: chat.Answer{To: 9}}},
			chat.Respond{To: 9, Event: chat.MessageReceived{Text: "hello"}}, nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store := newMemory()
			store.elsewhere(anna, test.before...)
			h := handler(t, store, one)
			if _, err := h.Handle(t.Context(),
				ask(anna,
					chat.Reply{
						Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "so that it is known",
					})); err != nil {
				t.Fatal(err)
			}
			store.elsewhere(anna, test.elsewhere...)
			result, err := h.Handle(t.Context(), ask(anna, test.command))
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if test.want == nil {
				if len(result.Events) > 0 {
					t.Fatalf("led to %+v", result.Events)
				}
				return
			}
			if len(result.Events) != 1 || result.Events[0] != test.want {
				t.Errorf("led to %+v, want %+v", result.Events, test.want)
			}
			if want := domain.Version(len(test.before) + 1 + len(test.elsewhere) + 1); result.First != want {
				t.Errorf("at version %d, want %d", result.First, want)
			}
		})
	}
}

func TestHandle_Refusal_OthersProceed(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	results, err := h.HandleAll(t.Context(), []commands.Request{
		update(anna, 1), ask(anna, chat.HandBack{}), update(anna, 2),
	})
	if !errors.Is(err, chat.ErrNoTicket) {
		t.Errorf("error %v", err)
	}
	if len(results[0].Events) != 1 || len(results[1].Events) != 0 || results[2].First != 2 {
		t.Errorf("results %+v", results)
	}
}

func TestHandle_RepeatedUpdate_NoEventNoRead(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	for range 3 {
		if _, err := h.Handle(t.Context(), update(anna, 5)); err != nil {
			t.Fatal(err)
		}
	}
	if len(store.events(anna)) != 1 || len(store.loads) != 1 || len(store.batches) != 1 {
		t.Errorf("%d events, %d reads, %d writes", len(store.events(anna)), len(store.loads), len(store.batches))
	}
}

func TestHandle_RepeatKnownToStore_Dropped(t *testing.T) {
	store := newMemory()
	store.inbox[inboxKey("demo", 5)] = 1
	store.inbox[inboxKey("demo", 6)] = 2
	h := handler(t, store, one)
	results, err := h.HandleAll(t.Context(),
		[]commands.Request{update(anna, 4), update(anna, 5), update(anna, 6), update(anna, 7), update(bert, 8)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := store.received(anna), []int64{4, 7}; !slices.Equal(got, want) {
		t.Errorf("stored %v, want %v", got, want)
	}
	for i, want := range []int{1, 0, 0, 1, 1} {
		if len(results[i].Events) != want {
			t.Errorf("request %d led to %+v", i, results[i])
		}
	}
	if results[3].First != 2 {
		t.Errorf("update 7 is event %d", results[3].First)
	}
	if got := store.inbox[inboxKey("demo", 7)]; got != 2 {
		t.Errorf("the inbox says that update 7 is event %d", got)
	}
}

func TestHandle_OldActRepeated_DoneOnce(t *testing.T) {
	store := newMemory()
	store.elsewhere(anna, chat.TicketOpened{Ticket: "#1", Priority: dialog.Normal})
	h := handler(t, store, one)
	note := func(key int, print uint64) (commands.Result, error) {
		return h.Handle(t.Context(), commands.Request{Stream: anna, Actor: "operator:maria",
			Command: chat.Operate{
				Key: fmt.Sprint(key), Fingerprint: print, Operator: "maria", Do: chat.AddNote{Text: "hm"},
			}})
	}
	for n := range 64 {
		if result, err := note(n, 1); err != nil || len(result.Events) != 2 {
			t.Fatalf("%d led to %+v, error %v", n, result.Events, err)
		}
	}
	if store.acted != 0 {
		t.Fatalf("the store was asked %d times about what is remembered", store.acted)
	}
	for n := range 10 { // which drives the first ten from memory
		if _, err := note(100+n, 1); err != nil {
			t.Fatal(err)
		}
	}
	events := len(store.events(anna))
	if result, err := note(0, 1); err != nil || len(result.Events) > 0 {
		t.Errorf("again it led to %+v, error %v", result.Events, err)
	}
	if _, err := note(0, 2); !errors.Is(err, chat.ErrKeyReused) {
		t.Errorf("another act under its key: %v", err)
	}
	if got := len(store.events(anna)); got != events {
		t.Errorf("%d events, want %d", got, events)
	}
}

func TestHandle_OldMessageRepeated_StoredOnce(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	for n := range int64(100) {
		if _, err := h.Handle(t.Context(), update(anna, n+1)); err != nil {
			t.Fatal(err)
		}
	}
	if store.held != 0 {
		t.Fatalf("the store was asked %d times about new messages", store.held)
	}
	again := update(anna, 1000) // message 2 under another update id
	receive := again.Command.(chat.Receive)
	message := receive.Event.(chat.MessageReceived)
	message.MessageID, message.Key = 2, 2
	receive.Event = message
	again.Command = receive
	if result, err := h.Handle(t.Context(), again); err != nil || len(result.Events) > 0 {
		t.Errorf("led to %+v, error %v", result.Events, err)
	}
	message.Key = 2000 // of that id, yet never seen
	receive.Event = message
	again.Command = receive
	if result, err := h.Handle(t.Context(), again); err != nil || len(result.Events) != 1 {
		t.Errorf("led to %+v, error %v", result.Events, err)
	}
	if store.held != 2 || len(store.events(anna)) != 101 {
		t.Errorf("asked %d times, %d events", store.held, len(store.events(anna)))
	}
}

func TestHandle_LostLease_ReportedOthersProceed(t *testing.T) {
	store := newMemory()
	ours, theirs := uuid.New(), uuid.New()
	store.leases[ours], store.leases[theirs] = 1, 8
	settle := func(id uuid.UUID, fence int64) commands.Request {
		r := ask(anna, chat.RecordDelivery{Delivery: id, Kind: domain.KindSendMessage, Outcome: "done"})
		r.Settles = &commands.Settlement{Delivery: id, Fence: fence, State: "done"}
		return r
	}
	h := handler(t, store, one)
	results, err := h.HandleAll(t.Context(),
		[]commands.Request{update(anna, 1), settle(theirs, 7), settle(ours, 1), update(anna, 2)})
	var fenced commands.Fenced
	if !errors.As(err, &fenced) || !slices.Equal(fenced, commands.Fenced{theirs}) {
		t.Errorf("error %v", err)
	}
	for i, want := range []int{1, 0, 1, 1} {
		if len(results[i].Events) != want {
			t.Errorf("request %d led to %+v", i, results[i])
		}
	}
	if _, err := h.Handle(t.Context(), settle(ours, 1)); !errors.As(err, &fenced) {
		t.Errorf("settled twice: error %v", err)
	}
	if n := len(store.events(anna)); n != 3 {
		t.Errorf("%d events", n)
	}
}

func TestHandle_FailedCommit_AllCallersTold(t *testing.T) {
	down := errors.New("the server is gone")
	for name, fail := range map[string]func(*memory, error){
		"writing": func(m *memory, err error) {
			m.before = func(context.Context, []commands.Append) error { return err }
		},
		"reading": func(m *memory, err error) { m.onLoad = func() error { return err } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMemory()
				h := handler(t, store, one)
				if name == "writing" { // what is known need not be read
					if _, err := h.HandleAll(t.Context(),
						[]commands.Request{update(anna, 1), update(bert, 11)}); err != nil {
						t.Fatal(err)
					}
				} else {
					store.elsewhere(anna, chat.HandedBack{})
					store.elsewhere(bert, chat.HandedBack{})
				}
				fail(store, down)
				var answers []<-chan answer
				for n := range int64(3) {
					answers = append(answers, send(h, update(anna, n+2)), send(h, update(bert, n+12)))
				}
				for _, a := range answers {
					if got := <-a; !errors.Is(got.err, down) {
						t.Errorf("led to %+v, error %v", got.result, got.err)
					}
				}
				store.before, store.onLoad, store.loads = nil, nil, nil
				results, err := h.HandleAll(t.Context(), []commands.Request{update(anna, 9), update(bert, 19)})
				if err != nil || results[0].First != 2 || results[1].First != 2 {
					t.Errorf("afterwards: %+v, error %v", results, err)
				}
				reads := len(store.loads) == 1 && slices.EqualFunc(store.loads[0], []domain.StreamID{anna, bert},
					func(c commands.Cursor, stream domain.StreamID) bool { return c.Stream == stream && c.After == 0 })
				if !reads {
					t.Errorf("afterwards it was not read anew: %+v", store.loads)
				}
			})
		})
	}
}

func TestHandle_UnknownCommit_FoundOnRetry(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	store.before = func(_ context.Context, batch []commands.Append) error {
		store.mu.Lock()
		defer store.mu.Unlock()
		store.store(batch[0]) // committed, but the answer was lost
		return errors.New("connection reset")
	}
	if _, err := h.Handle(t.Context(), update(anna, 5)); err == nil {
		t.Fatal("no error")
	}
	store.before = nil
	if result, err := h.Handle(t.Context(), update(anna, 5)); err != nil || len(result.Events) > 0 {
		t.Errorf("led to %+v, error %v", result, err)
	}
	if n := len(store.events(anna)); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestHandle_UnreadableStream_FailsAlone(t *testing.T) {
	store := newMemory()
	store.broken[anna] = errors.New("unknown event renamed@1")
	h := handler(t, store, one)
	results, err := h.HandleAll(t.Context(), []commands.Request{update(anna, 1), update(bert, 2)})
	if !errors.Is(err, store.broken[anna]) || len(results[1].Events) != 1 {
		t.Errorf("results %+v, error %v", results, err)
	}
	delete(store.broken, anna)
	if _, err := h.Handle(t.Context(), update(anna, 1)); err != nil {
		t.Errorf("when it can be read: %v", err)
	}
}

func TestHandle_PanicInOneChat_OthersProceed(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	results, err := h.HandleAll(t.Context(),
		[]commands.Request{ask(anna, chat.Receive{Event: "no update"}), update(bert, 2)})
	if err == nil || len(results[1].Events) != 1 {
		t.Errorf("results %+v, error %v", results, err)
	}
}

func TestReorder_WithinWindow_Sorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := handler(t, store, commands.Config{})
		const window = 200 * time.Millisecond
		begun := time.Now()
		order := rand.Perm(10)
		var answers []<-chan answer
		for i, n := range order {
			r := update(anna, int64(n+1))
			r.Wait = window
			answers = append(answers, send(h, r))
			if i < 9 {
				time.Sleep(window / 10)
			}
		}
		for _, a := range answers {
			if got := <-a; got.err != nil || len(got.result.Events) != 1 {
				t.Fatalf("%+v", got)
			}
		}
		if got, want := store.received(anna), []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}; !slices.Equal(got, want) {
			t.Errorf("sent as %v, stored in the order %v", order, got)
		}
		if took := time.Since(begun); took != window {
			t.Errorf("the window of %s was open for %s", window, took)
		}
	})
}

func TestReorder_NoWindow_NothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := handler(t, newMemory(), commands.Config{})
		begun := time.Now()
		if _, err := h.Handle(t.Context(), update(anna, 1)); err != nil || time.Since(begun) > 0 {
			t.Errorf("it took %s, error %v", time.Since(begun), err)
		}
	})
}

func TestReorder_AfterWindow_MarkedLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := handler(t, store, commands.Config{})
		for _, id := range []int64{7, 6} {
			r := update(anna, id)
			r.Wait = time.Second
			if _, err := h.Handle(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if late := store.events(anna)[1].Event.(chat.MessageReceived); late.ID != 6 || !late.Late {
			t.Errorf("stored %+v", late)
		}
	})
}

func TestClose_WaitingRequests_FinishNewRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		g := make(gate)
		store.before = g.wait
		h := commands.NewHandler(store, one)
		var answers []<-chan answer
		for n := range int64(20) {
			r := update(domain.ChatStream("demo", n%5), n+1)
			if n%3 == 0 {
				r.Wait = 50 * time.Millisecond
			}
			answers = append(answers, send(h, r))
			synctest.Wait()
		}
		closed := make(chan struct{})
		go func() { h.Close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed while requests wait")
		default:
		}
		if _, err := h.Handle(t.Context(), update(anna, 99)); !errors.Is(err, commands.ErrClosed) {
			t.Errorf("a new request: error %v", err)
		}
		close(g)
		<-closed
		synctest.Wait()
		for i, a := range answers {
			select {
			case got := <-a:
				if got.err != nil || len(got.result.Events) != 1 {
					t.Errorf("request %d: %+v", i, got)
				}
			default:
				t.Errorf("request %d is not answered, and the handler is closed", i)
			}
		}
	})
}

func TestHandle_FullQueue_Rejected(t *testing.T) {
	const limit = 10_000
	store := newMemory()
	h := handler(t, store, one)
	requests := make([]commands.Request, limit+5)
	for i := range requests {
		requests[i] = update(domain.ChatStream("demo", int64(i%2000)), int64(i+1))
	}
	results, err := h.HandleAll(t.Context(), requests)
	if !errors.Is(err, commands.ErrBusy) {
		t.Fatalf("error %v", err)
	}
	for i, r := range results {
		if handled := len(r.Events) == 1; handled != (i < limit) {
			t.Fatalf("request %d handled: %v", i, handled)
		}
	}
	if _, err := h.Handle(t.Context(), requests[limit]); err != nil {
		t.Errorf("when they are done: %v", err)
	}
}

// One flooding chat takes a quarter of the places; the other chats have the rest.
func TestHandle_OneChatFloods_OthersHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		g := make(gate)
		store.before = g.wait
		h := handler(t, store, one)
		rejected := 0
		var others []<-chan answer
		for i := range int64(10_000) {
			a := send(h, update(anna, i+1))
			synctest.Wait()
			select {
			case got := <-a:
				if rejected++; !errors.Is(got.err, commands.ErrBusy) {
					t.Fatalf("rejected with %v", got.err)
				}
			default:
			}
			if i%1000 == 0 {
				others = append(others, send(h, update(domain.ChatStream("demo", 1000+i), i+1)))
			}
		}
		// Requests from within the program are not rejected because of the flood.
		others = append(others,
			send(h, ask(anna, chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hi"})))
		close(g)
		for i, a := range others {
			if got := <-a; got.err != nil {
				t.Errorf("other request %d: %v", i, got.err)
			}
		}
		if rejected < 7000 || rejected > 7500 {
			t.Errorf("%d of 10,000 updates of the flooding chat were rejected, want three quarters", rejected)
		}
	})
}

// strangers are the settings of a process that serves no bot.
type strangers struct{}

func (strangers) SettingsOf(string) (chat.Settings, bool) { return chat.Settings{}, false }

// For a bot that is not served, nothing is decided that it says or does. What operators do is recorded.
func TestHandle_BotNotServed_SaysNothing(t *testing.T) {
	store := newMemory()
	h := handler(t, store, commands.Config{Settings: strangers{}})
	first, err := h.Handle(t.Context(), update(anna, 5))
	if err != nil {
		t.Fatal(err)
	}
	turn := ask(anna, chat.Respond{To: 1, Event: first.Events[0], At: start})
	turn.Actor = domain.ActorBot
	if _, err := h.Handle(t.Context(), turn); !errors.Is(err, commands.ErrNotServed) {
		t.Errorf("the bot's turn: error %v", err)
	}
	reply := ask(anna, chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hi"})
	reply.Actor = domain.OperatorActor("maria")
	if _, err := h.Handle(t.Context(), reply); err != nil {
		t.Errorf("an operator's reply: %v", err)
	}
	if n := len(store.events(anna)); n != 2 {
		t.Errorf("stored %d events, want the message and the reply", n)
	}
}

func TestHandle_NearlyFull_ReportsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		g := make(gate)
		store.before = g.wait
		h := handler(t, store, one)
		ctx, leave := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for i := range int64(10_000 + 1) { // one is carried, the others wait
			if h.Full() {
				t.Fatalf("full with %d requests", i)
			}
			callers.Go(func() { _, _ = h.Handle(ctx, update(domain.ChatStream("demo", i), i+1)) })
			synctest.Wait()
		}
		if !h.Full() {
			t.Error("not full, and the next one would be turned away")
		}
		leave()
		callers.Wait()
		close(g)
		synctest.Wait()
		if h.Full() {
			t.Error("full when all is done")
		}
	})
}

func TestHandle_CancelledCaller_RequestStillDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		g := make(gate)
		store.before = g.wait
		h := handler(t, store, one)
		ahead := send(h, update(bert, 1))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := h.Handle(ctx, update(anna, 2))
			left <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		close(g)
		<-ahead
		h.Close()
		if n := len(store.events(anna)); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestHandle_HangingCommit_TimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.before = make(gate).wait // never opened
		h := handler(t, store, one)
		begun := time.Now()
		_, err := h.Handle(context.Background(), update(anna, 1))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 5*time.Second {
			t.Errorf("error %v after %s", err, time.Since(begun))
		}
	})
}

func TestHandle_TwoProcesses_EachUpdateOnce(t *testing.T) {
	const chats, updates = 3, 150
	store := newMemory()
	processes := []*commands.Handler{
		handler(t, store, commands.Config{}), handler(t, store, commands.Config{Cached: 1}),
	}
	var done sync.WaitGroup
	for _, h := range processes {
		for worker := range 4 {
			done.Go(func() {
				order := rand.New(rand.NewPCG(uint64(worker), 1)).Perm(updates)
				for _, n := range order {
					r := update(domain.ChatStream("demo", int64(n%chats)), int64(n+1))
					for {
						_, err := h.Handle(context.Background(), r)
						if err == nil {
							break
						}
						if !errors.Is(err, commands.ErrConflict) {
							t.Errorf("update %d: %v", n+1, err)
							return
						}
					}
				}
			})
		}
	}
	done.Wait()
	seen := map[int64]int{}
	for n := range int64(chats) {
		for _, id := range store.received(domain.ChatStream("demo", n)) {
			seen[id]++
		}
	}
	for n := range int64(updates) {
		if seen[n+1] != 1 {
			t.Errorf("update %d is stored %d times", n+1, seen[n+1])
		}
	}
}

// After a conflict the handler reads the stream before it decides, for a while.
func TestHandle_SharedChats_ReadBeforeDecide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		h := handler(t, store, one)
		reply := func(stream domain.StreamID) {
			t.Helper()
			if _, err := h.Handle(t.Context(),
				ask(stream,
					chat.Reply{Author: chat.Author{Kind: chat.Person, Name: "maria"}, Text: "hi"})); err != nil {
				t.Fatal(err)
			}
		}
		tries := func(f func()) int {
			before := len(store.batches)
			f()
			return len(store.batches) - before
		}
		reply(anna)
		reply(bert)
		store.elsewhere(anna, chat.HandedBack{})
		store.elsewhere(bert, chat.HandedBack{})
		if n := tries(func() { reply(anna) }); n != 2 {
			t.Errorf("%d appends were tried for the first chat, want one that is refused and one more", n)
		}
		if n := tries(func() { reply(bert) }); n != 1 {
			t.Errorf("%d appends were tried for the next chat", n)
		}
		time.Sleep(sharedFor)
		loads := len(store.loads)
		reply(anna)
		if len(store.loads) != loads {
			t.Error("a chat that is in memory is still read after a quiet second")
		}
	})
}

func TestHandle_DecidedTwice_CorrelationIsOwn(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	overtaken := false
	store.before = func(context.Context, []commands.Append) error {
		if !overtaken {
			overtaken = true
			store.elsewhere(anna, chat.HandedBack{})
		}
		return nil
	}
	if _, err := h.Handle(t.Context(), update(anna, 1)); err != nil {
		t.Fatal(err)
	}
	if e := store.events(anna)[1]; e.Correlation != e.ID {
		t.Errorf("event %s is of the chain that began with %s, which was never stored", e.ID, e.Correlation)
	}
}

func ExampleFenced() {
	fmt.Println(commands.Fenced{uuid.Nil})
	// Output: deliveries [00000000-0000-0000-0000-000000000000] are leased to another
}

// slowSettings makes every decision take longer than a read or an append may take.
type slowSettings struct{}

func (slowSettings) SettingsOf(string) (chat.Settings, bool) {
	time.Sleep(5 * time.Second)
	return chat.Settings{}, true
}

// The deadline is for the store: a slow decision must not make an append fail, which would
// only be decided again, as slowly.
func TestHandler_DecisionTakes5s_IsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.before = func(ctx context.Context, _ []commands.Append) error { return ctx.Err() }
		h := handler(t, store, commands.Config{Settings: slowSettings{}})
		if _, err := h.Handle(context.Background(), update(anna, 1)); err != nil {
			t.Errorf("not stored: %v", err)
		}
	})
}

// A chat of many events is loaded page by page beside the batch it came in: what is decided is
// the same, and the others do not wait for it.
func TestHandler_StreamLongerThanAPage_OthersGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for range 5001 {
			store.streams[anna] = append(store.streams[anna], commands.NewEvent{Event: chat.ChatContinued{}})
		}
		pages := make(chan struct{})
		store.loading = func(cursors []commands.Cursor) error {
			if cursors[0].After > 0 {
				<-pages
			}
			return nil
		}
		h := handler(t, store, one)
		long := send(h, update(anna, 1))
		synctest.Wait()
		if got := <-send(h, update(bert, 2)); got.err != nil {
			t.Errorf("the other chat: %v", got.err)
		}
		close(pages)
		if got := <-long; got.err != nil || got.result.First != 5002 {
			t.Errorf("the long chat: %+v, error %v", got.result, got.err)
		}
	})
}

// One stream that cannot be loaded must not fail the streams that came in the same batch.
func TestHandler_LoadOfABatchFails_EachStreamAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		store.loading = func(cursors []commands.Cursor) error {
			for _, c := range cursors {
				if c.Stream == anna {
					return context.DeadlineExceeded
				}
			}
			return nil
		}
		h := handler(t, store, one)
		results, err := h.HandleAll(t.Context(), []commands.Request{update(anna, 1), update(bert, 2)})
		if !errors.Is(err, context.DeadlineExceeded) || results[1].First != 1 {
			t.Errorf("results %+v, error %v", results, err)
		}
	})
}

// A cached state may be of events that a failover has lost.
func TestHandler_AnotherIncarnation_LoadsAnew(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	for id, want := range []int{1, 1, 2} {
		if want == 2 {
			store.incarnation.Add(1)
		}
		if _, err := h.Handle(t.Context(), update(anna, int64(id+1))); err != nil {
			t.Fatal(err)
		}
		if got := len(store.loads); got != want {
			t.Fatalf("%d loads after update %d, want %d", got, id+1, want)
		}
	}
}

// A batch that is under way during a failover was decided on events that may be lost, though the
// stream may have reached the same version again.
func TestHandler_FailoverDuringAppend_DecidesAnew(t *testing.T) {
	store := newMemory()
	h := handler(t, store, one)
	if _, err := h.Handle(t.Context(), update(anna, 1)); err != nil {
		t.Fatal(err)
	}
	store.before = func(context.Context, []commands.Append) error {
		store.before = nil
		store.incarnation.Add(1)
		store.mu.Lock()
		defer store.mu.Unlock()
		store.streams[anna] = []commands.NewEvent{{Event: chat.ChatContinued{}}}
		return nil
	}
	result, err := h.Handle(t.Context(), update(anna, 2))
	if err != nil || result.First != 2 {
		t.Fatalf("%+v, error %v", result, err)
	}
	if got := len(store.batches); got != 3 {
		t.Errorf("%d batches, want 3: the second is a conflict", got)
	}
	if got := store.loads[len(store.loads)-1][0].After; got != 0 {
		t.Errorf("the last load began behind version %d, want 0", got)
	}
}

// A load that fails half-way keeps what it has folded: the next attempt goes on from there, or a
// chat that takes longer than the database stays up would never be loaded.
func TestHandler_LongLoadFails_GoesOnFromThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for range 5001 {
			store.streams[anna] = append(store.streams[anna], commands.NewEvent{Event: chat.ChatContinued{}})
		}
		down := errors.New("the database is down")
		first := domain.Version(-1) // of the next load
		store.loading = func(cursors []commands.Cursor) error {
			if first < 0 {
				first = cursors[0].After
			}
			if down != nil && cursors[0].After >= 4000 {
				return down
			}
			return nil
		}
		h := handler(t, store, one)
		if _, err := h.Handle(t.Context(), update(anna, 1)); !errors.Is(err, down) {
			t.Fatalf("error %v", err)
		}
		down, first = nil, -1
		if result, err := h.Handle(t.Context(), update(anna, 1)); err != nil || result.First != 5002 || first != 4000 {
			t.Errorf("loaded from version %d: %+v, error %v", first, result, err)
		}
		h.Close()
	})
}
