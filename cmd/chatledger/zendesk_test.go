package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chatledger/chatledger/adapters/delivery"
	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/adapters/simulators/faults"
	telegramsim "github.com/chatledger/chatledger/adapters/simulators/telegram"
	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/dev"
)

// newZendesk starts a Zendesk simulator, and returns the setting that connects a bot to it.
func newZendesk(t *testing.T, front func(http.Handler) http.Handler) (*zendesksim.Server, *config.Zendesk) {
	t.Helper()
	account := dev.ZendeskAccount("")
	fake := zendesksim.New(zendesksim.Options{Email: account.Email, Token: account.Token,
		Secret: account.WebhookSecret, RetryUnit: unit})
	server := httptest.NewServer(front(fake))
	t.Cleanup(server.Close)
	account.URL = server.URL
	return fake, account
}

func itself(h http.Handler) http.Handler { return h }

// newWorldWithZendesk is a world whose bot has a Zendesk account.
func newWorldWithZendesk(t *testing.T) (*world, *zendesksim.Server) {
	t.Helper()
	fake, account := newZendesk(t, itself)
	w := newWorldOn(t, pgtest.Database(t), func(b *config.Bot) { b.Zendesk = account })
	fake.SetHook(w.url + "/zendesk/demo")
	return w, fake
}

// Zendesk is down: the customers' conversations continue, the tickets show as pending, few calls are made,
// and when Zendesk is back everything is there once, in order.
func TestZendesk_Down_CustomersUnaffected(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes some 30 s: that long nothing is called")
	}
	w, zendesk := newWorldWithZendesk(t)
	zendesk.SetFaults(faults.Fault{Status: 503})
	down := time.Now()
	const chats, words = 5, 4
	for chat := range int64(chats) {
		w.Say(chat+1, "I want to talk to a person")
	}
	// Messages before a ticket is referred are in its first note.
	w.eventually("the tickets are referred", func() string {
		n := w.rows(`select count(*) from eventstore.events where name = 'ticket_referred'`)
		return unless(n == fmt.Sprint(chats), "%s are", n)
	})
	for chat := range int64(chats) {
		if _, err := w.Await(t.Context(), chat+1, 1); err != nil {
			t.Fatal(err)
		}
		for n := range words {
			w.Say(chat+1, fmt.Sprint("word ", n))
		}
		w.eventually("the words are taken in", func() string {
			n := w.rows(`select unread from readmodel.conversations where chat_id = $1`, chat+1)
			return unless(n == fmt.Sprint(words), "%q of %d", n, words)
		})
		w.mustCLI("ticket", "reply", "--as", "ann", fmt.Sprint("demo:", chat+1), "I am here.")
		if _, err := w.Await(t.Context(), chat+1, 2); err != nil {
			t.Fatal(err)
		}
		w.mustCLI("ticket", "resolve", "--as", "ann", fmt.Sprint("demo:", chat+1))
		w.Say(chat+1, "thank you")
		if _, err := w.Await(t.Context(), chat+1, 3); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("the breaker is open", func() string {
		_, page, err := get(w.url + "/metrics")
		return unless(err == nil && strings.Contains(page, `chatledger_breaker_state{destination="zendesk:demo"} 2`),
			"%v", err)
	})
	w.eventually("the read model has caught up", func() string {
		got := w.rows(`select status, external_state, external_id, count(*) from readmodel.tickets group by 1, 2, 3`)
		return unless(got == fmt.Sprintf("resolved, pending, null, %d", chats), "%s", got)
	})
	// After the third failed call, only the calls in progress were made, and one every half minute that
	// checks whether Zendesk is back.
	if n := len(zendesk.Calls()); n < 3 || n > chats+int(time.Since(down)/(30*time.Second)) {
		t.Errorf("%d calls while it was down", n)
	}

	zendesk.SetFaults()
	w.eventually("everything is told", func() string { return w.rows(unsettled) })
	tickets := zendesk.Tickets()
	if len(tickets) != chats {
		t.Fatalf("%d tickets for %d cases", len(tickets), chats)
	}
	for _, ticket := range tickets {
		said := "I want to talk to a person; Customer N; -A person is needed: asked / Customer N: I want to talk to a person"
		for n := range words {
			said += fmt.Sprint("; -Customer N: word ", n)
		}
		want := "solved high; " + said + "; +ann: I am here."
		_, chat, _ := strings.Cut(strings.TrimSuffix(ticket.ExternalID, "/#1"), ":")
		if got := strings.ReplaceAll(onPaper(ticket), "Customer "+chat, "Customer N"); got != want {
			t.Errorf("at Zendesk: %s\nwant: %s", got, want)
		}
	}
	w.wantRows(fmt.Sprintf("filed, true, %d", chats),
		`select external_state, external_id is not null, count(*) from readmodel.tickets group by 1, 2`)
	w.wantRows("done", `select distinct state from eventstore.deliveries`)
	w.clean()
	w.replaysAsItWas()
}

