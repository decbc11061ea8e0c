package crm

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatledger/chatledger/adapters/simulators/faults"
	"github.com/chatledger/chatledger/domain"
)

const address = "14 baker st., London NW1 6XE"

// change changes C-2's billing address.
func (w world) change(t *testing.T, key string) (Receipt, error) {
	t.Helper()
	return w.UpdateBillingAddress(t.Context(), key, "C-2", address)
}

func TestClient_EveryAnswer_HasItsOutcome(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault   faults.Fault
		lookUp  Error // Reason: a part of it
		update  Error
		applied bool
	}{
		"none": {faults.Fault{}, Error{}, Error{}, true},
		"429": both(faults.Fault{Status: 429, RetryAfter: 7},
			Error{domain.DeliveryRetry, 7 * time.Second, 429, "that was asked for"}),
		"503 with Retry-After": both(faults.Fault{Status: 503, RetryAfter: 9},
			Error{domain.DeliveryRetry, 9 * time.Second, 503, "503"}),
		"500":        both(faults.Fault{Status: 500}, Error{domain.DeliveryRetry, 0, 500, "500"}),
		"408":        both(faults.Fault{Status: 408}, Error{domain.DeliveryRetry, 0, 408, "408"}),
		"401":        both(faults.Fault{Status: 401}, Error{domain.DeliveryRetry, setUpPause, 401, "token is wrong"}),
		"403":        both(faults.Fault{Status: 403}, Error{domain.DeliveryRetry, setUpPause, 403, "token is wrong"}),
		"404":        both(faults.Fault{Status: 404}, Error{domain.DeliveryRefused, 0, 404, "404"}),
		"422":        both(faults.Fault{Status: 422}, Error{domain.DeliveryRefused, 0, 422, "that was asked for"}),
		"a redirect": both(faults.Fault{Status: 302}, Error{domain.DeliveryRetry, setUpPause, 302, "URL is wrong"}),
		"cut":        applied(faults.Fault{Spoil: faults.Cut}, Error{domain.DeliveryUnknown, 0, 0, "EOF"}),
		"HTML":       applied(faults.Fault{Spoil: faults.HTML}, Error{domain.DeliveryUnknown, 0, 200, "text/html of"}),
		"truncated": applied(faults.Fault{Spoil: faults.Truncated},
			Error{domain.DeliveryUnknown, 0, 200, "unexpected end of JSON"}),
		"endless": applied(faults.Fault{Spoil: faults.Endless},
			Error{domain.DeliveryUnknown, 0, 200, fmt.Sprintf("longer than %d bytes", maxAnswer)}),
		"no answer": both(faults.Fault{DelayMS: 60_000},
			Error{domain.DeliveryUnknown, 0, 0, "deadline exceeded"}),
		"a slow answer": {faults.Fault{DelayMS: 9_000}, Error{}, Error{}, true},
		"other fields": {faults.Fault{Spoil: faults.Nonsense},
			Error{domain.DeliveryUnknown, 0, 200, "answers"},
			Error{domain.DeliveryUnknown, 0, 200, "lacks id, customer, address, updated_at"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w world) {
				if c.fault != (faults.Fault{}) {
					w.crm.AddFault(c.fault)
				}
				_, _, err := w.Order(t.Context(), "1001", anybody)
				mustEqual(t, "lookup", failure(t, err), c.lookUp)
				_, err = w.change(t, "key-1")
				mustEqual(t, "update", failure(t, err), c.update)
				if n := len(w.crm.Updates()); (n == 1) != c.applied || n > 1 {
					t.Errorf("%d updates took effect", n)
				}
			})
		})
	}
}

type faultCase = struct {
	fault   faults.Fault
	lookUp  Error
	update  Error
	applied bool
}

// both returns the case of a fault that leads lookups and updates to the same error, without effect.
func both(f faults.Fault, e Error) faultCase { return faultCase{f, e, e, false} }

// applied returns the case of a fault that affects only the answer: the update has taken effect.
func applied(f faults.Fault, e Error) faultCase { return faultCase{f, e, e, true} }

