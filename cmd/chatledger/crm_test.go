package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	crmsim "github.com/chatledger/chatledger/adapters/simulators/crm"
	"github.com/chatledger/chatledger/adapters/simulators/faults"
	"github.com/chatledger/chatledger/cmd/internal/config"
	"github.com/chatledger/chatledger/cmd/internal/server"
)

// fakeCRM is a CRM whose answers a test can hold back. A request takes effect all the same.
type fakeCRM struct {
	*crmsim.Server
	url string

	mu   sync.Mutex
	gate chan struct{} // nil while answers go out at once
}

const crmToken = "crm-token"

// newCRM starts a CRM, and returns the setting that makes a bot use it.
func newCRM(t *testing.T) (*fakeCRM, func(*config.Bot)) {
	t.Helper()
	c := &fakeCRM{Server: crmsim.New(crmsim.Options{Token: crmToken})}
	front := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(front.Close)
	t.Cleanup(c.release)
	c.url = front.URL
	return c, func(b *config.Bot) { b.Orders, b.CRM = "", &config.CRM{URL: c.url, Token: crmToken} }
}

func (c *fakeCRM) serve(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	c.ServeHTTP(answer, r)
	c.mu.Lock()
	gate := c.gate
	c.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // the caller may be gone
}

// hold keeps answers back until release.
func (c *fakeCRM) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate = make(chan struct{})
}

func (c *fakeCRM) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gate != nil {
		close(c.gate)
		c.gate = nil
	}
}

func (c *fakeCRM) held() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate != nil
}

// kept returns the addresses that the customer's address was changed to, in order.
func (c *fakeCRM) kept(chat int64) (addresses []string) {
	for _, u := range c.Updates() {
		if u.Customer == fmt.Sprintf("telegram:%d", chat) {
			addresses = append(addresses, u.Address)
		}
	}
	return addresses
}

// puts returns the idempotency keys of the requested updates.
func (c *fakeCRM) puts() (keys []string) {
	for _, r := range c.Requests() {
		if r.Method == http.MethodPut {
			keys = append(keys, r.IdempotencyKey)
		}
	}
	return keys
}

// says waits until this is the last message of the bot.
func (w *world) says(chat int64, part string) {
	w.t.Helper()
	w.eventually("the bot says "+part, func() string {
		said := w.texts(chat, "bot")
		return unless(len(said) > 0 && strings.Contains(said[len(said)-1], part), "it says %q", said)
	})
}

// confirms leads a customer through an address change up to the confirmation.
func (w *world) confirms(chat int64, address string) {
	w.t.Helper()
	w.Say(chat, "I want to change my billing address")
	w.says(chat, "send me the new billing address")
	w.Say(chat, address)
	w.says(chat, "Is that right?")
	w.Say(chat, "yes")
}

const elm = "5 Elm Row, Leeds LS1 4AP"

// With a CRM that answers every second call with 500, every address is changed once, and every customer is
// told.
func TestCRM_HalfTheCallsFail_EverythingOnce(t *testing.T) {
	t.Parallel()
	crm, withCRM := newCRM(t)
	w := newWorld(t, withCRM)
	crm.AddFault(faults.Fault{Status: http.StatusInternalServerError, Every: 2})
	var customers sync.WaitGroup
	for chat := range int64(3) { // not enough to break the circuit
		customers.Go(func() { w.confirms(chat+1, elm) })
	}
	customers.Wait()
	w.settle()
	for chat := range int64(3) {
		if kept := crm.kept(chat + 1); len(kept) != 1 || kept[0] != elm {
			t.Errorf("the address of customer %d was changed to %q", chat+1, kept)
		}
		if said := w.texts(chat+1, "bot"); len(said) != 3 || said[2] != "Done: your billing address is now "+elm+"." {
			t.Errorf("customer %d is told %q", chat+1, said)
		}
	}
	w.wantRows("3, completed", `select count(*), max(step) from readmodel.conversations where step = 'completed'`)
	if w.rows(`select count(*) from eventstore.deliveries where destination = 'crm:demo' and attempts > 1`) == "0" {
		t.Error("no call failed: this run proves nothing")
	}
	w.clean()
	w.replaysAsItWas()
}

