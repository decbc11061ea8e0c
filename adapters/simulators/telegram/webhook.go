package telegramsim

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Telegram's rules for a webhook, in seconds.
const (
	answerWithin   = 60        // timeout of an answer
	backoffCeiling = 60        // the backoff stops growing at a random 60 to 120
	maxRetryAfter  = 3600      // limit for Retry-After
	goneAfter      = 23 * 3600 // the webhook is removed after 410 for this long
	troubleAfter   = 10        // after this time without success, only one connection is opened
)

// maxLost limits the queues whose expired updates are counted for the page.
const maxLost = 1000

// A webhook delivers one bot's updates.
//
// Updates wait in a backlog and move, oldest first, into queues. At most 2 x max_connections queues are
// loaded, so if the webhook accepts none of their updates, all other chats wait. Only the first update of
// a queue is in flight. A change of the settings starts a new generation: deliveries of the old one are
// cancelled and their updates sent to the new address.
type webhook struct {
	server *Server
	bot    *bot

	mu         sync.Mutex
	closed     bool
	settings   hookSettings
	lastSet    time.Time
	lastError  string
	errorDate  int64
	gone       time.Time // time of the first 410 in a row
	generation int
	ctx        context.Context // of the generation
	cut        context.CancelFunc

	arrived  uint64 // counts pushes
	pending  int    // updates in backlog and queues
	backlog  []*update
	queues   map[queueKey]*queue
	ready    readyQueues // loaded queues without an update in flight
	inFlight int
	timer    *time.Timer

	connections int // open connections, according to the answers
	failing     bool
	lastSuccess time.Time

	delivered, retried, expired int64
	lost                        map[queueKey]int // expired updates, for the page
}

// A queue holds updates that must not overtake each other.
type queue struct {
	key     queueKey
	updates []*update
}

// A delivery is one attempt.
type delivery struct {
	update     *update
	queue      *queue
	settings   *hookSettings
	ctx        context.Context
	generation int
}

// An outcome is the result of an attempt.
type outcome struct {
	trouble    string // description of the failure; "" if the update was acknowledged
	retryAfter int64  // seconds; 0: not given
	gone       bool   // status 410
	hungUp     bool   // the connection was closed
}

func newWebhook(s *Server, b *bot) *webhook {
	h := &webhook{server: s, bot: b, queues: map[queueKey]*queue{}, lost: map[queueKey]int{}, cut: func() {}}
	h.settings.maxConnections = defaultMaxConnections
	h.timer = time.AfterFunc(time.Hour, h.wakeUp)
	h.timer.Stop()
	return h
}

// allows reports whether the bot receives updates of this kind.
func (h *webhook) allows(kind string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if allowed := h.settings.allowed; len(allowed) > 0 {
		return slices.Contains(allowed, kind)
	}
	return !slices.Contains(notByDefault, kind)
}

// push queues an update after all earlier ones.
func (h *webhook) push(u *update) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.arrived++
	h.pending++
	u.order, u.delay, u.wake = h.arrived, 1, time.Now()
	if u.queue.kind == ownQueue {
		u.queue.id = int64(u.order)
	}
	h.backlog = append(h.backlog, u)
	h.dispatch()
}

// dispatch starts deliveries while there are updates and a free connection. Callers hold h.mu.
func (h *webhook) dispatch() {
	for {
		next, ok := h.take()
		if !ok {
			return
		}
		h.server.work.Add(1)
		go h.deliver(next)
	}
}

// take returns the next update to send. If it is not due yet, take sets the timer and returns false. Callers
// hold h.mu.
func (h *webhook) take() (delivery, bool) {
	if h.closed || h.settings.url == "" {
		return delivery{}, false
	}
	h.load()
	if len(h.ready) == 0 {
		return delivery{}, false
	}
	first := h.ready[0]
	if wait := time.Until(first.updates[0].wake); wait > 0 {
		h.timer.Reset(wait)
		return delivery{}, false
	}
	if !h.connect() { // tried again after the next outcome
		return delivery{}, false
	}
	heap.Pop(&h.ready)
	h.inFlight++
	settings := h.settings
	return delivery{first.updates[0], first, &settings, h.ctx, h.generation}, true
}

