package zendesk_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chatledger/chatledger/adapters/simulators/faults"
	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
	"github.com/chatledger/chatledger/adapters/zendesk"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

func TestSend_Ticket_IsCreatedAndChanged(t *testing.T) {
	t.Parallel()
	server, url := simulate(t, zendesksim.Options{})
	cs := senders(t, zendesk.Account{URL: url + "/"})
	done := func(kind domain.DeliveryKind, payload any) commands.Outcome {
		t.Helper()
		return send(t, cs, claimed(t, kind, payload), domain.DeliveryDone)
	}
	created := done(domain.KindCreateTicket, newCase)
	done(domain.KindAddComment, commands.AddComment{ExternalID: external, Body: "Ann: \"still\n<waiting>\" 🙁"})
	done(domain.KindAddComment, commands.AddComment{ExternalID: external, Body: "We look into it.", Public: true})
	done(domain.KindSetPriority, commands.SetPriority{ExternalID: external, Priority: "urgent"})
	solved := done(domain.KindSetStatus, commands.SetStatus{ExternalID: external, Status: "solved"})

	want := []zendesksim.Ticket{{
		ExternalID: "chat-demo:42/#1", Subject: "Refund", Requester: "Ann", Priority: "urgent", Status: "solved",
		Tags: []string{"chatledger"},
		Comments: []zendesksim.Comment{
			{Author: "api", Body: "Where is my money?"},
			{Author: "api", Body: "Ann: \"still\n<waiting>\" 🙁"},
			{Author: "api", Body: "We look into it.", Public: true},
		},
	}}
	got := server.Tickets()
	ignored := []cmp.Option{
		cmpopts.IgnoreFields(zendesksim.Ticket{}, "ID", "UpdatedAt"),
		cmpopts.IgnoreFields(zendesksim.Comment{}, "ID"),
		cmpopts.IgnoreUnexported(zendesksim.Ticket{}),
	}
	if diff := cmp.Diff(want, got, ignored...); diff != "" {
		t.Fatal(diff)
	}
	if string(created.Answer) != string(solved.Answer) || !strings.Contains(string(created.Answer), `"ticket_id": 35`) {
		t.Errorf("answers %s and %s", created.Answer, solved.Answer)
	}
	filed, _ := created.Command.(chat.RecordFiling)
	if filed.Ticket != "#1" || filed.Desk != "zendesk" || filed.Number != strconv.FormatInt(got[0].ID, 10) ||
		solved.Command != nil {
		t.Errorf("commands %+v and %+v", created.Command, solved.Command)
	}
	if n := calls(server, http.MethodGet); n != 0 {
		t.Errorf("%d lookups of a ticket that this process created, want none", n)
	}
}

func TestFind_TicketOfAnotherProcess_IsLookedUpOnce(t *testing.T) {
	t.Parallel()
	server, url := simulate(t, zendesksim.Options{})
	send(t, senders(t, zendesk.Account{URL: url}), claimed(t, domain.KindCreateTicket, newCase), domain.DeliveryDone)
	other := senders(t, zendesk.Account{URL: url})
	for range 2 {
		send(t, other, claimed(t, domain.KindAddComment, commands.AddComment{ExternalID: external, Body: "ok"}),
			domain.DeliveryDone)
	}
	if n := calls(server, http.MethodGet); n != 1 || len(server.Tickets()[0].Comments) != 3 {
		t.Errorf("%d lookups, want 1; ticket %+v", n, server.Tickets()[0])
	}
}