// When the CRM refuses a change, or retries do not help, an operator gets the ticket with the collected
// data; the bot does not claim that anything was changed.
func TestCRM_AddressNotKept_HandedToOperator(t *testing.T) {
	t.Parallel()
	refusal := faults.Fault{Path: "/customers/", Status: http.StatusUnprocessableEntity}
	// A 429 does not open the circuit breaker.
	failure := faults.Fault{Path: "/customers/", Status: http.StatusTooManyRequests, RetryAfter: 3600}
	for name, test := range map[string]struct {
		fault faults.Fault
		end   func(w *world)
		state string
		told  string // whether the conversation's row says why
	}{
		"refused": {refusal, func(*world) {}, "refused", "true"},
		"given up": {failure, func(w *world) {
			w.waitsFor("crm.updateAddress")
			if _, err := w.db.Exec(w.t.Context(), `update eventstore.deliveries
				set created_at = created_at - interval '1 day', next_attempt = now()
				where kind = 'crm.updateAddress' and state = 'waiting'`); err != nil {
				w.t.Fatal(err)
			}
		}, "dead", "true"},
		"skipped": {failure, func(w *world) {
			w.waitsFor("crm.updateAddress")
			w.must("deliveries", "skip", "--chat", "demo:7", "--destination", "crm:demo", "--state", "waiting",
				"--why", "called them")
		}, "skipped", "null"}, // the operator has said why
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crm, withCRM := newCRM(t)
			w := newWorld(t, withCRM)
			crm.AddFault(test.fault)
			w.confirms(7, elm)
			test.end(w)
			w.says(7, "I couldn't complete the change of your billing address. A colleague")
			w.settle()
			if said, kept := w.texts(7, "bot"), crm.kept(7); len(said) != 3 || len(kept) != 0 {
				t.Errorf("changed to %q; the bot says %q", kept, said)
			}
			w.wantRows(test.state, `select state from eventstore.deliveries where kind = 'crm.updateAddress'`)
			w.wantRows("person, handed_over, "+elm+", "+test.told,
				`select handler, step, collected->>'address', last_failure like '%CRM: PUT %' from readmodel.conversations`)
			w.wantRows("address_update_failed", `select reason from readmodel.ticket_queue`)

			// Later the change succeeds after all; the operator tells the customer.
			crm.ClearFaults()
			w.must("deliveries", "retry", "--chat", "demo:7", "--destination", "crm:demo", "--state", test.state)
			w.settle()
			if said, kept := w.texts(7, "bot"), crm.kept(7); len(said) != 3 || len(kept) != 1 {
				t.Errorf("changed to %q; the bot says %q", kept, said)
			}
			w.wantRows("person, completed", `select handler, step from readmodel.conversations`)
			w.clean()
			w.replaysAsItWas()
		})
	}
}

// When an operator skips a look-up that a customer asked for during a workflow, an operator gets the
// ticket: no customer waits for an answer that will not come.
func TestCRM_SideLookupGivenUp_HandedToOperator(t *testing.T) {
	t.Parallel()
	crm, withCRM := newCRM(t)
	w := newWorld(t, withCRM)
	crm.AddFault(faults.Fault{Path: "/lookups", Status: http.StatusTooManyRequests, RetryAfter: 3600})
	w.Say(7, "I want to change my billing address")
	w.says(7, "new billing address")
	w.Say(7, "where is my order 1001?")
	w.waitsFor("orders.lookup")
	// The look-up of the customer waits, too.
	w.must("deliveries", "skip", "--chat", "demo:7", "--state", "waiting", "--why", "they are gone")
	w.says(7, "I can't look up order 1001 right now. A colleague will check it")
	w.settle()
	w.wantRows("person, handed_over", `select handler, step from readmodel.conversations`)
	w.wantRows("order_lookup_failed", `select reason from readmodel.ticket_queue`)
	w.clean()
	w.replaysAsItWas()
}