// load moves updates from the backlog into queues, up to the limit of queues.
func (h *webhook) load() {
	for len(h.backlog) > 0 && len(h.queues) < 2*h.settings.maxConnections {
		u := h.backlog[0]
		h.backlog[0] = nil // or the array would keep it in memory
		h.backlog = h.backlog[1:]
		q := h.queues[u.queue]
		if q == nil {
			q = &queue{key: u.queue}
			h.queues[u.queue] = q
		}
		if q.updates = append(q.updates, u); len(q.updates) == 1 {
			heap.Push(&h.ready, q)
		}
	}
}

// connect reports whether there is a free connection, or opens one.
func (h *webhook) connect() bool {
	if h.inFlight < h.connections {
		return true
	}
	most := h.settings.maxConnections
	if h.failing && time.Since(h.lastSuccess) > h.server.seconds(troubleAfter) {
		most = 1
	}
	if h.connections >= most {
		return false
	}
	h.connections++
	return true
}

// wakeUp is called by the timer when a retry is due.
func (h *webhook) wakeUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dispatch()
}

// deliver sends updates, one after the other, until none is due.
func (h *webhook) deliver(next delivery) {
	defer h.server.work.Done()
	for more := true; more; {
		result := h.send(next)
		h.mu.Lock()
		h.settle(next, result)
		if next, more = h.take(); more {
			h.dispatch() // there may be work for further connections
		}
		h.mu.Unlock()
	}
}

// maxAnswerBytes bounds a webhook's answer, in bytes. The largest is a method call with one message.
const maxAnswerBytes = 64 << 10

// send makes one attempt.
func (h *webhook) send(d delivery) outcome {
	ctx, cancel := context.WithTimeout(d.ctx, h.server.timeout(answerWithin))
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.settings.url, bytes.NewReader(d.update.body))
	if err != nil {
		return outcome{trouble: "Invalid webhook URL specified"}
	}
	request.Header.Set("Content-Type", "application/json")
	if d.settings.secret != "" {
		request.Header.Set("X-Telegram-Bot-Api-Secret-Token", d.settings.secret)
	}
	response, err := h.server.client.Do(request)
	if err != nil {
		return outcome{trouble: hangup(err), hungUp: true}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return outcome{trouble: hangup(err), hungUp: true}
	}
	if code := response.StatusCode; code < 200 || code > 299 {
		result := outcome{
			trouble: "Wrong response from the webhook: " + response.Status,
			gone:    code == http.StatusGone,
			hungUp:  response.Close,
		}
		if after, err := strconv.ParseInt(response.Header.Get("Retry-After"), 10, 64); err == nil {
			result.retryAfter = min(max(after, 0), maxRetryAfter)
		}
		return result
	}
	h.obey(response.Header.Get("Content-Type"), body)
	return outcome{hungUp: response.Close}
}

// hangup returns Telegram's description of an attempt without an answer.
func hangup(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "Connection refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "Read timeout expired"
	}
	return "Webhook connection closed"
}

// obey calls the method in an answer that acknowledges an update, and drops its result. Methods that read, or
// that change the webhook itself, are not called.
func (h *webhook) obey(contentType string, body []byte) {
	call, err := parseParams(contentType, body)
	if err != nil || call["method"] == "" {
		return
	}
	method := strings.ToLower(call["method"])
	if method == "setwebhook" || method == "deletewebhook" || strings.HasPrefix(method, "get") {
		return
	}
	h.bot.call(h.server.ctx, method, call)
}

