package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/operators"
	"github.com/chatledger/chatledger/adapters/postgres/accounts"
	"github.com/chatledger/chatledger/adapters/postgres/eventstore"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/cmd/internal/dev"
	"github.com/chatledger/chatledger/cmd/internal/server"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

// team is operators who work on a world's chats.
type team struct {
	*world
	api   string // base address
	token map[string]string
}

// newTeam returns a world with the operators' API for these operators.
func newTeam(t *testing.T, names ...string) *team {
	t.Helper()
	return newTeamWith(t, func(*server.Config) {}, names...)
}

// newTeamWith is newTeam with other settings.
func newTeamWith(t *testing.T, change func(*server.Config), names ...string) *team {
	t.Helper()
	team := teamOf(newTown(t, pgtest.Database(t)), names...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	team.api = "http://" + listener.Addr().String() + "/api/v1"
	team.running = team.start(team.dsn, func(c *server.Config) { c.Operators = listener }, change)
	team.register()
	return team
}

// teamOf creates the operators' tokens.
func teamOf(w *world, names ...string) *team {
	w.t.Helper()
	store, err := eventstore.Open(w.t.Context(), w.dsn, "team", chat.NewCodec())
	if err != nil {
		w.t.Fatal(err)
	}
	defer store.Close()
	team := &team{world: w, token: map[string]string{}}
	for _, name := range names {
		token, hash := operators.NewToken()
		role := commands.Agent
		if name == "boss" {
			role = commands.Admin
		}
		if err := accounts.New(store.DB).PutOperator(w.t.Context(), name, role, hash, nil); err != nil {
			w.t.Fatal(err)
		}
		team.token[name] = token
	}
	return team
}

// answer is the part of the API's answers that the tests read.
type answer struct {
	status  int
	Detail  string
	Version int64
	Handler string
	Chat    json.RawMessage
	Claim   struct {
		Operator string
		Fence    int64
	}
	Ticket struct {
		Status, Priority, Reason string
		Tags                     []string
		Replied                  bool
	}
	Tickets []struct {
		Ticket, Priority, Subject, ClaimedBy string
		Tags                                 []string
	}
	Entries []struct{ Kind, By, Name, Text, Delivery string }
	body    string
}

// ask sends a request as an operator; an error means that no answer came.
func (m *team) ask(as, method, path, key, body string) (a answer, err error) {
	r, err := http.NewRequest(method, m.api+path, strings.NewReader(body))
	if err != nil {
		return a, err
	}
	r.Header.Set("Authorization", "Bearer "+m.token[as])
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w, err := webhookClient.Do(r)
	if err != nil {
		return a, err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, fmt.Errorf("%d %s: %w", w.StatusCode, text, err)
	}
	a.status, a.body = w.StatusCode, string(bytes.TrimSpace(text))
	return a, nil
}

var keys atomic.Int64

// must is ask with a new idempotency key; it fails unless the answer has this status.
func (m *team) must(as, method, path, body string, status int) answer {
	m.t.Helper()
	a, err := m.ask(as, method, path, fmt.Sprint("key-", keys.Add(1)), body)
	if err != nil || a.status != status {
		m.t.Fatalf("%s %s %s as %s: %d %s (%v), want %d", method, path, body, as, a.status, a.body, err, status)
	}
	return a
}

func TestOperator_ClaimsAndReplies_GivesBack(t *testing.T) {
	t.Parallel()
	m := newTeam(t, "maria", "jo")
	said := func() int { return len(m.texts(42, "bot")) }
	m.Say(42, "hello")
	m.settle()
	if said() == 0 {
		t.Fatal("the bot does not answer")
	}

	claim := m.must("maria", "POST", "/chats/demo:42/claim", `{}`, 200)
	if claim.Handler != "person" || claim.Ticket.Reason != chat.ReasonTakenOver || claim.Claim.Operator != "maria" ||
		claim.Claim.Fence != 1 {
		t.Errorf("claimed: %s", claim.body)
	}
	before := said()
	m.Say(42, "is anybody there?")
	m.settle()
	if said() != before {
		t.Errorf("the bot speaks while a person has the chat: %q", m.texts(42, "bot"))
	}
	m.must("jo", "POST", "/chats/demo:42/reply", `{"fence": 1, "text": "me too"}`, 409)
	m.must("jo", "POST", "/chats/demo:42/notes", `{"text": "she called us, too"}`, 200)
	m.must("jo", "POST", "/chats/demo:42/tags", `{"add": ["vip"]}`, 200)
	m.must("maria", "POST", "/chats/demo:42/priority", `{"fence": 1, "priority": "urgent"}`, 200)
	m.must("maria", "POST", "/chats/demo:42/reply",
		`{"fence": 1, "text": "Yes, <b>Maria</b> is here.", "format": "html"}`, 200)
	m.settle()
	if texts := m.texts(42, "bot"); len(texts) != before+1 || !strings.Contains(texts[before], "Maria") {
		t.Errorf("the customer got %q", texts[before:])
	}

	queue := m.must("jo", "GET", "/queue?bot=demo&tag=vip&priority=urgent", "", 200)
	if len(queue.Tickets) != 1 || queue.Tickets[0].Ticket != "demo:42#1" {
		t.Errorf("the queue: %s", queue.body)
	}
	m.wantRows("maria", `select claimed_by from readmodel.ticket_queue`)
	entries := m.must("jo", "GET", "/chats/demo:42/entries", "", 200)
	var kinds []string
	for _, e := range entries.Entries {
		kinds = append(kinds, e.Kind+" "+e.By+" "+e.Name+" "+e.Delivery)
	}
	want := []string{"message customer Sim ", "reply bot  done", "ticket_opened person maria ", "claimed person maria ",
		"message customer Sim ",
		"note person jo ", "tagged person jo ", "prioritized person maria ", "reply person maria done"}
	for i := range kinds {
		kinds[i] = strings.Replace(kinds[i], entries.Entries[0].Name, "Sim", 1)
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("entries\n got  %q\n want %q", kinds, want)
	}

	back := m.must("maria", "POST", "/chats/demo:42/hand-back", `{"fence": 1}`, 200)
	if back.Handler != "bot" || back.Claim.Operator != "" {
		t.Errorf("handed back: %s", back.body)
	}
	before = said()
	m.Say(42, "thank you, hello again")
	m.settle()
	if said() == before {
		t.Error("the bot is silent after the chat was handed back")
	}
	m.clean()
}

func TestClaim_FiftyAtOnce_OneWins(t *testing.T) {
	t.Parallel()
	const many = 50
	var names []string
	for n := range many {
		names = append(names, fmt.Sprint("op", n))
	}
	m := newTeam(t, names...)
	m.Say(42, "hello")
	m.settle()
	answers := make([]answer, many)
	var race sync.WaitGroup
	for n, name := range names {
		race.Go(func() {
			var err error
			if answers[n], err = m.ask(name, "POST", "/chats/demo:42/claim", "mine", `{}`); err != nil {
				t.Error(err)
			}
		})
	}
	race.Wait()
	winner := slices.IndexFunc(answers, func(a answer) bool { return a.status == 200 })
	if winner < 0 {
		t.Fatalf("nobody has it: %s", answers[0].body)
	}
	for n, a := range answers {
		if n == winner {
			continue
		}
		var now answer
		if err := json.Unmarshal(a.Chat, &now); a.status != 409 || err != nil || now.Claim.Operator != names[winner] ||
			now.Claim.Fence != 1 {
			t.Errorf("%s: %d %s", names[n], a.status, a.body)
		}
	}
	m.settle()
	m.wantRows("1", `select count(*) from eventstore.events where name = 'ticket_claimed'`)
	m.wantRows("1", `select count(*) from readmodel.tickets`)
}

func TestClaim_Expired_AnswerHasCurrentState(t *testing.T) {
	t.Parallel()
	m := newTeam(t, "maria", "jo", "boss")
	m.Say(42, "hello")
	m.settle()
	m.must("maria", "POST", "/chats/demo:42/claim", `{"seconds": 3600}`, 200)
	m.must("jo", "POST", "/chats/demo:42/claim", `{"force": true}`, 403)
	m.must("boss", "POST", "/chats/demo:42/claim", `{"force": true}`, 200)
	refused := m.must("maria", "POST", "/chats/demo:42/reply", `{"fence": 1, "text": "on its way"}`, 409)
	var now answer
	if err := json.Unmarshal(refused.Chat, &now); err != nil || now.Claim.Operator != "boss" || now.Claim.Fence != 2 {
		t.Errorf("%s", refused.body)
	}
	m.must("boss", "POST", "/chats/demo:42/release", `{"fence": 2}`, 200)
	m.must("maria", "POST", "/chats/demo:42/reply", `{"fence": 1, "text": "on its way"}`, 409)
	if third := m.must("maria", "POST", "/chats/demo:42/claim", `{}`, 200); third.Claim.Fence != 3 {
		t.Errorf("%s", third.body)
	}
	// The command line respects the claim, too.
	if code, _, said := m.cli("ticket", "reply", "demo:42", "hi", "--as", "tom"); code != 1 ||
		!strings.Contains(said, "maria") || !strings.Contains(said, "--force") {
		t.Errorf("%d %s", code, said)
	}
	if code, _, said := m.cli("ticket", "reply", "demo:42", "hi", "--as", "tom", "--force"); code != 0 {
		t.Errorf("%d %s", code, said)
	}
}

// Two operators reply at the same moment to an unclaimed chat: one claims it by this, and the other learns
// who has it and until when. The bot does not answer from then on.
func TestReply_NoClaim_Claims(t *testing.T) {
	t.Parallel()
	m := newTeam(t, "maria", "jo")
	m.Say(42, "hello")
	m.settle()
	before := len(m.texts(42, "bot"))
	answers := make([]answer, 2)
	var race sync.WaitGroup
	for n, name := range []string{"maria", "jo"} {
		race.Go(func() {
			var err error
			if answers[n], err = m.ask(name, "POST", "/chats/demo:42/reply", "mine",
				fmt.Sprintf(`{"text": "%s here"}`, name)); err != nil {
				t.Error(err)
			}
		})
	}
	race.Wait()
	first, second, names := answers[0], answers[1], []string{"maria", "jo"}
	if first.status != 200 {
		first, second, names = second, first, []string{"jo", "maria"}
	}
	if first.status != 200 || first.Claim.Operator != names[0] || first.Claim.Fence != 1 || first.Handler != "person" ||
		!first.Ticket.Replied {
		t.Errorf("the first: %d %s", first.status, first.body)
	}
	if second.status != 409 || !strings.Contains(second.Detail, names[0]+", until 20") {
		t.Errorf("the second: %d %s", second.status, second.body)
	}
	m.Say(42, "thanks")
	m.settle()
	if said := m.texts(42, "bot"); len(said) != before+1 || said[before] != names[0]+" here" {
		t.Errorf("the customer got %q", said[before:])
	}
	m.must(names[0], "POST", "/chats/demo:42/reply", `{"fence": 1, "text": "bye"}`, 200)
	m.wantRows("operator_acted; ticket_opened; ticket_claimed; reply_queued", `select e.name from eventstore.events e
		where e.version >= (select min(version) from eventstore.events where name = 'operator_acted') order by version
		limit 4`)
	m.settle()
	m.clean()
	m.replaysAsItWas()
}

func TestAct_OldKeyRepeated_SameAnswer(t *testing.T) {
	t.Parallel()
	m := newTeam(t, "maria")
	m.Say(42, "hello")
	m.settle()
	note := func(key int) answer {
		a, err := m.ask("maria", "POST", "/chats/demo:42/notes", fmt.Sprint("old-", key),
			fmt.Sprintf(`{"text": "note %d"}`, key))
		if err != nil || a.status != 200 {
			t.Fatalf("%d: %d %s %v", key, a.status, a.body, err)
		}
		return a
	}
	first := note(0)
	for n := range 100 { // more than a chat's state remembers
		note(n + 1)
	}
	m.clock.pass(48 * time.Hour)
	if again := note(0); again.body != first.body {
		t.Errorf("again: %s\nfirst: %s", again.body, first.body)
	}
	if a, err := m.ask("maria", "POST", "/chats/demo:42/notes", "old-0", `{"text": "other words"}`); err != nil ||
		a.status != 422 {
		t.Errorf("the key for other words: %d %s %v", a.status, a.body, err)
	}
	m.settle()
	m.wantRows("101", `select count(*) from eventstore.events where name = 'note_added'`)
	m.clean()
}

// Connections are cut while operators write, and each operator repeats requests without an answer: every
// act is done once, and every answer to it is the same.
func TestAct_ConnectionsCut_DoneOnce(t *testing.T) {
	t.Parallel()
	m := newTeam(t, "maria", "jo", "ann")
	m.Say(42, "hello")
	m.settle()
	straight := m.api
	cable, laid := newWire(t, m.api)
	m.api = laid
	const each = 40
	stop, answered, cutting := make(chan struct{}), make(chan struct{}, 1), sync.WaitGroup{}
	cutting.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-answered: // on a busy machine none might ever be, between two cuts
				time.Sleep(rand.N(30 * time.Millisecond))
				cable.set(cut)
				cable.set(through)
			}
		}
	})
	first := make([]map[string]string, 3) // what each act was answered
	var writing sync.WaitGroup
	for i, name := range []string{"maria", "jo", "ann"} {
		first[i] = map[string]string{}
		writing.Go(func() {
			for n := range each {
				key, body := fmt.Sprint("note-", n), fmt.Sprintf(`{"text": "%s %d"}`, name, n)
				for tries := 0; ; tries++ {
					a, err := m.ask(name, "POST", "/chats/demo:42/notes", key, body)
					if err == nil && a.status == 200 {
						first[i][key+body] = a.body
						select {
						case answered <- struct{}{}:
						default:
						}
						break
					}
					if tries == 500 || err == nil && a.status != 503 {
						t.Errorf("%s %s: %d %s %v", name, key, a.status, a.body, err)
						return
					}
				}
			}
		})
	}
	writing.Wait()
	close(stop)
	cutting.Wait()
	m.api = straight
	m.wantRows(fmt.Sprint(3*each, ", ", 3*each),
		`select count(*), count(distinct payload ->> 'text') from eventstore.events where name = 'note_added'`)
	for i, name := range []string{"maria", "jo", "ann"} {
		key, body := fmt.Sprint("note-", each-1), fmt.Sprintf(`{"text": "%s %d"}`, name, each-1)
		if a, err := m.ask(name, "POST", "/chats/demo:42/notes", key, body); err != nil || a.body != first[i][key+body] {
			t.Errorf("again: %s %v\n first: %s", a.body, err, first[i][key+body])
		}
		if a, err := m.ask(name, "POST", "/chats/demo:42/notes", key, `{"text": "other words"}`); err != nil ||
			a.status != 422 {
			t.Errorf("the key for other words: %d %s %v", a.status, a.body, err)
		}
	}
}

