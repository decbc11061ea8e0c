package dialog

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Order numbers as customers write them: "1001", "#1001pls", "A-20451", "ORD-1001", "1.001",
// "1 0 0 1", "1003/1", "one zero zero one". An order number has four to ten digits, with at most
// three letters before them. Dates, times, prices, amounts, phone, account and card numbers have
// digits too, and are none.

// numbersMax limits the order numbers that are read from a message. Each may lead to a look-up.
const numbersMax = 8

// notOrders are the forms of other numbers. Words are bounded by \b, which knows ASCII only.
var notOrders = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`[^\s@]+@[^\s@]+|\S+://\S+`, // e-mail addresses and links
	`\b[a-z]{2}\d{2}(?: ?\d{4}){3,7}(?: ?\d{1,3})?\b|\b[3-6]\d{3}(?:[ -]\d{4}){3}\b`, // IBANs and cards
	`(?:\+|\b00)\d[\d ()/.-]{6,}\d|\b0\d{8,}\b|\b0\d{2,5}[ /-]\d{3,}(?:[ -]\d+)*`,    // phone numbers
	`\(?\b\d{3}\)?[-. ]\d{3}[-. ]\d{4}\b|\b\d{3}-\d{4}\b`,                            // and American ones
	`\b(?:phone|call|mobile|cell|fax|tel|telefon|handy|mobil|anrufen|ruf|whatsapp)\b\D{0,30}\d[\d ()/.-]{5,}\d`,
	`\b\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b|\b\d{4}-\d{1,2}-\d{1,2}\b|\b\d{4}/\d{1,2}/\d{1,2}\b`, // dates
	`\b(?:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)\pL*\.?,?\s+` +
		`(?:\d{1,2}(?:st|nd|rd|th)?,?\s+)?(?:19|20)\d\d\b`,
	`\b(?:in|since|year|seit|jahr|anno|early|late|mid|spring|summer|autumn|fall|winter|christmas|easter|` +
		`end of|beginning of|anfang|mitte|ende|frühjahr|sommer|herbst|weihnachten|ostern)\s+(?:19|20)\d\d\b`,
	`\b\d{1,4}\s*(?:uhr|hrs|hours|o'clock|h)\b`,            // times
	`[€$£¥]\s?\d[\d.,]*|\b(?:eur|usd|gbp|chf)\s?\d[\d.,]*`, // prices
	`\b\d[\d.,]*\s?(?:[€$£¥]|(?:eur|usd|gbp|chf|euros?|dollars?|pounds?|bucks|quid|franken|cents?)\b)`,
	`\b\d{1,3}(?:[.,]\d{3})*[.,]\d{2}\b|\b\d+[.,]\d{2}\b`,
	`\b\d{4,}\s?(?:ml|mg|g|kg|km|m|cm|mm|w|watts?|mah|kb|mb|gb|px|lumens?|steps|times|mal|stück|pieces)\b`, // amounts
	`(?:,|\n|\bin)\s*\d{5}\s+(?-i:\p{Lu})\pL+`,                                                             // towns
	`\b(?:plz|zip|zip ?code|post ?code|postal code|postleitzahl)\b\D{0,12}\d{4,10}\b`,
}, "|"))

// numberForms are the forms of order numbers: glued to a word for an order, with letters, spelled out
// digit by digit, grouped, or plain. What follows a slash or a hyphen is a position of the order.
var numberForms = regexp.MustCompile(`(?i)(?:bestellung|bestellnr|order|ord|nr|no)[-.:]?\d{4,10}(?:[/-]\d{1,2}\b)?|` +
	`[a-z]{1,3}-?\d{4,10}(?:[/-]\d{1,2}\b)?|\d(?: \d){3,9}|\d{1,3}(?:[.,'’]\d{3})+|\d{4,10}(?:[/-]\d{1,2}\b)?`)

// naming ends with what names a number: "order no. ", "Bestellung ist ", "#".
var naming = regexp.MustCompile(`(?i)(?:\b(?:` + orderWords + `)\b\.?` +
	`(?:\s+(?:is|was|ist|war|lautet|number|no\.?|nr\.?))*[\s:]*[#№]?|[#№])\s*$`)

const orderWords = `orders?|parcels?|packages?|shipments?|deliver(?:y|ies)|numbers?|no|nr|ref|bestellung(?:en)?|` +
	`bestellnummern?|bestellnr|auftrag|aufträge|auftragsnummern?|pakete?|sendung(?:en)?|lieferung(?:en)?|nummern?`

// joining is all that stands between the numbers of a list.
var joining = regexp.MustCompile(`(?i)^(?:[\s,;/&+#№]|\b(?:and|or|plus|und|oder|sowie|also|auch|` +
	orderWords + `)\b)+$`)

// orderWordsBefore are the letters before a number that are no part of it.
var orderWordsBefore = []string{"ORD", "NR", "NO", "NUM", "REF", "ORDER", "BESTELLUNG", "BESTELLNR"}

// number is an order number in a text, with its place there, the name before it included.
type number struct {
	value      string
	start, end int // bytes
	named      bool
}

