package postgres

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// JSONB cannot hold all JSON: no NUL, and no half of a surrogate pair. A value that it cannot hold is
// stored byte by byte, as {"$base64": "..."}.
const escapeKey = `{"$base64":`

type escapedJSON struct {
	Base64 []byte `json:"$base64"`
}

// Escape returns value in a form that JSONB can hold; nil stays nil. With always, it escapes every
// value, for content that only the server can recognise.
func Escape(value []byte, always bool) *string {
	if value == nil {
		return nil
	}
	text := string(value)
	if always || !holdable(value) || resembles(value) {
		text = escapeKey + `"` + base64.StdEncoding.EncodeToString(value) + `"}`
	}
	return &text
}

// resembles reports whether a value may have the key of an escaped one, in any spelling. Such
// a value is escaped too, or it would be unescaped by mistake.
func resembles(value []byte) bool {
	const name = "$base64"
	if bytes.Contains(value, []byte(name)) {
		return true
	}
	if !bytes.Contains(value, []byte(`\u00`)) {
		return false
	}
	lower := bytes.ToLower(value)
	return strings.ContainsFunc(name,
		func(r rune) bool { return bytes.Contains(lower, fmt.Appendf(nil, `\u%04x`, r)) })
}

// Unescape is the reverse of Escape.
func Unescape(stored []byte) ([]byte, error) {
	if !bytes.HasPrefix(stored, []byte(escapeKey)) {
		return stored, nil
	}
	var escaped escapedJSON
	if err := json.Unmarshal(stored, &escaped); err != nil {
		return nil, fmt.Errorf("read escaped JSON: %w", err)
	}
	return escaped.Base64, nil
}

// holdable reports whether JSONB can hold a valid JSON value, as far as a cheap check can
// tell. The server decides.
func holdable(value []byte) bool {
	if !utf8.Valid(value) {
		return false
	}
	for {
		i := bytes.IndexByte(value, '\\')
		if i < 0 || i+1 >= len(value) {
			return true
		}
		if value[i+1] != 'u' {
			value = value[i+2:]
			continue
		}
		first := unit(value[i:])
		switch {
		case first <= 0 || first >= 0xDC00 && first <= 0xDFFF:
			return false
		case first >= 0xD800 && first < 0xDC00:
			if second := unit(value[min(i+6, len(value)):]); second < 0xDC00 || second > 0xDFFF {
				return false
			}
			value = value[i+12:]
		default:
			value = value[i+6:]
		}
	}
}

// unit reads a \uXXXX at the start of value. It returns -1 if there is none.
func unit(value []byte) int64 {
	if len(value) < 6 || value[0] != '\\' || value[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseInt(string(value[2:6]), 16, 32)
	if err != nil {
		return -1
	}
	return n
}

// CleanText replaces what a text column cannot hold: NUL and invalid UTF-8.
func CleanText(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "␀"), "\uFFFD")
}
