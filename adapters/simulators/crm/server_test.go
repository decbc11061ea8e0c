package crmsim

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/chatledger/chatledger/adapters/simulators/faults"
)

// do makes a call. It returns status 0 if the connection was closed without an answer.
func do(t *testing.T, url, method, path, body string) (status int, answer string, header http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Idempotency-Key", "key:"+body)
	r.GetBody = nil // or the transport would retry a call whose connection was cut
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 2<<20))
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func start(t *testing.T) (*Server, string) {
	t.Helper()
	s := New(Options{})
	front := httptest.NewServer(s)
	t.Cleanup(front.Close)
	return s, front.URL
}

const (
	put   = `{"address": "1 Musterstr., 10115 Berlin"}`
	where = "/customers/C-2/billing-address"
)

func TestFault_EveryKind_HasItsEffect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault   faults.Fault
		status  int
		answer  string // a part of it
		applied bool
	}{
		"status":      {faults.Fault{Status: 503, RetryAfter: 3}, 503, `"title":"Service Unavailable"`, false},
		"cut":         {faults.Fault{Spoil: faults.Cut}, 0, "", true},
		"html":        {faults.Fault{Spoil: faults.HTML}, 200, "<!doctype html>", true},
		"nonsense":    {faults.Fault{Spoil: faults.Nonsense}, 200, `"answers": 42`, true},
		"truncated":   {faults.Fault{Spoil: faults.Truncated}, 200, `{"id":"R-1"`, true},
		"endless":     {faults.Fault{Spoil: faults.Endless}, 200, strings.Repeat(" ", 1<<20), true},
		"slow":        {faults.Fault{DelayMS: 1}, 200, `"customer":"C-2"`, true},
		"other paths": {faults.Fault{Path: "/orders", Status: 500}, 200, `"customer":"C-2"`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, url := start(t)
			s.AddFault(c.fault)
			status, answer, header := do(t, url, "PUT", where, put)
			if status != c.status || !strings.Contains(answer, c.answer) {
				t.Errorf("%d %.200s", status, answer)
			}
			if c.fault.RetryAfter != 0 && header.Get("Retry-After") != "3" {
				t.Errorf("Retry-After is %q", header.Get("Retry-After"))
			}
			valid := name == "status" || name == "nonsense" || name == "slow" || name == "other paths"
			if json.Valid([]byte(answer)) != valid {
				t.Errorf("answer %.200s, want valid JSON: %v", answer, valid)
			}
			if n := len(s.Updates()); (n == 1) != c.applied {
				t.Errorf("%d updates took effect", n)
			}
		})
	}
}

func TestFault_EveryAndCount_Obeyed(t *testing.T) {
	t.Parallel()
	s, url := start(t)
	s.AddFault(faults.Fault{Path: "/orders", Status: 500, Every: 2, Count: 2})
	s.AddFault(faults.Fault{Path: "/orders", Status: 502, Count: 1})
	var got []int
	for range 6 {
		status, _, _ := do(t, url, "GET", "/orders/1001", "")
		got = append(got, status)
	}
	if diff := cmp.Diff([]int{502, 500, 200, 500, 200, 200}, got); diff != "" {
		t.Error(diff)
	}
	if left := s.Faults(); len(left) != 0 {
		t.Errorf("remaining faults: %+v", left)
	}
}

func TestUpdate_SameKey_TakesEffectOnce(t *testing.T) {
	t.Parallel()
	s, url := start(t)
	var callers sync.WaitGroup
	receipts := make(chan string, 20)
	for range 20 {
		callers.Go(func() {
			_, answer, _ := do(t, url, "PUT", where, put)
			receipts <- answer
		})
	}
	callers.Wait()
	first := <-receipts
	for range 19 {
		if other := <-receipts; other != first || !strings.Contains(other, `"id":"R-1"`) {
			t.Errorf("answers %s and %s", first, other)
		}
	}
	if n := len(s.Updates()); n != 1 {
		t.Errorf("%d updates", n)
	}
	_, answer, _ := do(t, url, "GET", "/customers/C-2", "")
	if !strings.Contains(answer, `"billing_address":"1 Musterstraße, 10115 Berlin"`) {
		t.Error(answer)
	}
}

func TestChange_SameKey_TakesEffectOnce(t *testing.T) {
	t.Parallel()
	s, url := start(t)
	for path, body := range map[string]string{"/customers/C-2/refunds": `{"order": "1002", "charge": "CH-1002-2"}`,
		"/customers/C-2/delivery-problems": `{"order": "1002", "problem": "damaged"}`} {
		var callers sync.WaitGroup
		answers := make(chan string, 20)
		for range cap(answers) {
			callers.Go(func() {
				_, answer, _ := do(t, url, "POST", path, body)
				answers <- answer
			})
		}
		callers.Wait()
		first := <-answers
		for range cap(answers) - 1 {
			if other := <-answers; other != first || !strings.Contains(other, `"days":`) {
				t.Errorf("%s, and %s", first, other)
			}
		}
	}
	if len(s.Refunds()) != 1 || len(s.Cases()) != 1 {
		t.Errorf("%+v, %+v", s.Refunds(), s.Cases())
	}
}

