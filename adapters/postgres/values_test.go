//go:build unix

package postgres_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/chatledger/chatledger/adapters/postgres/pgtest"
	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// nested is an array in an array, levels deep.
func nested(levels int) string {
	return strings.Repeat("[", levels) + strings.Repeat("]", levels)
}

// values are JSON values by what is hard about them. exact ones must come back
// byte by byte; of the others, JSONB may change the spelling.
var values = []struct {
	name, json string
	exact      bool
}{
	{"plain", `{"text":"grüß dich","n":[1,2.50,-3e2,true,null]}`, false},
	{"NUL", `{"text":"a\u0000b"}`, true},
	{"NUL in a key", `{"a\u0000b":1}`, true},
	{"high half alone", `{"text":"\ud83d"}`, true},
	{"low half alone", `{"text":"\udc4b!"}`, true},
	{"halves the wrong way round", `{"text":"\udc4b\ud83d"}`, true},
	{"pair", `{"text":"\ud83d\udc4b"}`, false},
	{"escaped backslash before u0000", `{"text":"\\u0000"}`, false},
	{"number out of range", `{"n":1e999999}`, true},
	{"number out of range below", `{"n":-1E+999999}`, true},
	{"number of many digits", `{"n":` + strings.Repeat("9", 200_000) + `}`, true},
	{"large id", `{"id":9007199254740993}`, false},
	{"nested 1,000 levels", nested(1000), false},
	{"nested 10,000 levels", nested(10_000), false},
	{"a long string", `"` + strings.Repeat("x", 1<<20) + `"`, false},
	{"looks like a sealed value", `{"$base64":"aGVsbG8="}`, true},
	{"looks like one in another spelling", `{"\u0024base64":"aGVsbG8="}`, true},
	{"looks like one once JSONB has sorted it", `{"update_id":1,"$base64":"aGVsbG8="}`, false},
	{"looks like one that is broken", `{"$base64":1}`, true},
}

// same compares JSON values, numbers by their digits.
func same(a, b []byte) bool {
	var parsed [2]any
	for i, value := range [][]byte{a, b} {
		d := json.NewDecoder(bytes.NewReader(value))
		d.UseNumber()
		if err := d.Decode(&parsed[i]); err != nil {
			return false
		}
		parsed[i] = normal(parsed[i])
	}
	return reflect.DeepEqual(parsed[0], parsed[1])
}

// normal spells numbers in one way.
func normal(v any) any {
	switch v := v.(type) {
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			return r.String()
		}
	case []any:
		for i := range v {
			v[i] = normal(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = normal(v[k])
		}
	}
	return v
}

func short(b []byte) string { return fmt.Sprintf("%.80q (%d bytes)", b, len(b)) }

// Every JSON value is kept.
func TestEscape_AnyJSON_Kept(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	check := func(t *testing.T, what, value string, exact bool, got []byte) {
		t.Helper()
		if string(got) != value && (exact || !same(got, []byte(value))) {
			t.Errorf("%s %s came back as %s", what, short([]byte(value)), short(got))
		}
	}
	for i, v := range values {
		t.Run(v.name, func(t *testing.T) {
			id := domain.ChatStream("demo", int64(i))
			e := event(anything{json.RawMessage(v.json)})
			e.Raw = []byte(v.json)
			enqueue(t, s, pending(string(id), 1))
			c := claim(t, s, 1, leaseLong)[0]
			must(t, s, commands.Append{Stream: id, Events: []commands.NewEvent{e}, Settled: []commands.Settlement{
				{Delivery: c.ID, Fence: c.Fence, State: "done", Outcome: []byte(v.json)}}})

			read := stream(t, s, id)
			check(t, "payload", v.json, v.exact, read[0].Event.(anything).RawMessage)
			loaded, err := s.Load(t.Context(), []commands.Cursor{{Stream: id}})
			if err != nil {
				t.Fatal(err)
			}
			check(t, "loaded payload", v.json, v.exact, loaded[0].Events[0].(anything).RawMessage)
			// How raw is to be read by SQL is told in the column's comment.
			for what, sql := range map[string]string{
				"raw":     `select raw from eventstore.events where stream_id = $1`,
				"outcome": `select outcome from eventstore.deliveries where ordering_key = $1`,
			} {
				got := pgtest.Ask[[]byte](t, s.Pool(), sql, string(id))
				var sealed struct {
					Base64 []byte `json:"$base64"`
				}
				d := json.NewDecoder(bytes.NewReader(got))
				d.DisallowUnknownFields()
				if d.Decode(&sealed) == nil && sealed.Base64 != nil {
					got = sealed.Base64
				}
				check(t, what, v.json, v.exact, got)
			}
		})
	}
}

// Raw bytes that are not JSON are kept, too.
func TestEscape_RawNotJSON_Kept(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for i, raw := range []string{`{"a":`, "\xff\xfe", "", "<html>"} {
		e := event(chat.UpdateKept{Kind: "x"})
		e.Raw = []byte(raw)
		id := domain.ChatStream("demo", int64(i))
		must(t, s, commands.Append{Stream: id, Events: []commands.NewEvent{e}})
		got := pgtest.Ask[string](t, s.Pool(),
			`select encode(decode(raw ->> '$base64', 'base64'), 'hex') from eventstore.events where stream_id = $1`,
			string(id))
		if want := fmt.Sprintf("%x", raw); got != want {
			t.Errorf("raw %q is kept as %s", raw, got)
		}
	}
}

// One value that has to be sealed does not seal its neighbours, which are searched.
func TestEscape_ValidForJSONB_Unchanged(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	var batch []commands.Append
	for i, text := range []string{"plain", "number", "NUL \x00"} {
		e := event(chat.UpdateKept{Kind: text})
		e.Raw = []byte(fmt.Sprintf(`{"update_id":%d}`, i))
		if text == "number" {
			e.Raw = []byte(`{"n":1e999999}`) // only the server can tell
		}
		batch = append(batch,
			commands.Append{Stream: domain.ChatStream("demo", int64(i)), Events: []commands.NewEvent{e}})
	}
	errs, err := s.Append(t.Context(), batch)
	if err != nil || errs[0] != nil || errs[1] != nil || errs[2] != nil {
		t.Fatalf("%v, %v", errs, err)
	}
	type sealed struct{ payload, raw bool }
	for i, want := range []sealed{{false, false}, {true, true}, {true, false}} {
		var got sealed
		err := s.Pool().QueryRow(t.Context(),
			`select payload ? '$base64', raw ? '$base64' from eventstore.events where stream_id = $1`,
			string(batch[i].Stream)).Scan(&got.payload, &got.raw)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("event %d: sealed %+v, want %+v", i, got, want)
		}
	}
}

// The payload of a delivery is what the sender gets, whatever is in it.
func TestDelivery_AnyPayload_Kept(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	for _, v := range values {
		if strings.Contains(v.name, "out of range") || strings.Contains(v.name, "many digits") {
			continue // our own payloads have no such numbers
		}
		d := pending("a", 1)
		d.ID, d.Payload = uuid.New(), json.RawMessage(v.json)
		enqueue(t, s, d)
		c := claim(t, s, 1, leaseLong)
		if len(c) != 1 || string(c[0].Body) != v.json && !same(c[0].Body, []byte(v.json)) {
			t.Fatalf("%s: claimed %d, with a body of %s", v.name, len(c), short(c[0].Body))
		}
		settle(t, s, c[0], domain.DeliveryDone)
	}
}
