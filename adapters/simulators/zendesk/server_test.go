package zendesksim_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	zendesksim "github.com/chatledger/chatledger/adapters/simulators/zendesk"
)

const ticket = `{"ticket":{"subject":"Refund","external_id":"e1","comment":{"body":"?"}}}`

func newServer(t *testing.T, options zendesksim.Options) *zendesksim.Server {
	t.Helper()
	options.Email, options.Token = "bot@example.com", "t0ken"
	return zendesksim.New(options)
}

// do makes a request. headers are pairs of name and value.
func do(s http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.SetBasicAuth("bot@example.com/token", "t0ken")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, r)
	return recorder
}

func TestLimit_PerMinute_Enforced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, zendesksim.Options{})
		for i := range 200 {
			if got := do(s, "GET", "/api/v2/tickets.json?external_id=x", ""); got.Code != 200 {
				t.Fatalf("call %d: %d", i+1, got.Code)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := do(s, "POST", "/api/v2/tickets.json", ticket); got.Code != 429 ||
			got.Header().Get("Retry-After") != "40" || len(s.Tickets()) != 0 {
			t.Fatalf("call 201 after 20 s: %d, Retry-After %s", got.Code, got.Header().Get("Retry-After"))
		}
		time.Sleep(40 * time.Second)
		if got := do(s, "POST", "/api/v2/tickets.json", ticket); got.Code != 201 {
			t.Errorf("after the wait: %d", got.Code)
		}
	})
}

func TestKey_SameTicket_CreatedOnceInTwoHours(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, zendesksim.Options{})
		post := func(body, key string) *httptest.ResponseRecorder {
			return do(s, "POST", "/api/v2/tickets.json", body, "Idempotency-Key", key)
		}
		first, second := post(ticket, "k"), post(ticket, "k")
		if first.Header().Get("x-idempotency-lookup") != "miss" || second.Header().Get("x-idempotency-lookup") != "hit" ||
			first.Body.String() != second.Body.String() {
			t.Errorf("%s %s, then %s %s", first.Header().Get("x-idempotency-lookup"), first.Body,
				second.Header().Get("x-idempotency-lookup"), second.Body)
		}
		if got := post(strings.Replace(ticket, "?", "!", 1), "k"); got.Code != 400 ||
			!strings.Contains(got.Body.String(), "don't match the given idempotency key") {
			t.Errorf("another body: %d %s", got.Code, got.Body)
		}
		if n := len(s.Tickets()); n != 1 {
			t.Errorf("%d tickets", n)
		}
		time.Sleep(2 * time.Hour)
		if got := post(ticket, "k"); got.Header().Get("x-idempotency-lookup") != "miss" || len(s.Tickets()) != 2 {
			t.Errorf("two hours later: %s, %d tickets", got.Header().Get("x-idempotency-lookup"), len(s.Tickets()))
		}
	})
}

func TestAPI_Errors_ZendesksTexts(t *testing.T) {
	t.Parallel()
	s := newServer(t, zendesksim.Options{})
	do(s, "POST", "/api/v2/tickets.json", ticket)
	id := s.Tickets()[0].ID
	for name, c := range map[string]struct {
		got    *httptest.ResponseRecorder
		status int
		part   string
	}{
		"a wrong token": {do(s, "GET", "/api/v2/tickets.json", "", "Authorization", "Basic eDp5"), 401,
			"Couldn't authenticate you"},
		"no comment": {do(s, "POST", "/api/v2/tickets.json", `{"ticket":{"subject":"x"}}`), 422, "cannot be blank"},
		"no JSON":    {do(s, "POST", "/api/v2/tickets.json", `{`), 400, "InvalidJSON"},
		"an unknown status": {do(s, "PUT", fmt.Sprintf("/api/v2/tickets/%d.json", id), `{"ticket":{"status":"done"}}`), 422,
			"RecordInvalid"},
		"an unknown ticket":  {do(s, "PUT", "/api/v2/tickets/1.json", `{}`), 404, "RecordNotFound"},
		"an unknown path":    {do(s, "GET", "/api/v2/users.json", ""), 404, "InvalidEndpoint"},
		"an unknown method":  {do(s, "DELETE", fmt.Sprintf("/api/v2/tickets/%d", id), ""), 404, "InvalidEndpoint"},
		"too large":          {do(s, "POST", "/api/v2/tickets.json", strings.Repeat("x", 2<<20)), 413, ""},
		"control: no ticket": {do(s, "POST", "/fake/tickets/1/solve", ""), 400, "no open ticket 1"},
		"control: a typo":    {do(s, "POST", fmt.Sprintf("/fake/tickets/%d/solve", id), `{"agnet":"x"}`), 400, "agnet"},
		"control: an act": {do(s, "POST", fmt.Sprintf("/fake/tickets/%d/merge", id), ""), 400,
			"use solve, reopen or comments"},
		"control: no body":   {do(s, "POST", fmt.Sprintf("/fake/tickets/%d/comments", id), ""), 400, "needs a body"},
		"control: no number": {do(s, "POST", "/fake/tickets/x/solve", ""), 400, "invalid syntax"},
		"control: no fault":  {do(s, "POST", "/fake/faults", `{"count":1}`), 400, "does nothing"},
		"control: a status":  {do(s, "POST", "/fake/faults", `{"status":200}`), 400, "not an error status"},
		"control: a spoil":   {do(s, "POST", "/fake/faults", `{"spoil":"rot"}`), 400, "rot"},
	} {
		if c.got.Code != c.status || !strings.Contains(c.got.Body.String(), c.part) {
			t.Errorf("%s: %d %s", name, c.got.Code, c.got.Body)
		}
	}
}

