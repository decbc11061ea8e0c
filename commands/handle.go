package commands

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Request is a command for one stream, with what must be recorded beside the
// events it leads to.
type Request struct {
	Stream      domain.StreamID
	Command     chat.Command
	Actor       domain.Actor
	Causation   uuid.UUID // the event it answers; Nil when it came from outside
	Correlation uuid.UUID // Nil begins a new chain
	Trace       string    // W3C traceparent of whoever asks; "" when it is not sampled
	At          time.Time
	Update      *Update     // the update it consumes
	Settles     *Settlement // the delivery attempt it consumes
	Wait        time.Duration
}

// Update is what a received update is recognised and kept by.
type Update struct {
	Bot string
	ID  int64
	Raw []byte
}

// Result is what a request led to: these events from version First on, or none
// when it was a repeat or there was nothing to do.
type Result struct {
	First  domain.Version
	Events []domain.Event
	Wake   time.Time // of a chat.Elapse: when time next brings something about; zero is never
}

// Handler takes requests from load to commit. Requests of one stream are decided
// one after the other; all that wait at the same moment, of however many streams,
// share one commit, so that the price of a durable write is divided among them.
//
// It has no workers of its own: who comes while fewer than the wanted number of
// batches are on their way carries one, with everything that waits. A request that
// comes alone is handled without changing hands.
type Handler struct {
	store   Store
	states  *lru.Cache[domain.StreamID, folded]
	queues  *queues
	with    func(bot string) chat.Settings
	batch   int
	observe func(Commit)
	shared  atomic.Int64 // until then, in Unix nanoseconds; see sharedFor
	ctx     context.Context
	stop    context.CancelFunc
}

// folded is a chat's state at a version, as it was committed.
type folded struct {
	state   chat.State
	version domain.Version
}

// Settings of a Handler; zero values take the defaults.
type Config struct {
	Committers int          // batches on their way to the store at once
	Batch      int          // streams in one commit
	Cached     int          // chats whose state is kept in memory
	Observe    func(Commit) // is told of every round, and must be quick; may be nil

	// With is what a bot's decisions are taken with; nil is zero Settings.
	With func(bot string) chat.Settings
}

const (
	// While one batch waits for the disk the next is on its way; more only makes the
	// batches smaller: three carried a tenth less on 2 cores (see docs/benchmarks.md).
	defaultCommitters = 2
	// A hundred-odd streams amortise the commit; beyond that a batch's own
	// latency grows faster than the throughput.
	defaultBatch = 128
	// About 1 KiB each with full lists, some 20 MiB; more for those in which long texts
	// wait for a person.
	defaultCached = 20_000
	// Decisions are repeated when another process was faster. Each round reads
	// what it wrote, so more than a few mean two processes fight over one chat.
	maxTries = 16
	// sharedFor is how long, after a conflict, each chat's state is brought up to date
	// before it is decided upon: another process is writing to the same chats, and what
	// is decided on a state from memory would often be refused and decided again.
	sharedFor = time.Second
	// A commit that takes longer is reported as failed; its streams are then
	// read anew, so nothing is lost if it arrives after all.
	commitTimeout = 4 * time.Second
)