// The process is killed while operators write: acts with an answer are done, and acts without one are done
// once when they are repeated.
func TestAct_ProcessKilled_DoneOnce(t *testing.T) {
	t.Parallel()
	w := newTown(t, pgtest.Database(t))
	m := teamOf(w, "maria", "jo")
	var p *program
	p, m.api = m.serveTeam()
	m.running = &running{url: p.url}
	m.register()
	m.Say(42, "hello")
	m.settle()
	const each = 60
	var api atomic.Pointer[string]
	api.Store(&m.api)
	var done atomic.Int64
	var writing sync.WaitGroup
	for _, name := range []string{"maria", "jo"} {
		writing.Go(func() {
			for n := range each {
				for deadline := time.Now().Add(patience); ; {
					at := *m
					at.api = *api.Load()
					a, err := at.ask(name, "POST", "/chats/demo:42/notes", fmt.Sprint("note-", n),
						fmt.Sprintf(`{"text": "%s %d"}`, name, n))
					if err == nil && a.status == 200 {
						done.Add(1)
						break
					}
					if time.Now().After(deadline) || err == nil && a.status != 503 {
						t.Errorf("%s %d: %d %s %v", name, n, a.status, a.body, err)
						return
					}
					time.Sleep(look)
				}
			}
		})
	}
	for kills := int64(1); kills <= 3; kills++ {
		eventually(t, patience, "some is written",
			func() string { return unless(done.Load() >= kills*each/3, "%d", done.Load()) })
		m.end(p, syscall.SIGKILL)
		var address string
		p, address = m.serveTeam()
		api.Store(&address)
	}
	writing.Wait()
	m.wantRows(fmt.Sprint(2*each, ", ", 2*each),
		`select count(*), count(distinct payload ->> 'text') from eventstore.events where name = 'note_added'`)
}

