package commands

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// Request is a command for one stream, with the metadata of the events that it leads to.
type Request struct {
	Stream      domain.StreamID
	Command     chat.Command
	Actor       domain.Actor
	Causation   uuid.UUID // the event it answers; Nil when it came from outside
	Correlation uuid.UUID // Nil begins a new chain
	Trace       string    // W3C traceparent of the caller; "" when it is not sampled
	At          time.Time
	Update      *Update     // the update it consumes
	Settles     *Settlement // the delivery attempt it consumes
	Wait        time.Duration
}

// Update identifies a received update, and keeps its bytes.
type Update struct {
	Bot string
	ID  int64
	Raw []byte
}

// Result holds the events that a request led to, from version First on. It has none when
// the request was a repeat or there was nothing to do.
type Result struct {
	First  domain.Version
	Events []domain.Event
	State  *chat.State // behind the events, of a chat.Operate that led to some; nil otherwise
	Wake   time.Time   // of a chat.Elapse: the chat's next deadline; zero when there is none
}

// Handler loads the state of a chat, decides a request, and commits the events. Requests
// for one stream are decided one after the other. All requests that wait at the same
// moment, for any number of streams, share one commit, which divides the cost of a durable
// write among them.
//
// A Handler has no goroutines of its own. The caller of Handle commits a batch of all
// waiting requests, unless Config.Committers batches are being committed already. So a
// request that comes alone is handled in the goroutine of its caller.
type Handler struct {
	store    Store
	states   *lru.Cache[domain.StreamID, folded]
	queues   *queues
	settings SettingsProvider
	batch    int
	observer Observer
	shared   atomic.Int64  // until this time in Unix nanoseconds; see sharedFor
	saving   chan struct{} // holds one while a snapshot is being saved
	saves    sync.WaitGroup
	damaged  sync.Map // streams whose snapshot could not be decoded
	ctx      context.Context
	stop     context.CancelFunc
}

// folded is the committed state of a chat at a version.
type folded struct {
	state    chat.State
	version  domain.Version
	snapshot domain.Version // of the last snapshot that is known of

	// The store's incarnation when the load began. A state of another incarnation is of no use.
	incarnation int64
}

// Config configures a Handler. Zero values mean the defaults.
type Config struct {
	Committers int              // batches that are committed at the same time
	Batch      int              // streams in one commit
	Cached     int              // chats whose state is kept in memory
	Settings   SettingsProvider // nil gives every bot zero settings
	Observer   Observer         // may be nil
}

// SettingsProvider returns the settings that decisions for a bot are made under. It returns false
// for a bot that this process does not serve: what the bot says or does is not decided then, but
// what operators do and what became of deliveries is recorded.
type SettingsProvider interface {
	SettingsOf(bot string) (chat.Settings, bool)
}

// SettingsFunc is a function as a SettingsProvider.
type SettingsFunc func(bot string) chat.Settings

// SettingsOf calls f.
func (f SettingsFunc) SettingsOf(bot string) (chat.Settings, bool) { return f(bot), true }

const (
	// While one batch waits for the disk, the next one is decided. More committers make the
	// batches smaller: three had a tenth less throughput on 2 cores (see docs/benchmarks.md).
	defaultCommitters = 2
	// 128 streams are enough to amortise the commit. In larger batches latency grows faster
	// than throughput.
	defaultBatch = 128
	// A state takes about 1 KiB, so all take some 20 MiB. A chat whose ticket keeps long
	// texts for an operator takes more.
	defaultCached = 20_000
	// A decision is repeated after a conflict with another process. Each try reads the events
	// of the other process, so more than a few tries mean that two processes keep writing to
	// the same chat.
	maxTries = 16
	// For sharedFor after a conflict, every cached state is updated from the store before a
	// decision: another process writes to the same chats, and appends that were decided on a
	// cached state would often conflict.
	sharedFor = time.Second
	// A read or an append that takes longer than storeTimeout is reported as failed. Its
	// streams are read again afterwards, so nothing is lost if the append succeeded after
	// all. The time for deciding does not count: it is bounded by what a command may hold,
	// and a slow decision is no reason to believe that the store does not answer.
	storeTimeout = 4 * time.Second
	// loadPage is how many events of a stream are loaded at once, some 10 ms. A longer stream
	// is loaded beside the batch, from its snapshot, so that nobody else waits for it.
	loadPage = 2000
)