// orderNumbers are the order numbers in a text, each once, at most numbersMax. If one is called an
// order or a number, only it and those listed with it count: "in March 2024 I placed order 1001".
func orderNumbers(text string) (values []string) {
	for _, n := range numbersIn(text) {
		if !slices.Contains(values, n.value) && len(values) < numbersMax {
			values = append(values, n.value)
		}
	}
	return values
}

func numbersIn(text string) (all []number) {
	if !has(text, unicode.IsDigit) {
		return spelledNumbers(text)
	}
	budget := numbersWithin
	for at := 0; at < len(text) && budget > 0; {
		start, end := aroundDigits(text, at)
		end = min(end, start+budget)
		for _, n := range numbersNear(text[start:end]) {
			n.start, n.end = n.start+start, n.end+start
			all = append(all, n)
		}
		at, budget = end, budget-(end-start)
	}
	switch {
	case slices.ContainsFunc(all, func(n number) bool { return n.named }):
		return slices.DeleteFunc(all, func(n number) bool { return !n.named })
	case len(all) > 0 && isAddress(text):
		return nil // of a house and a town
	}
	return all
}

const (
	// namingBytes is how far before a number its name may begin, and before may tell what else it is.
	namingBytes = 48
	// followingBytes is how far behind a number may tell what else it is.
	followingBytes = 24
	// numbersWithin limits how much of a message is searched, in bytes: a message full of digits
	// takes 2 ms.
	numbersWithin = 1024
)

// aroundDigits is the next part of a text, from at on, that has digits; its length is 0 at the end.
func aroundDigits(text string, at int) (start, end int) {
	first := strings.IndexFunc(text[at:], unicode.IsDigit)
	if first < 0 {
		return len(text), len(text)
	}
	start, end = max(at, at+first-namingBytes), at+first
	for {
		next := strings.IndexFunc(text[end:], unicode.IsDigit)
		if next < 0 || next > followingBytes {
			break
		}
		end += next + 1
	}
	end = min(len(text), end+followingBytes)
	for start > at && !utf8.RuneStart(text[start]) {
		start--
	}
	for end < len(text) && !utf8.RuneStart(text[end]) {
		end++
	}
	return start, end
}

// numbersNear are the order numbers in a part of a text.
func numbersNear(text string) (all []number) {
	masked := notOrders.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("_", len(s)) })
	for _, loc := range numberForms.FindAllStringIndex(masked, -1) {
		n := number{value: canonical(masked[loc[0]:loc[1]]), start: loc[0], end: loc[1]}
		from := max(0, n.start-namingBytes)
		if name := naming.FindStringIndex(masked[from:n.start]); name != nil {
			n.named, n.start = true, from+name[0]
		}
		if last := len(all) - 1; !n.named && last >= 0 && all[last].named {
			n.named = joining.MatchString(masked[all[last].end:loc[0]])
		}
		if n.value != "" && standsAlone(masked, loc[0], loc[1], n.named) {
			all = append(all, n)
		}
	}
	return all
}

// standsAlone reports whether nothing touches a number that makes it another one. Letters may follow
// one that is named: "#1001pls".
func standsAlone(text string, start, end int, named bool) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:start])
	after, size := utf8.DecodeRuneInString(text[end:])
	next, _ := utf8.DecodeRuneInString(text[end+size:])
	if start > 0 && !unicode.IsSpace(before) && !strings.ContainsRune(`#№(:"'“„‘,;/&+`, before) {
		return false
	}
	switch {
	case end == len(text) || unicode.IsSpace(after):
		return true
	case strings.ContainsRune(`.,`, after):
		return !unicode.IsDigit(next) || isNumber(text[end+size:])
	case unicode.IsLetter(after):
		return named || strings.HasPrefix(strings.ToLower(text[end:]), "pls") ||
			strings.HasPrefix(strings.ToLower(text[end:]), "bitte")
	default:
		return strings.ContainsRune(`?!;:)"'”“’/&+…`, after)
	}
}

// isNumber reports whether a text begins with a plain order number.
func isNumber(text string) bool {
	loc := numberForms.FindStringIndex(text)
	return loc != nil && loc[0] == 0
}

// canonical is a number as the shop writes it; "" if it is none.
func canonical(written string) string {
	written = strings.ToUpper(written)
	letters, rest := "", written
	if i := strings.IndexFunc(written, unicode.IsDigit); i > 0 {
		letters, rest = strings.Trim(written[:i], "-.:"), written[i:]
		switch {
		case slices.Contains(orderWordsBefore, letters):
			letters = ""
		case has(letters, func(r rune) bool { return r > unicode.MaxASCII }): // such as the Kelvin sign
			return ""
		default:
			letters = written[:i]
		}
	}
	if i := strings.IndexAny(rest, "/-"); i >= 0 {
		rest = rest[:i]
	}
	digits := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return r
		}
		return -1
	}, rest)
	if len(digits) < 4 || len(digits) > 10 {
		return ""
	}
	return letters + digits
}

// withoutNumbers is a text without these numbers and their names.
func withoutNumbers(text string, numbers []number) string {
	var b strings.Builder
	at := 0
	for _, n := range numbers {
		b.WriteString(text[at:n.start])
		at = n.end
	}
	b.WriteString(text[at:])
	return b.String()
}