// A script can replace a customer, for example to make it a priority customer.
func TestControl_Customer_CanBeReplaced(t *testing.T) {
	t.Parallel()
	s, url := start(t)
	do(t, url, "GET", "/customers/telegram:7", "")
	status, answer, _ := do(t, url, "POST", "/fake/customers", `{"id": "telegram:7", "name": "Ada", "tier": "priority"}`)
	if status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	if _, answer, _ := do(t, url, "GET", "/customers/telegram:7", ""); !strings.Contains(answer, `"tier":"priority"`) {
		t.Error(answer)
	}
	for body, says := range map[string]string{`{"id": "telegram:7"}`: "name is missing",
		`{"id": "1", "name": "x", "level": 7}`: "unknown field", `7`: "not a customer"} {
		if status, answer, _ := do(t, url, "POST", "/fake/customers", body); status != 400 ||
			!strings.Contains(answer, says) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	for range maxAccounts {
		_ = s.addCustomer(Customer{ID: fmt.Sprint(len(s.customers)), Name: "x"})
	}
	if err := s.addCustomer(Customer{ID: "one too many", Name: "x"}); err == nil || len(s.customers) != maxAccounts {
		t.Errorf("%d customers, %v", len(s.customers), err)
	}
}

func TestControl_Endpoints_ShowCallsSetFaults(t *testing.T) {
	t.Parallel()
	s, url := start(t)
	do(t, url, "GET", "/orders/1001", "")
	do(t, url, "PUT", where, put)
	do(t, url, "POST", "/lookups", "no JSON")
	var asked []Request
	_, answer, _ := do(t, url, "GET", "/fake/requests", "")
	if err := json.Unmarshal([]byte(answer), &asked); err != nil {
		t.Fatal(err)
	}
	want := []Request{
		{Method: "GET", Path: "/orders/1001", IdempotencyKey: "key:"},
		{Method: "PUT", Path: where, IdempotencyKey: "key:" + put, Body: json.RawMessage(put)},
		{Method: "POST", Path: "/lookups", IdempotencyKey: "key:no JSON"},
	}
	same := cmp.Transformer("compact", func(m json.RawMessage) string {
		return strings.ReplaceAll(strings.TrimPrefix(string(m), "null"), " ", "")
	})
	if diff := cmp.Diff(want, asked, cmpopts.IgnoreFields(Request{}, "At"), same); diff != "" {
		t.Error(diff)
	}
	if _, answer, _ = do(t, url, "GET", "/fake/updates", ""); !strings.Contains(answer, `"customer":"C-2"`) {
		t.Error(answer)
	}

	do(t, url, "POST", "/customers/C-1/refunds", `{"order": "1002", "charge": "CH-1002-2"}`)
	if _, answer, _ = do(t, url, "GET", "/fake/refunds", ""); !strings.Contains(answer, `"charge":"CH-1002-2"`) {
		t.Error(answer)
	}
	do(t, url, "POST", "/customers/C-1/delivery-problems", `{"order": "1002", "problem": "damaged"}`)
	if _, answer, _ = do(t, url, "GET", "/fake/cases", ""); !strings.Contains(answer, `"problem":"damaged"`) {
		t.Error(answer)
	}

	for body, says := range map[string]string{
		`{"status": 200}`:                 "not an error status",
		`{"status": 500, "spoil": "cut"}`: "exclude",
		`{"spoil": "poem"}`:               "poem",
		`{}`:                              "does nothing",
		`{"delay_ms": 1000000}`:           "out of range",
		`{"status": 500, "every": -1}`:    "negative",
		`{"statuss": 500}`:                "unknown field",
		`500`:                             "not a fault",
	} {
		if status, answer, _ := do(t, url, "POST", "/fake/faults", body); status != 400 || !strings.Contains(answer, says) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	if status, answer, _ := do(t, url, "POST", "/fake/faults", `{"status": 500, "every": 2}`); status != 200 ||
		!strings.Contains(answer, `"every":2`) {
		t.Errorf("%d %s", status, answer)
	}
	if len(s.Faults()) != 1 {
		t.Errorf("%+v", s.Faults())
	}
	if status, _, _ := do(t, url, "DELETE", "/fake/faults", ""); status != 200 || len(s.Faults()) != 0 {
		t.Errorf("%d %+v", status, s.Faults())
	}
	if _, answer, _ := do(t, url, "GET", "/fake/faults", ""); strings.TrimSpace(answer) != "[]" {
		t.Error(answer)
	}
	for path, want := range map[string]int{"/": 404, "/fake/planets": 404, "/customers": 404} {
		if status, _, _ := do(t, url, "GET", path, ""); status != want {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _, _ := do(t, url, "POST", "/customers/C-1", ""); status != 405 {
		t.Errorf("an unknown method: %d", status)
	}
}

func TestServer_Memory_IsLimited(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	for range maxRequests + 5 {
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/orders/1001", nil))
	}
	if n := len(s.Requests()); n != maxRequests {
		t.Errorf("%d requests are kept, want %d", n, maxRequests)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("POST", "/lookups", strings.NewReader(strings.Repeat(" ", maxBody+1))))
	if w.Code != 400 || !strings.Contains(w.Body.String(), "too large") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
