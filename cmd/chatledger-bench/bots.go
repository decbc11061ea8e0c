package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/adapters/wait"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/load"
)

const (
	// wellBots is the number of bots without a fault; the answers to their customers are measured.
	wellBots = 7
	// askedOfEach is how many updates a second each bot gets.
	askedOfEach = 20
	// chatsOfEach is how many customers send them: each writes every 10 s, below the chat limit.
	chatsOfEach = 200
	// floodConnections is how many updates of one bot Telegram sends at the same time by default.
	floodConnections = 40
	// floodChats is one for each connection, as Telegram has it. They are over the limit of
	// chats at once, and the answers they get until then take their bot a quarter of a minute.
	floodChats = floodConnections
	// floodAhead is how long a flood has run before anything is measured beside it.
	floodAhead = 2 * time.Second
)

// The three bots with a fault.
const (
	wrongToken  = "wrong-token"
	flooded     = "flooded"
	deadZendesk = "dead-zendesk"
)

// neighbours are ten bots of one process, and the customers who write to them.
type neighbours struct {
	*bench
	dsn      string
	bots     []string // the well ones first
	posts    map[string]func(context.Context, []byte) error
	telegram *simulator
	ids      atomic.Int64 // of updates

	mu    sync.Mutex
	asked map[int64]awaited // by id of the update, until it is answered
	seen  map[string]*felt  // by bot
}

// awaited is an update whose answer is waited for.
type awaited struct {
	bot string
	at  time.Time
}

// felt has the times of one bot's customers; lost counts the messages without an answer, and those whose
// update was not acknowledged.
type felt struct {
	webhook, answers []time.Duration
	lost             int
}

// benchBots measures what three bots with a fault cost the seven others of their process. A flood takes
// processor time for any bot, so the same load is also measured spread over the other bots. A greater cost
// when it is for one bot is unfair.
func benchBots(ctx context.Context, b *bench) (benchResult, error) {
	n := &neighbours{bench: b, posts: map[string]func(context.Context, []byte) error{}, asked: map[int64]awaited{}}
	stop, err := n.open(ctx)
	if err != nil {
		return benchResult{}, err
	}
	defer stop()
	well := n.bots[:wellBots]
	if _, _, err := n.measure(ctx, time.Second); err != nil { // all is warm
		return benchResult{}, err
	}
	alone, _, err := n.measure(ctx, b.For)
	if err != nil {
		return benchResult{}, err
	}
	if _, _, lost := worst(well, alone, alone); lost > 0 {
		return benchResult{}, fmt.Errorf("%.0f answers were lost with nothing in their way", lost)
	}
	spread, spreadRate, err := n.measure(ctx, b.For, noise{flood: well, persons: well[:2]})
	if err != nil {
		return benchResult{}, err
	}
	beside, floodRate, err := n.measure(
		ctx, b.For, noise{flood: []string{flooded}, persons: []string{wrongToken, deadZendesk}},
	)
	if err != nil {
		return benchResult{}, err
	}
	if !b.JSON {
		if err := n.print(alone, spread, beside); err != nil {
			return benchResult{}, err
		}
	}
	webhook, answers, lost := worst(well, alone, beside)
	spreadWebhook, spreadAnswers, spreadLost := worst(well, alone, spread)
	return benchResult{Value: answers, Base: spreadAnswers, Unit: "times p95", Notes: map[string]float64{
		"webhook": webhook, "lost": lost, "flood/s": floodRate,
		"spread webhook": spreadWebhook, "spread lost": spreadLost, "spread/s": spreadRate}}, nil
}

// worst returns by how much the p95 grew of the bot where it grew most, and how many answers all bots
// lost.
func worst(bots []string, from, to map[string]*felt) (webhook, answers, lost float64) {
	for _, bot := range bots {
		webhook = max(webhook, percentile(to[bot].webhook, .95)/percentile(from[bot].webhook, .95))
		answers = max(answers, percentile(to[bot].answers, .95)/percentile(from[bot].answers, .95))
		lost += float64(to[bot].lost)
	}
	return webhook, answers, lost
}

// noise is the load beside a measurement: flooded bots, each with its part of the connections, and bots
// whose customers, always new ones, ask for an operator.
type noise struct{ flood, persons []string }