// NewHandler returns a handler that loads from and appends to a store.
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
	h := &Handler{store: store, states: states, settings: s.Settings, batch: orDefault(s.Batch, defaultBatch),
		observer: s.Observer,
		saving:   make(chan struct{}, 1)}
	if h.settings == nil {
		h.settings = SettingsFunc(func(string) chat.Settings { return chat.Settings{} })
	}
	h.queues = newQueues(orDefault(s.Committers, defaultCommitters), func() { h.commitReady() })
	h.ctx, h.stop = context.WithCancel(context.Background())
	return h
}

// Close rejects new requests with ErrClosed and returns when the waiting ones are finished.
func (h *Handler) Close() {
	h.queues.close()
	h.saves.Wait()
	h.stop()
}

// commitReady commits one batch, if one is ready and fewer than Config.Committers are being
// committed. Batches that became ready meanwhile are committed in another goroutine, so that
// no caller waits for the requests of others.
func (h *Handler) commitReady() {
	batch := h.queues.take(h.batch)
	if batch == nil {
		return
	}
	if next := h.commitAndRelease(batch); next != nil {
		go func() { // Close waits for it: its batch is counted in queues.committing
			for next != nil {
				next = h.commitAndRelease(next)
			}
		}()
	}
}

// commitAndRelease commits a batch and returns the next one, if any is ready.
func (h *Handler) commitAndRelease(batch []*streamQueue) (next []*streamQueue) {
	finished, detached := h.commit(batch)
	for _, l := range detached {
		go h.loadAlone(l) // Close waits for it: its queue is not released before its end
	}
	return h.queues.release(finished, h.batch)
}

// State returns the state of a chat and its version. It updates the cached state from the
// store, because another process may have appended to the chat.
func (h *Handler) State(ctx context.Context, stream domain.StreamID) (chat.State, domain.Version, error) {
	known, _ := h.cached(stream, h.store.Incarnation())
	next := Cursor{Stream: stream, After: known.version, Limit: loadPage}
	for more := true; more; next = h.cursor(stream, known.version, loadPage) {
		history, err := h.loadOne(ctx, next)
		if err == nil && history.Err != nil {
			err = fmt.Errorf("%w: %w", ErrUnreadable, history.Err)
		}
		if err != nil {
			return chat.State{}, 0, fmt.Errorf("state of %s: %w", stream, err)
		}
		known, more = h.resume(stream, known, history)
	}
	return known.state, known.version, nil
}

// Readable returns ErrUnreadable for a stream of which no command can be decided, such as the outcome of
// a delivery. It loads the stream, unless it is in memory.
func (h *Handler) Readable(ctx context.Context, stream domain.StreamID) error {
	if _, cached := h.cached(stream, h.store.Incarnation()); cached {
		return nil
	}
	_, _, err := h.State(ctx, stream)
	if err != nil {
		h.states.Remove(stream) // the pages before the event that cannot be read
	}
	return err
}

// cached returns the state of a stream in memory that was loaded from this incarnation of the
// store, or the initial one.
func (h *Handler) cached(stream domain.StreamID, incarnation int64) (known folded, cached bool) {
	if known, cached = h.states.Get(stream); cached && known.incarnation == incarnation {
		return known, true
	}
	return folded{state: chat.Decider.Initial(), incarnation: incarnation}, false
}

// loadOne loads events of one stream.
func (h *Handler) loadOne(ctx context.Context, c Cursor) (History, error) {
	histories, err := h.store.Load(ctx, []Cursor{c})
	if err != nil {
		return History{}, err
	}
	return histories[0], nil
}

// storeContext limits one call of the store.
func (h *Handler) storeContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(h.ctx, storeTimeout)
}

// Handle decides a request and returns when its events are durable. After an error from
// ctx it is unknown whether they will be.
func (h *Handler) Handle(ctx context.Context, r Request) (Result, error) {
	results, err := h.HandleAll(ctx, []Request{r})
	if err != nil {
		return Result{}, err
	}
	return results[0], nil
}

// HandleAll handles several requests. Requests for one stream are decided in the given
// order. The error joins the errors of the requests that failed.
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

