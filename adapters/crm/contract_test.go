package crm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/chatledger/chatledger/adapters/crm/crmtest"
)

// schema is as much of JSON Schema as the contract uses; an unknown word fails the test.
type schema struct {
	Ref         string            `yaml:"$ref"`
	Type        string            `yaml:"type"`
	Format      string            `yaml:"format"`
	Description string            `yaml:"description"`
	Examples    []string          `yaml:"examples"`
	Enum        []string          `yaml:"enum"`
	Required    []string          `yaml:"required"`
	Properties  map[string]schema `yaml:"properties"`
	Items       *schema           `yaml:"items"`
	Others      *schema           `yaml:"additionalProperties"` // of any name
	MinLength   int               `yaml:"minLength"`
	MaxLength   int               `yaml:"maxLength"`
	MinItems    int               `yaml:"minItems"`
	MaxItems    int               `yaml:"maxItems"`
}

type content map[string]struct{ Schema schema }

type response struct {
	Ref     string `yaml:"$ref"`
	Headers map[string]struct{ Required bool }
	Content content
}

type operation struct {
	RequestBody struct{ Content content } `yaml:"requestBody"`
	Responses   map[string]response
}

type contract struct {
	Paths      map[string]map[string]operation
	Components struct {
		Schemas   map[string]schema
		Responses map[string]response
	}
	seen map[string]bool // properties of schemas that some answer had
}

func readContract(t *testing.T) *contract {
	t.Helper()
	text, err := os.ReadFile("../../docs/crm-openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{seen: map[string]bool{}}
	if err := yaml.Unmarshal(text, c); err != nil {
		t.Fatal(err)
	}
	var whole struct {
		Components struct{ Schemas yaml.Node }
	}
	if err := yaml.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	nodes, err := yaml.Marshal(&whole.Components.Schemas)
	if err != nil {
		t.Fatal(err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(nodes))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c.Components.Schemas); err != nil {
		t.Fatalf("a word of JSON Schema that this test does not know: %v", err)
	}
	return c
}

// operations are the documented ones, in the form of crmtest.Routes.
func (c *contract) operations() map[string]operation {
	all := map[string]operation{}
	for path, methods := range c.Paths {
		for method, o := range methods {
			all[strings.ToUpper(method)+" "+path] = o
		}
	}
	return all
}

// response is the documented one for a status: its own, or that of its class.
func (c *contract) response(o operation, status int) (key string, r response, found bool) {
	for _, key := range []string{fmt.Sprint(status), fmt.Sprintf("%dXX", status/100)} {
		if r, found := o.Responses[key]; found {
			if name, isRef := strings.CutPrefix(r.Ref, "#/components/responses/"); isRef {
				r = c.Components.Responses[name]
			}
			return key, r, true
		}
	}
	return "", response{}, false
}

// check holds a value against a schema, strictly: what is not documented is wrong.
func (c *contract) check(t *testing.T, at string, s schema, value any) {
	t.Helper()
	if name, isRef := strings.CutPrefix(s.Ref, "#/components/schemas/"); isRef {
		at, s = name, c.Components.Schemas[name]
	}
	switch v := value.(type) {
	case string:
		n := utf8.RuneCountInString(v)
		if s.Type != "string" || n < s.MinLength || s.MaxLength > 0 && n > s.MaxLength || s.Enum != nil && !slices.Contains(s.Enum, v) {
			t.Errorf("%s: %q is not as documented", at, v)
		}
		var err error
		switch s.Format {
		case "date-time":
			_, err = time.Parse(time.RFC3339Nano, v)
		case "date":
			_, err = time.Parse(time.DateOnly, v)
		case "uri":
			_, err = url.ParseRequestURI(v)
		}
		if err != nil {
			t.Errorf("%s: %v", at, err)
		}
	case bool:
		if s.Type != "boolean" {
			t.Errorf("%s: %v is not as documented", at, v)
		}
	case float64:
		if s.Type != "integer" || v != float64(int(v)) {
			t.Errorf("%s: %v is not as documented", at, v)
		}
	case []any:
		if s.Type != "array" || len(v) < s.MinItems || s.MaxItems > 0 && len(v) > s.MaxItems {
			t.Errorf("%s: a list of %d is not as documented", at, len(v))
			return
		}
		for _, one := range v {
			c.check(t, at+"[]", *s.Items, one)
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, has := v[name]; !has {
				t.Errorf("%s lacks %s", at, name)
			}
		}
		for name, one := range v {
			property, documented := s.Properties[name]
			if s.Others != nil {
				property, documented = *s.Others, true
			}
			if !documented {
				t.Errorf("%s has %s, which is not documented", at, name)
				continue
			}
			c.seen[at+"."+name] = true
			c.check(t, at+"."+name, property, one)
		}
	default:
		t.Errorf("%s: %v is not documented", at, v)
	}
}

// body holds a body against the schema of a content type.
func (c *contract) body(t *testing.T, at, contentType string, documented content, body []byte) {
	t.Helper()
	one, found := documented[contentType]
	if !found {
		t.Errorf("%s: content type %s is not documented", at, contentType)
		return
	}
	var value any
	if err := json.Unmarshal(body, &value); err != nil {
		t.Errorf("%s: %v", at, err)
		return
	}
	c.check(t, at, one.Schema, value)
}

func TestTheFakeServesWhatTheContractSaysAndNothingElse(t *testing.T) {
	t.Parallel()
	c := readContract(t)
	operations := c.operations()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(operations)), slices.Sorted(slices.Values(crmtest.Routes()))); diff != "" {
		t.Fatalf("documented and served: %s", diff)
	}
	long := strings.Repeat("x", maxKey+1)
	answered := map[string]bool{}
	for _, call := range []struct {
		operation, path string
		body            string // before a line break: of an earlier call under the same key
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
		{"POST /lookups", "/lookups", `{"lookups": [{"kind": "customer", "key": "C-1"}, {"kind": "order", "key": "1002"}, {"kind": "address", "key": "x"}, {"kind": "order", "key": "9999"}, {"kind": "planet", "key": "3"}, {"kind": "order", "key": ""}, {"kind": "order", "key": "2001", "asker": {"telegram_user": 77, "telegram_chat": -5, "customer": "C-1"}}, {"kind": "invoice", "key": "1001", "owner": "C-2"}, {"kind": "charges", "key": "1001", "owner": "C-2"}, {"kind": "charges", "key": "1001"}, {"kind": "charges", "key": "2001", "owner": "C-2"}]}`, 200},
		{"POST /lookups", "/lookups", `{"lookups": []}`, 400},
		{"POST /lookups", "/lookups", `{"lookups": [` + strings.Repeat(`{},`, maxBatch) + `{}]}`, 400},
		{"POST /lookups", "/lookups", `[]`, 400},
		{"PUT /customers/{id}/billing-address", "/customers/C-1/billing-address", `{"address": "1 Musterstr., 10115 Berlin"}`, 200},
		{"PUT /customers/{id}/billing-address", "/customers/C-9/billing-address", `{"address": "1 Musterstr., 10115 Berlin"}`, 404},
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
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems", `{"order": "1002", "problem": "damaged", "detail": "The box is wet."}`, 200},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems", `{"order": "2001", "problem": "damaged"}`, 404},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems", `{"order": "1002", "problem": "damaged"}` + "\n" + `{"order": "1002", "problem": "not_arrived"}`, 422},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems", `{"order": "1002", "problem": "late"}`, 400},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems", `{"problem": "damaged"}`, 400},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems", `{"order": "1002", "problem": "damaged", "detail": "` + strings.Repeat("x", maxDetail+1) + `"}`, 400},
		{"POST /customers/{id}/delivery-problems", "/customers/C-2/delivery-problems", `7`, 400},
	} {
		for _, status := range []int{call.status, 401, 429, 503} {
			fake := crmtest.New(crmtest.Options{Token: token})
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
				fake.AddFault(crmtest.Fault{Status: status, RetryAfter: 3})
			}
			w := ask(body, map[bool]string{false: token, true: "another"}[status == 401])
			at := fmt.Sprintf("%s %.60s: %d", call.operation, call.body, w.Code)
			if w.Code != status {
				t.Errorf("%s, want %d: %s", at, status, w.Body)
			}
			key, documented, found := c.response(operations[call.operation], w.Code)
			if !found {
				t.Errorf("%s is not documented", at)
				continue
			}
			answered[call.operation+" "+key] = true
			c.body(t, at, w.Header().Get("Content-Type"), documented.Content, w.Body.Bytes())
			for name, header := range documented.Headers {
				if header.Required && w.Header().Get(name) == "" {
					t.Errorf("%s lacks the header %s", at, name)
				}
			}
		}
	}
	for name, o := range operations {
		for status := range o.Responses {
			if !answered[name+" "+status] {
				t.Errorf("%s: %s is documented and was never answered", name, status)
			}
		}
	}
	for _, name := range []string{"Customer", "Order", "Invoice", "Charges", "Charge", "AddressCheck", "Receipt", "Refund", "DeliveryCase", "Answers", "Answer", "Problem"} {
		for property := range c.Components.Schemas[name].Properties {
			if !c.seen[name+"."+property] {
				t.Errorf("%s.%s is documented and was never served", name, property)
			}
		}
	}
}