// NewHandler returns a handler on a store.
func NewHandler(store Store, s Config) *Handler {
	orDefault := func(n, d int) int {
		if n <= 0 {
			return d
		}
		return n
	}
	states, err := lru.New[domain.StreamID, folded](orDefault(s.Cached, defaultCached))
	if err != nil {
		panic(err)
	}
	h := &Handler{store: store, states: states, with: s.With, batch: orDefault(s.Batch, defaultBatch), observe: s.Observe}
	h.queues = newQueues(orDefault(s.Committers, defaultCommitters), func() { h.commitReady() })
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

// Close refuses new requests, lets the waiting ones finish, and returns then.
func (h *Handler) Close() {
	h.queues.close()
	h.stop()
}

// carry takes one batch to the store, if one is ready and may go. What became
// ready meanwhile is carried by somebody else, so that no caller waits for others.
func (h *Handler) commitReady() {
	batch := h.queues.take(h.batch)
	if batch == nil {
		return
	}
	h.commit(batch)
	if next := h.queues.release(batch, h.batch); next != nil {
		go func() { // Close waits for it: its batch counts as carried
			for ; next != nil; next = h.queues.release(next, h.batch) {
				h.commit(next)
			}
		}()
	}
}

// Handle decides a request and returns when its events are durable. An error
// from ctx says nothing about whether they will be.
func (h *Handler) Handle(ctx context.Context, r Request) (Result, error) {
	results, err := h.HandleAll(ctx, []Request{r})
	if err != nil {
		return Result{}, err
	}
	return results[0], nil
}

// HandleAll is Handle for several requests; those of one stream are decided in
// the order given. The error joins those of the requests that failed.
func (h *Handler) HandleAll(ctx context.Context, requests []Request) ([]Result, error) {
	waiting := make([]*pending, len(requests))
	for i, r := range requests {
		waiting[i] = &pending{Request: r, done: make(chan struct{})}
		if r.Trace != "" {
			waiting[i].since = time.Now()
		}
		h.queues.add(waiting[i])
	}
	h.commitReady()
	results := make([]Result, len(requests))
	var failed []error
	for i, p := range waiting {
		select {
		case <-p.done:
			if results[i] = p.result; p.err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", p.Stream, p.err))
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", p.Stream, context.Cause(ctx))
		}
	}
	return results, errors.Join(failed...)
}

// commit takes a batch of lines to the store: load, fold, decide, append, and
// again for the lines that another writer was faster on.
func (h *Handler) commit(batch []*streamQueue) {
	ctx, cancel := context.WithTimeout(h.ctx, commitTimeout)
	defer cancel()
	work := batch
	for round := 0; len(work) > 0; round++ {
		if round == maxTries {
			h.fail(work, ErrConflict)
			return
		}
		begun := time.Now()
		if err := h.load(ctx, work); err != nil {
			h.fail(work, err)
			return
		}
		seen, tried := Commit{Begun: begun}, work
		appends, appending, again := h.decideAll(ctx, work)
		if work = again; len(appends) == 0 {
			h.observeCommit(seen, tried, nil, nil)
			continue
		}
		seen.Appending = time.Now()
		errs, err := h.store.Append(ctx, appends)
		seen.AppendTime, seen.Err = time.Since(seen.Appending), err
		h.observeCommit(seen, tried, appending, errs)
		if err != nil {
			h.fail(appending, err)
			h.fail(again, err)
			return
		}
		work = append(work, h.finishAppended(appending, errs)...)
	}
}

// decideAll decides each line. It returns the appends with their lines, and the lines that
// ask for a fresh state; all others are finished.
func (h *Handler) decideAll(ctx context.Context, work []*streamQueue) (appends []Append, appending, again []*streamQueue) {
	for _, l := range work {
		a, err := h.decide(ctx, l)
		switch {
		case errors.Is(err, ErrConflict):
			again = append(again, l)
		case err != nil:
			h.fail([]*streamQueue{l}, err)
		case len(a.Events) > 0:
			appends, appending = append(appends, a), append(appending, l)
		default:
			l.finish()
		}
	}
	return appends, appending, again
}

// conclude finishes the lines whose append was taken or is refused for good, and returns
// those to be decided again.
func (h *Handler) finishAppended(appended []*streamQueue, errs []error) (again []*streamQueue) {
	for i, l := range appended {
		switch {
		case errs[i] == nil:
			h.states.Add(l.stream, l.decided)
			l.finish()
		case l.drop(errs[i]):
			if l.stale = errors.Is(errs[i], ErrConflict); l.stale {
				h.shared.Store(time.Now().Add(sharedFor).UnixNano())
			}
			again = append(again, l)
		default:
			h.fail([]*streamQueue{l}, errs[i])
		}
	}
	return again
}

// load gives each line its chat's state: from memory, or folded from the store.
// A stale state is brought up to date with what was appended since.
func (h *Handler) load(ctx context.Context, work []*streamQueue) error {
	var cursors []Cursor
	var cold []*streamQueue
	shared := time.Now().UnixNano() < h.shared.Load()
	for _, l := range work {
		known, cached := h.states.Get(l.stream)
		if !cached {
			known = folded{state: chat.Decider.Initial()}
		}
		l.base, l.fresh = known, !cached || l.stale || shared
		if l.fresh {
			cursors, cold = append(cursors, Cursor{l.stream, known.version}), append(cold, l)
		}
	}
	if len(cold) == 0 {
		return nil
	}
	histories, err := h.store.Load(ctx, cursors)
	if err != nil {
		return err
	}
	for i, l := range cold {
		if l.unreadable = histories[i].Err; l.unreadable == nil {
			l.base = folded{chat.Decider.Fold(l.base.state, histories[i].Events...), histories[i].Version}
			h.states.Add(l.stream, l.base)
		}
	}
	return nil
}

// decide folds the line's requests one by one into what is to be appended.
// Updates that wait together are taken in the order of their ids. ErrConflict
// asks for a fresh state: one from memory may be behind another process's writes,
// which an append would notice, but a decision to do nothing would not.
//
// A panic is this chat's error: it must not take the other chats down.
func (h *Handler) decide(ctx context.Context, l *streamQueue) (a Append, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("deciding %w", Panicked(r, debug.Stack()))
		}
	}()
	if l.unreadable != nil {
		return a, l.unreadable
	}
	l.sortUpdates()
	a = Append{Stream: l.stream, Expected: l.base.version}
	l.decided = l.base
	var with chat.Settings
	if h.with != nil {
		with = h.with(l.stream.Bot())
	}
	var update *Update // the last one consumed
	for _, p := range l.taken {
		if update != nil && p.Update != nil && p.Update.ID == update.ID {
			p.repeated = true // twice at once; they were sorted, so the two are neighbours
		}
		if p.settled() {
			continue
		}
		p.result, p.refusal = Result{First: l.decided.version + 1}, nil
		command, repeat, err := h.checkStore(ctx, l, p.Command)
		if err != nil {
			return Append{}, err
		}
		if repeat {
			continue
		}
		_, receiving := command.(chat.Receive)
		if h.with != nil && !receiving { // what is received is only taken in
			command = chat.Told{Command: command, With: with}
		}
		events, err := chat.Decider.Decide(l.decided.state, command)
		if len(events) == 0 && !l.fresh && !receiving { // what was heard once stays heard
			l.stale = true
			return Append{}, ErrConflict
		}
		p.result.Events, p.refusal = events, err
		if _, elapsing := p.Command.(chat.Elapse); elapsing {
			p.result.Wake = chat.Wake(chat.Decider.Fold(l.decided.state, events...), with)
		}
		if len(events) == 0 {
			continue
		}
		a.Events = append(a.Events, p.newEvents(events)...)
		if p.Update != nil {
			a.Updates = append(a.Updates, ConsumedUpdate{p.Update.Bot, p.Update.ID, p.result.First})
			update = p.Update
		}
		if p.Settles != nil {
			a.Settled = append(a.Settled, *p.Settles)
		}
		l.decided = folded{chat.Decider.Fold(l.decided.state, events...), l.decided.version + domain.Version(len(events))}
	}
	if at := chat.Wake(l.decided.state, with); !at.Equal(chat.Wake(l.base.state, with)) {
		wake := at
		a.Wake = &wake
	}
	return a, nil
}