// waitsFor waits until an attempt at the one delivery of a kind has been postponed.
func (w *world) waitsFor(kind string) {
	w.t.Helper()
	w.eventually("the CRM refuses for now", func() string {
		row := w.rows(`select state, attempts > 0 from eventstore.deliveries where kind = $1`, kind)
		return unless(row == "waiting, true", "%q", row)
	})
}

// The process is killed after the CRM has changed an address and before the outcome is recorded. The next
// process repeats the request, and the address is not changed again.
func TestCRM_KilledDuringUpdate_ChangesAddressOnce(t *testing.T) {
	t.Parallel()
	crm, withCRM := newCRM(t)
	w := newTown(t, pgtest.Database(t), withCRM)
	p := w.serve()
	w.running = &running{url: p.url}
	w.register()
	w.Say(7, "I want to change my billing address")
	w.says(7, "send me the new billing address")
	w.Say(7, elm)
	w.says(7, "Is that right?")
	crm.hold()
	w.Say(7, "yes")
	const kills = 3 // more often than a message would be sent again
	for kill := range kills {
		w.eventually("the CRM is asked", func() string {
			return unless(len(crm.puts()) == kill+1, "%d times", len(crm.puts()))
		})
		if err := w.end(p, os.Signal(syscall.SIGKILL)); err == nil {
			t.Errorf("the program survived kill %d", kill+1)
		}
		// The lease expires.
		if _, err := w.db.Exec(t.Context(), `update eventstore.deliveries set lease_until = now()
			where state = 'sending'`); err != nil {
			t.Fatal(err)
		}
		if kill == kills-1 {
			crm.release()
		}
		p = w.serve()
	}
	w.says(7, "Done: your billing address is now "+elm)
	w.settle()
	if err := w.end(p, syscall.SIGTERM); err != nil {
		t.Errorf("asked to stop, the program ends with %v", err)
	}
	if keys := slices.Compact(crm.puts()); len(crm.puts()) != kills+1 || len(keys) != 1 || len(crm.kept(7)) != 1 {
		t.Errorf("asked under the keys %v, changed to %q", crm.puts(), crm.kept(7))
	}
	if said := w.texts(7, "bot"); len(said) != 3 {
		t.Errorf("the bot says %q", said)
	}
	w.wantRows("done", `select state from eventstore.deliveries where kind = 'crm.updateAddress'`)
	w.gapless()
	w.clean()
}

func TestCRM_ManyCustomers_LookupsBatched(t *testing.T) {
	t.Parallel()
	crm, withCRM := newCRM(t)
	w := newTown(t, pgtest.Database(t), withCRM)
	w.running = w.start(w.dsn, func(c *server.Config) { c.Only = server.Receive })
	w.register()
	for chat := range int64(8) {
		w.Say(chat+1, fmt.Sprintf("where is my order %d?", 1001+chat%2))
	}
	w.eventually("they are stored", func() string {
		return unless(w.rows(`select count(*) from eventstore.events`) == "8", "not all")
	})
	// Now a worker starts, and looks up all of them in one batch.
	worker := w.start(w.dsn, func(c *server.Config) { c.Only = server.Work })
	for chat := range int64(8) {
		w.says(chat+1, fmt.Sprintf("Order %d: ", 1001+chat%2))
	}
	w.settle()
	if n := len(crm.Requests()); n > 4 {
		t.Errorf("the CRM got %d requests for 2 orders", n)
	}
	for _, metric := range []string{`chatledger_breaker_state{destination="crm:demo"} 0`,
		`chatledger_batch_lookups_count{destination="crm:demo"} ` + fmt.Sprint(len(crm.Requests()))} {
		if _, page, err := get(worker.url + "/metrics"); err != nil || !strings.Contains(page, metric) {
			t.Errorf("no %s (%v)", metric, err)
		}
	}
}

