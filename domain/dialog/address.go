package dialog

import (
	"regexp"
	"slices"
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

// separators set the parts of an address off from each other.
const separators = ",;\n\r，、،"

// unset are the forms of addresses whose parts are known where nothing sets them off: a post
// code behind a house number, and a place behind the word that ends a street's name.
var unset = []*regexp.Regexp{
	regexp.MustCompile(`^(.*\pL.*\s\d+\s?\pL?)\s+(\d{4,5}\s+\pL.*)$`),
	regexp.MustCompile(`(?i)^(.*?\d.*?\s(?:street|road|lane|avenue|drive|square|terrace|crescent|` +
		`boulevard))\s+(\pL.*\d.*)$`),
}

// setOff is the text with its parts set off, if it says where they end.
func setOff(text string) string {
	if text = strings.TrimSpace(text); strings.ContainsAny(text, separators) {
		return text
	}
	for _, form := range unset {
		if parts := form.FindStringSubmatch(text); parts != nil {
			return parts[1] + ", " + parts[2]
		}
	}
	return text
}

func addressParts(text string) []string {
	var parts []string
	for _, part := range strings.FieldsFunc(setOff(text),
		func(r rune) bool { return strings.ContainsRune(separators, r) }) {
		if part = strings.Join(strings.FieldsFunc(part, isBlank), " "); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// isBlank is true of what sets words apart; control characters are as good as
// spaces, and NUL could not be stored.
func isBlank(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// leadIn is what people write before an address: "No, my new address is: ".
var leadIn = regexp.MustCompile(`(?is)^.{0,60}?(?:\b(?:address|adress)\b[^\d:]{0,24}?(?:\bis\b|\bto\b|\bbe\b|` +
	`:)|\bit'?s\b|\bit is\b|\bit should be\b|\bmoved to\b|` +
	`(?:adresse|anschrift)\b[^\d:]{0,24}?(?:\b(?:ist|lautet|wäre)\b(?:\s+(?:jetzt|nun|ab sofort))?|:)|` +
	`\bsie (?:ist|lautet)\b)\s*:?\s*`)

// withoutLeadIn is the text from where the address begins.
func withoutLeadIn(text string) string {
	text = strings.ReplaceAll(text, "’", "'")
	if loc := leadIn.FindStringIndex(text); loc != nil && loc[1] < len(text) {
		return text[loc[1]:]
	}
	return text
}

// prose is words that sentences have and addresses do not.
var prose = []string{"i", "i'm", "i've", "my", "you", "your", "we", "is", "are", "was", "have", "want",
	"please", "why", "where", "when",
	"ich", "mein", "meine", "meinen", "meiner", "du", "wir", "ihr", "ist", "sind", "war", "habe", "haben", "will",
	"möchte", "brauche", "bitte", "warum", "wo", "wann", "wie"}

// isAddress tells an address from a sentence that happens to have the same parts.
func isAddress(text string) bool {
	text = withoutLeadIn(text)
	return checkAddress(text) == "" && !slices.ContainsFunc(strings.Fields(wordsOf(text)), func(word string) bool {
		return slices.Contains(prose, word)
	})
}

// namesPlace reports whether a message is made of a place's names, of which the language is no
// sign of the customer's own: an address, or a try at the one that was asked for.
func (t *talk) namesPlace(u Understanding) bool {
	if isAddress(t.act.Text) {
		return true
	}
	def := t.asked()
	return t.Run.Active() && def != nil && def.Ask.Check == CheckPostal && u.Intent == Unknown &&
		has(t.act.Text, unicode.IsDigit)
}

// checkAddress names what an address lacks; "" when it will do: a street with a house
// number, and a place with a post code, in parts of their own.
func checkAddress(text string) Word {
	parts := addressParts(text)
	switch length := len([]rune(strings.Join(parts, ", "))); {
	case length < addressMin:
		return ProblemShort
	case length > addressMax:
		return ProblemLong
	case len(parts) < 2:
		return ProblemParts
	}
	numbered := 0
	for _, part := range parts {
		if has(part, unicode.IsDigit) {
			numbered++
		}
	}
	switch {
	case !has(strings.Join(parts[:len(parts)-1], " "), unicode.IsLetter):
		return ProblemStreet
	case !has(strings.Join(parts[1:], " "), unicode.IsLetter):
		return ProblemTown
	case numbered == 0:
		return ProblemNumbers
	case numbered == 1 && has(parts[0], unicode.IsDigit):
		return ProblemPostCode
	case numbered == 1:
		return ProblemOneNumber
	default:
		return ""
	}
}

func has(s string, is func(rune) bool) bool { return strings.IndexFunc(s, is) >= 0 }