// The process is killed when Zendesk has made the ticket and before the outcome is recorded: the next
// process finds the ticket, and makes no second one.
func TestZendesk_KilledAfterCall_TicketFiledOnce(t *testing.T) {
	t.Parallel()
	var held atomic.Bool
	zendesk, account := newZendesk(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost || held.Swap(true) {
				inner.ServeHTTP(rw, r)
				return
			}
			inner.ServeHTTP(httptest.NewRecorder(), r)
			<-r.Context().Done() // the answer never comes
		})
	})
	w := newTown(t, pgtest.Database(t))
	w.openChat(42)
	bots := fmt.Sprintf("zendesk: {url: %q, email: %s, token: %s, webhook_secret: %s}", account.URL,
		account.Email, account.Token, account.WebhookSecret)
	p := w.serve(bots)
	w.running = p.asRunning()
	w.mustPost(messageUpdate(1, 42, 1, "I want to talk to a person"))
	w.eventually("the ticket is made", func() string { return unless(len(zendesk.Tickets()) == 1, "it is not") })
	w.mustPost(messageUpdate(2, 42, 2, "hello?"))
	if err := w.end(p, syscall.SIGKILL); err == nil {
		t.Error("the program survived")
	}
	w.wantRows("sending", `select state from eventstore.deliveries where kind = 'zendesk.createTicket'`)
	w.rows(`update eventstore.deliveries set lease_until = now() where state = 'sending' returning 1`)
	w.running = w.serve(bots).asRunning()
	w.eventually("everything comes to rest", func() string { return w.rows(unsettled) })
	const want = "new high; I want to talk to a person; Ada; -A person is needed: asked " +
		"/ Ada: I want to talk to a person; -Ada: hello?"
	if tickets := zendesk.Tickets(); len(tickets) != 1 || onPaper(tickets[0]) != want {
		t.Fatalf("%d tickets: %s", len(tickets), onPaper(tickets[0]))
	}
	w.wantRows(fmt.Sprintf("filed, %d", zendesk.Tickets()[0].ID),
		`select external_state, external_id from readmodel.tickets`)
	w.wantRows("1", `select count(*) from eventstore.events where name = 'ticket_filed'`)
	w.clean()
}

