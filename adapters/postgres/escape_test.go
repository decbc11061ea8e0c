package postgres

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// unholdable are JSON values that JSONB cannot hold and that can be told from
// their text; holdable ones look like them.
var (
	unholdable = []string{
		`"\u0000"`, `{"a\u0000":1}`, `"x\\\u0000"`,
		`"\ud800"`, `"\uDBFF"`, `"\udc00"`, `"\uDFFF"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\n\udc4b"`, `"\ud83d\ud83d"`,
		`"\udc4b\ud83d"`,
		`"\ud83d\u0041"`, `"\ud83d\udc4b\ud83d"`, "\"\xff\"", "\"\xed\xa0\x80\"",
	}
	holdableOnes = []string{
		`null`, `0`, `"\\u0000"`, `"\\\\u0000"`, `"\u0001"`, `"\ud83d\udc4b"`, `"\uD83D\uDC4B\uD83D\uDC4B"`,
		`"\"\\\/\b\f\n\r\t"`, `"\ue000"`, `"\ud7ff"`,
		"\"\uFFFE\U0010FFFF\"", `{"a":{"b":[1,2,{"c":null}]}}`,
	}
	// ambiguous are values that look like sealed ones.
	ambiguous = []string{
		`{"$base64":"aGVsbG8="}`, `{"$base64": "aGVsbG8="}`, ` { "$base64" :"aGVsbG8="}`,
		`{"\u0024base64":"aGVsbG8="}`, `{"$base64":1}`, `{"$base64":"no"}`,
		`{"$base64":"aGVsbG8=","$base64":"aGVsbG8="}`, `{"$base64":"aGVsbG8=","update_id":1}`,
		`{"update_id":1,"$base64":"aGVsbG8="}`, `{"$base64":"aGVsbG8="`,
	}
)

func TestEscape_InvalidForJSONB_BytesKept(t *testing.T) {
	t.Parallel()
	for _, value := range unholdable {
		stored := *Escape([]byte(value), false)
		var sealed map[string][]byte
		if err := json.Unmarshal([]byte(stored), &sealed); err != nil || string(sealed["$base64"]) != value ||
			len(sealed) != 1 {
			t.Errorf("%q is stored as %s (%v)", value, stored, err)
		}
		if holdable([]byte(stored)) != true {
			t.Errorf("%s cannot be held either", stored)
		}
	}
	for _, value := range holdableOnes {
		if stored := *Escape([]byte(value), false); stored != value {
			t.Errorf("%s is stored as %s, which nobody can query", value, stored)
		}
	}
	if Escape(nil, false) != nil || Escape(nil, true) != nil {
		t.Error("nothing is stored as something")
	}
}

// FuzzEscape: whatever goes in comes out, byte by byte.
func FuzzEscape(f *testing.F) {
	for _, values := range [][]string{
		unholdable, holdableOnes, ambiguous, {``, `"`, `\`, `\u`, `"\ud83d\u`, escapeKey},
	} {
		for _, value := range values {
			f.Add([]byte(value), false)
			f.Add([]byte(value), true)
		}
	}
	f.Add([]byte(strings.Repeat("[", 10_000)), false)
	f.Fuzz(func(t *testing.T, value []byte, always bool) {
		stored := *Escape(value, always)
		got, err := Unescape([]byte(stored))
		if err != nil || !bytes.Equal(got, value) {
			t.Fatalf("%q is stored as %s and read as %q (%v)", value, stored, got, err)
		}
		if stored != string(value) && !holdable([]byte(stored)) {
			t.Fatalf("%q is stored as %s, which cannot be held", value, stored)
		}
		if json.Valid(value) && stored == string(value) && !json.Valid([]byte(stored)) {
			t.Fatalf("%q is stored as %s", value, stored)
		}
	})
}

// Clean leaves a text that a text column holds.
func TestClean_AnyText_FitsTextColumn(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "plain ü 👋": "plain ü 👋", "a\x00b": "a␀b", "\xff\xfe": "\uFFFD", "x\xed\xa0\x80y": "x\uFFFDy",
	} {
		if got := CleanText(text); got != want {
			t.Errorf("clean(%q) = %q, want %q", text, got, want)
		}
	}
}