// An answer can be lost in several ways. For every kind of delivery the next attempt, by another process,
// finds the effect of the first or makes it, so that it is made once.
func TestSend_UnknownOutcome_OneEffect(t *testing.T) {
	t.Parallel()
	kinds := map[domain.DeliveryKind]struct {
		payload any
		method  string
	}{
		domain.KindCreateTicket: {newCase, http.MethodPost},
		domain.KindAddComment:   {commands.AddComment{ExternalID: external, Body: "ok"}, http.MethodPut},
		domain.KindSetStatus:    {commands.SetStatus{ExternalID: external, Status: "solved"}, http.MethodPut},
		domain.KindSetPriority:  {commands.SetPriority{ExternalID: external, Priority: "low"}, http.MethodPut},
	}
	for kind, k := range kinds {
		for _, spoil := range []faults.Spoil{faults.Reset, faults.Cut, faults.HTML, faults.Truncated, faults.Half,
			faults.Endless} {
			t.Run(string(kind)+" "+string(spoil), func(t *testing.T) {
				t.Parallel()
				server, url := simulate(t, zendesksim.Options{})
				if kind != domain.KindCreateTicket {
					create := claimed(t, domain.KindCreateTicket, newCase)
					send(t, senders(t, zendesk.Account{URL: url}), create, domain.DeliveryDone)
				}
				server.SetFaults(faults.Fault{Method: k.method, Spoil: spoil, Count: 1})
				before := calls(server, k.method)
				d := claimed(t, kind, k.payload)
				first := send(t, senders(t, zendesk.Account{URL: url}), d, domain.DeliveryUnknown)
				if len(first.Reason) > 1000 || !strings.Contains(first.Reason, k.method) {
					t.Errorf("reason of %d bytes: %.200s", len(first.Reason), first.Reason)
				}
				send(t, senders(t, zendesk.Account{URL: url}), again(d), domain.DeliveryDone)
				send(t, senders(t, zendesk.Account{URL: url}), again(again(d)), domain.DeliveryDone)

				tickets := server.Tickets()
				if len(tickets) != 1 {
					t.Fatalf("%d tickets", len(tickets))
				}
				comments := 1
				if kind == domain.KindAddComment {
					comments = 2
				}
				if got := tickets[0]; len(got.Comments) != comments ||
					(got.Status == "solved") != (kind == domain.KindSetStatus) ||
					(got.Priority == "low") != (kind == domain.KindSetPriority) {
					t.Errorf("ticket %+v", got)
				}
				writes := 1
				if spoil == faults.Reset {
					writes = 2
				}
				if n := calls(server, k.method) - before; n != writes {
					t.Errorf("%d calls, want %d", n, writes)
				}
			})
		}
	}
}

// An agent reopens the ticket between two attempts to solve it. The retry does not solve it again.
func TestSend_Retry_KeepsAgentsChange(t *testing.T) {
	t.Parallel()
	server, url := simulate(t, zendesksim.Options{})
	cs := senders(t, zendesk.Account{URL: url})
	send(t, cs, claimed(t, domain.KindCreateTicket, newCase), domain.DeliveryDone)
	for range 40 { // to make the ticket's history long
		if err := server.Comment(t.Context(), server.Tickets()[0].ID, "Maria", "note", false); err != nil {
			t.Fatal(err)
		}
	}
	server.SetFaults(faults.Fault{Method: http.MethodPut, Spoil: faults.Cut, Count: 1})
	d := claimed(t, domain.KindSetStatus, commands.SetStatus{ExternalID: external, Status: "solved"})
	send(t, cs, d, domain.DeliveryUnknown)
	if err := server.Reopen(t.Context(), server.Tickets()[0].ID, "Maria"); err != nil {
		t.Fatal(err)
	}
	send(t, cs, again(d), domain.DeliveryDone)
	if status := server.Tickets()[0].Status; status != "open" {
		t.Errorf("the ticket is %s", status)
	}
}

// When a reused connection breaks, net/http itself retries requests with an Idempotency-Key. Zendesk
// honours the key for new tickets and ignores it for updates, which are therefore sent without it.
func TestSend_IdempotencyKey_OnlyForNewTickets(t *testing.T) {
	t.Parallel()
	server, url := simulate(t, zendesksim.Options{})
	cs := senders(t, zendesk.Account{URL: url})
	d := claimed(t, domain.KindCreateTicket, newCase)
	send(t, cs, d, domain.DeliveryDone)
	server.SetFaults(faults.Fault{Method: http.MethodPut, Spoil: faults.Cut, Count: 1})
	send(t, cs, claimed(t, domain.KindAddComment, commands.AddComment{ExternalID: external, Body: "ok"}),
		domain.DeliveryUnknown)
	for _, c := range server.Calls() {
		if want := map[string]string{http.MethodPost: d.ID.String()}[c.Method]; c.Key != want {
			t.Errorf("%s has key %q, want %q", c.Method, c.Key, want)
		}
	}
	if n := calls(server, http.MethodPut); n != 1 {
		t.Errorf("%d calls for one update", n)
	}
}

