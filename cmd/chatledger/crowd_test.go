package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/simulators/faults"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

var crowdSeed = flag.Uint64("crowd", 1, "seed of what the crowd does")

// A thousand customers write for ten minutes, while operators claim some of their chats. Then they are
// silent for longer than any timer of a workflow or a ticket. Then no chat is stuck or unanswered; each
// due time of a ticket was met, or is reported once as missed; and the tables equal what the events fold
// to.
func TestCustomers_ThousandAtOnce_NoneStuck(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 30 s")
	}
	const customers, minutes = 1000, 10
	c := newCrowd(t, customers)
	t.Logf("seed %d: -crowd %[1]d does the same again, as far as the machine does", *crowdSeed)
	for range minutes * 60 {
		c.second()
	}
	c.people.Wait()
	c.settle()
	for _, silence := range []time.Duration{46 * time.Minute, 20 * time.Minute, 60 * 24 * time.Hour} {
		c.clock.pass(silence)
		c.settle()
	}

	c.happened()
	c.wantRows("", `select chat_id, workflow, step from readmodel.conversations where workflow is not null
		and step not in ('completed', 'cancelled', 'expired', 'handed_over')`)
	c.wantRows("0", `select count(*) from eventstore.timers`)
	// Answers to button presses are left out: on a slow machine they come too late.
	c.wantRows("done", `select distinct state from eventstore.deliveries where kind <> $1`, domain.KindAnswerButton)
	c.wantRows(fmt.Sprint(c.Stats().Calls["sendMessage"]["200"]),
		`select count(*) from eventstore.events where name = 'reply_queued'`)
	c.wantRows("0", `select count(*) from readmodel.tickets where due_at is null or resolve_by is null`)
	c.wantRows("", `select stream_id, payload ->> 'ticket', payload ->> 'what', payload ->> 'due' from eventstore.events
		where name = 'due_breached' group by 1, 2, 3, 4 having count(*) > 1`)
	c.wantRows("0", `select count(*) from readmodel.tickets where status in ('open', 'assigned')
		and (resolution_breached_at is null or first_response_breached_at is null and first_reply_at is null)`)
	c.everybodyIsAnswered()
	c.gapless()
	c.clean()
	if code, stdout, stderr := c.cli("replay", "--sandbox", "--limit", "100"); code != 0 ||
		!strings.Contains(stdout, ": 0 differ, in 0 chats\n") {
		t.Errorf("replay: exit %d, %s%s", code, stdout, stderr)
	}
}

// crowd is the customers and operators, and what they may say.
type crowd struct {
	*team
	sayings   map[string][]string // by language: the examples of all intents
	customers []*customer
	people    sync.WaitGroup
	atWork    chan struct{}
	random    *rand.Rand // of the operators
}

// customer is one customer of the crowd.
type customer struct {
	chat     int64
	random   *rand.Rand
	language string
	pace     int // seconds between two acts, on average
	next     int // seconds until the next
	said     []int64
}

const (
	// quick and slow are how many seconds pass between two acts of a customer, on average:
	// every fourth is quick, and with -full everybody.
	quick, slow = 80, 400
	// operatorsASecond is how many operators begin to handle a chat in a second, and operatorsAtOnce how many
	// do at the same time.
	operatorsASecond, operatorsAtOnce = 2, 8
	// backedUp is how much open work stops the clock: a slow machine makes the ten minutes longer, and not
	// the answers later.
	backedUp = 50
)

// behind returns roughly how much work is open: unread events and pending deliveries.
const behind = `
	select coalesce((select max(position) from eventstore.events), 0) -
		coalesce((select position from eventstore.checkpoints where consumer_group = 'outbox'), 0)
		+ (select count(*) from eventstore.deliveries where finished_at is null)`

func newCrowd(t *testing.T, n int) *crowd {
	t.Helper()
	crm, withCRM := newCRM(t)
	crm.AddFault(faults.Fault{Status: http.StatusServiceUnavailable, Every: 40})
	var names []string
	for i := range operatorsAtOnce {
		names = append(names, fmt.Sprint("op", i))
	}
	c := &crowd{team: teamOf(newTown(t, pgtest.Database(t), withCRM), names...), sayings: sayings(t),
		atWork: make(chan struct{}, operatorsAtOnce), random: rand.New(rand.NewPCG(*crowdSeed, 0))}
	c.clock.pass(monday.Sub(clock.Now()))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.api = "http://" + listener.Addr().String() + "/api/v1"
	c.running = c.start(c.dsn, func(a *server.Config) { a.Operators = listener })
	c.register()
	for i := range n {
		one := &customer{
			chat: int64(1000 + i), random: rand.New(rand.NewPCG(*crowdSeed, uint64(i+1))),
			language: pick(c.random, []string{"en", "de"}),
		}
		if one.pace = slow; *full || i%4 == 0 {
			one.pace = quick
		}
		one.next = one.random.IntN(2 * one.pace)
		c.customers = append(c.customers, one)
	}
	return c
}

