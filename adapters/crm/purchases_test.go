package crm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	crmsim "github.com/chatledger/chatledger/adapters/simulators/crm"
	"github.com/chatledger/chatledger/adapters/simulators/faults"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/dialog"
)

func TestTools_Purchase_HasTheToolsOutput(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		none := map[string]string{"found": "false"}
		for _, c := range []struct {
			tool, customer, number string
			want                   map[string]string
		}{
			{dialog.Invoice, "telegram:7", "1001",
				map[string]string{"found": "true", "invoice": "INV-1001", "amount": "24.90 EUR", "date": "2026-03-02",
					"url": "https://shop.example.com/invoices/INV-1001.pdf"}},
			{dialog.Invoice, "telegram:7", "1003", none}, // not written yet
			{dialog.Invoice, "telegram:7", "9999", none},
			{dialog.Invoice, "nobody", "1001", none},
			{dialog.Charges, "telegram:7", "1001",
				map[string]string{"found": "true", "duplicate": "false", "pending": "true", "charge": "CH-1001-2",
					"amount": "24.90 EUR", "list": "2026-03-02: 24.90 EUR\n2026-03-02: 24.90 EUR (reserved)"}},
			{dialog.Charges, "telegram:7", "1002",
				map[string]string{"found": "true", "duplicate": "true", "pending": "false", "charge": "CH-1002-2",
					"amount": "59.00 EUR", "list": "2026-02-20: 59.00 EUR\n2026-02-21: 59.00 EUR"}},
			{dialog.Charges, "telegram:7", "1003",
				map[string]string{"found": "true", "duplicate": "false", "pending": "false", "list": "2026-03-04: 112.50 EUR"}},
			{dialog.Charges, "telegram:7", "1004",
				map[string]string{"found": "true", "duplicate": "false", "pending": "false",
					"list": "2026-02-11: 18.00 EUR (refunded)"}},
			{dialog.Charges, "telegram:7", "9999", none},
			{dialog.LookUpCustomer, "C-1", "",
				map[string]string{"found": "true", "name": "Ada Example", "email": "ada@example.com", "tier": "priority",
					"address": "12 Baker Street, London NW1 6XE"}},
			{dialog.LookUpCustomer, "C-2", "",
				map[string]string{"found": "true", "name": "Bo Beispiel", "email": "", "tier": "standard", "address": ""}},
			{dialog.LookUpCustomer, "nobody", "", none},
		} {
			got := finds(t, w.tools(), using(t, c.customer, c.tool, "number", c.number))
			account := ""
			if c.tool == dialog.LookUpCustomer && c.want["found"] == "true" {
				account = c.customer
			}
			if diff := cmp.Diff(c.want, got.Output); diff != "" || got.Receipt != "" || got.Account != account {
				t.Errorf("%s of %s, %s: receipt %q, account %q, %s", c.tool, c.customer, c.number, got.Receipt, got.Account,
					diff)
			}
			for name := range got.Output {
				known := func(f dialog.Field) bool { return f.Name == name }
				if !slices.ContainsFunc(dialog.Toolbox[c.tool].Output, known) {
					t.Errorf("%s returns %s, which dialog.Toolbox does not list", c.tool, name)
				}
			}
		}
	})
}

// A customer who guesses the number of Ada's order gets the same answer as for an order that does not
// exist, and can change nothing. Ada has asked before, so that her results are cached.
func TestTools_AnotherCustomersOrder_IsNotFound(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		const hers = "2001"
		for _, tool := range []string{dialog.Invoice, dialog.Charges} {
			if got := finds(t, w.tools(), using(t, "C-1", tool, "number", hers)); got.Output["found"] != "true" {
				t.Errorf("%s: Ada does not find her own order: %v", tool, got.Output)
			}
			other := finds(t, w.tools(), using(t, "telegram:7", tool, "number", hers))
			none := finds(t, w.tools(), using(t, "telegram:7", tool, "number", "9999"))
			if diff := cmp.Diff(none.Output, other.Output); diff != "" {
				t.Errorf("%s: %s", tool, diff)
			}
		}
		for _, tool := range []string{dialog.RefundDuplicate, dialog.ReportDelivery} {
			var says [2]string
			for i, number := range []string{hers, "9999"} {
				d := using(t, "telegram:7", tool, "number", number, "charge", "CH-2001-2", "problem", "damaged")
				got := w.tools().Send(t.Context(), d)
				if got.State != domain.DeliveryRefused {
					t.Errorf("%s: %+v", tool, got)
				}
				says[i] = strings.ReplaceAll(got.Reason, number, "it")
			}
			if says[0] != says[1] {
				t.Errorf("%s answers differently for an order that exists (%s) and one that does not (%s)", tool, says[0], says[1])
			}
		}
		if n := len(w.crm.Refunds()) + len(w.crm.Cases()); n != 0 {
			t.Errorf("%d changes", n)
		}
		got := finds(t, w.tools(), using(t, "C-1", dialog.RefundDuplicate, "number", hers, "charge", "CH-2001-2"))
		if got.Output["amount"] != "349.00 EUR" {
			t.Errorf("Ada does not get her refund: %v", got.Output)
		}
	})
}