// After a lease has expired too early, several workers send the same delivery at the same time.
func TestSend_SameDeliveryAtOnce_OneTicket(t *testing.T) {
	t.Parallel()
	server, url := simulate(t, zendesksim.Options{})
	d := again(claimed(t, domain.KindCreateTicket, newCase))
	var workers sync.WaitGroup
	for range 5 {
		cs := senders(t, zendesk.Account{URL: url})
		workers.Go(func() {
			if got := cs.Send(t.Context(), d); got.State != domain.DeliveryDone {
				t.Errorf("%+v", got)
			}
		})
	}
	workers.Wait()
	if n := len(server.Tickets()); n != 1 {
		t.Errorf("%d tickets", n)
	}
}

// If Zendesk's list does not contain a new ticket yet, the key prevents a second one.
func TestCreate_SameKey_OneTicket(t *testing.T) {
	t.Parallel()
	server, url := simulate(t, zendesksim.Options{})
	ticket := zendesk.Ticket{Subject: "Refund", Comment: zendesk.Comment{Body: "?"}, ExternalID: external}
	first, err := senders(t, zendesk.Account{URL: url})["demo"].Create(t.Context(), "k1", ticket)
	if err != nil {
		t.Fatal(err)
	}
	client := senders(t, zendesk.Account{URL: url})["demo"]
	if second, err := client.Create(t.Context(), "k1", ticket); err != nil || second != first {
		t.Errorf("tickets %d and %d (%v)", first, second, err)
	}
	ticket.Subject = "Refund!"
	var e *zendesk.Error
	if _, err := client.Create(t.Context(), "k1", ticket); !errors.As(err, &e) || e.State != domain.DeliveryRetry {
		t.Errorf("another ticket with the same key: %v", err)
	}
	if n := len(server.Tickets()); n != 1 {
		t.Errorf("%d tickets", n)
	}
}

func TestSend_EveryAnswer_HasItsOutcome(t *testing.T) {
	t.Parallel()
	fault := func(status int) faults.Fault { return faults.Fault{Status: status} }
	for name, c := range map[string]struct {
		fault faults.Fault
		state domain.DeliveryState
		after time.Duration
		part  string // of the reason
	}{
		"429": {faults.Fault{Status: 429, RetryAfter: 93}, domain.DeliveryRetry, 93 * time.Second,
			"429 Too Many Requests"},
		"429 without Retry-After": {fault(429), domain.DeliveryRetry, time.Minute, "429"},
		"429, huge Retry-After": {faults.Fault{Status: 429, RetryAfter: 1 << 30}, domain.DeliveryRetry, 15 * time.Minute,
			"429"},
		"500":                  {fault(500), domain.DeliveryUnknown, 0, "500 Internal Server Error"},
		"502":                  {fault(502), domain.DeliveryUnknown, 0, "502"},
		"503 with Retry-After": {faults.Fault{Status: 503, RetryAfter: 7}, domain.DeliveryRetry, 7 * time.Second, "503"},
		"401":                  {fault(401), domain.DeliveryRetry, time.Minute, "401"},
		"403":                  {fault(403), domain.DeliveryRetry, time.Minute, "403"},
		"409":                  {fault(409), domain.DeliveryRetry, 0, "409"},
		"408":                  {fault(408), domain.DeliveryRetry, 0, "408"},
		"302":                  {fault(302), domain.DeliveryRetry, time.Minute, "302"},
		"400":                  {fault(400), domain.DeliveryRefused, 0, "400"},
		"404":                  {fault(404), domain.DeliveryRefused, 0, "404"},
		"413":                  {fault(413), domain.DeliveryRefused, 0, "413"},
		"422":                  {fault(422), domain.DeliveryRefused, 0, "422"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, url := simulate(t, zendesksim.Options{})
			server.SetFaults(c.fault)
			got := send(t, senders(t, zendesk.Account{URL: url}), claimed(t, domain.KindCreateTicket, newCase), c.state)
			denied, limited := got.Cause == commands.CauseToken, got.Cause == commands.CauseFlood
			if status := c.fault.Status; got.Untried != denied || denied != (status == 401 || status == 403 || status == 302) ||
				limited != (status == 429) {
				t.Errorf("cause %q, untried %v", got.Cause, got.Untried)
			}
			if got.After != c.after || !strings.Contains(got.Reason, c.part) ||
				!strings.Contains(got.Reason, "POST /tickets.json") || strings.Contains(got.Reason, token) {
				t.Errorf("after %v: %q", got.After, got.Reason)
			}
			if n := calls(server, ""); n != 1 || len(server.Tickets()) != 0 {
				t.Errorf("%d calls, %d tickets", n, len(server.Tickets()))
			}
		})
	}
}