// The metadata of an update is in its audit. An update that changes nothing has no audit.
func TestMetadata_Update_IsInTheAudit(t *testing.T) {
	t.Parallel()
	s := newServer(t, zendesksim.Options{})
	do(s, "POST", "/api/v2/tickets.json", ticket)
	path := fmt.Sprintf("/api/v2/tickets/%d", s.Tickets()[0].ID)
	for _, mark := range []string{"first", "second"} {
		body := `{"ticket":{"status":"solved","metadata":{"mark":"` + mark + `"}}}`
		if got := do(s, "PUT", path+".json", body); got.Code != 200 {
			t.Fatal(got.Code)
		}
	}
	newest := do(s, "GET", path+"/audits.json?sort_order=desc&per_page=1", "").Body.String()
	all := do(s, "GET", path+"/audits.json", "").Body.String()
	if !strings.Contains(newest, `"first"`) || strings.Contains(all, `"second"`) ||
		strings.Count(all, `"metadata"`) != 2 {
		t.Errorf("newest %s, all %s", newest, all)
	}
}

// With the control API a script acts as an agent, and sees tickets and calls.
func TestControl_AgentsActs_Applied(t *testing.T) {
	t.Parallel()
	var hooks atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if want := zendesksim.Sign("hook", r.Header.Get("X-Zendesk-Webhook-Signature-Timestamp"), body); err != nil ||
			r.Header.Get("X-Zendesk-Webhook-Signature") != want {
			t.Errorf("signature %s of %s", r.Header.Get("X-Zendesk-Webhook-Signature"), body)
		}
		hooks.Add(1)
	}))
	t.Cleanup(front.Close)
	s := newServer(t, zendesksim.Options{Hook: front.URL, Secret: "hook"})
	do(s, "POST", "/api/v2/tickets.json", ticket)
	base := fmt.Sprintf("/fake/tickets/%d", s.Tickets()[0].ID)
	for _, step := range []struct{ path, body, state string }{
		{base + "/comments", `{"agent":"Maria","body":"On its way."}`, "new"},
		{base + "/comments", `{"agent":"Maria","body":"A note.","private":true}`, "new"},
		{base + "/solve", `{"agent":"Maria"}`, "solved"},
		{base + "/reopen", ``, "open"},
	} {
		if got := do(s, "POST", step.path, step.body); got.Code != 200 {
			t.Fatalf("%s: %d %s", step.path, got.Code, got.Body)
		}
		if state := s.Tickets()[0].Status; state != step.state {
			t.Errorf("%s: the status is %s", step.path, state)
		}
	}
	if n := hooks.Load(); n != 3 {
		t.Errorf("%d webhooks for two changes, a public comment and a private one, want 3", n)
	}
	if got := do(s, "GET", "/fake/tickets", "").Body.String(); !strings.Contains(got, `"body":"A note.","public":false`) {
		t.Errorf("tickets %s", got)
	}
	if got := do(s, "GET", "/fake/calls", "").Body.String(); !strings.Contains(got, `"path":"/api/v2/tickets.json"`) ||
		!strings.Contains(got, `"status":201`) {
		t.Errorf("calls %s", got)
	}
	fault := `{"method":"GET","status":503,"retry_after":9,"count":2}`
	if got := do(s, "POST", "/fake/faults", fault).Body.String(); !strings.Contains(got, `"retry_after":9`) {
		t.Errorf("faults %s", got)
	}
	if got := do(s, "GET", "/api/v2/tickets.json", ""); got.Code != 503 || got.Header().Get("Retry-After") != "9" {
		t.Errorf("with a fault: %d", got.Code)
	}
	if got := do(s, "DELETE", "/fake/faults", "").Body.String(); strings.TrimSpace(got) != "[]" {
		t.Errorf("faults after DELETE: %s", got)
	}
	if got := do(s, "GET", "/api/v2/tickets.json", ""); got.Code != 200 {
		t.Errorf("after DELETE: %d", got.Code)
	}
}

// Zendesk retries a webhook three times, and only after a 503 with a Retry-After below a minute.
func TestWebhook_Failure_IsRetriedAsByZendesk(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		after  string
		want   int64
	}{
		"503, Retry-After 55": {503, "55", 4},
		"503, Retry-After 60": {503, "60", 1},
		"503, no Retry-After": {503, "", 1},
		"500":                 {500, "5", 1},
		"404":                 {404, "", 1},
	} {
		var attempts atomic.Int64
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			attempts.Add(1)
			w.Header().Set("Retry-After", c.after)
			w.WriteHeader(c.status)
		}))
		t.Cleanup(front.Close)
		s := newServer(t, zendesksim.Options{Hook: front.URL, RetryUnit: time.Microsecond})
		do(s, "POST", "/api/v2/tickets.json", ticket)
		if err := s.Solve(t.Context(), s.Tickets()[0].ID, "Maria"); err == nil || attempts.Load() != c.want {
			t.Errorf("%s: %d attempts, %v", name, attempts.Load(), err)
		}
	}
}
