package crm

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/adapters/openapitest"
	crmsim "github.com/chatledger/chatledger/adapters/simulators/crm"
	"github.com/chatledger/chatledger/adapters/simulators/faults"
)

const contract = "../../docs/crm-openapi.yaml"

func TestSimulator_Answers_FollowTheContract(t *testing.T) {
	t.Parallel()
	c := openapitest.Read(t, contract)
	documented, served := slices.Sorted(maps.Keys(c.Operations())), slices.Sorted(slices.Values(crmsim.Routes()))
	if diff := cmp.Diff(documented, served); diff != "" {
		t.Fatalf("documented -, served +: %s", diff)
	}
	long := strings.Repeat("x", maxKey+1)
	for _, call := range []struct {
		operation, path string
		body            string // with a line break: the body of an earlier call with the same key comes first
		status          int
	}{
		{"GET /customers/{id}", "/customers/C-1", "", 200},
		{"GET /customers/{id}", "/customers/C-2", "", 200},
		{"GET /customers/{id}", "/customers/telegram:42", "", 200},
		{"GET /customers/{id}", "/customers/telegram:you", "", 404},
		{"GET /orders/{number}", "/orders/1001", "", 200},
		{"GET /orders/{number}", "/orders/1003", "", 200},
		{"GET /orders/{number}", "/orders/9999", "", 404},
		{"GET /orders/{number}", "/orders/2001?telegram_user=77&telegram_chat=77", "", 404},
		{"GET /orders/{number}", "/orders/2001?telegram_user=77&telegram_chat=77&customer=C-1", "", 200},
		{"POST /addresses/validate", "/addresses/validate", `{"address": "12 Baker Street, London NW1 6XE"}`, 200},
		{"POST /addresses/validate", "/addresses/validate", `{"address": "somewhere"}`, 200},
		{"POST /addresses/validate", "/addresses/validate", `{"address": "12 Baker Street, Leeds NW1 6XE"}`, 200},
		{"POST /addresses/validate", "/addresses/validate", `{"address": "` + long + `"}`, 400},
		{"POST /addresses/validate", "/addresses/validate", `{}`, 400},
		{"POST /addresses/validate", "/addresses/validate", `12 Baker Street`, 400},
		{"POST /lookups", "/lookups", `{"lookups": [{"kind": "customer", "key": "C-1"}, {"kind": "order", "key": "1002"}, ` +
			`{"kind": "address", "key": "x"}, {"kind": "order", "key": "9999"}, {"kind": "planet", "key": "3"}, ` +
			`{"kind": "order", "key": ""}, {"kind": "order", "key": "2001", ` +
			`"asker": {"telegram_user": 77, "telegram_chat": -5, "customer": "C-1"}}, ` +
			`{"kind": "invoice", "key": "1001", "owner": "C-2"}, {"kind": "charges", "key": "1001", "owner": "C-2"}, ` +
			`{"kind": "charges", "key": "1001"}, {"kind": "charges", "key": "2001", "owner": "C-2"}]}`, 200},
		{"POST /lookups", "/lookups", `{"lookups": []}`, 400},
		{"POST /lookups", "/lookups", `{"lookups": [` + strings.Repeat(`{},`, maxBatch) + `{}]}`, 400},
		{"POST /lookups", "/lookups", `[]`, 400},
		{"PUT /customers/{id}/billing-address", "/customers/C-1/billing-address",
			`{"address": "1 Musterstr., 10115 Berlin"}`, 200},
		{"PUT /customers/{id}/billing-address", "/customers/C-9/billing-address",
			`{"address": "1 Musterstr., 10115 Berlin"}`, 404},
		{"PUT /customers/{id}/billing-address", "/customers/C-1/billing-address", `{"address": "Berlin"}`, 422},
		{"PUT /customers/{id}/billing-address", "/customers/C-1/billing-address", `{"address": ""}`, 400},
		{"PUT /customers/{id}/billing-address", "/customers/C-1/billing-address", `{`, 400},
		{"GET /customers/{id}/orders/{number}/invoice", "/customers/C-2/orders/1001/invoice", "", 200},
		{"GET /customers/{id}/orders/{number}/invoice", "/customers/C-2/orders/1003/invoice", "", 404},
		{"GET /customers/{id}/orders/{number}/invoice", "/customers/C-2/orders/2001/invoice", "", 404},
		{"GET /customers/{id}/orders/{number}/charges", "/customers/C-1/orders/2001/charges", "", 200},
		{"GET /customers/{id}/orders/{number}/charges", "/customers/C-2/orders/1004/charges", "", 200},
		{"GET /customers/{id}/orders/{number}/charges", "/customers/C-2/orders/2001/charges", "", 404},
		{"GET /customers/{id}/orders/{number}/charges", "/customers/C-9/orders/1001/charges", "", 404},
		{"POST /customers/{id}/refunds", "/customers/C-2/refunds", `{"order": "1002", "charge": "CH-1002-2"}`, 200},
		{"POST /customers/{id}/refunds", "/customers/C-2/refunds", `{"order": "2001", "charge": "CH-2001-2"}`, 404},
		{"POST /customers/{id}/refunds", "/customers/C-2/refunds", `{"order": "1002", "charge": "CH-1002-1"}`, 422},
		{"POST /customers/{id}/refunds", "/customers/C-2/refunds", `{"order": "1001", "charge": "CH-1001-2"}`, 422},
		{"POST /customers/{id}/refunds", "/customers/C-2/refunds", `{"order": "1001", "charge": "CH-1002-2"}`, 422},
		{"POST /customers/{id}/refunds", "/customers/C-2/refunds", `{"order": "1002"}`, 400},
		{"POST /customers/{id}/refunds", "/customers/C-2/refunds", `[]`, 400},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems",
			`{"order": "1002", "problem": "damaged", "detail": "The box is wet."}`, 200},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems",
			`{"order": "2001", "problem": "damaged"}`, 404},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems",
			`{"order": "1002", "problem": "damaged"}` + "\n" + `{"order": "1002", "problem": "not_arrived"}`, 422},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems",
			`{"order": "1002", "problem": "late"}`, 400},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems", `{"problem": "damaged"}`, 400},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems",
			`{"order": "1002", "problem": "damaged", "detail": "` + strings.Repeat("x", maxDetail+1) + `"}`, 400},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems", `7`, 400},
	} {
		for _, status := range []int{call.status, 401, 429, 503} {
			fake := crmsim.New(crmsim.Options{Token: token})
			ask := func(body, token string) *httptest.ResponseRecorder {
				r := httptest.NewRequest(strings.Fields(call.operation)[0], call.path, strings.NewReader(body))
				r.Header.Set("Idempotency-Key", "key-1")
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				fake.ServeHTTP(w, r)
				return w
			}
			earlier, body, twice := strings.Cut(call.body, "\n")
			if twice {
				ask(earlier, token)
			} else {
				body = earlier
			}
			if status == 429 || status == 503 {
				fake.AddFault(faults.Fault{Status: status, RetryAfter: 3})
			}
			w := ask(body, map[bool]string{false: token, true: "another"}[status == 401])
			at := fmt.Sprintf("%s %.60s: %d", call.operation, call.body, w.Code)
			if w.Code != status {
				t.Errorf("%s, want %d: %s", at, status, w.Body)
			}
			c.Answer(t, at, call.operation, w)
		}
	}
	c.Shown(t, "Customer", "Order", "Invoice", "Charges", "Charge", "AddressCheck", "Receipt", "Refund", "DeliveryCase",
		"Answers", "Answer", "Problem")
}