func TestSend_RetryAfter_IsSecondsOrDate(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		time.Now().Add(40 * time.Second).UTC().Format(http.TimeFormat): 40 * time.Second,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       time.Second,
		time.Now().Add(90 * time.Hour).UTC().Format(http.TimeFormat):   15 * time.Minute,
		"0": time.Second, "-1": time.Minute, "soon": time.Minute, "1e9": time.Minute,
	} {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		t.Cleanup(front.Close)
		got := send(t, senders(t, zendesk.Account{URL: front.URL}), claimed(t, domain.KindCreateTicket, newCase),
			domain.DeliveryRetry)
		if got.After > want || got.After < want-10*time.Second {
			t.Errorf("%q: %v, want %v", header, got.After, want)
		}
	}
}

func TestSend_Refused_QuotesZendesk(t *testing.T) {
	t.Parallel()
	server, url := simulate(t, zendesksim.Options{})
	cs := senders(t, zendesk.Account{URL: url})
	bad := newCase
	bad.Priority = "P1"
	got := send(t, cs, claimed(t, domain.KindCreateTicket, bad), domain.DeliveryRefused)
	if !strings.Contains(got.Reason, "priority is not properly formatted: P1") {
		t.Errorf("reason %q", got.Reason)
	}
	send(t, cs, claimed(t, domain.KindCreateTicket, newCase), domain.DeliveryDone)
	server.CloseTicket(server.Tickets()[0].ID)
	comment := claimed(t, domain.KindAddComment, commands.AddComment{ExternalID: external, Body: "ok"})
	got = send(t, cs, comment, domain.DeliveryRefused)
	if !strings.Contains(got.Reason, "closed prevents ticket update") {
		t.Errorf("reason %q", got.Reason)
	}
	wrong := senders(t, zendesk.Account{URL: url, Token: "wrong"})
	got = send(t, wrong, claimed(t, domain.KindCreateTicket, newCase), domain.DeliveryRetry)
	if !strings.Contains(got.Reason, "Couldn't authenticate you") || got.After != time.Minute {
		t.Errorf("reason %q, after %v", got.Reason, got.After)
	}
}