// sayings are the examples with which the shop is trained, by language.
func sayings(t *testing.T) map[string][]string {
	t.Helper()
	files, err := fs.Glob(knowledge.Shop, "intents/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	found := map[string][]string{}
	for _, name := range files {
		file, err := knowledge.Shop.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		language := strings.TrimPrefix(path.Ext(strings.TrimSuffix(name, ".txt")), ".")
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if text := strings.TrimSpace(lines.Text()); text != "" && !strings.HasPrefix(text, "#") {
				found[language] = append(found[language], text)
			}
		}
		file.Close()
	}
	return found
}

// second lets a second pass: customers who are due act, and operators handle chats.
func (c *crowd) second() {
	c.clock.pass(time.Second)
	for _, one := range c.customers {
		if one.next--; one.next < 0 {
			one.next = one.random.IntN(2 * one.pace)
			c.act(one)
		}
	}
	for range operatorsASecond {
		seed := c.random.Uint64()
		select {
		case c.atWork <- struct{}{}:
			c.people.Go(func() {
				defer func() { <-c.atWork }()
				c.help(rand.New(rand.NewPCG(seed, 0)))
			})
		default: // all are busy
		}
	}
	c.eventually("answers come", func() string {
		n, err := strconv.ParseInt(c.rows(behind), 10, 64)
		return unless(err == nil && n+c.Stats().Updates.Pending < backedUp,
			"%d events and deliveries are waited for (%v)", n, err)
	})
}

// act returns something that a customer may do: mostly what the bot asks for, sometimes anything else.
func (c *crowd) act(one *customer) {
	r, messages := one.random, c.Messages(one.chat)
	if len(messages) == 0 {
		one.say(c, pick(r, c.sayings[one.language]))
		return
	}
	last := messages[len(messages)-1]
	switch n := r.IntN(100); {
	case n < 20:
		one.say(c, pick(r, c.sayings[one.language]))
	case n < 25:
		one.press(c, pick(r, messages)) // perhaps an old one
	case n < 33 && len(one.said) > 0:
		_ = c.Edit(one.chat, pick(r, one.said[max(0, len(one.said)-3):]), one.answer(last.Text)) // the simulator forgets none
	case n < 38:
		one.say(c, pick(r, []string{"cancel", "abbrechen", "back", "zurück", "/help", "/start"}))
	case n < 40:
		one.say(c, pick(r, c.sayings["en"])+"!!!")
	case n < 45:
		one.say(c, pick(r,
			[]string{"1 Nowhere Lane", "1 Nowhere Lane, London NW1 6XE", "order 4711", "🤷", "qwrtz", "perhaps", "vielleicht"}))
	default:
		if !one.press(c, last) {
			one.say(c, one.answer(last.Text))
		}
	}
}

func (one *customer) say(c *crowd, text string) {
	one.said = append(one.said, c.Say(one.chat, text))
}

// answer returns what is probably an answer to the bot's question.
func (one *customer) answer(asked string) string {
	for _, ask := range []struct{ Words, answers []string }{
		{[]string{"number", "Nummer"}, []string{"1001", "1002", "order 1003", "1004", "9999"}},
		{[]string{"post code", "Postleitzahl"}, []string{elm, "Hauptstraße 12, 10115 Berlin"}},
		{[]string{"happened", "wrong", "passiert"},
			[]string{"the blue lamp has a crack", "die blaue Lampe hat einen Sprung"}},
	} {
		if slices.ContainsFunc(ask.Words, func(word string) bool { return strings.Contains(asked, word) }) {
			return pick(one.random, ask.answers)
		}
	}
	return pick(one.random, []string{"yes", "ja", "no", "nein", "it is broken", "the blue lamp has a crack"})
}

