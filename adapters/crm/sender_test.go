package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	crmsim "github.com/chatledger/chatledger/adapters/simulators/crm"
	"github.com/chatledger/chatledger/adapters/simulators/faults"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/domain/dialog"
)

// claimed returns a claimed delivery of the bot demo.
func claimed(body string) commands.Claimed {
	return commands.Claimed{
		Delivery: commands.Delivery{ID: uuid.New(), Stream: domain.ChatStream("demo", 7)},
		Body:     []byte(body),
	}
}

// using returns a delivery that uses a tool for a customer. The input is given as pairs of name and
// value.
func using(t *testing.T, customer, tool string, input ...string) commands.Claimed {
	t.Helper()
	asked := commands.UseTool{Tool: tool, For: chat.ForWorkflow, Call: 2, Input: map[string]string{},
		Customer: customer, To: 3}
	for i := 0; i < len(input); i += 2 {
		asked.Input[input[i]] = input[i+1]
	}
	body, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	return claimed(string(body))
}

// tools returns the tools of the bot demo, which has the CRM.
func (w world) tools() Tools { return tools("demo", Shop{CRM: w.Client}) }

func tools(bot string, shop Shop) Tools {
	return Tools{Shops: map[string]Shop{bot: shop}, Now: time.Now}
}

// finds uses a tool, which must succeed, and returns the command that records the use.
func finds(t *testing.T, tools Tools, d commands.Claimed) chat.RecordTool {
	t.Helper()
	got := tools.Send(t.Context(), d)
	record, ok := got.Command.(chat.RecordTool)
	var answer map[string]string
	if err := json.Unmarshal(got.Answer, &answer); err != nil || got.State != domain.DeliveryDone || !ok ||
		record.Reason != "" || !maps.Equal(answer, record.Output) {
		t.Fatalf("%s: %+v, answer %s, %v", d.Body, got, got.Answer, err)
	}
	return record
}

// told is the part of an outcome that a worker acts upon.
type told struct {
	State  domain.DeliveryState
	After  time.Duration
	Answer string
}

func outcome(o commands.Outcome) told { return told{o.State, o.After, string(o.Answer)} }

func TestTools_CatalogueAndCRM_FindOrders(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for name, shop := range map[string]Shop{"catalogue": {Orders: Demo}, "CRM": {CRM: w.Client},
			"both": {Orders: Demo, CRM: serve(t, reply(500, ""))}} {
			for number, want := range map[string]dialog.Order{"1001": Demo["1001"], "1004": Demo["1004"], "9": {}} {
				d := using(t, "telegram:7", dialog.OrderStatus, "number", number)
				got := finds(t, tools("demo", shop), d)
				if diff := cmp.Diff(want.Output(want.Number != ""), got.Output); diff != "" {
					t.Errorf("%s, %s: %s", name, number, diff)
				}
				if got.At.IsZero() || got.At.Nanosecond()%1000 != 0 {
					t.Errorf("%s, %s: time %s, want microseconds: the database would round it", name, number, got.At)
				}
				want := chat.RecordTool{
					Delivery: d.ID,
					To:       3,
					Call:     2,
					For:      chat.ForWorkflow,
					Tool:     dialog.OrderStatus,
					Input:    map[string]string{"number": number},
					Output:   got.Output,
					At:       got.At,
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, %s: %s", name, number, diff)
				}
			}
		}
	})
}

func TestTools_Failure_IsRetriedUnlessRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault faults.Fault
		want  told
	}{
		"cut": {faults.Fault{Spoil: faults.Cut}, told{State: domain.DeliveryRetry}},
		"500": {faults.Fault{Status: 500}, told{State: domain.DeliveryRetry}},
		"429": {faults.Fault{Status: 429, RetryAfter: 7}, told{State: domain.DeliveryRetry, After: 7 * time.Second}},
		"404": {faults.Fault{Status: 404}, told{State: domain.DeliveryRefused}},
		"422": {faults.Fault{Status: 422}, told{State: domain.DeliveryRefused}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w world) {
				w.crm.AddFault(c.fault)
				for tool := range dialog.Toolbox { // both lookups and changes
					d := using(t, "telegram:7", tool, "number", "1002", "charge", "CH-1002-2", "problem", "damaged",
						"address", address)
					got := w.tools().Send(t.Context(), d)
					if diff := cmp.Diff(c.want, outcome(got)); diff != "" || got.Reason == "" {
						t.Errorf("%s: %s; reason %q", tool, diff, got.Reason)
					}
					record, recorded := got.Command.(chat.RecordTool)
					if recorded != (got.State == domain.DeliveryRefused) ||
						recorded && (record.Reason == "" || record.Output != nil || record.Receipt != "") {
						t.Errorf("%s: recorded %+v", tool, got.Command)
					}
					time.Sleep(breakFor) // close the breaker, which has its own test
				}
			})
		})
	}
}