// open starts a Telegram that knows all tokens but one, a Zendesk that accepts connections and does not
// answer, and one process with all bots.
func (n *neighbours) open(ctx context.Context) (stop func(), err error) {
	var ends []func()
	stop = func() {
		for _, end := range slices.Backward(ends) {
			end()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	var drop func()
	if n.dsn, drop, err = n.database(ctx); err != nil {
		return nil, err
	}
	ends = append(ends, drop)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ends = append(ends, func() { dead.Close() })

	file, known := n.tenBots(dead.Addr().String())
	if n.telegram, err = newSimulator(known...); err != nil {
		return nil, err
	}
	ends = append(ends, n.telegram.stop)
	n.telegram.OnSend(n.hear)
	for _, bot := range n.bots {
		for chat := range int64(chatsOfEach + floodChats) {
			if err := n.telegram.openChat(bot, 1+chat); err != nil {
				return nil, err
			}
		}
	}
	end, err := n.serve(ctx, file)
	if err != nil {
		return nil, err
	}
	ends = append(ends, end)
	return stop, nil
}

// tenBots returns a bots file, and its bots for the simulated Telegram. Only the flooded bot has rate
// limits: of the others the answers are measured, not the waiting for permits.
func (n *neighbours) tenBots(zendesk string) (file string, known []telegramsim.Bot) {
	for i := range wellBots {
		n.bots = append(n.bots, fmt.Sprintf("well-%d", i+1))
	}
	n.bots = append(n.bots, wrongToken, flooded, deadZendesk)
	file = "bots:\n"
	for i, bot := range n.bots {
		token, more := fmt.Sprintf("%d:token-of-%s", 100+i, bot), ", rate: {bot: 0, chat: 0, group_per_minute: 0}"
		known = append(known, telegramsim.Bot{Token: token, Username: bot, Name: bot})
		switch bot {
		case wrongToken:
			token += "-of-yesterday"
		case flooded:
			more = ""
		case deadZendesk:
			more += fmt.Sprintf(", zendesk: {url: 'http://%s', email: a@example.com, token: t, webhook_secret: s}", zendesk)
		}
		file += fmt.Sprintf("  %s: {token: '%s', secret: %s, orders: demo%s}\n", bot, token, dev.Secret, more)
	}
	return file, known
}

// serve runs the bots of a file in a process of their own.
func (n *neighbours) serve(ctx context.Context, bots string) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "chatledger-bots-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "bots.yaml")
	if err := os.WriteFile(file, []byte(bots), 0o600); err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	command := n.child(ctx, n.dsn, "serve", "--bots", file, "--listen", address, "--telegram-url", n.telegram.api)
	command.Stderr = nil // it says what troubles its bots
	if err := command.Start(); err != nil {
		cancel()
		return nil, err
	}
	stop = func() { cancel(); command.Wait(); os.RemoveAll(dir) }
	for _, bot := range n.bots {
		n.posts[bot] = load.Poster(address, "/webhook/"+bot, dev.Secret, 2*floodConnections)
	}
	if err := ready(ctx, address); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}

// measure lets customers write to the bots for a while, beside the noise, and waits for the answers. It
// also returns how many updates a second the flood had.
func (n *neighbours) measure(
	ctx context.Context, length time.Duration, beside ...noise,
) (seen map[string]*felt, floodRate float64, err error) {
	n.mu.Lock()
	n.seen = map[string]*felt{}
	for _, bot := range n.bots {
		n.seen[bot] = &felt{}
	}
	n.mu.Unlock()
	troubled, enough := context.WithCancel(ctx)
	defer enough()
	var others, people sync.WaitGroup
	var floods atomic.Int64
	for _, t := range beside {
		for i := range floodChats {
			others.Go(func() { n.flood(troubled, t.flood[i%len(t.flood)], int64(1+chatsOfEach+i), &floods) })
		}
		for _, bot := range t.persons {
			others.Go(func() {
				paced(troubled, askedOfEach, func() { n.wantPerson(ctx, bot) })
			})
		}
		_ = wait.For(ctx, floodAhead) // what comes next sees that ctx ended
	}
	before := floods.Load()
	asking, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	for _, bot := range n.bots[:wellBots] {
		people.Go(func() {
			turn := int64(0)
			paced(asking, askedOfEach, func() {
				turn++
				n.ask(ctx, bot, 1+turn%chatsOfEach)
			})
		})
	}
	people.Wait()
	flood := rate(int(floods.Load()-before), length)
	n.awaitAnswers(ctx)
	enough()
	others.Wait()
	// Work left by one measurement must not slow down the next.
	return n.take(), flood, settled(ctx, n.dsn, "%:well-%")
}

// paced calls f this many times a second, each in a goroutine of its own, and waits for them.
func paced(ctx context.Context, perSecond int, f func()) {
	var all sync.WaitGroup
	defer all.Wait()
	wait.Every(ctx, time.Second/time.Duration(perSecond), func() { all.Go(f) })
}

// ask posts a question and notes how long it takes to be acknowledged; hear notes the rest.
func (n *neighbours) ask(ctx context.Context, bot string, chat int64) {
	id := n.ids.Add(1)
	begun := time.Now()
	n.mu.Lock()
	n.asked[id] = awaited{bot, begun}
	n.mu.Unlock()
	err := n.posts[bot](ctx, orderQuestion(id, chat))
	took := time.Since(begun)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		delete(n.asked, id)
		n.seen[bot].lost++
		return
	}
	n.seen[bot].webhook = append(n.seen[bot].webhook, took)
}