// commit loads, folds, decides and appends a batch of streams. It repeats this for the
// streams on which the append conflicted with another writer. It returns the streams that it
// has finished, and those that loadAlone goes on with.
func (h *Handler) commit(batch []*streamQueue) (finished, detached []*streamQueue) {
	work := batch
	for try := 0; len(work) > 0; try++ {
		if try == maxTries {
			h.fail(work, ErrConflict)
			break
		}
		begun := time.Now()
		ready, alone := h.load(work)
		detached = append(detached, alone...)
		seen, tried := Commit{Begun: begun}, ready
		appends, appending, again := h.decideAll(ready)
		if work = again; len(appends) == 0 {
			h.observeCommit(seen, tried, nil, nil)
			continue
		}
		seen.Appending = time.Now()
		errs, err := h.append(appends)
		seen.AppendTime, seen.Err = time.Since(seen.Appending), err
		h.observeCommit(seen, tried, appending, errs)
		if err != nil {
			h.fail(appending, err)
			h.fail(again, err)
			break
		}
		work = append(work, h.finishAppended(appending, errs)...)
	}
	if len(detached) == 0 {
		return batch, nil
	}
	for _, l := range batch {
		if !slices.Contains(detached, l) {
			finished = append(finished, l)
		}
	}
	return finished, detached
}

func (h *Handler) append(appends []Append) ([]error, error) {
	ctx, cancel := h.storeContext()
	defer cancel()
	return h.store.Append(ctx, appends)
}