func TestTheFakeWantsAnIdempotencyKey(t *testing.T) {
	t.Parallel()
	fake := crmtest.New(crmtest.Options{})
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

func TestTheClientAsksWhatTheContractAllows(t *testing.T) {
	t.Parallel()
	c := readContract(t)
	schemas := c.Components.Schemas
	limits := []int{schemas["Lookups"].Properties["lookups"].MaxItems, schemas["Key"].MaxLength, schemas["Charges"].Properties["charges"].MaxItems,
		schemas["Charge"].Properties["id"].MaxLength, schemas["DeliveryProblem"].Properties["detail"].MaxLength}
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
			if _, err := w.ReportDeliveryProblem(t.Context(), fmt.Sprintf("key-of-%d", len(detail)), "C-2", "1002", "wrong_item", detail); err != nil {
				t.Error(err)
			}
		}
		operations := map[string]operation{}
		for path, methods := range c.Paths {
			for _, o := range methods {
				operations[strings.Replace(path, "{id}", "C-2", 1)] = o
			}
		}
		for _, r := range w.crm.Requests() {
			c.body(t, r.Method+" "+r.Path, "application/json", operations[r.Path].RequestBody.Content, r.Body)
		}
	})
}

func TestTheFakeHasTheOrdersOfTheDemoCatalogue(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w world) {
		for number, want := range Demo {
			if got, _, err := w.Order(t.Context(), number, anybody); err != nil || !cmp.Equal(got, want) {
				t.Errorf("%s: %+v, %v", number, got, err)
			}
		}
	})
}