func (n *neighbours) hear(_ int64, text string, at time.Time) {
	id, _ := answered(text) // what is not asked is not waited for
	n.mu.Lock()
	defer n.mu.Unlock()
	if q, waits := n.asked[id]; waits {
		delete(n.asked, id)
		n.seen[q.bot].answers = append(n.seen[q.bot].answers, at.Sub(q.at))
	}
}

// flood sends one chat's part of a flood: the next update as soon as the last is acknowledged.
func (n *neighbours) flood(ctx context.Context, bot string, chat int64, sent *atomic.Int64) {
	for ctx.Err() == nil {
		id := n.ids.Add(1)
		if n.posts[bot](ctx, orderQuestion(id, chat)) == nil {
			sent.Add(1)
		}
	}
}

// wantPerson lets a new customer ask for an operator.
func (n *neighbours) wantPerson(ctx context.Context, bot string) {
	id := n.ids.Add(1)
	chat := chatsOfEach + floodChats + id
	if n.telegram.openChat(bot, chat) == nil {
		_ = n.posts[bot](ctx, privateMessage(id, chat, "I want to speak to a person")) // nobody waits for it
	}
}

// awaitAnswers returns when all questions are answered, or after the longest wait.
func (n *neighbours) awaitAnswers(ctx context.Context) {
	for end := time.Now().Add(answerPatience); time.Now().Before(end) && ctx.Err() == nil; wait.For(ctx, benchLook) {
		n.mu.Lock()
		waiting := len(n.asked)
		n.mu.Unlock()
		if waiting == 0 {
			return
		}
	}
}

// take returns the measured times; questions without an answer by now count as lost.
func (n *neighbours) take() map[string]*felt {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, q := range n.asked {
		n.seen[q.bot].lost++
	}
	clear(n.asked)
	for _, s := range n.seen {
		slices.Sort(s.webhook)
		slices.Sort(s.answers)
	}
	return n.seen
}

// print prints the bots side by side. Answers of the bots with a fault are not measured.
func (n *neighbours) print(alone, spread, beside map[string]*felt) error {
	table := tabwriter.NewWriter(n.out, 0, 4, 2, ' ', 0)
	fmt.Fprintf(
		table, "\twebhook p50/p95 ms\t\t\tanswer p50/p95 ms\t\t\tlost\t\t\nbot%s\n",
		strings.Repeat("\talone\tspread\tbeside", 3),
	)
	for _, bot := range n.bots[:wellBots] {
		fmt.Fprint(table, bot)
		for _, of := range []func(*felt) string{
			func(s *felt) string { return halves(s.webhook) },
			func(s *felt) string { return halves(s.answers) },
			func(s *felt) string { return strconv.Itoa(s.lost) },
		} {
			fmt.Fprintf(table, "\t%s\t%s\t%s", of(alone[bot]), of(spread[bot]), of(beside[bot]))
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

func halves(sorted []time.Duration) string {
	return fmt.Sprintf("%.3g/%.3g", percentile(sorted, .5), percentile(sorted, .95))
}
