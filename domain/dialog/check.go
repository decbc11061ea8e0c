package dialog

import (
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Check is how a typed answer is looked at.
type Check string

// Checks.
const (
	CheckPostal      Check = "address"
	CheckOrderNumber Check = "order_number"
	CheckEmail       Check = "email"
	CheckAmount      Check = "amount"
	CheckDate        Check = "date"
	CheckText        Check = "text" // words, and not too many of them
)

// Checks are all there are.
var Checks = []Check{CheckPostal, CheckOrderNumber, CheckEmail, CheckAmount, CheckDate, CheckText}

// textMax bounds a free answer, in characters: a page, which a person can still read.
const textMax = 1000

var (
	// emailForm is looser than the standard and stricter than a typing error: what is
	// before and after the @ has no spaces, and there is a dot behind it.
	emailForm  = regexp.MustCompile(`^[^\s@<>,;]{1,64}@[^\s@<>,;]+\.[^\s@<>,;]{2,}$`)
	amountForm = regexp.MustCompile(`^[€$£]?\s*(\d{1,9}(?:[.,]\d{1,2})?)\s*(?:[€$£]|eur|usd|gbp|euro|euros|` +
		`dollars|pounds)?$`)
)

// read makes a value of a typed answer, or names what is wrong with it.
func (c Check) read(text string) (value string, problem Word) {
	text = strings.TrimSpace(strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", " "))
	switch c {
	case CheckPostal:
		text = withoutLeadIn(text)
		return normalizeAddress(text), checkAddress(text)
	case CheckOrderNumber:
		if number := orderNumber(text); number != "" {
			return number, ""
		}
		return "", ProblemOrderNumber
	case CheckEmail:
		if !emailForm.MatchString(text) {
			return "", ProblemEmail
		}
		return text, ""
	case CheckAmount:
		match := amountForm.FindStringSubmatch(strings.ToLower(text))
		if match == nil {
			return "", ProblemAmount
		}
		return strings.Replace(match[1], ",", ".", 1), ""
	case CheckDate:
		for _, form := range []string{time.DateOnly, "2.1.2006", "2 January 2006", "January 2, 2006"} {
			if at, err := time.Parse(form, text); err == nil {
				return at.Format(time.DateOnly), ""
			}
		}
		return "", ProblemDate
	default:
		switch {
		case !has(text, unicode.IsGraphic) || c == CheckText && !has(text, isWord):
			return "", ProblemShort
		case utf8.RuneCountInString(text) > textMax:
			return "", ProblemLong
		}
		return text, ""
	}
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// find is the value that stands in a message about more than it; "" when none does for
// certain.
func (c Check) find(text string) string {
	switch {
	case c == CheckPostal && isAddress(text):
		return normalizeAddress(withoutLeadIn(text))
	case c == CheckOrderNumber:
		return orderNumber(text)
	default:
		return ""
	}
}

// plain reports whether a text can hardly be anything but an answer of this form.
func (c Check) plain(text string) bool {
	switch c {
	case CheckPostal:
		return isAddress(text)
	case CheckOrderNumber:
		return orderNumber(text) != "" && len(strings.Fields(text)) <= 3
	case CheckEmail, CheckAmount, CheckDate:
		_, problem := c.read(text)
		return problem == ""
	default:
		return false
	}
}

// refusesWish reports whether a message that asks for the workflow once more is no try at
// an answer: it has nothing of one.
func (c Check) refusesWish(text string) bool {
	switch c {
	case CheckPostal, CheckOrderNumber, CheckAmount, CheckDate:
		return !has(text, unicode.IsDigit)
	case CheckEmail:
		return !strings.Contains(text, "@")
	default:
		return false
	}
}
