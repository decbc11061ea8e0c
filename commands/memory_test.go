package commands_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// memory is a Store in memory. It refuses what the real one refuses, and for the
// same reasons in the same order.
type memory struct {
	snapshots map[domain.StreamID]commands.Snapshot

	incarnation atomic.Int64 // of the server

	mu      sync.Mutex
	streams map[domain.StreamID][]commands.NewEvent
	inbox   map[string]domain.Version
	leases  map[uuid.UUID]int64 // fence by delivery; a settled delivery has none

	broken  map[domain.StreamID]error                                // streams that cannot be read
	before  func(ctx context.Context, batch []commands.Append) error // called ahead of each Append
	onLoad  func() error
	loading func([]commands.Cursor) error // called ahead of each Load, and may take long

	batches [][]commands.Append // as they were tried
	loads   [][]commands.Cursor
	held    int // questions to Holds
	acted   int // and to Acted
}

func newMemory() *memory {
	return &memory{streams: map[domain.StreamID][]commands.NewEvent{}, inbox: map[string]domain.Version{},
		leases: map[uuid.UUID]int64{}, broken: map[domain.StreamID]error{},
		snapshots: map[domain.StreamID]commands.Snapshot{}}
}

func (m *memory) Load(_ context.Context, cursors []commands.Cursor) ([]commands.History, error) {
	if m.loading != nil {
		if err := m.loading(cursors); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loads = append(m.loads, slices.Clone(cursors))
	if m.onLoad != nil {
		if err := m.onLoad(); err != nil {
			return nil, err
		}
	}
	histories := make([]commands.History, len(cursors))
	for i, c := range cursors {
		histories[i].Version = c.After
		if histories[i].Err = m.broken[c.Stream]; histories[i].Err != nil {
			continue
		}
		if s, kept := m.snapshots[c.Stream]; kept && c.Format == s.Format && s.Version > c.After {
			histories[i].From, histories[i].Version = &s, s.Version
		}
		for _, e := range m.streams[c.Stream][histories[i].Version:] {
			if c.Limit > 0 && len(histories[i].Events) == c.Limit {
				histories[i].More = true
				break
			}
			histories[i].Events = append(histories[i].Events, e.Event)
			histories[i].Version++
		}
	}
	return histories, nil
}

func (m *memory) Incarnation() int64 { return m.incarnation.Load() }

func (m *memory) SaveSnapshot(_ context.Context, stream domain.StreamID, s commands.Snapshot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.Incarnation == m.Incarnation() {
		m.snapshots[stream] = s
	}
	return nil
}

func (m *memory) Append(ctx context.Context, batch []commands.Append) ([]error, error) {
	if m.before != nil {
		if err := m.before(ctx, batch); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches = append(m.batches, batch)
	errs := make([]error, len(batch))
	seen := map[domain.StreamID]bool{}
	for i, a := range batch {
		if seen[a.Stream] {
			return nil, fmt.Errorf("%s is twice in a batch", a.Stream)
		}
		seen[a.Stream] = true
		if len(a.Events) == 0 {
			return nil, fmt.Errorf("%s: an append of nothing", a.Stream)
		}
		if errs[i] = m.refuse(a); errs[i] == nil {
			m.store(a)
		}
	}
	return errs, nil
}

func (m *memory) refuse(a commands.Append) error {
	if a.Incarnation != m.Incarnation() || a.Expected != domain.Version(len(m.streams[a.Stream])) {
		return commands.ErrConflict
	}
	var repeated commands.Repeated
	for _, u := range a.Updates {
		if _, known := m.inbox[inboxKey(u.Bot, u.ID)]; known {
			repeated = append(repeated, u.ID)
		}
	}
	if repeated != nil {
		return repeated
	}
	var fenced commands.Fenced
	for _, s := range a.Settled {
		if m.leases[s.Delivery] != s.Fence {
			fenced = append(fenced, s.Delivery)
		}
	}
	if fenced != nil {
		return fenced
	}
	return nil
}

func (m *memory) store(a commands.Append) {
	m.streams[a.Stream] = append(m.streams[a.Stream], a.Events...)
	for _, u := range a.Updates {
		m.inbox[inboxKey(u.Bot, u.ID)] = u.Version
	}
	for _, s := range a.Settled {
		delete(m.leases, s.Delivery)
	}
}

func (m *memory) HasUpdate(_ context.Context, stream domain.StreamID, key uint64) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held++
	return slices.ContainsFunc(m.streams[stream], func(e commands.NewEvent) bool {
		received, ok := e.Event.(chat.MessageReceived)
		return ok && received.Key == key
	}), nil
}

func (m *memory) FindOperatorAct(_ context.Context, stream domain.StreamID, operator, key string) (*uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acted++
	for _, e := range m.streams[stream] {
		if acted, ok := e.Event.(chat.OperatorActed); ok && acted.Operator == operator && acted.Key == key {
			return &acted.Fingerprint, nil
		}
	}
	return nil, nil
}

func inboxKey(bot string, id int64) string { return fmt.Sprint(bot, " ", id) }

// elsewhere appends events as another process would.
func (m *memory) elsewhere(stream domain.StreamID, events ...domain.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		m.streams[stream] = append(m.streams[stream], commands.NewEvent{ID: uuid.New(), Event: e})
	}
}

func (m *memory) events(stream domain.StreamID) []commands.NewEvent {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.streams[stream])
}

// received lists the update ids of a stream's events in order, 0 for other events.
func (m *memory) received(stream domain.StreamID) (ids []int64) {
	for _, e := range m.events(stream) {
		id := int64(0)
		if received, ok := e.Event.(chat.MessageReceived); ok {
			id = received.ID
		}
		ids = append(ids, id)
	}
	return ids
}

var (
	anna = domain.ChatStream("demo", 1)
	bert = domain.ChatStream("demo", 2)
)

// update is a message that came in.
func update(stream domain.StreamID, id int64) commands.Request {
	return commands.Request{
		Stream: stream, Actor: domain.ActorCustomer, At: start,
		Command: chat.Receive{At: start, Event: chat.MessageReceived{
			Update: chat.Update{ID: id, Key: uint64(id)}, MessageID: id, Date: start, From: chat.Sender{ID: 9},
			Text: "hello",
		}},
		Update: &commands.Update{Bot: "demo", ID: id, Raw: fmt.Appendf(nil, `{"update_id": %d}`, id)},
	}
}

// ask is an operator's command.
func ask(stream domain.StreamID, command chat.Command) commands.Request {
	return commands.Request{Stream: stream, Command: command, Actor: "operator:maria", At: start}
}

var start = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// gate stops the first append until it is opened, so that requests gather behind it.
type gate chan struct{}

func (g gate) wait(ctx context.Context, _ []commands.Append) error {
	select {
	case <-g:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answer is what a request that was sent off led to.
type answer struct {
	result commands.Result
	err    error
}

// send handles a request in the background.
func send(h *commands.Handler, r commands.Request) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		result, err := h.Handle(context.Background(), r)
		done <- answer{result, err}
	}()
	return done
}

func handler(t *testing.T, store commands.Store, s commands.Config) *commands.Handler {
	h := commands.NewHandler(store, s)
	t.Cleanup(h.Close)
	return h
}