// Two processes share the account's rate limit: it allows one call now, and neither process makes another.
func TestZendeskLimit_TwoProcesses_Shared(t *testing.T) {
	t.Parallel()
	zendesk, account := newZendesk(t, itself)
	rate := 1. // a minute: the next call is not due before the test is over
	account.Rate = &rate
	w := newWorldOn(t, pgtest.Database(t), func(b *config.Bot) { b.Zendesk = account })
	w.start(w.dsn)
	const chats = 6
	for chat := range int64(chats) {
		w.Say(chat+1, "I want to talk to a person")
	}
	w.eventually("all but one are postponed", func() string {
		got := w.rows(`select count(*) from eventstore.deliveries where kind = 'zendesk.createTicket' and state = 'waiting'
			and attempts = 0 and reason like '%rate limit%'`)
		return unless(got == fmt.Sprint(chats-1), "%s", got)
	})
	// The deliveries are due for both processes at once, and again only the rate limit postpones them.
	w.rows(`update eventstore.deliveries set next_attempt = now() where state = 'waiting' returning 1`)
	w.eventually("they are postponed again", func() string {
		n := w.rows(`select count(*) from eventstore.deliveries where state = 'waiting' and next_attempt > now()`)
		return unless(n == fmt.Sprint(chats-1), "%s of %d are", n, chats-1)
	})
	if n := len(zendesk.Calls()); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// Zendesk repeats events with and without an answer: each counts once, also after a restart.
func TestZendeskEvent_SentRepeatedly_CountsOnce(t *testing.T) {
	t.Parallel()
	w, zendesk := newWorldWithZendesk(t)
	w.Say(42, "I want to talk to a person")
	w.settle()
	const comment = `{"event": "public_comment", "external_id": "chat-demo:42/#1", "ticket_id": "7", "author": "Maria", ` +
		`"comment_id": "9", "body": "Hi.", "updated_at": "2026-05-01T12:00:00Z"}`
	const solved = `{"event": "solved", "external_id": "chat-demo:42/#1", "ticket_id": "7", "author": "Maria", ` +
		`"updated_at": "2026-05-01T12:00:00Z"}`
	send := func() {
		t.Helper()
		for _, body := range []string{comment, comment, solved, solved} {
			if status := w.postZendesk("demo", dev.Secret, body); status != http.StatusOK {
				t.Errorf("answered %d to %s", status, body)
			}
		}
	}
	send()
	w.settle()
	w.stop()
	w.running = w.start(w.dsn)
	w.register()
	w.mustCLI("ticket", "reopen", "--as", "ann", "demo:42")
	send()
	w.settle()
	if said := w.texts(42, "bot"); len(said) != 2 || said[1] != "Hi." {
		t.Errorf("the customer hears %q", said)
	}
	w.wantRows("open", `select status from readmodel.tickets`)
	w.wantRows("replied, null; solved, null", `select payload->>'act', payload->>'refused' from eventstore.events
		where name = 'agent_acted' order by version`)
	if got := onPaper(zendesk.Tickets()[0]); strings.Contains(got, "Hi.") || !strings.HasPrefix(got, "open") {
		t.Errorf("at Zendesk: %s", got)
	}
	w.clean()
}

// A name that the database cannot store, or an impossible date, loses no comment and no act.
func TestZendeskEvent_NULAndImpossibleDates_Kept(t *testing.T) {
	t.Parallel()
	w, _ := newWorldWithZendesk(t)
	w.Say(42, "I want to talk to a person")
	w.settle()
	const comment = `{"event": "public_comment", "external_id": "chat-demo:42/#1", "ticket_id": "7", "author": "%s", ` +
		`"comment_id": "%d", "body": "Comment %d\u0000.", "updated_at": "%s"}`
	const act = `{"event": "%s", "external_id": "chat-demo:42/#1", "ticket_id": "7", ` +
		`"author": "\ud800\u0000", "updated_at": "%s"}`
	now := time.Now().UTC().Format(time.RFC3339)
	for _, body := range []string{
		fmt.Sprintf(comment, `Ma\u0000ria`, 1, 1, now),
		fmt.Sprintf(comment, `Maria`, 2, 2, "10000-01-01T00:00:00Z"),
		fmt.Sprintf(comment, "Maria \xff", 3, 3, "9999-12-31T23:59:59-14:00"),
		fmt.Sprintf(comment, `Maria`, 4, 4, "0000-01-01T00:00:00Z"),
		fmt.Sprintf(act, "solved", "99999-01-01T00:00:00Z"),
		fmt.Sprintf(act, "solved", "99999-01-01T00:00:00Z"),
		fmt.Sprintf(act, "reopened", "99999-01-01T00:00:01Z"),
	} {
		if status := w.postZendesk("demo", dev.Secret, body); status != http.StatusOK {
			t.Errorf("answered %d to %q", status, body)
		}
	}
	w.settle()
	w.wantRows("0", `select count(*) from eventstore.quarantine`)
	w.wantRows("6", `select count(*) from eventstore.events where name = 'agent_acted'`)
	if said := w.texts(42, "bot"); len(said) != 5 || said[1] != "Comment 1\x00." {
		t.Errorf("the customer hears %q", said)
	}
	w.wantRows("open", `select status from readmodel.tickets`)
	w.clean()
}

// A request that is not from Zendesk is rejected, an event that cannot be used is quarantined, and neither
// starts a chat.
func TestZendeskEvent_Invalid_RejectedOrQuarantined(t *testing.T) {
	t.Parallel()
	w, _ := newWorldWithZendesk(t)
	w.Say(42, "I want to talk to a person")
	w.settle()
	const about = `{"event": "solved", "external_id": %q, "ticket_id": "7", "author": "Maria", ` +
		`"updated_at": "2026-05-01T12:00:00Z"}`
	for _, c := range []struct {
		name, bot, secret, body string
		status                  int
		kept                    string
	}{
		{"another secret", "demo", "other", fmt.Sprintf(about, "chat-demo:42/#1"), http.StatusUnauthorized, ""},
		{"an unknown bot", "nobody", dev.Secret, fmt.Sprintf(about, "chat-demo:42/#1"), http.StatusNotFound, ""},
		{"no JSON", "demo", dev.Secret, "<html>", http.StatusOK, "not an event of a trigger"},
		{"another bot's chat", "demo", dev.Secret, fmt.Sprintf(about, "chat-other:42/#1"), http.StatusOK, "of another bot"},
		{"a chat that is not there", "demo", dev.Secret, fmt.Sprintf(about, "chat-demo:77/#1"),
			http.StatusOK, "no such ticket"},
		{"a ticket that is not there", "demo", dev.Secret, fmt.Sprintf(about, "chat-demo:42/#2"),
			http.StatusOK, "no such ticket"},
	} {
		if status := w.postZendesk(c.bot, c.secret, c.body); status != c.status {
			t.Errorf("%s: answered %d, want %d", c.name, status, c.status)
		}
		want := ""
		if c.kept != "" {
			want = "zendesk:demo, true"
		}
		w.wantRows(want, `select bot, reason like '%' || $1 || '%' from eventstore.quarantine where body = $2`,
			c.kept, []byte(c.body))
	}
	w.wantRows("open", `select status from readmodel.tickets`)
	w.wantRows("1", `select count(*) from eventstore.streams`)
	w.wantRows("0", `select count(*) from eventstore.events where name = 'agent_acted'`)
}

// An agent's answer that cannot be stored is repeated by Zendesk, and stored then.
func TestZendeskEvent_DatabaseDown_StoredLater(t *testing.T) {
	t.Parallel()
	fake, account := newZendesk(t, itself)
	dsn := pgtest.Database(t)
	w := newTown(t, dsn, func(b *config.Bot) { b.Zendesk = account })
	line, address := newWire(t, dsn)
	w.running = w.start(address)
	w.register()
	inside, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	// Zendesk gives up after a few attempts: all but the first come when the database is back.
	var attempts atomic.Int64
	back := make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if attempts.Add(1) > 1 {
			<-back
		}
		httputil.NewSingleHostReverseProxy(inside).ServeHTTP(rw, r)
	}))
	t.Cleanup(hook.Close)
	ready := sync.OnceFunc(func() { close(back) })
	t.Cleanup(ready)
	fake.SetHook(hook.URL + "/zendesk/demo")
	w.Say(42, "I want to talk to a person")
	w.settle()
	line.set(cut)
	if status := w.postZendesk("demo", dev.Secret, "<html>"); status != http.StatusServiceUnavailable {
		t.Errorf("answered %d without a database", status)
	}
	took := make(chan error, 1)
	go func() { took <- fake.Comment(t.Context(), fake.Tickets()[0].ID, "Maria", "Hi.", true) }()
	w.eventually("two attempts failed",
		func() string { return unless(attempts.Load() == 2, "%d times", attempts.Load()) })
	line.set(through)
	w.eventually("it is ready again", func() string {
		status, body, err := get(w.url + "/readyz")
		return unless(err == nil && status == http.StatusOK, "%d %s %v", status, body, err)
	})
	ready()
	if err := <-took; err != nil {
		t.Fatal(err)
	}
	w.settle()
	if said := w.texts(42, "bot"); len(said) != 2 || said[1] != "Hi." {
		t.Errorf("the customer hears %q", said)
	}
}