// A payload that cannot have an effect is refused without a call.
func TestSend_EmptyPayload_IsRefused(t *testing.T) {
	t.Parallel()
	server, url := simulate(t, zendesksim.Options{})
	cs := senders(t, zendesk.Account{URL: url})
	for name, d := range map[string]commands.Claimed{
		"no JSON":        claimed(t, domain.KindAddComment, `{"body":`),
		"a list":         claimed(t, domain.KindCreateTicket, `[]`),
		"no external id": claimed(t, domain.KindCreateTicket, commands.CreateTicket{Subject: "Refund", Comment: "?"}),
		"no comment":     claimed(t, domain.KindCreateTicket, commands.CreateTicket{ExternalID: external, Subject: "Refund"}),
		"empty comment":  claimed(t, domain.KindAddComment, commands.AddComment{ExternalID: external, Body: " \n"}),
		"no ticket":      claimed(t, domain.KindAddComment, commands.AddComment{Body: "ok"}),
		"no status":      claimed(t, domain.KindSetStatus, commands.SetStatus{ExternalID: external}),
		"no priority":    claimed(t, domain.KindSetPriority, commands.SetPriority{ExternalID: external}),
		"unknown kind":   claimed(t, "zendesk.merge", newCase),
	} {
		if got := cs.Send(t.Context(), d); got.State != domain.DeliveryRefused || got.Reason == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	other := claimed(t, domain.KindCreateTicket, newCase)
	other.Stream = domain.ChatStream("other", 42)
	if got := cs.Send(t.Context(), other); got.State != domain.DeliveryRefused ||
		!strings.Contains(got.Reason, `"other"`) {
		t.Errorf("a bot without an account: %+v", got)
	}
	if n := calls(server, ""); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestSend_TicketNotFound_RetriedThenRefused(t *testing.T) {
	t.Parallel()
	_, url := simulate(t, zendesksim.Options{})
	cs := senders(t, zendesk.Account{URL: url})
	d := claimed(t, domain.KindSetStatus, commands.SetStatus{ExternalID: external, Status: "solved"})
	for ; d.Attempt < 4; d.Attempt++ {
		send(t, cs, d, domain.DeliveryRetry)
	}
	if got := send(t, cs, d, domain.DeliveryRefused); !strings.Contains(got.Reason, external) {
		t.Errorf("reason %q", got.Reason)
	}
}

// An answer that is not Zendesk's JSON does not count as success. The reason quotes its beginning.
func TestSend_UnreadableAnswer_Quoted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status       int
		body         string
		state        domain.DeliveryState // of creating a ticket; a lookup is always retried
		create, find string               // parts of the reasons
	}{
		"nothing":         {200, ``, domain.DeliveryUnknown, "unexpected end", "unexpected end"},
		"an empty object": {200, `{}`, domain.DeliveryUnknown, "it has no ticket.id", "it has no tickets"},
		"null":            {200, `null`, domain.DeliveryUnknown, "it has no ticket.id", "it has no tickets"},
		"no id": {201, `{"ticket":{"url":"x"},"tickets":null}`, domain.DeliveryUnknown, "it has no ticket.id",
			"it has no tickets"},
		"another type": {201, `{"ticket":{"id":"35436"},"tickets":{}}`, domain.DeliveryUnknown, "cannot unmarshal",
			"cannot unmarshal"},
		"HTML": {200, "<html>\n<p>" + strings.Repeat("x", 5000), domain.DeliveryUnknown, "<html> <p>xxx",
			"invalid character"},
		"HTML with a 404": {404, "<h1>No Help Desk at nobody.zendesk.com</h1>", domain.DeliveryRetry, "No Help Desk",
			"No Help Desk"},
		"bytes":             {500, "\x00\xff\xfe", domain.DeliveryUnknown, "500", "500"},
		"an unknown status": {299, `{"ticket":{"id":1}}`, domain.DeliveryDone, "", "it has no tickets"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				w.Write([]byte(c.body))
			}))
			t.Cleanup(front.Close)
			account := zendesk.Account{URL: front.URL}
			created := send(t, senders(t, account), claimed(t, domain.KindCreateTicket, newCase), c.state)
			comment := claimed(t, domain.KindAddComment, commands.AddComment{ExternalID: external, Body: "ok"})
			found := send(t, senders(t, account), comment, domain.DeliveryRetry)
			if !strings.Contains(created.Reason, c.create) || !strings.Contains(found.Reason, c.find) ||
				len(created.Reason)+len(found.Reason) > 1000 {
				t.Errorf("reasons %q and %q", created.Reason, found.Reason)
			}
		})
	}
}

