package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/projections"
)

// beTheProgram in the environment makes the test binary run as chatledger, as a process that a test can
// kill.
const beTheProgram = "CHATLEDGER_TEST_AS_PROGRAM"

// itsVersion in the environment is the version of such a process.
const itsVersion = "CHATLEDGER_TEST_VERSION"

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		version = os.Getenv(itsVersion)
		main()
	}
	// A developer's own settings must not change the tests.
	for _, name := range []string{"DATABASE_URL", "CHATLEDGER_BOTS", "CHATLEDGER_LISTEN", "CHATLEDGER_SIM",
		"CHATLEDGER_CRM", "CHATLEDGER_ZENDESK", "CHATLEDGER_MODEL", "CHATLEDGER_OPERATORS", "CHATLEDGER_NOTICE",
		"CHATLEDGER_ONLY", "CHATLEDGER_DATA_DIR", "CHATLEDGER_TELEGRAM_URL", "CHATLEDGER_LOG_LEVEL", "CHATLEDGER_LOG_FORMAT",
		"CHATLEDGER_LOG_BURST", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER_ARG"} {
		os.Unsetenv(name)
	}
	pgtest.Main(m)
}

const (
	// patience limits every wait. With the race detector, and other load on the processors, 200 messages to
	// one chat take most of a minute.
	patience = 2 * time.Minute
	// look is how often a condition is checked.
	look = 5 * time.Millisecond
	// unit is the length of a second in the simulator's waits.
	unit = 20 * time.Millisecond
	// leastTimeout is the simulator's shortest timeout for an answer to an update or a button: 150
	// units would be too short on a busy machine.
	leastTimeout = 10 * time.Second
)

// world is the simulator and chatledger with a database of the test's own.
type world struct {
	*telegramsim.Server
	*running
	t   *testing.T
	dsn string
	api string // the Bot API's address
	bot config.Bot
	db  *pgxpool.Pool

	clock *testClock // Telegram's and chatledger's; the database has its own
}

// testClock runs like the real clock, ahead of it by the time that was skipped.
type testClock struct{ ahead atomic.Int64 } // nanoseconds

func (c *testClock) now() time.Time       { return clock.Now().Add(time.Duration(c.ahead.Load())) }
func (c *testClock) pass(d time.Duration) { c.ahead.Add(int64(d)) }

// newWorld starts everything with bot demo registered, and waits until it is ready.
func newWorld(t *testing.T, changes ...func(*config.Bot)) *world {
	t.Helper()
	return newWorldOn(t, pgtest.Database(t), changes...)
}

// newWorldOn is newWorld on a database that exists.
func newWorldOn(t *testing.T, dsn string, changes ...func(*config.Bot)) *world {
	t.Helper()
	w := newTown(t, dsn, changes...)
	w.running = w.start(w.dsn)
	w.register()
	return w
}

// newTown returns a world in which no chatledger runs yet.
func newTown(t *testing.T, dsn string, changes ...func(*config.Bot)) *world {
	t.Helper()
	w := &world{
		t: t, dsn: dsn,
		bot:   config.Bot{Token: dev.Token, Secret: dev.Secret, Orders: "demo", ChatLimit: &config.ChatLimit{}},
		clock: &testClock{},
	}
	for _, change := range changes {
		change(&w.bot)
	}
	w.simulate(telegramsim.Bot{Token: dev.Token, Username: "demo_bot", Name: "Demo"})
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 2
	if w.db, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	return w
}

// Await is the simulator's, with the test's limit.
func (w *world) Await(ctx context.Context, chat int64, n int) ([]telegramsim.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return w.Server.Await(ctx, chat, n)
}

// simulate starts a Telegram simulator with these bots.
func (w *world) simulate(bots ...telegramsim.Bot) {
	server := telegramsim.New(telegramsim.Options{RetryUnit: unit, MinTimeout: leastTimeout, Now: w.clock.now, Bots: bots})
	front := httptest.NewServer(server)
	w.Server, w.api = server, front.URL
	w.t.Cleanup(func() {
		server.Close()
		front.Close()
	})
}

// running is one chatledger in this process.
type running struct {
	url  string // of its own addresses
	stop func() // asks it to stop, and waits
}

// start runs a chatledger on a database and waits until it is ready.
func (w *world) start(dsn string, changes ...func(*server.Config)) *running {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	log := &muted{w: w.t.Output()}
	config := server.Config{DSN: dsn, Bots: map[string]config.Bot{"demo": w.bot}, TelegramURL: w.api, Listener: listener,
		Now: w.clock.now, TimersEvery: look, Analysts: server.ProjectEvery, Version: programVersion(),
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	for _, change := range changes {
		change(&config)
	}
	a, err := server.New(w.t.Context(), config)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	r := &running{url: "http://" + listener.Addr().String()}
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("chatledger ended with: %v", err)
			}
		case <-time.After(patience):
			w.t.Errorf("chatledger does not stop")
		}
		log.mute()
	})
	w.t.Cleanup(r.stop)
	w.eventually("readyz answers 200", func() string {
		status, body, err := get(r.url + "/readyz")
		return unless(err == nil && status == http.StatusOK, "%d %s %v", status, body, err)
	})
	return r
}

