package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	crmsim "github.com/chatledger/chatledger/adapters/simulators/crm"
	"github.com/chatledger/chatledger/adapters/simulators/faults"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

// asked lists the lookups of each batch that the CRM received, as kind:key.
func (w world) asked(t *testing.T) (batches [][]string) {
	t.Helper()
	for _, r := range w.crm.Requests() {
		if r.Path != "/lookups" {
			continue
		}
		var body struct{ Lookups []item }
		if err := json.Unmarshal(r.Body, &body); err != nil {
			t.Fatal(err)
		}
		var batch []string
		for _, it := range body.Lookups {
			batch = append(batch, string(it.Kind)+":"+it.Key)
		}
		batches = append(batches, batch)
	}
	return batches
}

func TestLookup_WithinWindow_SharesOneRequest(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		begun := time.Now()
		var callers sync.WaitGroup
		for i, number := range []string{"1003", "1001", "1004", "1002"} {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * 33 * time.Millisecond) // the last at 99 ms
				w.order(t, number)
				if waited := time.Since(begun); waited != window {
					t.Errorf("order %s was answered after %s, want the window", number, waited)
				}
			})
		}
		callers.Wait()
		want := [][]string{{"order:1003", "order:1001", "order:1004", "order:1002"}}
		if diff := cmp.Diff(want, w.asked(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLookup_AfterWindow_GoesWithNextBatch(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		var callers sync.WaitGroup
		for i, number := range []string{"1001", "1002", "1003"} {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * 75 * time.Millisecond)
				w.order(t, number)
			})
		}
		callers.Wait()
		if diff := cmp.Diff([][]string{{"order:1001", "order:1002"}, {"order:1003"}}, w.asked(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLookup_FullBatch_IsSentAtOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		begun := time.Now()
		var mu sync.Mutex
		after := map[time.Duration]int{}
		var callers sync.WaitGroup
		for i := range maxBatch + 2 {
			callers.Go(func() {
				if i > maxBatch {
					time.Sleep(window / 2)
				}
				if _, found, err := w.Customer(t.Context(), fmt.Sprintf("telegram:%d", i)); err != nil || !found {
					t.Errorf("customer %d: %v, %v", i, found, err)
				}
				mu.Lock()
				defer mu.Unlock()
				after[time.Since(begun)]++
			})
		}
		callers.Wait()
		if diff := cmp.Diff(map[time.Duration]int{0: maxBatch, window: 2}, after); diff != "" {
			t.Error(diff)
		}
		if got := w.asked(t); len(got) != 2 || len(got[0]) != maxBatch || len(got[1]) != 2 {
			t.Errorf("batches of %d", len(got))
		}
	})
}

func TestLookup_DifferentKinds_AreSentApart(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		var callers sync.WaitGroup
		callers.Go(func() { w.order(t, "1001") })
		callers.Go(func() {
			if c, found, err := w.Customer(t.Context(), "C-1"); err != nil || !found || c.Name != "Ada Example" {
				t.Errorf("%+v, %v, %v", c, found, err)
			}
		})
		callers.Go(func() {
			if a, err := w.ValidateAddress(t.Context(), "12 baker st, London NW1 6XE"); err != nil ||
				!cmp.Equal(a, dialog.AddressCheck{Valid: true, Address: "12 Baker Street, London NW1 6XE"}) {
				t.Errorf("%+v, %v", a, err)
			}
		})
		callers.Wait()
		got := slices.SortedFunc(slices.Values(w.asked(t)), slices.Compare)
		diff := cmp.Diff([][]string{{"address:12 baker st, London NW1 6XE"}, {"customer:C-1"}, {"order:1001"}}, got)
		if diff != "" {
			t.Error(diff)
		}
	})
}