// press presses one of a message's buttons, and returns false when there is none.
func (one *customer) press(c *crowd, m telegramsim.Message) bool {
	var markup struct {
		Rows [][]struct {
			Data string `json:"callback_data"`
		} `json:"inline_keyboard"`
	}
	if json.Unmarshal(m.ReplyMarkup, &markup) != nil || len(markup.Rows) == 0 {
		return false
	}
	c.Press(one.chat, m.MessageID, pick(one.random, pick(one.random, markup.Rows)).Data)
	return true
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// help lets an operator take a chat of the queue and act on it. A conflict with another operator is no
// error; anything else is.
func (c *crowd) help(r *rand.Rand) {
	as := fmt.Sprint("op", r.IntN(operatorsAtOnce))
	ask := func(method, what, body string) answer {
		a, err := c.ask(as, method, what, fmt.Sprintf("crowd-%d", r.Uint64()), body)
		if err != nil || a.status != http.StatusOK && a.status != http.StatusConflict {
			c.t.Errorf("%s %s %s: %d %s (%v)", method, what, body, a.status, a.body, err)
		}
		return a
	}
	queue := ask("GET", "/queue?bot=demo", "")
	if len(queue.Tickets) == 0 {
		return
	}
	on := "/chats/" + strings.Split(pick(r, queue.Tickets).Ticket, "#")[0] + "/"
	claim := ask("POST", on+"claim", `{"seconds": 60}`)
	if claim.status != http.StatusOK {
		return
	}
	under := func(more string) string { return fmt.Sprintf(`{"fence": %d%s}`, claim.Claim.Fence, more) }
	for _, act := range []struct {
		often      int // percent
		name, body string
	}{
		{30, "notes", `{"text": "has called before"}`}, {20, "tags", `{"add": ["seen"]}`},
		{20, "priority", under(`, "priority": "` + pick(r, []string{"urgent", "low"}) + `"`)},
		{60, "reply", under(`, "text": "A person is here."`)}, {20, "canned-reply", under(`, "name": "hello"`)},
		{80, pick(r, []string{"resolve", "hand-back", "release"}), under("")}, {10, "reopen", `{}`},
	} {
		if r.IntN(100) < act.often {
			ask("POST", on+act.name, act.body)
		}
	}
}

// happened fails when an act for which the crowd exists did not occur.
func (c *crowd) happened() {
	c.t.Helper()
	counts := map[string]int{}
	for _, row := range strings.Split(c.rows(`
		select name || coalesce(' ' || case
			when name = 'workflow_moved' and payload ->> 'step' in ('completed', 'cancelled', 'expired', 'handed_over')
				then payload ->> 'step'
			when name = 'due_breached' then payload ->> 'what' end, ''), count(*) from eventstore.events
			group by 1 order by 1`), "; ") {
		name, n, _ := strings.Cut(row, ", ")
		var count int
		if _, err := fmt.Sscan(n, &count); err != nil {
			c.t.Fatal(err)
		}
		counts[name] = count
		c.t.Logf("%6d %s", count, name)
	}
	for _, name := range []string{"button_pressed", "message_edited", "workflow_moved completed",
		"workflow_moved cancelled", "workflow_moved expired", "workflow_moved handed_over",
		"workflow_paused", "workflow_resumed", "workflow_reminded", "switch_offered", "ticket_opened", "ticket_claimed",
		"ticket_resolved", "ticket_reopened", "handed_back",
		"due_breached first_response", "due_breached resolution"} {
		if counts[name] == 0 {
			c.t.Errorf("no %s: this run proves less than it says", name)
		}
	}
	var never []string
	shop, err := config.ShopKnowledge()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, workflow := range slices.Sorted(maps.Keys(shop.Workflows)) {
		for _, step := range shop.Workflows[workflow].Steps {
			if c.rows(`select 1 from eventstore.events where name = 'workflow_moved' and payload ->> 'workflow' = $1
				and payload ->> 'step' = $2 limit 1`, workflow, step.Name) == "" {
				never = append(never, workflow+"."+string(step.Name))
			}
		}
	}
	c.t.Logf("steps where nobody came: %q", never)
}

// everybodyIsAnswered fails when a message led to nothing although no operator had the chat.
func (c *crowd) everybodyIsAnswered() {
	c.t.Helper()
	store, err := eventstore.Open(c.t.Context(), c.dsn, "test", chat.NewCodec())
	if err != nil {
		c.t.Fatal(err)
	}
	defer store.Close()
	for _, one := range c.customers {
		stream := domain.ChatStream("demo", one.chat)
		events, err := store.ReadStream(c.t.Context(), c.db, stream, 0, math.MaxInt32)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, left := range unanswered(events) {
			c.t.Errorf("%s: nothing came of version %d", stream, left)
		}
	}
}

// unanswered returns the messages without a turn of the bot, and those whose turn led to no reply and to
// no request that a reply would follow. An operator who had the chat at that time is an answer, too.
func unanswered(events []domain.Recorded) (left []domain.Version) {
	waiting, state := map[domain.Version]bool{}, chat.Decider.Initial()
	for _, r := range events {
		state = chat.Evolve(state, r.Event)
		switch e := r.Event.(type) {
		case chat.MessageReceived:
			waiting[r.Version] = true
		case chat.ReplyQueued:
			delete(waiting, e.To)
		case chat.ToolRequested:
			delete(waiting, e.To)
		}
		if state.WithPerson() {
			clear(waiting)
		}
	}
	return slices.Sorted(maps.Keys(waiting))
}