func TestTools_Addresses_AreCheckedAndUpdated(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for line, want := range map[string]map[string]string{
			"12 baker st, london, NW1 6XE": {"valid": "true", "address": "12 Baker Street, London NW1 6XE", "problem": ""},
			"12 Baker Street, Leeds NW1 6XE": {"valid": "false", "address": "",
				"problem": "the post code NW1 6XE belongs to London", "code": "post_code_elsewhere", "post_code": "NW1 6XE",
				"town": "London"},
			"Musterstr. 5, Berlin, somewhere": {"valid": "false", "address": "", "problem": "the post code is missing",
				"code": "post_code_missing"},
		} {
			got := finds(t, w.tools(), using(t, "telegram:7", dialog.CheckAddress, "address", line))
			if diff := cmp.Diff(want, got.Output); diff != "" || got.Receipt != "" {
				t.Errorf("%s: %s; receipt %q", line, diff, got.Receipt)
			}
		}
		d := using(t, "telegram:7", dialog.ChangeAddress, "address", address)
		got := finds(t, w.tools(), d)
		if diff := cmp.Diff(map[string]string{"address": "14 Baker Street, London NW1 6XE"}, got.Output); diff != "" ||
			got.Receipt != "R-1" {
			t.Errorf("receipt %q; %s", got.Receipt, diff)
		}
		if last := w.crm.Requests()[w.requests()-1]; last.IdempotencyKey != d.ID.String() {
			t.Errorf("the idempotency key is %q", last.IdempotencyKey)
		}
		known := finds(t, w.tools(), using(t, "telegram:7", dialog.LookUpCustomer))
		want := map[string]string{
			"found":   "true",
			"name":    "Customer 7",
			"email":   "",
			"tier":    "standard",
			"address": "14 Baker Street, London NW1 6XE",
		}
		if diff := cmp.Diff(want, known.Output); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTools_InvalidUse_RefusedAndRecorded(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		const me = "telegram:7"
		for _, c := range []struct {
			tools Tools
			d     commands.Claimed
			says  string
		}{
			{w.tools(), using(t, me, dialog.OrderStatus), "the order has 0 characters"},
			{w.tools(), using(t, me, dialog.CheckAddress), "the address has 0 characters"},
			{w.tools(), using(t, me, dialog.Invoice), "the order has 0 characters"},
			{w.tools(), using(t, "", dialog.Charges, "number", "1001"), "the customer has 0 characters"},
			{w.tools(), using(t, me, dialog.RefundDuplicate, "number", "1002"), "the charge has 0 characters"},
			{w.tools(), using(t, me, dialog.ReportDelivery, "number", "1002"), "the problem has 0 characters"},
			{w.tools(), using(t, me, dialog.ReportDelivery, "number", "1002", "problem", "damaged", "detail",
				strings.Repeat("ü", maxDetail+1)), "at most 1000"},
			{w.tools(), using(t, "C-9", dialog.ChangeAddress, "address", address), "no customer"},
			{w.tools(), using(t, me, dialog.ChangeAddress, "address", "nowhere"), "post code"},
			{w.tools(), using(t, me, "crystal_ball"), `no tool "crystal_ball"`},
			{w.tools(), claimed(`[`), "payload"},
			{w.tools(), claimed(`{"tool": "check_address", "for": "workflow", "call": 2, "to": 3, "input": 7}`), "payload"},
			{tools("", Shop{}), using(t, me, dialog.ChangeAddress, "address", address), "bot demo has no tool"},
			{tools("shop", Shop{CRM: w.Client}), using(t, me, dialog.OrderStatus, "number", "1001"), "bot demo has no tool"},
			{tools("demo", Shop{Orders: Demo}), using(t, me, dialog.Invoice, "number", "1001"), "bot demo has no tool"},
		} {
			got := c.tools.Send(t.Context(), c.d)
			if got.State != domain.DeliveryRefused || !strings.Contains(got.Reason, c.says) {
				t.Errorf("%s: %+v", c.d.Body, got)
			}
			// The worker calls Fail when a delivery becomes a dead letter.
			for _, command := range []chat.Command{got.Command, c.tools.Fail(c.d, got.Reason)} {
				record, _ := command.(chat.RecordTool)
				if record.Delivery != c.d.ID || !strings.Contains(record.Reason, c.says) || record.At.IsZero() ||
					record.Output != nil {
					t.Errorf("%s: recorded %+v", c.d.Body, command)
				}
				if string(c.d.Body) != "[" &&
					(record.To != 3 || record.Call != 2 || record.For != chat.ForWorkflow || record.Tool == "") {
					t.Errorf("%s: the record does not say what failed: %+v", c.d.Body, command)
				}
			}
		}
		if n := len(w.crm.Updates()) + len(w.crm.Refunds()) + len(w.crm.Cases()); n != 0 {
			t.Errorf("%d changes", n)
		}
	})
}

