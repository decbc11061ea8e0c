package zendesk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
	"github.com/chatledger/chatledger/adapters/zendesk"
	"github.com/chatledger/chatledger/domain"
)

// receiver is a webhook with a Receiver and an Observer that record their calls.
type receiver struct {
	*zendesk.Webhook

	mu          sync.Mutex
	received    []zendesk.Event
	quarantined []string // reason and body
	observed    []int
	failures    int // how often Receive and Quarantine fail before they succeed
}

func newReceiver(secrets ...string) *receiver {
	rc := &receiver{}
	rc.Webhook = &zendesk.Webhook{
		Secrets: secrets, Receiver: rc, Observer: rc,
		Now: func() time.Time { return noon }, Log: slog.New(slog.DiscardHandler),
	}
	return rc
}

// Receive implements zendesk.Receiver.
func (rc *receiver) Receive(ctx context.Context, e zendesk.Event) error {
	return rc.keep(ctx, func() { rc.received = append(rc.received, e) })
}

// Quarantine implements zendesk.Receiver.
func (rc *receiver) Quarantine(ctx context.Context, body []byte, reason string) error {
	return rc.keep(ctx, func() { rc.quarantined = append(rc.quarantined, reason+"|"+string(body)) })
}

// Answered implements zendesk.Observer.
func (rc *receiver) Answered(status int, _ time.Duration) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.observed = append(rc.observed, status)
}

// noon is the time of all receivers. It is fixed, because on a busy machine seconds may pass between the
// signing of a request and its arrival.
var noon = time.Date(2026, 8, 17, 12, 0, 0, 0, time.UTC)

func (rc *receiver) keep(ctx context.Context, do func()) error {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.failures > 0 {
		rc.failures--
		return errors.New("no connection to the database")
	}
	do()
	return ctx.Err()
}

// post sends a body as Zendesk does, after change has modified the request.
func (rc *receiver) post(body string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := signed(body, secret, noon)
	if change != nil {
		change(r)
	}
	recorder := httptest.NewRecorder()
	rc.ServeHTTP(recorder, r)
	return recorder
}

const timestamp = "X-Zendesk-Webhook-Signature-Timestamp"

func signed(body, secret string, at time.Time) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/zendesk", strings.NewReader(body))
	r.Header.Set(timestamp, at.UTC().Format(time.RFC3339))
	r.Header.Set("X-Zendesk-Webhook-Signature", zendesksim.Sign(secret, r.Header.Get(timestamp), []byte(body)))
	return r
}

const (
	solved = `{"event":"solved","external_id":"chat-demo:42/#1","ticket_id":"35436","author":"Maria",` +
		`"comment_id":"","body":"","updated_at":"2026-08-17T07:34:48Z"}`
	comment = `{"event":"public_comment","external_id":"chat-demo:42/#1","ticket_id":35436,"author":"Maria",` +
		`"comment_id":54509304133531,"body":"It is on its way.","updated_at":"2026-08-17T07:34:48Z","new":[{}]}`
)