// An agent whose message did not reach the customer is told at the ticket.
func TestZendesk_CustomerBlockedBot_AgentTold(t *testing.T) {
	t.Parallel()
	w, zendesk := newWorldWithZendesk(t)
	w.Say(42, "I want to talk to a person")
	w.settle()
	w.AddFault(telegramsim.Fault{Method: "sendMessage", Status: 403, Count: 1})
	for _, words := range []string{"Hello?", "Are you there?"} {
		if err := zendesk.Comment(t.Context(), zendesk.Tickets()[0].ID, "Maria", words, true); err != nil {
			t.Fatal(err)
		}
		w.settle()
	}
	got := onPaper(zendesk.Tickets()[0])
	_, got, _ = strings.Cut(got, "; +")
	want := "Hello?; -A message to the customer: refused, *; +Are you there?; " +
		"-This did not reach the customer: reply: the customer has blocked this bot, or removed it from the group."
	if !like(want, got) {
		t.Errorf("at Zendesk: %s", got)
	}
}

func TestZendeskSettings_Mistakes_Reported(t *testing.T) {
	t.Parallel()
	const whole = "url: 'https://shop.zendesk.com', email: a@b, token: t, webhook_secret: s"
	for settings, says := range map[string]string{
		whole:                       "",
		whole + ", rate: 0":         "",
		whole + ", rate: -1":        "rate is a number",
		whole + ", rate: 9999":      "rate is a number",
		whole + ", rat: 7":          "rat",
		"url: shop.zendesk.com":     "url is not an address",
		"email: a@b, token: t":      "url is not an address",
		"url: 'http://z', token: t": "email is missing",
		"url: 'http://z', email: 'env:CHATLEDGER_NO_ONE'":   "zendesk: email: the environment has no CHATLEDGER_NO_ONE",
		"url: 'http://z', email: a@b":                       "token is missing",
		"url: 'http://z', email: a@b, token: 'file:/nope/'": "zendesk: token: open /nope/",
		"url: 'http://z', email: a@b, token: t":             "webhook_secret is missing",
	} {
		path := filepath.Join(t.TempDir(), "bots.yaml")
		text := "bots: {demo: {token: t, secret: s, zendesk: {" + settings + "}}}"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := config.ReadBots(path)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v, want %q", settings, err, says)
		}
	}
	for _, kind := range config.ZendeskKinds {
		if policy := (config.Bot{Unknown: delivery.Ask}).Policy(kind); policy != delivery.Repeat {
			t.Errorf("a %s that may have arrived: %s", kind, policy)
		}
	}
}

