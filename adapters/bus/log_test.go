package bus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/jackc/pgx/v5"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
)

var quiet = slog.New(slog.DiscardHandler)

// fakeFeed is a feed with the checkpoint of one group.
type fakeFeed struct {
	mu         sync.Mutex
	more       chan struct{} // closed when there are more events
	events     []domain.Recorded
	checkpoint int
	leads      []string // groups for which lead was called
	open       int      // readers that are not closed
	limits     []int    // of the calls of Next
	failLead   error    // each of these errors is returned once
	failNext   error
	failBegin  error
	failMove   error
	parked     map[domain.StreamID]commands.Parked
}

// at returns the checkpoint.
func (f *fakeFeed) at() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.checkpoint
}

func newFeed(events int) *fakeFeed {
	f := &fakeFeed{more: make(chan struct{}), parked: map[domain.StreamID]commands.Parked{}}
	f.add(events)
	return f
}

func (f *fakeFeed) add(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		v := len(f.events) + 1
		f.events = append(f.events, domain.Recorded{Stream: "chat-demo:1", Version: domain.Version(v),
			Position: domain.Position{Transaction: 7, Number: int64(v)}})
	}
	close(f.more)
	f.more = make(chan struct{})
}

func once(err *error) error {
	was := *err
	*err = nil
	return was
}

func (f *fakeFeed) lead(_ context.Context, group string) (Reader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leads = append(f.leads, group)
	if err := once(&f.failLead); err != nil {
		return nil, err
	}
	f.open++
	return &fakeReader{f, f.checkpoint}, nil
}

type fakeReader struct {
	*fakeFeed
	at int
}

func (r *fakeReader) Next(ctx context.Context, limit int) ([]domain.Recorded, error) {
	for {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.mu.Lock()
		err, events, more := once(&r.failNext), r.events[r.at:], r.more
		r.limits = append(r.limits, limit)
		r.mu.Unlock()
		if err != nil || len(events) > 0 {
			return events[:min(limit, len(events))], err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *fakeReader) Begin(context.Context) (pgx.Tx, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := once(&r.failBegin); err != nil {
		return nil, err
	}
	return &fakeTx{}, nil
}

func (r *fakeReader) Advance(ctx context.Context, tx pgx.Tx, page []domain.Recorded) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := errors.Join(ctx.Err(), once(&r.failMove)); err != nil {
		return err
	}
	tx.(*fakeTx).end("committed")
	r.at += len(page)
	r.checkpoint = r.at
	return nil
}

func (r *fakeReader) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
}

// fakeTx records whether it was committed or rolled back.
type fakeTx struct {
	pgx.Tx
	state string
	parts []*fakeTx
}

func (tx *fakeTx) Begin(context.Context) (pgx.Tx, error) {
	tx.parts = append(tx.parts, &fakeTx{})
	return tx.parts[len(tx.parts)-1], nil
}

// Commit releases a savepoint, which ends as its transaction does.
func (tx *fakeTx) Commit(context.Context) error { return nil }

func (tx *fakeTx) Rollback(context.Context) error {
	tx.end("rolled back")
	return nil
}

func (tx *fakeTx) end(state string) {
	if tx.state == "" {
		tx.state = state
	}
	for _, part := range tx.parts {
		part.end(state)
	}
}

// follow subscribes to a feed until the end of the test.
func follow(t *testing.T, f *fakeFeed, observe func(string, int, time.Duration)) (*Log, <-chan *message.Message) {
	t.Helper()
	if observe == nil {
		observe = func(string, int, time.Duration) {}
	}
	l := NewLog("readers", f.lead, quiet, func(group string, page []domain.Recorded, took time.Duration) {
		observe(group, len(page), took)
	})
	pages, err := l.Subscribe(t.Context(), "events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if f.open != 0 {
			t.Errorf("%d readers were not closed", f.open)
		}
		if _, open := <-pages; open {
			t.Error("the subscription continues after Close")
		}
	})
	return l, pages
}

// take receives a page. A page that the test neither acks nor nacks is nacked at its end.
func take(t *testing.T, pages <-chan *message.Message) *message.Message {
	t.Helper()
	msg, open := <-pages
	if !open {
		t.Fatal("the subscription has ended")
	}
	t.Cleanup(func() { msg.Nack() })
	return msg
}

// versions returns the versions of a page's events.
func versions(page []domain.Recorded) (list []int) {
	for _, r := range page {
		list = append(list, int(r.Version))
	}
	return list
}

func wantVersions(t *testing.T, msg *message.Message, want ...int) *fakeTx {
	t.Helper()
	page, tx := Page(msg)
	if got := versions(page); !slices.Equal(got, want) {
		t.Fatalf("the page has versions %v, want %v", got, want)
	}
	return tx.(*fakeTx)
}

func TestLog_PageNacked_ReadAgainInNewTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(2)
		_, pages := follow(t, f, nil)
		var txs []*fakeTx
		for range 3 {
			msg := take(t, pages)
			txs = append(txs, wantVersions(t, msg, 1, 2))
			msg.Nack()
		}
		msg := take(t, pages)
		tx := wantVersions(t, msg, 1, 2)
		if slices.Contains(txs, tx) || txs[0] == txs[1] {
			t.Error("a page has the transaction of a nacked one")
		}
		for _, tx := range txs {
			if tx.state != "rolled back" {
				t.Errorf("the transaction of a nacked page is %s", tx.state)
			}
		}
		if f.checkpoint != 0 {
			t.Errorf("the checkpoint moved to %d", f.checkpoint)
		}
		msg.Ack()
		f.add(1)
		wantVersions(t, take(t, pages), 3)
		if tx.state != "committed" || f.checkpoint != 2 {
			t.Errorf("the acked page's transaction is %s, the checkpoint %d", tx.state, f.checkpoint)
		}
		if f.open != 1 {
			t.Errorf("%d readers are open, want 1", f.open)
		}
	})
}