// settle records the outcome of an attempt. Callers hold h.mu.
func (h *webhook) settle(d delivery, result outcome) {
	if d.update.fails > 0 || result.trouble != "" { // the page shows updates that are not delivered
		defer h.bot.events.chatChanged(d.update.queue.id)
	}
	if d.generation != h.generation {
		return // cancelled; the update is queued again
	}
	h.inFlight--
	if result.hungUp {
		h.connections--
	}
	if !result.gone {
		h.gone = time.Time{}
	}
	if result.trouble == "" {
		h.failing, h.lastSuccess = false, time.Now()
		h.delivered++
		h.drop(d.queue)
		return
	}
	if h.closed {
		heap.Push(&h.ready, d.queue) // stays pending
		return
	}
	now := time.Now()
	h.failing, h.lastError, h.errorDate = true, result.trouble, now.Unix()
	u := d.update
	wait := result.retryAfter
	if wait == 0 && u.fails > 0 { // the first failure is retried at once
		u.delay = min(u.delay*2, backoffCeiling+rand.Int64N(backoffCeiling+1))
		wait = u.delay
	}
	u.fails++
	u.wake = now.Add(h.server.seconds(wait))
	log := h.server.log.With(slog.String("bot", h.bot.account.Username), slog.Int64("update_id", u.id),
		slog.String("error", result.trouble))
	if u.wake.After(u.expires) {
		log.Warn("update expired, dropped")
		h.expired++
		if len(h.lost) < maxLost {
			h.lost[u.queue]++
		}
		h.drop(d.queue)
	} else {
		log.Info("update not acknowledged, will be retried", slog.Int64("after_seconds", wait),
			slog.Int("failures", u.fails))
		h.retried++
		heap.Push(&h.ready, d.queue)
	}
	if result.gone {
		if h.gone.IsZero() {
			h.gone = now
		} else if now.Sub(h.gone) > h.server.seconds(goneAfter) {
			log.Warn("webhook removed: 410 for 23 hours")
			h.replace(hookSettings{maxConnections: defaultMaxConnections, allowed: h.settings.allowed})
		}
	}
}

// drop removes the first update of a queue.
func (h *webhook) drop(q *queue) {
	h.pending--
	q.updates[0] = nil
	if q.updates = q.updates[1:]; len(q.updates) == 0 {
		delete(h.queues, q.key)
		return
	}
	heap.Push(&h.ready, q)
}

// replace starts a new generation with other settings. Callers hold h.mu.
func (h *webhook) replace(settings hookSettings) {
	h.cut()
	h.ctx, h.cut = context.WithCancel(h.server.ctx)
	h.generation++
	h.settings = settings
	h.inFlight, h.connections = 0, 0
	h.failing, h.lastSuccess, h.gone = false, time.Now(), time.Time{}
	h.lastError, h.errorDate = "", 0

	for _, q := range h.queues {
		for _, u := range q.updates {
			u.delay, u.fails, u.wake = 1, 0, time.Now()
			h.backlog = append(h.backlog, u)
		}
	}
	clear(h.queues)
	h.ready = nil
	slices.SortFunc(h.backlog, func(a, b *update) int { return cmp.Compare(a.order, b.order) })
	h.dispatch()
}

// forget drops all pending updates, for drop_pending_updates. Callers hold h.mu and call replace next, which
// cancels the attempts in flight.
func (h *webhook) forget() {
	h.backlog, h.ready, h.pending = nil, nil, 0
	clear(h.queues)
}

// close ends all deliveries; the server waits for them.
func (h *webhook) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.timer.Stop()
	h.cut()
}

// readyQueues is a heap: first the queue whose first update has been due longest, and among equals the one
// whose update arrived first.
type readyQueues []*queue

func (r readyQueues) Len() int      { return len(r) }
func (r readyQueues) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r readyQueues) Less(i, j int) bool {
	a, b := r[i].updates[0], r[j].updates[0]
	if !a.wake.Equal(b.wake) {
		return a.wake.Before(b.wake)
	}
	return a.order < b.order
}
func (r *readyQueues) Push(q any) { *r = append(*r, q.(*queue)) }
func (r *readyQueues) Pop() any {
	old := *r
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*r = old[:len(old)-1]
	return last
}
