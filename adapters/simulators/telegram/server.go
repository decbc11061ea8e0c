// Package telegramsim simulates Telegram: the Bot API that bots call, the
// webhook that delivers updates to them, and the customers who write to them.
// The development server, the end-to-end tests and the benchmarks use it instead
// of Telegram.
//
// It follows Telegram's rules but has few of its features: the envelope, status codes and
// descriptions of the Bot API; one update in flight per chat; the retry schedule and the expiry
// of updates; a secret that only the webhook request contains. Everything is in memory.
//
// Server is an http.Handler with four parts:
//
//	/bot<token>/<method>   the Bot API                        botapi.go
//	(outgoing)             webhook deliveries                 webhook.go
//	/sim/...               control: customers, faults, stats  control.go
//	/                      a page to chat with the bot        page.html
//
// Tests in Go use the methods of Server directly: Say, Press, Edit and Post act
// for customers, Messages and Await read the chat, AddFault makes calls fail.
package telegramsim

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatledger/chatledger/adapters/simulators/faults"
)

// A Bot is the account of one bot. Its user id is the number before the colon of the token.
type Bot struct {
	Token    string `json:"-"`
	Username string `json:"username"`
	Name     string `json:"name"`
}

// Options configure New.
type Options struct {
	// Bots are the accounts; the first is the default of the Go methods and of
	// /sim/ calls, where ?bot=<username> picks another.
	Bots []Bot

	// Log receives failed deliveries and dropped updates. Nil discards them.
	Log *slog.Logger

	// RetryUnit is the length of a "second" in Telegram's own waits: retry backoff, Retry-After,
	// expiry, setWebhook's limit. 0 means time.Second. Tests make it shorter, so that hours pass in
	// seconds. Times sent to bots (retry_after, dates) are in real seconds.
	RetryUnit time.Duration

	// MinTimeout is the shortest timeout for an answer of the bot, which runs in real time, even if
	// RetryUnit is short: for the answer to an update, and to a button. 0 means time.Second; a bot
	// on a busy machine may need more.
	MinTimeout time.Duration

	// Now dates messages; nil means time.Now. Timeouts and limits always use the system clock.
	Now func() time.Time

	// Handlers tells the page whether the bot or an operator handles a chat; nil if this is not known.
	Handlers Handlers

	// FirstUpdateID is the first update_id of every bot. 0 means a random one, as at Telegram.
	FirstUpdateID int64
}

// Server is the simulated Telegram. Use New; the zero value does not work.
type Server struct {
	log    *slog.Logger
	now    func() time.Time
	unit   time.Duration
	least  time.Duration // MinTimeout
	client *http.Client
	begun  time.Time // the start of this server, for the page

	handlers Handlers
	pages    *http.ServeMux // everything but the Bot API

	bots    []*bot
	byToken map[string]*bot
	byName  map[string]*bot

	faults faults.Set[Fault]
	rates  rates
	calls  callCounts
	onSend atomic.Pointer[func(chat int64, text string, at time.Time)]

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup // webhook deliveries
}

// idleConnections is the number of idle connections to one host that the client keeps:
// Telegram's maximum of max_connections, for two bots.
const idleConnections = 2 * maxMaxConnections

// New returns a Server. It panics if the options have no bot, or a token without a numeric id: both are
// mistakes of the programmer.
func New(options Options) *Server {
	if len(options.Bots) == 0 {
		panic("telegramsim: Options.Bots is empty; give at least one bot")
	}
	s := &Server{
		log:      options.Log,
		now:      options.Now,
		unit:     options.RetryUnit,
		begun:    time.Now(),
		handlers: options.Handlers,
		least:    cmp.Or(options.MinTimeout, time.Second),
		byToken:  map[string]*bot{},
		byName:   map[string]*bot{},
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				MaxIdleConnsPerHost: idleConnections,
				IdleConnTimeout:     90 * time.Second,
			},
			// Telegram treats a redirect as a failure.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.unit <= 0 {
		s.unit = time.Second
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for _, account := range options.Bots {
		number, _, ok := strings.Cut(account.Token, ":")
		id, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil || id <= 0 {
			panic("telegramsim: the token of bot " + strconv.Quote(account.Username) + " does not start with <number>:")
		}
		first := options.FirstUpdateID
		if first == 0 {
			first = 100_000_000 + rand.Int64N(900_000_000) // leaves room to count up within 32 bits
		}
		b := newBot(s, account, id, first)
		s.bots = append(s.bots, b)
		s.byToken[account.Token] = b
		s.byName[strings.ToLower(account.Username)] = b
	}
	s.pages = s.routes()
	return s
}

// ServeHTTP answers the Bot API, the control API and the page.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if call, ok := strings.CutPrefix(r.URL.Path, "/bot"); ok {
		s.serveBotAPI(w, r, call)
		return
	}
	s.pages.ServeHTTP(w, r)
}

// Close stops all deliveries and waits for them. Updates that were not acknowledged stay pending. The
// handler, Messages and Stats still work.
func (s *Server) Close() {
	s.stop()
	for _, b := range s.bots {
		b.hook.close()
	}
	s.work.Wait()
	s.client.CloseIdleConnections()
}

// OnSend registers a hook for benchmarks. It is called when a sendMessage arrives, before any fault or
// check, with the text that the bot sent, from many goroutines at once. It must be quick.
func (s *Server) OnSend(hook func(chat int64, text string, at time.Time)) {
	if hook == nil {
		s.onSend.Store(nil)
		return
	}
	s.onSend.Store(&hook)
}

// seconds returns the length of n of the simulator's seconds.
func (s *Server) seconds(n int64) time.Duration { return time.Duration(n) * s.unit }

// timeout returns n seconds, but at least MinTimeout, for waits for the bot.
func (s *Server) timeout(n int64) time.Duration { return max(s.seconds(n), s.least) }