// The connection is cut after the change was made. A retry changes nothing and returns the answer that
// the first attempt should have returned.
func TestTools_LostAnswer_ChangedOnce(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]faults.Fault{"cut": {Spoil: faults.Cut}, "truncated": {Spoil: faults.Truncated}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w world) {
				for _, c := range []struct {
					tool, receipt string
					output        map[string]string
				}{
					{dialog.RefundDuplicate, "RF-1", map[string]string{"amount": "59.00 EUR", "days": "5"}},
					{dialog.ReportDelivery, "DC-1", map[string]string{"case": "DC-1", "days": "3"}},
				} {
					w.crm.AddFault(lost)
					d := using(t, "telegram:7", c.tool, "number", "1002", "charge", "CH-1002-2", "problem", "damaged", "detail",
						"The box is wet.")
					for range 2 {
						if got := w.tools().Send(t.Context(), d); got.State != domain.DeliveryRetry || got.Command != nil {
							t.Errorf("%s: %+v", c.tool, got)
						}
					}
					w.crm.ClearFaults()
					for range 2 {
						got := finds(t, w.tools(), d)
						if diff := cmp.Diff(c.output, got.Output); diff != "" || got.Receipt != c.receipt {
							t.Errorf("%s: receipt %q, %s", c.tool, got.Receipt, diff)
						}
					}
				}
				refunds := []crmsim.Refund{{ID: "RF-1", Customer: "telegram:7", Order: "1002", Charge: "CH-1002-2",
					Amount: "59.00 EUR", Days: 5}}
				if diff := cmp.Diff(refunds, w.crm.Refunds()); diff != "" {
					t.Error(diff)
				}
				cases := []crmsim.DeliveryCase{{Number: "DC-1", Customer: "telegram:7", Order: "1002",
					Problem: "damaged", Detail: "The box is wet.", Days: 3}}
				if diff := cmp.Diff(cases, w.crm.Cases()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestChange_KeyOfAnotherChange_IsRefused(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		if _, err := w.ReportDeliveryProblem(t.Context(), "key", "C-2", "1002", "damaged", ""); err != nil {
			t.Fatal(err)
		}
		_, another := w.ReportDeliveryProblem(t.Context(), "key", "C-2", "1002", "not_arrived", "")
		_, refund := w.RefundDuplicate(t.Context(), "key", "C-2", "1002", "CH-1002-2")
		_, update := w.change(t, "key")
		for _, err := range []error{another, refund, update} {
			if e := failure(t, err); e.State != domain.DeliveryRefused || e.Status != http.StatusUnprocessableEntity ||
				!strings.Contains(e.Reason, "was used for another change") {
				t.Errorf("%v", err)
			}
		}
	})
}

func TestRefund_Duplicate_IsRefundedOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		refund := func(number, charge string) commands.Outcome {
			d := using(t, "telegram:7", dialog.RefundDuplicate, "number", number, "charge", charge)
			return w.tools().Send(t.Context(), d)
		}
		if got := refund("1002", "CH-1002-2"); got.State != domain.DeliveryDone {
			t.Fatalf("%+v", got)
		}
		for charge, says := range map[[2]string]string{
			{"1001", "CH-1001-2"}: "is reserved",
			{"1002", "CH-1002-1"}: "no duplicate",
			{"1002", "CH-1002-2"}: "is refunded",
			{"1004", "CH-1004-1"}: "no duplicate",
			{"1003", "CH-1002-2"}: "has no charge",
		} {
			if got := refund(charge[0], charge[1]); got.State != domain.DeliveryRefused || !strings.Contains(got.Reason, says) {
				t.Errorf("%v: %+v; want %q", charge, got, says)
			}
		}
		if n := len(w.crm.Refunds()); n != 1 {
			t.Errorf("%d refunds", n)
		}
		got := finds(t, w.tools(), using(t, "telegram:8", dialog.Charges, "number", "1002"))
		if got.Output["duplicate"] != "true" {
			t.Errorf("the refund changed the order of another customer: %v", got.Output)
		}
	})
}

