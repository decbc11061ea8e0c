package terminal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// Nothing of what others wrote moves the cursor, sets a title, rings, or turns text around.
func TestWriter_ControlsAndDirection_Visible(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain, größer, 北京, 👩‍💻, می\u200cروم\tand\n": "plain, größer, 北京, 👩‍💻, می\u200cروم\tand\n",
		"\x1b]0;title\a\x1b[2J":                `\u001b]0;title\u0007\u001b[2J`,
		"\x00\b\r\x7f":                         `\u0000\u0008\u000d\u007f`,
		"\u009b31m\u0085":                      `\u009b31m\u0085`,
		"\x9b31m\xff":                          `\x9b31m\xff`,
		"a\u202eb\u2066c\u200fd\u061ce\ufefff": `a\u202eb\u2066c\u200fd\u061ce\ufefff`,
		"\u2028\u2029\U000e0041":               `\u2028\u2029\udb40\udc41`,
	} {
		var whole, bytewise bytes.Buffer
		w := NewWriter(&bytewise)
		for i := range len(in) {
			if n, err := w.Write([]byte{in[i]}); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		if n, err := NewWriter(&whole).Write([]byte(in)); n != len(in) || err != nil {
			t.Errorf("%q: wrote %d (%v)", in, n, err)
		}
		if whole.String() != want || bytewise.String() != want {
			t.Errorf("%q became %q, and byte by byte %q, want %q", in, whole.String(), bytewise.String(), want)
		}
	}
}

// JSON stays JSON of the same value.
func TestWriter_JSON_SameValue(t *testing.T) {
	t.Parallel()
	const text = "\u009b \u202e \U000e0041 \x7f ok"
	line, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := NewWriter(&b).Write(line); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || got != text {
		t.Errorf("%s reads as %q (%v)", b.Bytes(), got, err)
	}
}

func FuzzWriter(f *testing.F) {
	f.Add([]byte("a\x1b\xe2\x80\xae\xff"), 3)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		var b bytes.Buffer
		w := NewWriter(&b)
		cut = max(0, min(cut, len(text)))
		for _, part := range [][]byte{text[:cut], text[cut:]} {
			if n, err := w.Write(part); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		if !utf8.Valid(b.Bytes()) || strings.ContainsFunc(b.String(), obeyed) {
			t.Errorf("%q became %q", text, b.String())
		}
	})
}
