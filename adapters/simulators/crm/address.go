package crmsim

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AddressCheck is the result of checking an address.
type AddressCheck struct {
	Valid   bool   `json:"valid"`
	Address string `json:"address,omitempty"` // the normal form of a valid address
	Reason  string `json:"reason,omitempty"`  // why the address is not valid
	Coded          // the reason as a code
}

// place is a post code that the demo shop knows.
type place struct {
	code, town string
	townFirst  bool // whether the country writes the town before the post code
}

func (p place) String() string {
	if p.townFirst {
		return p.town + " " + p.code
	}
	return p.code + " " + p.town
}

var places = []place{
	{"NW1 6XE", "London", true}, {"SW1A 2AA", "London", true}, {"LS1 4AP", "Leeds", true},
	{"M1 1AE", "Manchester", true}, {"EH1 1YZ", "Edinburgh", true},
	{"10115", "Berlin", false}, {"20095", "Hamburg", false}, {"80331", "München", false}, {"1010", "Wien", false},
	{"8001", "Zürich", false}, {"75001", "Paris", false}, {"1012 LG", "Amsterdam", false},
	{"1100-048", "Lisboa", false},
}

// CheckAddress validates an address on one line and returns its normal form: the lines up to the street,
// with abbreviations expanded and words capitalised; then post code and town in the order of the country;
// then the rest. It accepts any town for a post code that the shop does not know.
func CheckAddress(line string) AddressCheck {
	parts := strings.FieldsFunc(strings.ToValidUTF8(line, ""), func(r rune) bool { return r == ',' })
	for i, part := range parts {
		parts[i] = strings.Join(strings.Fields(part), " ")
	}
	p, at := findPlace(parts)
	begin, end, written := at, at+1, p.String()
	switch isTown := func(i int) bool { return i >= 0 && i < len(parts) && strings.EqualFold(parts[i], p.town) }; {
	case at == 0 && p.code == "":
		return invalid("post_code_missing", nil, "the post code is missing")
	case p.code == "":
		written = parts[at]
	case strings.Contains(strings.ToLower(parts[at]), strings.ToLower(p.town)):
	case isTown(begin - 1):
		begin--
	case isTown(end):
		end++
	default:
		return invalid("post_code_elsewhere", map[string]string{"post_code": p.code, "town": p.town},
			"the post code %s belongs to %s", p.code, p.town)
	}
	var lines []string
	for _, part := range parts[:begin] {
		if part != "" {
			lines = append(lines, street(part))
		}
	}
	switch all := strings.Join(lines, " "); {
	case !strings.ContainsFunc(all, unicode.IsLetter):
		return invalid("street_missing", nil, "the street is missing")
	case !strings.ContainsFunc(all, unicode.IsDigit):
		return invalid("house_number_missing", nil, "the house number is missing")
	}
	lines = append(lines, written)
	for _, part := range parts[end:] {
		if part != "" {
			lines = append(lines, part)
		}
	}
	return AddressCheck{Valid: true, Address: strings.Join(lines, ", ")}
}

func invalid(code string, values map[string]string, format string, args ...any) AddressCheck {
	return AddressCheck{Reason: fmt.Sprintf(format, args...), Coded: Coded{code, values}}
}

// findPlace returns the last known post code, and the index of its part. It is the last, because a house
// number that looks like a post code comes earlier. Without a known post code it returns the index of the
// last part, except the first, that has a digit, or 0.
func findPlace(parts []string) (found place, at int) {
	for i, part := range parts {
		for _, p := range places {
			if strings.Contains(" "+strings.ToUpper(part)+" ", " "+p.code+" ") {
				found, at = p, i
			}
		}
	}
	if found.code != "" {
		return found, at
	}
	for i, part := range parts {
		if i > 0 && strings.ContainsFunc(part, unicode.IsDigit) {
			at = i
		}
	}
	return place{}, at
}

// abbreviated maps abbreviated ends of street names to the full words.
var abbreviated = []struct {
	end  *regexp.Regexp
	full string
}{
	{regexp.MustCompile(`(?i) st\.?$`), " Street"},
	{regexp.MustCompile(`(?i) rd\.?$`), " Road"},
	{regexp.MustCompile(`(?i) ave\.?$`), " Avenue"},
	{regexp.MustCompile(`(?i)str(?:\.|asse)?( \d\S*)?$`), "straße$1"},
}

// street expands and capitalises a street: "12 baker st." becomes "12 Baker Street".
func street(s string) string {
	for _, a := range abbreviated {
		s = a.end.ReplaceAllString(s, a.full)
	}
	words := strings.Fields(s)
	for i, word := range words {
		first, size := utf8.DecodeRuneInString(word)
		words[i] = string(unicode.ToUpper(first)) + word[size:]
	}
	return strings.Join(words, " ")
}
