package dialog

import (
	"strings"
	"unicode"
)

// Bounds of a postal address in characters: "1 A St, 1234 X" is about the
// shortest there is, and nobody's invoice window holds more than a few lines.
const (
	addressMin = 10
	addressMax = 300
)

// normalizeAddress writes an address on one line, its parts set off by commas.
func normalizeAddress(text string) string {
	return strings.Join(addressParts(text), ", ")
}

func addressParts(text string) []string {
	var parts []string
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == ';' }) {
		if part = strings.Join(strings.Fields(part), " "); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// checkAddress says what an address lacks, in words for the customer; "" when it
// will do: a street with a house number, then a place with a post code.
func checkAddress(text string) string {
	parts := addressParts(text)
	address := strings.Join(parts, ", ")
	switch length := len([]rune(address)); {
	case length < addressMin:
		return "it is too short"
	case length > addressMax:
		return "it is too long"
	}
	if len(parts) < 2 {
		return "I need street and place, separated by a comma or on two lines"
	}
	if !has(parts[0], unicode.IsLetter) || !has(parts[0], unicode.IsDigit) && !has(parts[1], unicode.IsDigit) {
		return "the street and house number are missing"
	}
	place := strings.Join(parts[1:], " ")
	if !has(place, unicode.IsLetter) {
		return "the town is missing"
	}
	if !has(place, unicode.IsDigit) {
		return "the post code is missing"
	}
	return ""
}

func has(s string, is func(rune) bool) bool { return strings.IndexFunc(s, is) >= 0 }