// postZendesk posts a signed body, as Zendesk would.
func (w *world) postZendesk(bot, secret, body string) int {
	w.t.Helper()
	timestamp := time.Now().UTC().Format(time.RFC3339)
	r, err := http.NewRequest(http.MethodPost, w.url+"/zendesk/"+bot, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("X-Zendesk-Webhook-Signature-Timestamp", timestamp)
	r.Header.Set("X-Zendesk-Webhook-Signature", zendesksim.Sign(secret, timestamp, []byte(body)))
	answer, err := webhookClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// mustCLI is cli of a command that must succeed.
func (w *world) mustCLI(args ...string) {
	w.t.Helper()
	if code, _, stderr := w.cli(args...); code != 0 {
		w.t.Fatalf("%v: %s", args, stderr)
	}
}

// asRunning returns a process of its own for a world that posts to it.
func (p *program) asRunning() *running { return &running{url: p.url, stop: func() {}} }

// zendeskStep is a step in Zendesk, on the chat's last ticket:
//
//	zendesk comment text  Maria answers the customer
//	zendesk note text     Maria writes a private note
//	zendesk solve         Maria solves the ticket
//	zendesk reopen        Maria reopens it
//	zendesk shows open high; subject; customer; -private comment; +public comment
//	                      the ticket as Zendesk shows it
func (s *story) zendeskStep(line string) {
	s.t.Helper()
	s.settle()
	tickets := s.zendesk.Tickets()
	if len(tickets) == 0 {
		s.fail("Zendesk has no ticket")
	}
	last := tickets[len(tickets)-1]
	verb, rest, _ := strings.Cut(line, " ")
	var err error
	switch verb {
	case "comment", "note":
		err = s.zendesk.Comment(s.t.Context(), last.ID, "Maria", s.text(rest), verb == "comment")
	case "solve":
		err = s.zendesk.Solve(s.t.Context(), last.ID, "Maria")
	case "reopen":
		err = s.zendesk.Reopen(s.t.Context(), last.ID, "Maria")
	case "shows":
		if got := onPaper(last); got != rest {
			s.fail("Zendesk shows %s", got)
		}
	default:
		s.fail("unknown act %q", verb)
	}
	if err != nil {
		s.fail("%v", err)
	}
}

// onPaper formats a ticket in one line.
func onPaper(t zendesksim.Ticket) string {
	text := fmt.Sprintf("%s %s; %s; %s", t.Status, t.Priority, t.Subject, t.Requester)
	for _, c := range t.Comments {
		mark := "-"
		if c.Public {
			mark = "+"
		}
		text += "; " + mark + strings.ReplaceAll(c.Body, "\n", " / ")
	}
	return text
}