// mustEqual compares two errors. The reason must not contain the token, the host or an address.
func mustEqual(t *testing.T, what string, got, want Error) {
	t.Helper()
	if !strings.Contains(got.Reason, want.Reason) || strings.Contains(got.Reason, token) ||
		strings.Contains(got.Reason, "Baker") || strings.Contains(got.Reason, "crm.test") {
		t.Errorf("%s: reason %q; want one with %q, without token, address and host", what, got.Reason, want.Reason)
	}
	if got.Reason, want.Reason = "", ""; got != want {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func TestClient_NoAnswer_UnknownIfSent(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		for range breakAfter {
			_, err := w.UpdateBillingAddress(cancelled, "key", "C-2", address)
			if failure(t, err).State != domain.DeliveryRetry || w.requests() != 0 {
				t.Errorf("cancelled before the call: %v", err)
			}
		}
		if w.Breaker() != "closed" {
			t.Error("calls that were not made opened the breaker")
		}
		w.dial(network{closed: closed()})
		if _, err := w.change(t, "key"); failure(t, err).State != domain.DeliveryRetry ||
			!strings.Contains(err.Error(), "connection refused") {
			t.Errorf("update, connection refused: %v", err)
		}
		if _, _, err := w.Order(t.Context(), "1001", anybody); failure(t, err).State != domain.DeliveryRetry {
			t.Errorf("lookup, connection refused: %v", err)
		}
	})
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestUpdate_Retry_ReturnsFirstReceipt(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.AddFault(faults.Fault{Spoil: faults.Cut, Count: 1})
		if _, err := w.change(t, "key-1"); failure(t, err).State != domain.DeliveryUnknown {
			t.Fatalf("%v", err)
		}
		first := w.crm.Updates()[0]
		time.Sleep(time.Minute)
		for range 2 {
			got, err := w.change(t, "key-1")
			if err != nil || got.ID != first.ID || got.Address != "14 Baker Street, London NW1 6XE" ||
				got.UpdatedAt != first.UpdatedAt.Format(time.RFC3339Nano) || got.Customer != "C-2" {
				t.Errorf("receipt %+v, error %v; want the receipt of %+v", got, err, first)
			}
		}
		if n := len(w.crm.Updates()); n != 1 {
			t.Errorf("%d updates", n)
		}
		for customer, address := range map[string]string{"C-1": address, "C-2": "16 Baker Street, London NW1 6XE"} {
			_, err := w.UpdateBillingAddress(t.Context(), "key-1", customer, address)
			if failure(t, err).State != domain.DeliveryRefused {
				t.Errorf("key of another update: %v, want it refused", err)
			}
		}
	})
}

func TestUpdate_UnknownCustomerOrAddress_Refused(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for _, c := range []struct{ customer, address, says string }{
			{"C-9", address, "no customer"},
			{"C-2", "12 Baker Street, Leeds NW1 6XE", "belongs to London"},
			{"a/b?c", address, "no customer"},
		} {
			_, err := w.UpdateBillingAddress(t.Context(), "key-"+c.customer, c.customer, c.address)
			if e := failure(t, err); e.State != domain.DeliveryRefused || !strings.Contains(e.Reason, c.says) {
				t.Errorf("%s, %s: %v", c.customer, c.address, err)
			}
		}
	})
}