func TestLookup_CallerCancels_OthersGetAnswers(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.AddFault(faults.Fault{DelayMS: 1000})
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		var callers sync.WaitGroup
		for _, number := range []string{"1001", "1002"} { // the first of the batch, and one that shares its item
			callers.Go(func() {
				if _, _, err := w.Order(ctx, number, anybody); failure(t, err).State != domain.DeliveryRetry ||
					time.Since(begun) != 300*time.Millisecond {
					t.Errorf("%v after %s", err, time.Since(begun))
				}
			})
			synctest.Wait()
		}
		callers.Go(func() { w.order(t, "1002") })
		callers.Go(func() { w.order(t, "1003") })
		time.Sleep(300 * time.Millisecond) // the request is under way
		cancel()
		callers.Wait()
		if w.requests() != 1 {
			t.Errorf("%d requests", w.requests())
		}
	})
}

// Callers that come at random times, and stop waiting at random times, get their own answers.
func TestLookup_ManyCallers_GetTheirOwnAnswers(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		rng := rand.New(rand.NewPCG(1, 2))
		var callers sync.WaitGroup
		for range 1000 {
			id := fmt.Sprintf("telegram:%d", rng.IntN(300))
			wait, timeout := time.Duration(rng.Int64N(int64(3*time.Second))), time.Second
			if rng.IntN(10) == 0 {
				timeout = time.Duration(rng.Int64N(int64(2 * window)))
			}
			callers.Go(func() {
				time.Sleep(wait)
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				c, found, err := w.Customer(ctx, id)
				if err == nil && (!found || c.ID != id) || err != nil && ctx.Err() == nil {
					t.Errorf("%s: %+v, %v, %v", id, c, found, err)
				}
			})
		}
		callers.Wait()
		if n := w.requests(); n > 31 { // windows in 3 s, and one more
			t.Errorf("%d requests", n)
		}
	})
}

func TestLookup_SameItem_IsSentOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.AddFault(faults.Fault{DelayMS: 2000})
		var callers sync.WaitGroup
		for i := range 30 { // while the batch gathers, and during the request
			callers.Go(func() {
				time.Sleep(time.Duration(i) * 50 * time.Millisecond)
				w.order(t, "1001")
			})
		}
		callers.Wait()
		if diff := cmp.Diff([][]string{{"order:1001"}}, w.asked(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLookup_OrderNumber_IgnoresCase(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for _, number := range []string{"a-1", "A-1"} {
			if _, found, err := w.Order(t.Context(), number, anybody); found || err != nil {
				t.Errorf("%v, %v", found, err)
			}
		}
		if diff := cmp.Diff([][]string{{"order:A-1"}, {"order:A-1"}}, w.asked(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCache_Result_ExpiresAfterLife(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.order(t, "1001")
		time.Sleep(life - time.Millisecond)
		w.order(t, "1001")
		if w.requests() != 1 {
			t.Errorf("%d requests before the result expired, want 1", w.requests())
		}
		time.Sleep(time.Millisecond)
		w.order(t, "1001")
		if w.requests() != 2 {
			t.Errorf("%d requests after it expired, want 2", w.requests())
		}
	})
}

func TestCache_NotFoundOrFailed_IsNotCached(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.AddFault(faults.Fault{Status: 500, Count: 1})
		if _, _, err := w.Order(t.Context(), "9999", anybody); err == nil {
			t.Error("no error")
		}
		for range 2 {
			if _, found, err := w.Order(t.Context(), "9999", anybody); found || err != nil {
				t.Errorf("%v, %v", found, err)
			}
		}
		if w.requests() != 3 || w.known.Len() != 0 {
			t.Errorf("%d requests, %d cached, want 3 and 0", w.requests(), w.known.Len())
		}
	})
}

func TestCache_Full_OldestEvicted(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		var callers sync.WaitGroup
		for i := range cacheSize + 1 {
			callers.Go(func() {
				if _, err := w.ValidateAddress(t.Context(), fmt.Sprintf("%d Baker Street, London NW1 6XE", i)); err != nil {
					t.Error(err)
				}
			})
			if i == 0 {
				synctest.Wait()
			}
		}
		callers.Wait()
		if n := w.known.Len(); n != cacheSize {
			t.Errorf("%d results are cached, want %d", n, cacheSize)
		}
		before := w.requests()
		if _, err := w.ValidateAddress(t.Context(), "0 Baker Street, London NW1 6XE"); err != nil ||
			w.requests() != before+1 {
			t.Errorf("the oldest result is still cached (%v)", err)
		}
	})
}