// A refund removes the order's charges from the cache. Otherwise the bot would offer the same refund
// again to a customer who asks at once.
func TestRefund_Done_RefreshesCharges(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]bool{"done": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w world) {
				charges := func() map[string]string {
					return finds(t, w.tools(), using(t, "C-2", dialog.Charges, "number", "1002")).Output
				}
				if got := charges(); got["duplicate"] != "true" {
					t.Fatalf("before: %v", got)
				}
				if lost {
					w.crm.AddFault(faults.Fault{Spoil: faults.Cut, Count: 1})
				}
				w.tools().Send(t.Context(), using(t, "C-2", dialog.RefundDuplicate, "number", "1002", "charge", "CH-1002-2"))
				if got := charges(); got["duplicate"] != "false" || !strings.HasSuffix(got["list"], "59.00 EUR (refunded)") {
					t.Errorf("after: %v", got)
				}
			})
		})
	}
}

func TestCharges_Duplicates_FirstTakenNamed(t *testing.T) {
	t.Parallel()
	charge := func(id, status, of string) Charge {
		return Charge{ID: id, Amount: "1.00 EUR", Date: "2026-03-02", Status: status, DuplicateOf: of}
	}
	for name, c := range map[string]struct {
		charges                    []Charge
		duplicate, pending, charge string
	}{
		"no charge": {[]Charge{}, "false", "false", ""},
		"taken, then reserved": {[]Charge{charge("1", statusCharged, ""), charge("2", statusCharged, "1"),
			charge("3", statusReserved, "1")}, "true", "false", "2"},
		"reserved, then taken": {[]Charge{charge("1", statusCharged, ""), charge("2", statusReserved, "1"),
			charge("3", statusCharged, "1")}, "true", "false", "3"},
		"refunded": {
			[]Charge{charge("1", statusCharged, ""), charge("2", "refunded", "1")}, "false", "false", ""},
		"an unknown status": {
			[]Charge{charge("1", statusCharged, ""), charge("2", "disputed", "1")}, "false", "false", ""},
		"one reservation, no duplicate": {[]Charge{charge("1", statusReserved, "")}, "false", "false", ""},
	} {
		got := charged(c.charges, true)
		if got["duplicate"] != c.duplicate || got["pending"] != c.pending || got["charge"] != c.charge {
			t.Errorf("%s: %v", name, got)
		}
		if lines := strings.Count(got["list"], "2026-03-02"); lines != len(c.charges) {
			t.Errorf("%s: %d lines", name, lines)
		}
	}
	many := make([]Charge, maxCharges+3)
	for i := range many {
		many[i] = charge(fmt.Sprint(i), statusCharged, "")
	}
	many[2].DuplicateOf = "1" // older than the newest maxCharges
	if got := charged(many, true); strings.Count(got["list"], "\n") != maxCharges-1 || got["duplicate"] != "false" {
		t.Errorf("%d lines, %v", strings.Count(got["list"], "\n")+1, got)
	}
}

func TestLookup_ManyCustomers_ShareOneRequestPerKind(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		var customers sync.WaitGroup
		for i := range 20 {
			for _, tool := range []string{dialog.Invoice, dialog.Charges} {
				d := using(t, fmt.Sprintf("telegram:%d", i), tool, "number", "1002")
				customers.Go(func() {
					time.Sleep(time.Duration(i) * 4 * time.Millisecond)
					if got := finds(t, w.tools(), d); got.Output["found"] != "true" {
						t.Errorf("%s: %v", d.Body, got.Output)
					}
				})
			}
		}
		customers.Wait()
		batches := w.asked(t)
		if len(batches) != 2 || len(batches[0]) != 20 || len(batches[1]) != 20 {
			t.Errorf("%v", batches)
		}
	})
}

func TestLookup_AnotherCustomersAnswer_IsRejected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, owner := range []string{`"C-1"`, `""`, `null`} {
			c := serve(t, reply(http.StatusOK, `{"answers":[{"kind":"invoice","key":"1001","owner":`+owner+`,"status":"found",
				"invoice":{"number":"I","amount":"1.00 EUR","date":"2026-03-02","url":"https://x.test"}}]}`))
			if _, found, err := c.Invoice(t.Context(), "C-2", "1001"); found || failure(t, err).State != domain.DeliveryRetry ||
				!strings.Contains(err.Error(), "another lookup") {
				t.Errorf("%s: %v, %v", owner, found, err)
			}
		}
	})
}