// A customer who guesses another customer's order number gets the answer for a number that does not exist.
func TestCRM_OrderOfAnotherCustomer_NotFound(t *testing.T) {
	t.Parallel()
	crm, withCRM := newCRM(t)
	crm.Known("telegram:41", "C-1")
	w := newWorld(t, withCRM)
	w.Say(41, "where is my order 2001?")
	w.says(41, "Order 2001: delivered")
	w.Say(42, "where is my order 2001?")
	w.Say(43, "where is my order 2002?")
	w.settle()
	if stranger, guesser := w.texts(42, "bot"), w.texts(43, "bot"); len(stranger) != 1 ||
		stranger[0] != strings.ReplaceAll(guesser[0], "2002", "2001") {
		t.Errorf("a stranger is told %q, and of no order %q", stranger, guesser)
	}
	// By then the CRM has identified the customers.
	w.Say(41, "where is my order 2001?")
	w.settle()
	w.wantRows("C-1, telegram:41", `select payload ->> 'account', payload ->> 'customer' from eventstore.deliveries
		where kind = 'orders.lookup' and stream_id = 'chat-demo:41' order by seq desc limit 1`)
	w.clean()
	w.replaysAsItWas()
}

// While the circuit breaker is open no request is sent, and the conversation continues.
func TestCRM_Down_ConversationContinues(t *testing.T) {
	t.Parallel()
	crm, withCRM := newCRM(t)
	w := newWorld(t, withCRM)
	crm.AddFault(faults.Fault{Status: http.StatusBadGateway})
	for chat := range int64(6) {
		w.Say(chat+1, "my new billing address is "+elm)
	}
	w.eventually("the circuit is open", func() string {
		_, page, err := get(w.url + "/metrics")
		return unless(err == nil && strings.Contains(page, `chatledger_breaker_state{destination="crm:demo"} 2`),
			"it is not (%v)", err)
	})
	w.eventually("what was on its way has come back", func() string {
		return w.rows(`select 'not yet' where exists (select from eventstore.deliveries
			where destination in ('crm:demo', 'orders:demo') and state = 'sending')`)
	})
	asked := len(crm.Requests())
	w.Say(1, "hello?")
	w.says(1, "still checking the address")
	w.Say(1, "cancel")
	w.says(1, "Nothing was changed")
	w.Say(2, "I want to talk to a person")
	w.says(2, "A colleague will answer you here")
	if n := len(crm.Requests()); n != asked {
		t.Errorf("%d calls were made meanwhile", n-asked)
	}
	w.eventually("each stands where it should", func() string {
		steps := w.rows(`select step, count(*) from readmodel.conversations group by 1 order by 1`)
		return unless(steps == "cancelled, 1; handed_over, 1; validating_address, 4", "%s", steps)
	})
}

// crmStep is a story's step in the CRM.
func (s *story) crmStep(line string) {
	s.t.Helper()
	switch verb, text, _ := strings.Cut(line, " "); verb {
	case "holds":
		s.crm.hold()
	case "answers":
		s.crm.release()
	case "keeps":
		s.settle()
		if kept := strings.Join(s.crm.kept(s.chat), "; "); kept != text {
			s.fail("it was changed to %q", kept)
		}
	case "refuses":
		s.refuses = true
		s.crm.AddFault(faults.Fault{Path: text, Status: http.StatusUnprocessableEntity})
	case "tier":
		s.crm.AddCustomer(crmsim.Customer{ID: fmt.Sprintf("telegram:%d", s.customer), Name: "Customer", Tier: text})
	default:
		s.fail("unknown act %q", verb)
	}
}

// settle waits until all work is done, except requests that the CRM holds.
func (s *story) settle() {
	s.t.Helper()
	if s.crm == nil || !s.crm.held() {
		s.world.settle()
		return
	}
	const underWay = `state in ('waiting', 'sending')`
	s.eventually("everything but the CRM comes to rest", func() string {
		if n := s.Stats().Updates.Pending; n > 0 {
			return fmt.Sprintf("%d updates are on their way", n)
		}
		return s.overdue() + s.rows(strings.Replace(unsettled, underWay, underWay+` and destination <> 'crm:demo'`, 1))
	})
}