func TestCache_Update_IsSeenAtOnce(t *testing.T) {
	t.Parallel()
	const before, after = "12 Baker Street, London NW1 6XE", "14 Baker Street, London NW1 6XE"
	billingAddress := func(t *testing.T, c *Client) string {
		found, _, err := c.Customer(t.Context(), "C-1")
		if err != nil {
			t.Error(err)
		}
		return found.BillingAddress
	}
	change := func(t *testing.T, c *Client) {
		if _, err := c.UpdateBillingAddress(t.Context(), "key-1", "C-1", after); err != nil {
			t.Error(err)
		}
	}
	t.Run("lookup after the update", func(t *testing.T) {
		t.Parallel()
		inWorld(t, func(t *testing.T, w world) {
			if got := billingAddress(t, w.Client); got != before {
				t.Errorf("before: %s", got)
			}
			change(t, w.Client)
			if got := billingAddress(t, w.Client); got != after {
				t.Errorf("after: %s", got)
			}
		})
	})
	t.Run("answer to the update lost", func(t *testing.T) {
		t.Parallel()
		inWorld(t, func(t *testing.T, w world) {
			billingAddress(t, w.Client)
			w.crm.AddFault(faults.Fault{Spoil: faults.Truncated, Count: 1})
			_, err := w.UpdateBillingAddress(t.Context(), "key-1", "C-1", after)
			if failure(t, err).State != domain.DeliveryUnknown {
				t.Errorf("%v", err)
			}
			if got := billingAddress(t, w.Client); got != after {
				t.Errorf("after: %s", got)
			}
		})
	})
	t.Run("earlier lookup answered after the update", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			crm := crmsim.New(crmsim.Options{})
			c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer := httptest.NewRecorder()
				crm.ServeHTTP(answer, r)
				if r.URL.Path == "/lookups" {
					time.Sleep(2 * time.Second) // the answer is outdated by now
				}
				w.WriteHeader(answer.Code)
				_, _ = answer.Body.WriteTo(w)
			}))
			var early sync.WaitGroup
			early.Go(func() {
				if got := billingAddress(t, c); got != before {
					t.Errorf("the earlier lookup returns %s", got)
				}
			})
			time.Sleep(time.Second)
			change(t, c)
			early.Go(func() {
				if got := billingAddress(t, c); got != after {
					t.Errorf("a lookup after the update returns %s while the earlier one waits", got)
				}
			})
			early.Wait()
			if got := billingAddress(t, c); got != after {
				t.Errorf("after: %s", got)
			}
		})
	})
}

func TestClose_LookupsInProgress_AreCancelled(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.AddFault(faults.Fault{DelayMS: 5000})
		begun := time.Now()
		var callers sync.WaitGroup
		callers.Go(func() { // in a request
			if _, _, err := w.Order(t.Context(), "1001", anybody); failure(t, err).State != domain.DeliveryUnknown {
				t.Errorf("in a request: %v", err)
			}
		})
		time.Sleep(time.Second)
		callers.Go(func() { // in a batch that still gathers
			if _, _, err := w.Order(t.Context(), "1002", anybody); failure(t, err).State != domain.DeliveryRetry {
				t.Errorf("in a gathering batch: %v", err)
			}
		})
		synctest.Wait()
		w.Close()
		if n := w.known.Len(); n != 0 {
			t.Errorf("%d lookups are still in progress", n)
		}
		callers.Wait()
		if _, _, err := w.Order(t.Context(), "1003", anybody); failure(t, err).State != domain.DeliveryRetry ||
			!strings.Contains(err.Error(), "closed") || time.Since(begun) != time.Second {
			t.Errorf("after Close: %v after %s", err, time.Since(begun))
		}
	})
}