func TestPurchase_Incomplete_NamesTheField(t *testing.T) {
	t.Parallel()
	for answer, says := range map[string]string{
		`"invoice","status":"found"`: "lacks invoice",
		`"invoice","status":"found","invoice":{}`: "lacks invoice.number, invoice.amount, invoice.date, " +
			"invoice.url",
		`"charges","status":"found"`:                            "lacks charges",
		`"charges","status":"found","charges":{}`:               "lacks charges.charges",
		`"charges","status":"found","charges":{"charges":null}`: "lacks charges.charges",
		`"charges","status":"found","charges":{"charges":[{"id":"1","amount":"1","date":"d"}]}`: "lacks " +
			"charges.charges[0].status",
		`"charges","status":"found","charges":{"charges":[{"id":"1","amount":1}]}`:                       "answers[0]",
		`"charges","status":"found","charges":{"charges":[],"since":7},"colour":"red"`:                   "",
		`"invoice","status":"found","invoice":{"number":"1","amount":"1","date":"d","url":"u","tax":[]}`: "",
		`"invoice","status":"not_found","invoice":{"number":"1"}`:                                        "",
	} {
		var got answers
		if err := json.Unmarshal([]byte(`{"answers":[{"key":"1001","owner":"C-1","kind":`+answer+`}]}`), &got); err != nil {
			t.Fatal(err)
		}
		k := kindInvoice
		if strings.HasPrefix(answer, `"charges`) {
			k = kindCharges
		}
		_, err := got.to(0, owned(k, "C-1", "1001"))
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestReceipt_Incomplete_IsUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for body, says := range map[string][2]string{
			`{}`:                          {"lacks id, amount, days", "lacks number, days"},
			`{"id":"1","number":"1"}`:     {"lacks amount, days", "lacks days"},
			`{"days":"soon"}`:             {"cannot be read", "cannot be read"},
			`{"days":{"business":"yes"}}`: {"cannot be read", "cannot be read"},
		} {
			c := serve(t, reply(http.StatusOK, body))
			_, refund := c.RefundDuplicate(t.Context(), "key", "C-1", "1002", "CH-1002-2")
			_, report := c.ReportDeliveryProblem(t.Context(), "key", "C-1", "1002", "damaged", "")
			for i, err := range []error{refund, report} {
				if failure(t, err).State != domain.DeliveryUnknown || !strings.Contains(err.Error(), says[i]) {
					t.Errorf("%s: %v; want %q", body, err, says[i])
				}
			}
		}
		c := serve(t, reply(http.StatusOK, `{"id":"1","number":"1","amount":"1.00 EUR","days":"7","mood":"good"}`))
		if r, err := c.RefundDuplicate(t.Context(), "key", "C-1", "1002", "CH-1002-2"); err != nil || r.Days != "7" {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestTools_BreakerOpen_RetriedLater(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		w.crm.AddFault(faults.Fault{Status: http.StatusBadGateway})
		deliveries := []commands.Claimed{
			using(t, "telegram:7", dialog.RefundDuplicate, "number", "1002", "charge", "CH-1002-2"),
			using(t, "telegram:7", dialog.ReportDelivery, "number", "1002", "problem", "damaged"),
			using(t, "telegram:7", dialog.Invoice, "number", "1002"),
		}
		for i := range breakAfter {
			w.tools().Send(t.Context(), deliveries[i%len(deliveries)])
		}
		if w.Breaker() != "open" || w.requests() != breakAfter {
			t.Fatalf("breaker %s after %d failures", w.Breaker(), w.requests())
		}
		for _, d := range deliveries {
			want := told{State: domain.DeliveryRetry, After: breakFor}
			if diff := cmp.Diff(want, outcome(w.tools().Send(t.Context(), d))); diff != "" {
				t.Errorf("%s: %s", d.Body, diff)
			}
		}
		if w.requests() != breakAfter {
			t.Errorf("%d requests", w.requests())
		}
		w.crm.ClearFaults()
		time.Sleep(breakFor)
		for _, d := range deliveries {
			finds(t, w.tools(), d)
		}
	})
}

// An order number cannot change the path of a request, as "../.." would.
func TestTools_InputInPath_IsEscaped(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for _, text := range []string{"..", "../../C-1", "1002/../2001", "?x=1", "#", "%2e%2e", "\n",
			"'; drop table orders; --"} {
			for _, tool := range []string{dialog.RefundDuplicate, dialog.ReportDelivery} {
				d := using(t, "telegram:7", tool, "number", text, "charge", text, "problem", "damaged")
				got := w.tools().Send(t.Context(), d)
				if got.State != domain.DeliveryRefused || !strings.Contains(got.Reason, "404") {
					t.Errorf("%s of %q: %+v", tool, text, got)
				}
			}
			for _, tool := range []string{dialog.Invoice, dialog.Charges} {
				if got := finds(t, w.tools(), using(t, "telegram:7", tool, "number", text)); got.Output["found"] != "false" {
					t.Errorf("%s of %q: %v", tool, text, got.Output)
				}
			}
		}
		paths := []string{"/lookups", "/customers/telegram:7/refunds", "/customers/telegram:7/delivery-problems"}
		for _, r := range w.crm.Requests() {
			if !slices.Contains(paths, r.Path) {
				t.Errorf("a request to %s", r.Path)
			}
		}
	})
}