// register makes the simulator post updates to the world's chatledger.
func (w *world) register() {
	w.t.Helper()
	if err := dev.SetWebhook(w.t.Context(), w.api, w.bot, w.url+"/webhook/demo"); err != nil {
		w.t.Fatal(err)
	}
}

// muted writes logs to the test until the test ends.
type muted struct {
	mu sync.Mutex
	w  io.Writer
}

func (m *muted) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.w == nil {
		return len(p), nil
	}
	return m.w.Write(p)
}

func (m *muted) mute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.w = nil
}

// eventually waits until missing returns "".
func (w *world) eventually(what string, missing func() string) {
	w.t.Helper()
	eventually(w.t, patience, what, missing)
}

func eventually(t *testing.T, limit time.Duration, what string, missing func() string) {
	t.Helper()
	poll := time.NewTicker(look)
	defer poll.Stop()
	deadline := time.After(limit)
	for {
		said := missing()
		if said == "" {
			return
		}
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%s: not within %v: %s", what, limit, said)
		}
	}
}

// unless returns "" when well is true, and otherwise the message, which is never empty.
func unless(well bool, format string, args ...any) string {
	if well {
		return ""
	}
	return cmp.Or(fmt.Sprintf(format, args...), "there is nothing")
}

// get reads a page of chatledger's.
func get(url string) (status int, body string, err error) {
	answer, err := http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, strings.TrimSpace(string(text)), err
}

// post sends an update to a webhook as Telegram does, and returns the status and
// the Retry-After given.
func post(base, body string) (status int, retryAfter string, err error) {
	r, err := http.NewRequest(http.MethodPost, base+"/webhook/demo", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Telegram-Bot-Api-Secret-Token", dev.Secret)
	answer, err := webhookClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, "", err
	}
	return answer.StatusCode, answer.Header.Get("Retry-After"), nil
}

// webhookClient keeps as many connections as a test posts at once.
var webhookClient = &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}

// mustPost posts an update until it is acknowledged, as Telegram repeats updates that could not be stored
// in time.
func (w *world) mustPost(body string) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(unit) {
		status, _, err := post(w.url, body)
		if err == nil && status == http.StatusServiceUnavailable && time.Now().Before(deadline) {
			continue
		}
		if err != nil || status != http.StatusOK {
			w.t.Errorf("answered %d (%v), want 200, for %.200s", status, err, body)
		}
		return
	}
}

// messageUpdate returns an update with a customer's message.
func messageUpdate(updateID, chat, messageID int64, text string) string {
	return fmt.Sprintf(`{"update_id":%d,"message":{"message_id":%d,"date":%d,"chat":{"id":%d,"type":"private"},`+
		`"from":{"id":%d,"is_bot":false,"first_name":"Ada"},"text":%q}}`,
		updateID, messageID, time.Now().Unix(), chat, chat, text)
}

// rows runs a query and returns the result in one line: columns between commas, rows between semicolons.
func (w *world) rows(query string, args ...any) string {
	w.t.Helper()
	found, err := w.db.Query(w.t.Context(), query, args...)
	if err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	defer found.Close()
	var lines []string
	for found.Next() {
		values, err := found.Values()
		if err != nil {
			w.t.Fatalf("%s: %v", query, err)
		}
		var line []string
		for _, value := range values {
			if value == nil {
				value = "null"
			}
			line = append(line, fmt.Sprint(value))
		}
		lines = append(lines, strings.Join(line, ", "))
	}
	if err := found.Err(); err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(lines, "; ")
}

// wantRows fails unless a query returns exactly this.
func (w *world) wantRows(want, query string, args ...any) {
	w.t.Helper()
	if got := w.rows(query, args...); got != want {
		w.t.Errorf("%s %v\n got  %s\n want %s", query, args, got, want)
	}
}

// unsettled selects the open work: groups behind the last event, and deliveries in progress. It is one
// statement, so that it sees one moment.
const unsettled = `
	with last as (select transaction_id, position from eventstore.events order by transaction_id desc, position desc
	limit 1)
	select concat_ws('; ',
		(select 'behind: ' || string_agg(g, ' ')
		from unnest(array['conversations', 'tickets', 'messages', 'chat_days', 'responder', 'outbox']) g
		 where exists (select from last) and not exists (select from eventstore.checkpoints c
			where c.consumer_group = g and (c.transaction_id, c.position) >= (select transaction_id, position from last))),
		(select 'under way: ' || string_agg(kind || ' ' || state || coalesce(' ' || reason, ''), ', ')
		from eventstore.deliveries where state in ('waiting', 'sending')))`