func TestLookup_InvalidKey_IsNotSent(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		keys := map[string]string{"empty": "", "too long": strings.Repeat("ü", maxKey+1), "not UTF-8": "\xff"}
		for name, key := range keys {
			if _, _, err := w.Customer(t.Context(), key); failure(t, err).State != domain.DeliveryRefused {
				t.Errorf("%s: %v", name, err)
			}
			_, err := w.UpdateBillingAddress(t.Context(), "key", "C-1", key)
			if failure(t, err).State != domain.DeliveryRefused {
				t.Errorf("%s: %v", name, err)
			}
		}
		if w.requests() != 0 {
			t.Errorf("%d requests", w.requests())
		}
	})
}

// reply returns a handler that answers every call with a status and a body.
func reply(status int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
}

func TestLookup_WrongAnswer_FailsOnlyItsCaller(t *testing.T) {
	t.Parallel()
	good := `{"kind":"order","key":"1001","status":"found","colour":"red",` +
		`"order":{"number":"1001","status":"lost","since":[1]}}`
	for name, c := range map[string]struct {
		answer string
		state  string
		says   string
	}{
		"no kind":  {`{"key":"1002","status":"found"}`, "retry", "answers[1] lacks kind"},
		"nothing":  {`{}`, "retry", "answers[1] lacks kind, key, status"},
		"null":     {`null`, "retry", "answers[1] lacks kind, key, status"},
		"no order": {`{"kind":"order","key":"1002","status":"found"}`, "retry", "answers[1] lacks order"},
		"no order status": {`{"kind":"order","key":"1002","status":"found","order":{"number":"1002"}}`, "retry",
			"answers[1] lacks order.status"},
		"an empty order": {`{"kind":"order","key":"1002","status":"found","order":{}}`, "retry",
			"answers[1] lacks order.number, order.status"},
		"the first's answer": {good, "retry", "answers[1] is to another lookup"},
		"another kind": {`{"kind":"customer","key":"1002","status":"found","customer":{"id":"1","name":"x"}}`, "retry",
			"answers[1] is to another lookup"},
		"an unknown status": {`{"kind":"order","key":"1002","status":"perhaps"}`, "retry", `"perhaps"`},
		"a number":          {`42`, "retry", "answers[1]"},
		"a wrong type":      {`{"kind":"order","key":[1002],"status":"found"}`, "retry", "answers[1]"},
		"an error 503": {`{"kind":"order","key":"1002","status":"error",` +
			`"error":{"status":503,"detail":"the index is down"}}`, "retry", "the index is down"},
		"an error 422": {`{"kind":"order","key":"1002","status":"error",` +
			`"error":{"status":422,"detail":"no such form"}}`, "refused", "no such form"},
		"an error without details": {`{"kind":"order","key":"1002","status":"error"}`, "retry", "lacks error"},
		"no second answer":         {``, "retry", "lacks answers[1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				body := `{"answers":[` + strings.TrimSuffix(good+","+c.answer, ",") + `],"took":7}`
				client := serve(t, reply(http.StatusOK, body))
				var callers sync.WaitGroup
				callers.Go(func() {
					if o, found, err := client.Order(t.Context(), "1001", anybody); err != nil || !found || o.Status != "lost" {
						t.Errorf("the other lookup: %+v, found %v, error %v", o, found, err)
					}
				})
				synctest.Wait()
				callers.Go(func() {
					_, _, err := client.Order(t.Context(), "1002", anybody)
					if got := failure(t, err); string(got.State) != c.state || !strings.Contains(got.Reason, c.says) {
						t.Errorf("state %s, reason %s; want %s with %q", got.State, got.Reason, c.state, c.says)
					}
				})
				callers.Wait()
			})
		})
	}
}