// decideAll decides the requests of each stream. It returns the appends with their streams,
// and the streams that need a fresh state. All others are finished.
func (h *Handler) decideAll(work []*streamQueue) (appends []Append, appending, again []*streamQueue) {
	for _, l := range work {
		a, err := h.decide(l)
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

// finishAppended finishes the streams whose append succeeded or failed for good, and returns
// those that must be decided again.
func (h *Handler) finishAppended(appended []*streamQueue, errs []error) (again []*streamQueue) {
	for i, l := range appended {
		switch {
		case errs[i] == nil:
			h.states.Add(l.stream, h.keepSnapshot(l.stream, l.decided))
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

// load sets the state of each stream, from the cache or folded from the store, and returns the
// streams that can be decided. A stale state is updated with the events that were appended
// since. A stream whose load is long or fails is taken out of the batch, so that the others
// do not wait for it, and is returned in detached: loadAlone goes on with it.
func (h *Handler) load(work []*streamQueue) (ready, detached []*streamQueue) {
	var cursors []Cursor
	var cold []*streamQueue
	shared, incarnation := time.Now().UnixNano() < h.shared.Load(), h.store.Incarnation()
	for _, l := range work {
		known, cached := h.cached(l.stream, incarnation)
		l.base, l.fresh, l.unreadable = known, !cached || l.stale || shared, nil
		if l.fresh {
			cursors = append(cursors, Cursor{Stream: l.stream, After: known.version, Limit: loadPage})
			cold = append(cold, l)
		} else {
			ready = append(ready, l)
		}
	}
	if len(cold) == 0 {
		return ready, nil
	}
	ctx, cancel := h.storeContext()
	defer cancel()
	histories, err := h.store.Load(ctx, cursors)
	for i, l := range cold {
		switch {
		case err != nil && len(cold) > 1:
			detached = append(detached, l) // which of them made it fail is not known
		case err != nil:
			h.fail([]*streamQueue{l}, err)
		case h.fold(l, histories[i]):
			ready = append(ready, l)
		default:
			detached = append(detached, l)
		}
	}
	return ready, detached
}

// fold takes events that were loaded into the stream's state, and reports whether they were
// all there are.
func (h *Handler) fold(l *streamQueue, history History) (whole bool) {
	if l.unreadable = history.Err; l.unreadable != nil {
		return true
	}
	var more bool
	l.base, more = h.resume(l.stream, l.base, history)
	return !more
}

// evolve folds events into a state. The state of a bot's own stream stays the initial one: no
// decision depends on it, and the stream grows with every update that belongs to no chat.
func (h *Handler) evolve(stream domain.StreamID, from folded, to domain.Version, events []domain.Event) folded {
	if _, inChat := stream.Chat(); !inChat {
		return folded{state: from.state, version: to, incarnation: from.incarnation}
	}
	return folded{chat.Decider.Fold(from.state, events...), to, from.snapshot, from.incarnation}
}

// loadAlone loads one stream page by page, commits it as a batch of its own and releases its
// queue. What was folded stays in the cache also when a later page fails, so that the next
// attempt goes on from there.
func (h *Handler) loadAlone(l *streamQueue) {
	for h.loadPages(l) {
		if _, detached := h.commit([]*streamQueue{l}); len(detached) == 0 {
			break
		} // else another process appended more than a page meanwhile
	}
	h.queues.releaseDetached(l)
	h.commitReady()
}

func (h *Handler) loadPages(l *streamQueue) (loaded bool) {
	for limit := loadPage; ; {
		history, err := h.loadPage(l, limit)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && limit > 1 && h.ctx.Err() == nil:
			limit = max(1, limit/8) // a few large events can take as long as many small ones
		case err != nil:
			l.fail(err)
			return false
		case h.fold(l, history):
			return true
		}
	}
}

func (h *Handler) loadPage(l *streamQueue, limit int) (History, error) {
	ctx, cancel := h.storeContext()
	defer cancel()
	return h.loadOne(ctx, h.cursor(l.stream, l.base.version, limit))
}

// decide decides the requests of one stream, one after the other, and returns the append
// of all their events. Updates that wait together are decided in the order of their ids.
// decide returns ErrConflict to ask for a fresh state: a cached state may be behind the
// writes of another process. An append would detect that, a decision to do nothing would
// not.
//
// A panic becomes the error of this stream; the other streams of the batch are not affected.
func (h *Handler) decide(l *streamQueue) (a Append, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("deciding %w", Panicked(r, debug.Stack()))
		}
	}()
	if l.unreadable != nil {
		return a, fmt.Errorf("%w: %w", ErrUnreadable, l.unreadable)
	}
	l.sortUpdates()
	a = Append{Stream: l.stream, Expected: l.base.version, Incarnation: l.base.incarnation}
	l.decided = l.base
	settings, served := h.settings.SettingsOf(l.stream.Bot())
	var update *Update // the last one consumed
	for _, p := range l.taken {
		if update != nil && p.Update != nil && p.Update.ID == update.ID {
			p.repeated = true // the updates are sorted, so duplicates are neighbours
		}
		if p.settled() {
			continue
		}
		p.result, p.refusal = Result{First: l.decided.version + 1}, nil
		if !served && (p.Actor == domain.ActorBot || p.Actor == domain.ActorTimer || p.Actor == domain.ActorImport) {
			p.refusal = ErrNotServed
			continue
		}
		command, repeat, err := h.checkStore(l, p.Command)
		if err != nil {
			return Append{}, err
		}
		if repeat {
			continue
		}
		_, receiving := command.(chat.Receive)
		events, err := chat.Decider.Decide(l.decided.state, command, settings)
		if len(events) == 0 && !l.fresh && !receiving { // a received update stays received
			l.stale = true
			return Append{}, ErrConflict
		}
		p.result.Events, p.refusal = events, err
		if _, elapsing := p.Command.(chat.Elapse); elapsing {
			p.result.Wake = chat.Wake(chat.Decider.Fold(l.decided.state, events...), settings)
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
		l.decided = h.evolve(l.stream, l.decided, l.decided.version+domain.Version(len(events)), events)
		if _, operating := p.Command.(chat.Operate); operating {
			state := l.decided.state
			p.result.State = &state
		}
	}
	if at := chat.Wake(l.decided.state, settings); !at.Equal(chat.Wake(l.base.state, settings)) {
		wake := at
		a.Wake = &wake
	}
	return a, nil
}

// checkStore asks the store for what the bounded state may have forgotten: whether a message
// is a repeat, and whether an operator acted under this idempotency key before. The latter
// is passed on in the command.
func (h *Handler) checkStore(l *streamQueue, command chat.Command) (_ chat.Command, repeat bool, err error) {
	switch c := command.(type) {
	case chat.Receive:
		if key, may := chat.MayRepeat(l.decided.state, c); may {
			ctx, cancel := h.storeContext()
			defer cancel()
			repeat, err = h.store.HasUpdate(ctx, l.stream, key)
		}
		return c, repeat, err
	case chat.Operate:
		if chat.MayHaveForgottenAct(l.decided.state, c) {
			ctx, cancel := h.storeContext()
			defer cancel()
			c.Forgotten, err = h.store.FindOperatorAct(ctx, l.stream, c.Operator, c.Key)
		}
		return c, false, err
	}
	return command, false, nil
}

// newEvents returns the events with new ids and the metadata of the request.
func (p *pending) newEvents(events []domain.Event) []NewEvent {
	out := make([]NewEvent, len(events))
	chain := p.Correlation
	for i, e := range events {
		id := uuid.Must(uuid.NewV7())
		if chain == uuid.Nil {
			chain = id
		}
		out[i] = NewEvent{
			ID: id, Event: e, Causation: p.Causation, Correlation: chain, Actor: p.Actor, Trace: p.Trace,
			OccurredAt: p.At,
		}
	}
	if p.Update != nil {
		out[0].Raw = p.Update.Raw
	}
	return out
}

// fail finishes the requests of the streams with an error. It removes their states from the
// cache, because it is unknown whether the last append succeeded.
func (h *Handler) fail(work []*streamQueue, err error) {
	for _, l := range work {
		h.states.Remove(l.stream)
		l.fail(err)
	}
}