func TestWebhook_SignedEvent_IsAccepted(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 8, 17, 7, 34, 48, 0, time.UTC)
	for body, want := range map[string]zendesk.Event{
		solved: {ID: "solved 35436 2026-08-17T07:34:48Z", Kind: zendesk.Solved, Stream: stream, Ticket: "#1",
			TicketID: 35436, Author: "Maria", UpdatedAt: at, Raw: []byte(solved)},
		comment: {ID: "public_comment 54509304133531", Kind: zendesk.PublicComment, Stream: stream, Ticket: "#1",
			TicketID: 35436, Author: "Maria", CommentID: 54509304133531, Body: "It is on its way.", UpdatedAt: at,
			Raw: []byte(comment)},
	} {
		for name, change := range map[string]func(*http.Request){
			"now":               nil,
			"5 minutes late":    func(r *http.Request) { *r = *signed(body, secret, noon.Add(-300*time.Second)) },
			"by a clock ahead":  func(r *http.Request) { *r = *signed(body, secret, noon.Add(30*time.Second)) },
			"by the old secret": func(r *http.Request) { *r = *signed(body, "old-secret", noon) },
			"as text":           func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
			"connection closed": func(r *http.Request) { *r = *r.WithContext(cancelled()) },
			"with a new header": func(r *http.Request) { r.Header.Set("X-Zendesk-New", "1") },
		} {
			rc := newReceiver(secret, "old-secret")
			if got := rc.post(body, change); got.Code != http.StatusOK || got.Body.Len() > 0 {
				t.Fatalf("%s: answered %d %s", name, got.Code, got.Body)
			}
			if diff := cmp.Diff([]zendesk.Event{want}, rc.received); diff != "" || len(rc.quarantined) > 0 {
				t.Errorf("%s: %s quarantined %q", name, diff, rc.quarantined)
			}
		}
	}
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestWebhook_NotAuthentic_IsRejected(t *testing.T) {
	t.Parallel()
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	const signature = "X-Zendesk-Webhook-Signature"
	for name, c := range map[string]struct {
		secrets []string
		body    string
		change  func(*http.Request)
		status  int
	}{
		"another secret": {[]string{secret}, solved,
			func(r *http.Request) { *r = *signed(solved, "guess", noon) }, 401},
		"another body": {[]string{secret}, solved,
			func(r *http.Request) { r.Body = signed(comment, secret, noon).Body }, 401},
		"another time": {[]string{secret}, solved,
			header(timestamp, noon.Add(-time.Second).UTC().Format(time.RFC3339)), 401},
		"no signature": {[]string{secret}, solved, header(signature, ""), 401},
		"half a signature": {[]string{secret}, solved,
			func(r *http.Request) { r.Header.Set(signature, r.Header.Get(signature)[:20]) }, 401},
		"a signature and more": {[]string{secret}, solved,
			func(r *http.Request) { r.Header.Set(signature, r.Header.Get(signature)+"!") }, 401},
		"no time":    {[]string{secret}, solved, header(timestamp, ""), 401},
		"not a time": {[]string{secret}, solved, header(timestamp, "1786952088"), 401},
		"over 5 minutes old": {[]string{secret}, solved,
			func(r *http.Request) { *r = *signed(solved, secret, noon.Add(-301*time.Second)) }, 401},
		"from the future": {[]string{secret}, solved,
			func(r *http.Request) { *r = *signed(solved, secret, noon.Add(31*time.Second)) }, 401},
		"no secret configured":   {nil, solved, func(r *http.Request) { *r = *signed(solved, "", noon) }, 401},
		"an empty secret":        {[]string{""}, solved, func(r *http.Request) { *r = *signed(solved, "", noon) }, 401},
		"GET":                    {[]string{secret}, "", func(r *http.Request) { r.Method = http.MethodGet }, 405},
		"over 1 MiB":             {[]string{secret}, strings.Repeat("x", 1<<20+1), nil, 413},
		"over 1 MiB, not signed": {[]string{secret}, strings.Repeat("x", 1<<20+1), header(signature, ""), 413},
	} {
		rc := newReceiver(c.secrets...)
		got := rc.post(c.body, c.change)
		if got.Code != c.status || len(rc.received)+len(rc.quarantined) > 0 {
			t.Errorf("%s: answered %d; received %v, quarantined %q", name, got.Code, rc.received, rc.quarantined)
		}
		if len(rc.observed) != 1 || rc.observed[0] != c.status {
			t.Errorf("%s: counted as %v", name, rc.observed)
		}
	}
}

// A signed body that is not an event is quarantined with its bytes and the reason.
func TestWebhook_NotAnEvent_IsQuarantined(t *testing.T) {
	t.Parallel()
	without := func(body, field string) string {
		var fields map[string]any
		if err := json.Unmarshal([]byte(body), &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, field)
		rest, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		return string(rest)
	}
	for body, part := range map[string]string{
		``:                             "not an event",
		`{"event":"solved"`:            "not an event",
		`["solved"]`:                   "not an event",
		`null`:                         `external_id ""`,
		without(solved, "external_id"): `external_id ""`,
		without(solved, "ticket_id"):   "ticket_id is missing",
		without(solved, "updated_at"):  "updated_at",
		without(solved, "event"):       `event "" is unknown`,
		without(comment, "comment_id"): "comment_id or body",
		without(comment, "body"):       "comment_id or body",
		strings.ReplaceAll(solved, "chat-demo:42/#1", "INC-77"):            `external_id "INC-77"`,
		strings.ReplaceAll(solved, `"35436"`, `"{{ticket.id}}"`):           "ticket_id is missing",
		strings.ReplaceAll(solved, `"35436"`, `99999999999999999999`):      "ticket_id is missing",
		strings.ReplaceAll(solved, `"35436"`, `-1`):                        "ticket_id is missing",
		strings.ReplaceAll(solved, "2026-08-17T07:34:48Z", "17 August"):    "updated_at",
		strings.ReplaceAll(solved, `"solved"`, `"merged"`):                 `event "merged" is unknown`,
		strings.ReplaceAll(comment, "It is on its way.", ` \n`):            "comment_id or body",
		strings.ReplaceAll(comment, "It is on its way.", "He said \"no\""): "not an event",
	} {
		rc := newReceiver(secret)
		if got := rc.post(body, nil); got.Code != http.StatusOK {
			t.Errorf("%s: answered %d", body, got.Code)
		}
		if len(rc.received) > 0 || len(rc.quarantined) != 1 || !strings.Contains(rc.quarantined[0], part) ||
			!strings.HasSuffix(rc.quarantined[0], "|"+body) {
			t.Errorf("%s: received %v, quarantined %q", body, rc.received, rc.quarantined)
		}
	}
}

func TestWebhook_NotStored_AsksForRetry(t *testing.T) {
	t.Parallel()
	for _, body := range []string{solved, "not JSON"} {
		rc := newReceiver(secret)
		rc.failures = 1
		got := rc.post(body, nil)
		after, err := strconv.Atoi(got.Header().Get("Retry-After"))
		if got.Code != http.StatusServiceUnavailable || err != nil || after < 1 || after >= 60 {
			t.Errorf("answered %d, Retry-After %q: Zendesk does not retry after 60 s or more", got.Code,
				got.Header().Get("Retry-After"))
		}
		if got := rc.post(body, nil); got.Code != http.StatusOK || len(rc.received)+len(rc.quarantined) != 1 {
			t.Errorf("the retry is answered %d", got.Code)
		}
	}
}