// recall asks the store for what the state, which has bounds, may have forgotten: whether a
// message was received before, which makes it a repeat, and whether an operator acted
// before, which the command is told.
func (h *Handler) checkStore(ctx context.Context, l *streamQueue, command chat.Command) (_ chat.Command, repeat bool, err error) {
	switch c := command.(type) {
	case chat.Receive:
		if key, may := chat.MayRepeat(l.decided.state, c); may {
			repeat, err = h.store.HasUpdate(ctx, l.stream, key)
		}
		return c, repeat, err
	case chat.Operate:
		if chat.MayHaveForgottenAct(l.decided.state, c) {
			c.Forgotten, err = h.store.FindOperatorAct(ctx, l.stream, c.Operator, c.Key)
		}
		return c, false, err
	}
	return command, false, nil
}

// newEvents gives a request's events their ids and its metadata.
func (p *pending) newEvents(events []domain.Event) []NewEvent {
	out := make([]NewEvent, len(events))
	chain := p.Correlation
	for i, e := range events {
		id := uuid.Must(uuid.NewV7())
		if chain == uuid.Nil {
			chain = id
		}
		out[i] = NewEvent{ID: id, Event: e, Causation: p.Causation, Correlation: chain, Actor: p.Actor, Trace: p.Trace, OccurredAt: p.At}
	}
	if p.Update != nil {
		out[0].Raw = p.Update.Raw
	}
	return out
}

// fail ends the lines' requests with an error, and forgets their states: whether
// the last append arrived is not known.
func (h *Handler) fail(work []*streamQueue, err error) {
	for _, l := range work {
		h.states.Remove(l.stream)
		for _, p := range l.taken {
			if !p.settled() {
				p.err = err
			}
		}
		l.finish()
	}
}