// settle waits until no work is left: no update on its way, every event handled by every group, every
// delivery finished, no timer due.
func (w *world) settle() {
	w.t.Helper()
	w.eventually("everything comes to rest", func() string {
		if n := w.Stats().Updates.Pending; n > 0 {
			return fmt.Sprintf("%d updates are on their way", n)
		}
		return w.overdue() + w.rows(unsettled)
	})
}

// overdue selects the timers that must still go off. It runs before unsettled: a timer that goes off in
// between is an event by then.
func (w *world) overdue() string {
	w.t.Helper()
	return w.rows(`select 'it is time for ' || stream_id from eventstore.timers where due_at <= $1`, w.clock.now())
}

// texts returns the messages of one side in a chat, oldest first; a file is [kind id] before its caption.
func (w *world) texts(chat int64, side string) []string {
	var said []string
	for _, m := range w.Messages(chat) {
		if m.From == side {
			text := m.Text
			if m.Media.Kind != "" {
				text = strings.TrimSpace(fmt.Sprintf("[%s %s] %s", m.Media.Kind, m.Media.FileID, text))
			}
			said = append(said, text)
		}
	}
	return said
}

// cli runs a subcommand in this process on the world's database.
func (w *world) cli(args ...string) (code int, stdout, stderr string) {
	w.t.Helper()
	return commandAt(w.t.Context(), w.clock.now, append(args, "--database-url", w.dsn)...)
}

func command(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	return commandAt(ctx, clock.Now, args...)
}

func commandAt(ctx context.Context, clock func() time.Time, args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = runAt(ctx, clock, args, &out, &errs)
	return code, progress.ReplaceAllString(out.String(), ""), progress.ReplaceAllString(errs.String(), "")
}

// progress matches the lines by which a long command shows that it is alive; on a busy machine every
// command is long.
var progress = regexp.MustCompile(`(?m)^(\w+: (\d+ of \d+ events, .*|\d+ rows compared)|\d+ chats decided again, .*)\n`)

// clean fails unless verify finds every row equal to what the events fold to.
func (w *world) clean() {
	w.t.Helper()
	code, stdout, stderr := w.cli("verify")
	if code != 0 || strings.Count(stdout, ": clean, ") != len(projections.All()) {
		w.t.Errorf("verify: %d %s%s", code, stdout, stderr)
	}
}

// wire is a connection to a server that a test can cut.
type wire struct {
	net.Listener

	mu     sync.Mutex
	target string // host and port
	state  wireState
	turn   chan struct{} // closed when state changes
	conns  map[net.Conn]bool
}

type wireState int

const (
	through wireState = iota
	cut               // connections are closed, new ones at once
	stalled           // connections stay, and nothing gets through
)

// newWire makes a wire to the server of a database and returns the address through it.
func newWire(t *testing.T, dsn string) (*wire, string) {
	t.Helper()
	address, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: l, target: address.Host, turn: make(chan struct{}), conns: map[net.Conn]bool{}}
	address.Host = l.Addr().String()
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { w.carry(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.set(cut)
		work.Wait()
	})
	return w, address.String()
}

// set changes the state of the wire.
func (w *wire) set(s wireState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = s
	close(w.turn)
	w.turn = make(chan struct{})
	if s == cut {
		for conn := range w.conns {
			conn.Close()
		}
		clear(w.conns)
	}
}

// lead connects a wire that is cut to another server.
func (w *wire) lead(host string) {
	w.mu.Lock()
	w.target = host
	w.mu.Unlock()
	w.set(through)
}

// pass waits while the wire is stalled; it returns false when the wire is cut.
func (w *wire) pass() bool {
	for {
		w.mu.Lock()
		state, turn := w.state, w.turn
		w.mu.Unlock()
		if state != stalled {
			return state == through
		}
		<-turn
	}
}

func (w *wire) carry(here net.Conn) {
	defer here.Close()
	if !w.pass() {
		return
	}
	w.mu.Lock()
	target := w.target
	w.mu.Unlock()
	there, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer there.Close()
	w.mu.Lock()
	if w.state == cut {
		w.mu.Unlock()
		return
	}
	w.conns[here], w.conns[there] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{here: there, there: here} {
		both.Go(func() {
			defer here.Close()
			defer there.Close()
			buffer := make([]byte, 32<<10)
			for {
				n, err := from.Read(buffer)
				if n > 0 && w.pass() {
					if _, err := to.Write(buffer[:n]); err != nil {
						return
					}
				}
				if err != nil {
					return
				}
			}
		})
	}
	both.Wait()
	w.mu.Lock()
	delete(w.conns, here)
	delete(w.conns, there)
	w.mu.Unlock()
}
