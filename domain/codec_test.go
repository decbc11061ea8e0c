package domain_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatledger/chatledger/domain"
)

// named was stored as {"first","last"}, then as {"name"}, and today has a greeting.
type named struct {
	Name     string `json:"name"`
	Greeting string `json:"greeting"`
}

type other struct{}

func threeVersions() *domain.Codec {
	c := domain.NewCodec()
	domain.Register[named](c, "named",
		func(fields map[string]json.RawMessage) map[string]json.RawMessage {
			var first, last string
			if json.Unmarshal(fields["first"], &first) != nil || json.Unmarshal(fields["last"], &last) != nil {
				return map[string]json.RawMessage{"name": []byte(`"nobody"`)}
			}
			name, _ := json.Marshal(first + " " + last)
			return map[string]json.RawMessage{"name": name}
		},
		func(fields map[string]json.RawMessage) map[string]json.RawMessage {
			var name string
			if json.Unmarshal(fields["name"], &name) != nil {
				name = "stranger"
			}
			fields["greeting"], _ = json.Marshal("Hello, " + name)
			return fields
		})
	return c
}

func TestCodec_Upcasters_RunInSequence(t *testing.T) {
	c := threeVersions()
	want := named{"Anna Larsen", "Hello, Anna Larsen"}
	for version, payload := range map[int]string{
		1: `{"first": "Anna", "last": "Larsen"}`,
		2: `{"name": "Anna Larsen"}`,
		3: `{"name": "Anna Larsen", "greeting": "Hello, Anna Larsen"}`,
	} {
		got, err := c.Decode("named", version, []byte(payload))
		if err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if diff := cmp.Diff(domain.Event(want), got); diff != "" {
			t.Errorf("version %d (-want +got):\n%s", version, diff)
		}
	}
}

func TestCodec_Encode_StoresCurrentVersion(t *testing.T) {
	name, version, payload, err := threeVersions().Encode(named{"Anna", "Hej"})
	if err != nil || name != "named" || version != 3 || string(payload) != `{"name":"Anna","greeting":"Hej"}` {
		t.Errorf("stored as %s@%d %s, error %v", name, version, payload, err)
	}
}

func TestCodec_UnknownEvent_Fails(t *testing.T) {
	for _, test := range []struct {
		name    string
		version int
		payload string
		says    string
	}{
		{"renamed", 1, `{}`, "renamed@1"},
		{"named", 4, `{}`, "named@4"},
		{"named", 0, `{}`, "named@0"},
		{"named", -1, `{}`, "named@-1"},
		{"named", 1, `[]`, "named@1"},
		{"named", 2, `{"name": `, "named@2"},
		{"named", 3, `{"name": 7}`, "named@3"},
	} {
		event, err := threeVersions().Decode(test.name, test.version, []byte(test.payload))
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s@%d: event %+v, error %v; it must name the event and its version", test.name, test.version,
				event, err)
		}
	}
	if _, _, _, err := threeVersions().Encode(other{}); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("an event without a stored name is encoded, error %v", err)
	}
}

func TestCodec_RegisteredTwice_Panics(t *testing.T) {
	for says, register := range map[string]func(*domain.Codec){
		"same name": func(c *domain.Codec) { domain.Register[other](c, "named") },
		"same type": func(c *domain.Codec) { domain.Register[named](c, "other") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: registered twice", says)
				}
			}()
			register(threeVersions())
		}()
	}
}

func TestCodec_UnknownFields_Ignored(t *testing.T) {
	if _, err := threeVersions().Decode("named", 3, []byte(`{"name": "Anna", "added_later": [1]}`)); err != nil {
		t.Error(err)
	}
}