// serveTeam starts `chatledger serve` with the operators' API, as a process of its own.
func (m *team) serveTeam() (p *program, api string) {
	m.t.Helper()
	p = m.serveWith(fmt.Sprintf("bots:\n  demo:\n    token: %s\n    secret: %s\n    orders: demo\n", dev.Token,
		dev.Secret), get, "CHATLEDGER_OPERATORS=127.0.0.1:0")
	line, err := p.out.ReadString('\n')
	api, ok := strings.CutPrefix(strings.TrimSpace(line), "operators on ")
	if !ok {
		m.t.Fatalf("the program says %q: %v", line, err)
	}
	return p, api
}

func TestOperator_AddedAndDisabled_Enforced(t *testing.T) {
	t.Parallel()
	m := newTeam(t)
	code, said, errs := m.cli("operator", "add", "maria", "--role", "viewer")
	if code != 0 {
		t.Fatalf("%d %s", code, errs)
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	m.token["maria"] = lines[len(lines)-1]
	if a, err := m.ask("maria", "GET", "/me", "", ""); err != nil || a.status != 200 ||
		!strings.Contains(a.body, `"role":"viewer"`) {
		t.Errorf("%d %s %v", a.status, a.body, err)
	}
	m.must("maria", "POST", "/chats/demo:42/claim", `{}`, 403)
	if _, said, _ = m.cli("operator", "list"); !strings.Contains(said, "maria  viewer") ||
		strings.Contains(said, "never") {
		t.Errorf("the list: %s", said)
	}
	code, said, errs = m.cli("operator", "password", "maria")
	lines = strings.Split(strings.TrimSpace(said), "\n")
	login, err := webhookClient.Post(m.api+"/session", "application/json",
		strings.NewReader(fmt.Sprintf(`{"name": "maria", "password": %q}`, lines[len(lines)-1])))
	if code != 0 || err != nil || login.StatusCode != 200 {
		t.Fatalf("%d %s %+v %v", code, errs, login, err)
	}
	login.Body.Close()
	inSession := func(status int) {
		t.Helper()
		r, err := http.NewRequest("GET", m.api+"/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.AddCookie(login.Cookies()[0])
		w, err := webhookClient.Do(r)
		if err != nil || w.StatusCode != status {
			t.Fatalf("in her session %+v %v, want %d", w, err, status)
		}
		w.Body.Close()
	}
	inSession(200)
	for _, step := range []struct {
		bots, shown string
		status      int
	}{{"shop,demo", "demo, shop", 200}, {"shop", "shop", 403}, {"*", "all bots", 200}} {
		code, said, errs := m.cli(append([]string{"operator", "bots", "maria"}, strings.Split(step.bots, ",")...)...)
		if _, listed, _ := m.cli("operator", "list"); code != 0 || !strings.Contains(said, step.shown) ||
			!strings.Contains(listed, "  "+step.shown+"  ") {
			t.Errorf("bots %s: %d %s%s; listed\n%s", step.bots, code, said, errs, listed)
		}
		m.must("maria", "GET", "/queue?bot=demo", "", step.status)
	}
	if code, _, errs := m.cli("operator", "add", "lee", "--bots", "shop,demo"); code != 0 ||
		m.rows(`select bots::text from eventstore.operators where name = 'lee'`) != "{demo,shop}" {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := m.cli("operator", "password", "lee"); code != 0 {
		t.Errorf("%d %s", code, errs)
	}
	if code, said, errs := m.cli("operator", "totp", "lee"); code != 0 ||
		!strings.Contains(said, "otpauth://totp/chatledger:lee?") ||
		m.rows(`select length(totp_secret) from eventstore.operators where name = 'lee'`) != "20" {
		t.Errorf("%d %s%s", code, said, errs)
	}
	if _, listed, _ := m.cli("operator", "list"); !strings.Contains(listed, "password and code, token") {
		t.Errorf("listed\n%s", listed)
	}
	if code, _, errs := m.cli("operator", "totp", "lee", "--off"); code != 0 ||
		m.rows(`select totp_secret is null from eventstore.operators where name = 'lee'`) != "true" {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs = m.cli("operator", "disable", "maria"); code != 0 {
		t.Errorf("%d %s", code, errs)
	}
	m.must("maria", "GET", "/me", "", 401)
	inSession(401)
	m.token["nobody"] = "clop_wrong"
	m.must("nobody", "GET", "/me", "", 401)
	for _, wrong := range [][]string{{"add", "Maria"}, {"add", "maria", "--role", "king"}, {"disable", "nobody"},
		{"totp", "nobody"}, {"bots", "maria"},
		{"bots", "nobody", "shop"}, {"bots", "maria", "Shop"}, {"bots", "maria", "*", "shop"}, {"bots", "maria", ""},
		{"add", "lee", "--bots", "shop,Demo"}} {
		if code, _, errs := m.cli(append([]string{"operator"}, wrong...)...); code == 0 || errs == "" {
			t.Errorf("%q: %d %s", wrong, code, errs)
		}
	}
	if strings.Contains(m.rows(`select encode(token_hash, 'escape') from eventstore.operators`), "clop_") {
		t.Error("the token is kept")
	}
}