func TestShop_Tools_AreThoseOfItsSystems(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for tool := range dialog.Toolbox {
			if has := w.tools().Shops["demo"].Has(); !has[tool] {
				t.Errorf("a shop with a CRM has no tool %s", tool)
			}
			if has := (Shop{Orders: Demo}).Has(); has[tool] != (tool == dialog.OrderStatus) {
				t.Errorf("a shop with a catalogue has the tool %s: %v", tool, has[tool])
			}
			if (Shop{}).Has()[tool] {
				t.Errorf("a shop without systems has the tool %s", tool)
			}
		}
	})
}

// The CRM answers every second call with 500, and loses answers as well. With retries every use of a tool
// succeeds, and every change is made once.
func TestTools_HalfOfCallsFail_EachChangeOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.AddFault(faults.Fault{Status: 500, Every: 2})
		w.crm.AddFault(faults.Fault{Path: "/customers/", Spoil: faults.Cut, Every: 3})
		w.crm.AddFault(faults.Fault{Spoil: faults.Truncated, Every: 5})
		// send retries a delivery until it is done, as a worker does.
		send := func(ctx context.Context, d commands.Claimed) {
			for attempt := 1; ; attempt++ {
				o := w.tools().Send(ctx, d)
				if o.State == domain.DeliveryDone {
					return
				}
				if o.State != domain.DeliveryRetry || attempt == 80 {
					t.Errorf("%s, attempt %d: %+v", d.Body, attempt, o)
					return
				}
				time.Sleep(max(o.After, 500*time.Millisecond<<min(attempt, 9)))
			}
		}
		var workers sync.WaitGroup
		const each = 50
		for i := range each {
			customer := fmt.Sprintf("telegram:%d", i)
			for _, d := range []commands.Claimed{
				using(t, customer, dialog.ChangeAddress, "address", address),
				using(t, customer, dialog.RefundDuplicate, "number", "1002", "charge", "CH-1002-2"),
				using(t, customer, dialog.ReportDelivery, "number", "1001", "problem", "not_arrived"),
				using(t, customer, dialog.OrderStatus, "number", fmt.Sprint(1001+i)),
				using(t, customer, dialog.Charges, "number", "1001"),
			} {
				workers.Go(func() {
					time.Sleep(time.Duration(i) * 70 * time.Millisecond)
					send(t.Context(), d)
				})
			}
		}
		workers.Wait()
		changed := map[string]int{}
		for _, u := range w.crm.Updates() {
			changed[u.Customer]++
		}
		for _, r := range w.crm.Refunds() {
			changed[r.Customer+" refund"]++
		}
		for _, c := range w.crm.Cases() {
			changed[c.Customer+" case"]++
		}
		for i := range each {
			for _, what := range []string{"", " refund", " case"} {
				if n := changed[fmt.Sprintf("telegram:%d%s", i, what)]; n != 1 {
					t.Errorf("customer %d%s: %d changes, want 1", i, what, n)
				}
			}
		}
	})
}

// The client works over TCP, with net/http's reuse of connections and its own retries.
func TestClient_RealNetwork_Works(t *testing.T) {
	t.Parallel()
	crm := crmsim.New(crmsim.Options{Token: token})
	front := httptest.NewServer(crm)
	t.Cleanup(front.Close)
	c, err := NewClient(front.URL+"/", token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := world{c, crm}
	w.order(t, "1001")
	if _, err := w.change(t, "key-1"); err != nil {
		t.Error(err)
	}
	crm.AddFault(faults.Fault{Spoil: faults.Cut}) // on a reused connection, net/http might retry the request by itself
	if _, err := w.change(t, "key-2"); failure(t, err).State != domain.DeliveryUnknown {
		t.Errorf("%v", err)
	}
	crm.ClearFaults()
	if r, err := w.change(t, "key-2"); err != nil || r.ID != "R-2" || len(crm.Updates()) != 2 {
		t.Errorf("%+v, %v, %d updates", r, err, len(crm.Updates()))
	}

	unreachable, err := NewClient("http://127.0.0.1:1", token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unreachable.Close)
	if _, _, err := unreachable.Order(t.Context(), "1001", anybody); failure(t, err).State != domain.DeliveryRetry {
		t.Errorf("connection refused: %v", err)
	}
}

func TestReadCatalogue_File_IsReadOrRejected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, says string }{
		"good":      {"- {number: a-1, status: shipped, detail: Soon.}\n- {number: 7, status: lost}", ""},
		"no status": {"- {number: 7}", "entry 1 needs a number and a status"},
		"no list":   {"number: 7", ":1: the value must be a list, not lines of `key: value`"},
	} {
		path := filepath.Join(t.TempDir(), "orders.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadCatalogue(path)
		if c.says != "" {
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		want := Catalogue{"A-1": {Number: "a-1", Status: "shipped", Detail: "Soon."}, "7": {Number: "7", Status: "lost"}}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %s, %v", name, diff, err)
		}
	}
	if _, err := ReadCatalogue("nowhere.yaml"); err == nil {
		t.Error("no error for a missing file")
	}
}