func TestLookup_IncompleteAnswer_NamesTheField(t *testing.T) {
	t.Parallel()
	for answer, says := range map[string]string{
		`{"kind":"address","key":"k","status":"found","address":{}}`:                            "lacks address.valid",
		`{"kind":"address","key":"k","status":"found","address":{"valid":true,"reason":"x"}}`:   "lacks address.address",
		`{"kind":"address","key":"k","status":"found","address":{"valid":false,"address":"x"}}`: "lacks address.reason",
		`{"kind":"address","key":"k","status":"found"}`:                                         "lacks address",
		`{"kind":"address","key":"k","status":"found","address":{"valid":true,"address":"` +
			strings.Repeat("x", maxKey+1) + `"}}`: "longer than 300",
		`{"kind":"customer","key":"k","status":"found","customer":{"id":"k"}}`: "lacks customer.name",
	} {
		var got answers
		if err := json.Unmarshal([]byte(`{"answers":[`+answer+`]}`), &got); err != nil {
			t.Fatal(err)
		}
		k := kindAddress
		if strings.Contains(answer, "customer") {
			k = kindCustomer
		}
		if _, err := got.to(0, item{Kind: k, Key: "k"}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

// The CRM may refuse a batch because of one of its lookups. So each lookup is retried, and refused only
// if it was alone.
func TestLookup_RefusedBatch_IsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := serve(t, reply(http.StatusUnprocessableEntity, `{"title":"No","status":422,"detail":"one of them is bad"}`))
		if _, _, err := c.Order(t.Context(), "1001", anybody); failure(t, err).State != domain.DeliveryRefused {
			t.Errorf("alone: %v", err)
		}
		var callers sync.WaitGroup
		for _, number := range []string{"1001", "1002"} {
			callers.Go(func() {
				if _, _, err := c.Order(t.Context(), number, anybody); failure(t, err).State != domain.DeliveryRetry {
					t.Errorf("together: %v", err)
				}
			})
		}
		callers.Wait()
	})
}

// FuzzAnswers checks that each lookup gets a complete result, or an error of bounded length, from any
// answer of the CRM.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		`{"answers":[{"kind":"order","key":"1001","status":"found","order":{"number":"1001","status":"shipped"}},
			{"kind":"customer","key":"C-1","status":"not_found"}]}`,
		`{"answers":[null,{"kind":"customer","key":"C-1","status":"found","customer":{"id":"C-1","name":"Ada"}},
			{"kind":"address","key":"x","status":"found","address":{"valid":true,"address":"y"}}]}`,
		`{"answers":[{"kind":"order","key":"1001","status":"error","error":{"status":-1,"detail":"\u0000"}},[],
			{"kind":"address","key":"x","status":"found","address":{"valid":false}}]}`,
		`{"answers":[{"kind":"order","key":"1001","status":"not_found","order":{"number":"1001","status":"shipped"}}]}`,
		`{"answers":[null,null,null,{"kind":"invoice","key":"1001","owner":"C-1","status":"found",
				"invoice":{"number":"1","amount":"1 EUR","date":"d","url":"u"}},
			{"kind":"charges","key":"1001","owner":"C-1","status":"found",
				"charges":{"charges":[{"id":"1","amount":"1 EUR","date":"d","status":"charged"},{}]}}]}`,
		`{"answers":{}}`, `[]`, `null`, `<html>`, `{"answers":[{`, ``,
	} {
		f.Add([]byte(seed))
	}
	asked := []item{
		{Kind: kindOrder, Key: "1001"},
		{Kind: kindCustomer, Key: "C-1"},
		{Kind: kindAddress, Key: "x"},
		owned(kindInvoice, "C-1", "1001"),
		owned(kindCharges, "C-1", "1001"),
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got answers
		if json.Unmarshal(body, &got) != nil {
			return
		}
		for i, it := range asked {
			a, err := got.to(i, it)
			switch {
			case err != nil && len(err.Error()) > 12*maxQuoted:
				t.Errorf("an error of %d bytes", len(err.Error()))
			case err != nil:
				if e := failure(t, err); e.State != domain.DeliveryRetry && e.State != domain.DeliveryRefused {
					t.Errorf("a lookup ends as %s: %v", e.State, err)
				}
			case a.item != it:
				t.Errorf("asked for %v, got %v", it, a.item)
			case a.found() && a.lacks() != "":
				t.Errorf("the result lacks %s", a.lacks())
			case !a.found() &&
				(a.Customer != nil || a.Order != nil || a.Invoice != nil || a.Charges != nil || a.Address != nil):
				t.Errorf("not found, but with content: %s", body)
			}
		}
	})
}