func TestLog_PageNackedRepeatedly_BackoffLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(1)
		_, pages := follow(t, f, nil)
		(<-pages).Nack()
		for i := range 12 {
			nacked := time.Now()
			msg := take(t, pages)
			longest := min(retryMin<<i, retryMax)
			if pause := time.Since(nacked); pause < longest/2 || pause > longest {
				t.Errorf("pause %d was %s, want %s to %s", i+1, pause, longest/2, longest)
			}
			msg.Nack()
		}
		take(t, pages).Ack()
		time.Sleep(time.Hour) // without failures
		f.add(1)
		take(t, pages).Nack()
		nacked := time.Now()
		take(t, pages)
		if pause := time.Since(nacked); pause > retryMin {
			t.Errorf("the pause after a committed page is %s, want at most %s again", pause, retryMin)
		}
	})
}

func TestLog_CloseWhileHandling_PageCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(1)
		l, pages := follow(t, f, nil)
		msg := take(t, pages)
		f.add(1)
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Fatal("Close did not wait")
		default:
		}
		msg.Ack()
		<-closed
		if f.checkpoint != 1 {
			t.Errorf("checkpoint %d, want the last page committed", f.checkpoint)
		}
		if msg, open := <-pages; open {
			t.Errorf("another page after Close: %s", msg.Payload)
		}
	})
}

func TestLog_CloseBeforePageReceived_NotCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(1)
		l, pages := follow(t, f,
			func(_ string, events int, _ time.Duration) { t.Errorf("%d events were observed", events) })
		synctest.Wait() // until the page waits for a receiver
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, open := <-pages; open || f.checkpoint != 0 || f.open != 0 {
			t.Errorf("subscribed %t, checkpoint %d, %d readers", open, f.checkpoint, f.open)
		}
	})
}

func TestLog_ContextEnds_SubscriptionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(0)
		l := NewLog("readers", f.lead, quiet, func(string, []domain.Recorded, time.Duration) {})
		ctx, cancel := context.WithCancel(t.Context())
		pages, err := l.Subscribe(ctx, "events")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		if _, open := <-pages; open || f.open != 0 {
			t.Errorf("subscribed %t, %d readers", open, f.open)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

// After a failure outside of the handler, the group is led again, from its checkpoint.
func TestLog_ReaderFails_LedAgainFromCheckpoint(t *testing.T) {
	for name, fail := range map[string]func(*fakeFeed) *error{
		"lead":    func(f *fakeFeed) *error { return &f.failLead },
		"next":    func(f *fakeFeed) *error { return &f.failNext },
		"begin":   func(f *fakeFeed) *error { return &f.failBegin },
		"advance": func(f *fakeFeed) *error { return &f.failMove },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed(2)
				var observed []int
				*fail(f) = errors.New("no connection")
				_, pages := follow(t, f,
					func(_ string, events int, _ time.Duration) { observed = append(observed, events) })
				if name == "advance" { // the first page is handled, but not committed
					msg := take(t, pages)
					wantVersions(t, msg, 1, 2)
					msg.Ack()
				}
				msg := take(t, pages)
				wantVersions(t, msg, 1, 2)
				if !slices.Equal(f.leads, []string{"readers", "readers"}) || f.open != 1 || f.checkpoint != 0 {
					t.Errorf("led %v, %d readers, checkpoint %d", f.leads, f.open, f.checkpoint)
				}
				msg.Ack()
				synctest.Wait()
				if f.checkpoint != 2 || !slices.Equal(observed, []int{2}) {
					t.Errorf("checkpoint %d, observed pages of %v", f.checkpoint, observed)
				}
			})
		})
	}
}

func TestLog_ManyEvents_PagesLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed(pageSize + 5)
		var observed []int
		_, pages := follow(t, f, func(_ string, events int, _ time.Duration) { observed = append(observed, events) })
		first := take(t, pages)
		if got := string(first.Payload); got != `{"first":"7/1","last":"7/1000","events":1000}` {
			t.Errorf("the message has the payload %s", got)
		}
		first.Ack()
		second := take(t, pages)
		if page, _ := Page(second); len(page) != 5 || page[0].Version != pageSize+1 {
			t.Errorf("the second page has %d events", len(page))
		}
		second.Ack()
		synctest.Wait()
		if !slices.Equal(observed, []int{1000, 5}) {
			t.Errorf("observed pages of %v", observed)
		}
		if slices.Max(f.limits) > pageSize {
			t.Errorf("Next was called with a limit of %d", slices.Max(f.limits))
		}
	})
}

// Page returns the events of a message of a Log, and the transaction that will move the checkpoint.
func Page(msg *message.Message) ([]domain.Recorded, pgx.Tx) {
	p := msg.Context().Value(pageKey{}).(*pageInTx)
	return p.events, p.tx
}