func TestSimulator_NoIdempotencyKey_IsRejected(t *testing.T) {
	t.Parallel()
	fake := crmsim.New(crmsim.Options{})
	for call, body := range map[string]string{
		"PUT /customers/C-1/billing-address":    `{"address": "1 Musterstr., 10115 Berlin"}`,
		"POST /customers/C-1/refunds":           `{"order": "1002", "charge": "CH-1002-2"}`,
		"POST /customers/C-1/delivery-problems": `{"order": "1002", "problem": "damaged"}`,
	} {
		for key, status := range map[string]int{"": 400, strings.Repeat("k", 256): 400, "key of " + call: 200} {
			method, path, _ := strings.Cut(call, " ")
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.Header.Set("Idempotency-Key", key)
			w := httptest.NewRecorder()
			if fake.ServeHTTP(w, r); w.Code != status {
				t.Errorf("%s, %q: %d %s", call, key, w.Code, w.Body)
			}
		}
	}
}

func TestClient_Requests_FollowTheContract(t *testing.T) {
	t.Parallel()
	c := openapitest.Read(t, contract)
	schemas := c.Components.Schemas
	limits := []int{
		schemas["Lookups"].Properties["lookups"].MaxItems,
		schemas["Key"].MaxLength,
		schemas["Charges"].Properties["charges"].MaxItems,
		schemas["Charge"].Properties["id"].MaxLength,
		schemas["DeliveryProblem"].Properties["detail"].MaxLength,
	}
	if diff := cmp.Diff([]int{maxBatch, maxKey, maxCharges, maxKey, maxDetail}, limits); diff != "" {
		t.Errorf("limits: %s", diff)
	}
	inWorld(t, func(t *testing.T, w world) {
		if _, found, err := w.Customer(t.Context(), "C-1"); err != nil || !found {
			t.Error(found, err)
		}
		w.order(t, "1001")
		if _, found, err := w.Order(t.Context(), "2001", Asker{User: 77, Chat: -5, Customer: "C-1"}); err != nil || !found {
			t.Error(found, err)
		}
		if _, err := w.ValidateAddress(t.Context(), strings.Repeat("ü", maxKey)); err != nil {
			t.Error(err)
		}
		if _, err := w.change(t, "key-1"); err != nil {
			t.Error(err)
		}
		if _, found, err := w.Invoice(t.Context(), "C-2", "1001"); err != nil || !found {
			t.Error(found, err)
		}
		if _, found, err := w.Charges(t.Context(), "C-2", "1001"); err != nil || !found {
			t.Error(found, err)
		}
		if _, err := w.RefundDuplicate(t.Context(), "key-2", "C-2", "1002", "CH-1002-2"); err != nil {
			t.Error(err)
		}
		for _, detail := range []string{"", strings.Repeat("ü", maxDetail)} {
			key := fmt.Sprintf("key-of-%d", len(detail))
			if _, err := w.ReportDeliveryProblem(t.Context(), key, "C-2", "1002", "wrong_item", detail); err != nil {
				t.Error(err)
			}
		}
		operations := map[string]openapitest.Operation{}
		for path, methods := range c.Paths {
			for _, o := range methods {
				operations[strings.Replace(path, "{id}", "C-2", 1)] = o
			}
		}
		for _, r := range w.crm.Requests() {
			c.Body(t, r.Method+" "+r.Path, "application/json", operations[r.Path].RequestBody.Content, r.Body)
		}
	})
}

func TestSimulator_Orders_AreThoseOfTheDemo(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for number, want := range Demo {
			if got, _, err := w.Order(t.Context(), number, anybody); err != nil || !cmp.Equal(got, want) {
				t.Errorf("%s: %+v, %v", number, got, err)
			}
		}
	})
}