func TestBreaker_FiveFailures_OpenUntilProbeSucceeds(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.AddFault(faults.Fault{Status: 500})
		for i := range 5 {
			if w.Breaker() != "closed" {
				t.Fatalf("%s after %d failures", w.Breaker(), i)
			}
			if i%2 == 0 { // failures of lookups and of updates are counted together
				_, _ = w.change(t, "key")
			} else {
				_, _, _ = w.Order(t.Context(), "1001", anybody)
			}
		}
		if w.Breaker() != "open" || w.requests() != 5 {
			t.Fatalf("%s after %d failures", w.Breaker(), w.requests())
		}
		opened := time.Now()
		time.Sleep(10 * time.Second)
		for name, call := range map[string]func() error{
			"lookup": func() error { _, _, err := w.Order(t.Context(), "1001", anybody); return err },
			"update": func() error { _, err := w.change(t, "key"); return err },
		} {
			if e := failure(t, call()); e.State != domain.DeliveryRetry || e.After != time.Minute-10*time.Second {
				t.Errorf("%s while the breaker is open: %+v", name, e)
			}
		}
		if time.Since(opened) != 10*time.Second || w.requests() != 5 {
			t.Errorf("the calls took until %s, with %d requests; want no wait and no request", time.Since(opened), w.requests())
		}

		time.Sleep(time.Until(opened.Add(time.Minute))) // the first probe fails
		_, _ = w.change(t, "key")
		if w.Breaker() != "open" || w.requests() != 6 {
			t.Errorf("breaker %s after a failed probe; %d requests", w.Breaker(), w.requests())
		}

		time.Sleep(time.Minute)
		w.crm.ClearFaults()
		w.crm.AddFault(faults.Fault{DelayMS: 3000})
		var callers sync.WaitGroup
		callers.Go(func() { w.order(t, "1001") })
		time.Sleep(window + time.Second)
		if _, err := w.change(t, "key"); failure(t, err).State != domain.DeliveryRetry || w.Breaker() != "half-open" {
			t.Errorf("a call during the probe: %v, breaker %s", err, w.Breaker())
		}
		callers.Wait()
		if w.Breaker() != "closed" || w.requests() != 7 {
			t.Errorf("breaker %s after a successful probe; %d requests", w.Breaker(), w.requests())
		}
		if _, err := w.change(t, "key"); err != nil {
			t.Error(err)
		}
	})
}

func TestBreaker_RefusalOrSuccess_StaysClosed(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for _, status := range []int{429, 404, 422, 401} {
			w.crm.ClearFaults()
			w.crm.AddFault(faults.Fault{Status: status})
			for range 2 * breakAfter {
				_, _ = w.change(t, "key")
			}
			if w.Breaker() != "closed" {
				t.Fatalf("breaker %s after many answers %d", w.Breaker(), status)
			}
		}
		w.crm.ClearFaults()
		w.crm.AddFault(faults.Fault{Status: 500, Every: 2})
		for range 4 * breakAfter {
			_, _ = w.change(t, "key")
		}
		if w.Breaker() != "closed" {
			t.Errorf("breaker %s after failures that were not in a row", w.Breaker())
		}
	})
}

func TestLookup_BreakerOpen_UsesCache(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.order(t, "1001")
		w.crm.AddFault(faults.Fault{Spoil: faults.HTML})
		for range breakAfter {
			_, _ = w.change(t, "key")
		}
		if w.Breaker() != "open" {
			t.Fatal(w.Breaker())
		}
		w.order(t, "1001")
	})
}

func TestClient_Redirect_IsNotFollowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++
			http.Redirect(w, r, "http://elsewhere.test/", http.StatusTemporaryRedirect)
		}))
		_, _, err := c.Order(t.Context(), "1001", anybody)
		if failure(t, err).Status != http.StatusTemporaryRedirect || requests != 1 {
			t.Errorf("%v, %d requests", err, requests)
		}
	})
}

func TestClient_WrongToken_IsNotQuoted(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.token = "other-secret"
		_, _, err := w.Order(t.Context(), "1001", anybody)
		if e := failure(t, err); e.State != domain.DeliveryRetry || e.After != setUpPause ||
			strings.Contains(e.Reason, "secret") {
			t.Errorf("%+v", e)
		}
	})
}

func TestNewClient_WrongURL_IsRejected(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "crm.example.com", "ftp://crm.example.com", "https://",
		"https://crm.example.com?x=1", "orders.yaml", "http://\x00"} {
		if _, err := NewClient(base, ""); err == nil || !strings.Contains(err.Error(), "base URL") {
			t.Errorf("%q: %v", base, err)
		}
	}
	c, err := NewClient("https://crm.example.com/v1/", "")
	if err != nil || c.url != "https://crm.example.com/v1" {
		t.Errorf("%v", err)
	}
}