// Zendesk waits 12 s for an answer. If the database does not answer, the webhook answers 503 before.
func TestWebhook_DatabaseHangs_TimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rc := newReceiver(secret)
		rc.Webhook.Receiver = hanging{rc}
		begun := time.Now()
		if got := rc.post(solved, nil); got.Code != http.StatusServiceUnavailable || time.Since(begun) > 10*time.Second {
			t.Errorf("answered %d after %v", got.Code, time.Since(begun))
		}
	})
}

// What agents do with a ticket in the simulator arrives here by signed webhooks. Zendesk retries a webhook
// that could not be stored.
func TestWebhook_AgentsActs_Arrive(t *testing.T) {
	t.Parallel()
	rc := newReceiver(secret)
	front := httptest.NewServer(rc)
	t.Cleanup(front.Close)
	rc.Now = time.Now // the simulator signs with the system clock
	server, url := simulate(t, zendesksim.Options{Hook: front.URL, Secret: secret, RetryUnit: time.Microsecond})
	created := send(t, senders(t, zendesk.Account{URL: url}), claimed(t, domain.KindCreateTicket, newCase),
		domain.DeliveryDone)
	if len(rc.observed) > 0 {
		t.Fatalf("changes by the API lead to webhooks: %v", rc.observed)
	}
	var answer struct {
		Ticket int64 `json:"ticket_id"`
	}
	if err := json.Unmarshal(created.Answer, &answer); err != nil {
		t.Fatal(err)
	}
	id, ctx := answer.Ticket, t.Context()

	rc.failures = 2
	text := "\"On its way\"\n\t— Maria 🚚 مرحبا"
	for _, err := range []error{
		server.Comment(ctx, id, "Maria", text, true),
		server.Comment(ctx, id, "Maria", "Do not tell.", false),
		server.Solve(ctx, id, "Maria"),
		server.Reopen(ctx, id, "José"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []zendesk.Event{
		{Kind: zendesk.PublicComment, Author: "Maria", Body: text},
		{Kind: zendesk.Solved, Author: "Maria"},
		{Kind: zendesk.Reopened, Author: "José"},
	}
	for i := range want {
		want[i].Stream, want[i].Ticket, want[i].TicketID = stream, "#1", id
	}
	ignored := cmpopts.IgnoreFields(zendesk.Event{}, "ID", "CommentID", "UpdatedAt", "Raw")
	if diff := cmp.Diff(want, rc.received, ignored); diff != "" || len(rc.quarantined) > 0 {
		t.Errorf("%s quarantined %q", diff, rc.quarantined)
	}
	if fmt.Sprint(rc.observed) != "[503 503 200 200 200]" {
		t.Errorf("answered %v", rc.observed)
	}
}

// FuzzWebhook checks that any signed body is kept, as an event with an id or in quarantine, and that none is
// kept with another signature.
func FuzzWebhook(f *testing.F) {
	for _, body := range []string{solved, comment, ``, `{}`, `null`, `[]`,
		`{"event":"public_comment","external_id":"/","comment_id":"1e3"}`,
		`{"event":"solved","external_id":"chat-:0/#","ticket_id":" 1","updated_at":"0000-01-01T00:00:00Z"}`,
		"{\"body\":\"\xff\\u0000\\ud800\"}"} {
		f.Add([]byte(body), "")
	}
	f.Fuzz(func(t *testing.T, body []byte, forged string) {
		rc := newReceiver(secret)
		if got := rc.post(string(body), nil); got.Code != http.StatusOK || len(rc.received)+len(rc.quarantined) != 1 {
			t.Fatalf("answered %d, %d kept", got.Code, len(rc.received)+len(rc.quarantined))
		}
		for _, e := range rc.received {
			if _, chat := e.Stream.Chat(); !chat || e.Ticket == "" || e.TicketID <= 0 || e.ID == "" ||
				!bytes.Equal(e.Raw, body) {
				t.Fatalf("%+v", e)
			}
			if (e.Kind == zendesk.PublicComment) != (e.CommentID > 0 && e.Body != "") {
				t.Fatalf("%+v", e)
			}
		}
		before := len(rc.received) + len(rc.quarantined)
		forge := func(r *http.Request) { r.Header["X-Zendesk-Webhook-Signature"] = []string{forged} }
		got := rc.post(string(body), forge)
		if got.Code != http.StatusUnauthorized || len(rc.received)+len(rc.quarantined) != before {
			t.Fatalf("signed with %q: answered %d", forged, got.Code)
		}
	})
}

// hanging is a receiver whose database does not answer.
type hanging struct{ *receiver }

func (hanging) Receive(ctx context.Context, _ zendesk.Event) error {
	<-ctx.Done()
	return ctx.Err()
}