// If Zendesk returns an unfiltered list, only a ticket with the external id is found, and of several the
// oldest.
func TestFind_UnfilteredList_OnlyOwnTicket(t *testing.T) {
	t.Parallel()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"tickets":[{"id":1,"external_id":null},{"id":2,"external_id":"chat-demo:42/#11"},
			{"id":9,"external_id":%q},{"id":7,"external_id":%[1]q,"new_field":[]}]}`, external)
	}))
	t.Cleanup(front.Close)
	client := senders(t, zendesk.Account{URL: front.URL})["demo"]
	if id, err := client.Find(t.Context(), external); err != nil || id != 7 {
		t.Errorf("found %d (%v)", id, err)
	}
	if id, err := client.Find(t.Context(), "chat-demo:43/#1"); err != nil || id != 0 {
		t.Errorf("found %d (%v)", id, err)
	}
}

func TestSend_ConnectionRefused_IsRetried(t *testing.T) {
	t.Parallel()
	unreachable := senders(t, zendesk.Account{URL: "http://127.0.0.1:1"})
	got := send(t, unreachable, claimed(t, domain.KindCreateTicket, newCase), domain.DeliveryRetry)
	if !strings.Contains(got.Reason, "refused") || strings.Contains(got.Reason, "http://") {
		t.Errorf("reason %q", got.Reason)
	}
}

// A client that followed a redirect would repeat the POST as a GET, and count its answer as success.
func TestSend_Redirect_IsNotFollclaimed(t *testing.T) {
	t.Parallel()
	elsewhere, url := simulate(t, zendesksim.Options{})
	front := httptest.NewServer(http.RedirectHandler(url+"/api/v2/tickets.json", http.StatusMovedPermanently))
	t.Cleanup(front.Close)
	got := send(t, senders(t, zendesk.Account{URL: front.URL}), claimed(t, domain.KindCreateTicket, newCase),
		domain.DeliveryRetry)
	if got.After != time.Minute || !strings.Contains(got.Reason, "301") || calls(elsewhere, "") != 0 {
		t.Errorf("%+v, %d calls elsewhere", got, calls(elsewhere, ""))
	}
}

func TestSend_NoAnswer_UnknownForChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, cs := inBubble(t, nil)
		server.SetFaults(faults.Fault{DelayMS: 60_000, Count: 2})
		begun := time.Now()
		d := claimed(t, domain.KindCreateTicket, newCase)
		send(t, cs, d, domain.DeliveryUnknown)
		send(t, cs, claimed(t, domain.KindAddComment, commands.AddComment{ExternalID: "chat-demo:1/#1", Body: "ok"}),
			domain.DeliveryRetry)
		if took := time.Since(begun); took != 20*time.Second {
			t.Errorf("two calls took %v", took)
		}
		send(t, cs, again(d), domain.DeliveryDone)
		if n := len(server.Tickets()); n != 1 {
			t.Errorf("%d tickets", n)
		}
	})
}

func TestSend_DeadlineNear_NotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, cs := inBubble(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		for range 5 { // the circuit breaker does not count these
			got := cs.Send(ctx, claimed(t, domain.KindCreateTicket, newCase))
			if got.State != domain.DeliveryRetry || !got.Untried || !strings.Contains(got.Reason, "time") {
				t.Fatalf("%+v", got)
			}
		}
		if calls(server, "") != 0 || cs["demo"].Breaker() != "closed" {
			t.Errorf("%d calls, breaker %s", calls(server, ""), cs["demo"].Breaker())
		}
	})
}

// rateLimit is a Limit that returns the given permit or error, and records its calls.
type rateLimit struct {
	mu       sync.Mutex
	n        int // calls of Wait
	permit   commands.Permit
	err      error
	recorded []string // calls of RetryAfter
}

func (w *rateLimit) Wait(context.Context) (commands.Permit, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	return w.permit, w.err
}

func (w *rateLimit) RetryAfter(_ context.Context, what string, wait time.Duration, reason string) {
	w.recorded = append(w.recorded, fmt.Sprint(what, " ", wait))
}

func TestLimit_EveryCall_NeedsPermit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := &rateLimit{}
		server, cs := inBubble(t, limit)
		d := claimed(t, domain.KindCreateTicket, newCase)
		send(t, cs, again(d), domain.DeliveryDone) // a lookup, then the ticket
		comment := claimed(t, domain.KindAddComment, commands.AddComment{ExternalID: external, Body: "ok"})
		send(t, cs, again(comment), domain.DeliveryDone) // the audits, then the comment
		if limit.n != 4 || calls(server, "") != 4 {
			t.Errorf("%d permits for %d calls, want 4 and 4", limit.n, calls(server, ""))
		}
		for _, c := range []struct {
			permit commands.Permit
			err    error
			after  time.Duration
		}{
			{commands.Permit{}, context.DeadlineExceeded, time.Second},
			{commands.Permit{Wait: 7 * time.Second}, nil, 7 * time.Second},
			{commands.Permit{Wait: time.Minute, Cause: commands.CauseFlood, Reason: "429"}, nil, time.Minute},
		} {
			limit.permit, limit.err = c.permit, c.err
			got := send(t, cs, claimed(t, domain.KindCreateTicket, newCase), domain.DeliveryRetry)
			if !got.Untried || got.After != c.after || !strings.Contains(got.Reason, "rate limit") ||
				!strings.HasSuffix(got.Reason, c.permit.Reason) || calls(server, "") != 4 {
				t.Errorf("%+v after %d calls", got, calls(server, ""))
			}
		}
	})
}

// A 429 to an update is recorded for the ticket, whose updates Zendesk also limits, and one to another call
// for the account.
func TestLimit_429_IsRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := &rateLimit{}
		server, cs := inBubble(t, limit)
		send(t, cs, claimed(t, domain.KindCreateTicket, newCase), domain.DeliveryDone)
		server.SetFaults(faults.Fault{Status: 429, RetryAfter: 9})
		send(t, cs, claimed(t, domain.KindAddComment, commands.AddComment{ExternalID: external, Body: "ok"}),
			domain.DeliveryRetry)
		send(t, cs, claimed(t, domain.KindCreateTicket, newCase), domain.DeliveryRetry)
		path := fmt.Sprintf("/tickets/%d.json", server.Tickets()[0].ID)
		want := []string{path + " 9s", " 9s"}
		if diff := cmp.Diff(want, limit.recorded); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Three failures in a row stop the calls for 30 s. Then one call is made as a probe, while others are
// retried later. Its success closes the breaker.
func TestBreaker_ThreeFailures_OpenUntilProbeSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := &rateLimit{}
		server, cs := inBubble(t, limit)
		try := func() commands.Outcome { return cs.Send(t.Context(), claimed(t, domain.KindCreateTicket, newCase)) }
		server.SetFaults(faults.Fault{Status: 500, Count: 1}, faults.Fault{Status: 503, Count: 1},
			faults.Fault{Spoil: faults.HTML, Count: 1}, faults.Fault{Status: 500})
		for i := range 3 {
			if state := cs["demo"].Breaker(); state != "closed" {
				t.Fatalf("breaker %s after %d failures", state, i)
			}
			try()
		}
		for _, wait := range []time.Duration{0, 10 * time.Second, 20*time.Second - time.Millisecond} {
			time.Sleep(wait)
			if got := try(); !got.Untried || got.State != domain.DeliveryRetry || got.After <= 0 ||
				got.After > 30*time.Second || !strings.Contains(got.Reason, "circuit breaker is open") {
				t.Fatalf("%+v", got)
			}
		}
		if n := calls(server, ""); n != 3 || limit.n != 3 || cs["demo"].Breaker() != "open" {
			t.Fatalf("%d calls, %d permits, breaker %s; want 3, 3, open", n, limit.n, cs["demo"].Breaker())
		}

		time.Sleep(time.Millisecond)
		try() // fails, and opens the breaker again at once
		if got := try(); calls(server, "") != 4 || got.After != 30*time.Second {
			t.Fatalf("%d calls; %+v", calls(server, ""), got)
		}

		time.Sleep(30 * time.Second)
		server.SetFaults(faults.Fault{DelayMS: 5000})
		var probe sync.WaitGroup
		probe.Go(func() { send(t, cs, claimed(t, domain.KindCreateTicket, newCase), domain.DeliveryDone) })
		synctest.Wait()
		if got := try(); got.State != domain.DeliveryRetry || !got.Untried || got.After != 2*time.Second ||
			cs["demo"].Breaker() != "half-open" {
			t.Errorf("during the probe: %+v, breaker %s", got, cs["demo"].Breaker())
		}
		probe.Wait()
		if n := calls(server, ""); n != 5 || cs["demo"].Breaker() != "closed" {
			t.Errorf("%d calls, breaker %s", n, cs["demo"].Breaker())
		}
	})
}

func TestBreaker_ClientErrors_StaysClosed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{429, 401, 403, 404, 409, 422} {
		server, url := simulate(t, zendesksim.Options{})
		cs := senders(t, zendesk.Account{URL: url})
		server.SetFaults(faults.Fault{Status: status})
		for range 5 {
			cs.Send(t.Context(), claimed(t, domain.KindCreateTicket, newCase))
		}
		if n := calls(server, ""); n != 5 || cs["demo"].Breaker() != "closed" {
			t.Errorf("%d: %d calls, breaker %s", status, n, cs["demo"].Breaker())
		}
	}
}

// Two processes without a rate limiter exceed Zendesk's limit of 200. The deliveries over the limit are
// retried after Zendesk's Retry-After, and all are done.
func TestSend_OverTheLimit_IsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, one := inBubble(t, nil)
		other := senders(t, zendesk.Account{URL: "http://zendesk.test", Transport: inMemory{server}})
		done, limited := 0, 0
		for i := range 250 {
			payload := newCase
			payload.ExternalID = commands.ExternalID(domain.ChatStream("demo", int64(i+1)), "#1")
			d := claimed(t, domain.KindCreateTicket, payload)
			got := []zendesk.Clients{one, other}[i%2].Send(t.Context(), d)
			for ; got.State == domain.DeliveryRetry; got = one.Send(t.Context(), d) {
				if limited++; got.After <= 0 || got.After > time.Minute {
					t.Fatalf("%+v", got)
				}
				time.Sleep(got.After)
				d = again(d)
			}
			if got.State == domain.DeliveryDone {
				done++
			}
		}
		if done != 250 || len(server.Tickets()) != 250 || limited == 0 {
			t.Errorf("%d done, %d tickets, %d limited", done, len(server.Tickets()), limited)
		}
	})
}

func TestNewClient_IncompleteAccount_IsRejected(t *testing.T) {
	t.Parallel()
	for _, a := range []zendesk.Account{{}, {URL: "https://shop.zendesk.com"},
		{URL: "shop.zendesk.com", Email: email, Token: token}, {URL: "https://x.example", Email: email},
		{URL: "https://x.example", Token: token}} {
		if _, err := zendesk.NewClient(a); err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

func TestSplitExternalID_OwnIDs_NameChatAndTicket(t *testing.T) {
	t.Parallel()
	for _, want := range []domain.StreamID{domain.ChatStream("demo", 42), domain.ChatStream("a/b:c", -1001),
		domain.ChatStream("", 1)} {
		stream, ticket, ok := zendesk.SplitExternalID(commands.ExternalID(want, "#12"))
		if !ok || stream != want || ticket != "#12" {
			t.Errorf("the external id of %s is split into %s and %s (%v)", want, stream, ticket, ok)
		}
	}
	for _, id := range []string{"", "/", "chat-demo:42", "chat-demo:42/", "INC-77", "bot-demo/#1", "chat-demo:x/#1"} {
		if stream, ticket, ok := zendesk.SplitExternalID(id); ok {
			t.Errorf("%q is split into %s and %s, want it rejected", id, stream, ticket)
		}
	}
}
