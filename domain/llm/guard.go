package llm

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Why an answer is held back.
const (
	BlockedEmpty    = "empty"
	BlockedLength   = "length"
	BlockedLeak     = "leak"   // of the instructions, of a tool's name, of what looks like a key
	BlockedLink     = "link"   // or an e-mail address, or somebody's handle
	BlockedAmount   = "amount" // of money, or in per cent
	BlockedDate     = "date"
	BlockedNumber   = "number" // of an order, a case, a telephone
	BlockedLanguage = "language"
	BlockedTool     = "attack_in_tool" // what a tool returned tries to direct the model
)

// Guard says why an answer to these messages must not reach the customer; "" when it may.
// Links, amounts and telephone numbers must stand in what a tool returned in this exchange, or in
// what the bot may tell, and not only because the customer said them; dates and other numbers may
// also be those of the conversation.
func Guard(messages []Message, answer string, k *dialog.Knowledge, l dialog.Language) string {
	g := groundsOf(messages)
	for _, check := range []struct {
		why  string
		fits bool
	}{
		{BlockedEmpty, strings.TrimSpace(answer) != ""},
		{BlockedLength, utf8.RuneCountInString(answer) <= Budget(k.LLM).MaxLength},
		{BlockedLeak, !leaks(answer, g.secret)},
		{BlockedLink, within(links(answer), g.grounded(links))},
		{BlockedAmount, within(amounts(answer), append(g.grounded(amounts), g.grounded(bareNumbers)...))},
		{BlockedDate, within(dates(answer), g.mentioned(dates))},
		{BlockedNumber, within(numbers(otherwiseSeen(answer)), g.mentioned(numbers))},
		{BlockedNumber, within(telephones(otherwiseSeen(answer)), g.grounded(telephones))},
		{BlockedLanguage, speaks(answer, k, l)},
	} {
		if !check.fits {
			return check.why
		}
	}
	return ""
}

func within(found, known []string) bool {
	return !slices.ContainsFunc(found, func(f string) bool { return !slices.Contains(known, f) })
}

// window is how many words in a row of the instructions an answer may share with them:
// fewer than a rule has, and more than two sentences have in common by chance.
const window = 7

var (
	keyLike = regexp.MustCompile(`\b(?:sk|pk|ghp|xox[a-z])[-_][A-Za-z0-9_-]{12,}|` +
		`\b\d{8,10}:[A-Za-z0-9_-]{30,}|(?i:bearer\s+[a-z0-9._-]{16,})|-----BEGIN `)
	coded = regexp.MustCompile(`[A-Za-z0-9+/_-]{48,}={0,2}`)
)

// leaks reports whether an answer holds what is nobody's business.
func leaks(answer, secret string) bool {
	small := strings.ToLower(answer)
	for name := range dialog.Toolbox {
		if strings.Contains(name, "_") && strings.Contains(small, name) {
			return true
		}
	}
	if strings.Contains(small, HandOver) || keyLike.MatchString(answer) || coded.MatchString(answer) {
		return true
	}
	hidden := dialog.WordsOf(secret)
	words := strings.Fields(dialog.WordsOf(answer))
	for i := 0; i+window <= len(words); i++ {
		if strings.Contains(hidden, " "+strings.Join(words[i:i+window], " ")+" ") {
			return true
		}
	}
	return false
}

// A link is what a messenger makes one of: an address with or without its scheme, an
// e-mail address, a handle.
var link = regexp.MustCompile(`(?i)(?:[a-z][a-z0-9+.-]{1,15}://|www\.)[^\s<>"')\]]+|` +
	`[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}|(?:^|[\s(])@[a-z]\w{3,}|` +
	`\b(?:[a-z0-9-]+\.)+(?:com|net|org|io|co|me|ly|gl|app|dev|info|biz|shop|store|online|site|xyz|top|link|` +
	`click|de|at|ch|uk|fr|es|it|nl|pl|ru|eu|us|tr|cn|in|to|gg|ai)\b(?:/[^\s<>"')\]]*)?`)

func links(text string) (found []string) {
	for _, l := range link.FindAllString(strings.ReplaceAll(text, `\u0026`, "&"), -1) {
		l = strings.ToLower(strings.Trim(l, " \n\t(.,;:!?/"))
		for _, scheme := range []string{"https://", "http://", "www."} {
			l = strings.TrimPrefix(l, scheme)
		}
		found = append(found, l)
	}
	return found
}

const (
	currency = `(?:€|\$|£|¥|₹|₽|zł|%|\b(?:eur|usd|gbp|chf|pln|sek|dkk|nok|try|rub|jpy|cny|inr|euros?|` +
		`dollars?|pounds?|cents?|pence|franken|zloty|percent|per cent|prozent|pour cent|por ciento))`
	figure = `\d[\d.,' \x{a0}]*\d|\d`
)

var (
	amount = regexp.MustCompile(`(?i)(?:` + currency + `\s*(` + figure + `))|(?:(` + figure + `)\s*` + currency +
		`)`)
	bareNumber = regexp.MustCompile(`"(\d[\d.,]*)"`) // the whole value of a tool's field
)

func amounts(text string) (found []string) {
	for _, m := range amount.FindAllStringSubmatch(text, -1) {
		found = append(found, value(m[1]+m[2]))
	}
	return found
}

func bareNumbers(text string) (found []string) {
	for _, m := range bareNumber.FindAllStringSubmatch(text, -1) {
		found = append(found, value(m[1]))
	}
	return found
}

// value writes a number in one way: 1.234,50 and 1,234.50 and 1234.5 are the same. A
// single sign before three digits parts thousands.
func value(text string) string {
	text = strings.NewReplacer(" ", "", "\u00a0", "", "'", "").Replace(text)
	at := strings.LastIndexAny(text, ".,")
	if at < 0 || len(text)-at == 4 {
		return strings.TrimLeft(strings.NewReplacer(".", "", ",", "").Replace(text), "0")
	}
	whole := strings.TrimLeft(strings.NewReplacer(".", "", ",", "").Replace(text[:at]), "0")
	if cents := strings.TrimRight(text[at+1:], "0"); cents != "" {
		return whole + "." + cents
	}
	return whole
}

// numbers are those that could be an order's, a case's or a telephone's: of four digits
// or more.
var longNumber = regexp.MustCompile(`\d(?:[ \-/]?\d){3,}`)

func numbers(text string) (found []string) {
	for _, n := range longNumber.FindAllString(text, -1) {
		found = append(found, digitsOf(n))
		for _, part := range strings.FieldsFunc(n, func(r rune) bool { return r < '0' || r > '9' }) {
			if len(part) >= 4 {
				found = append(found, part)
			}
		}
	}
	return found
}

// telephoneDigits is how many digits a number has at least with which one can call somebody from
// elsewhere. Orders and cases have fewer.
const telephoneDigits = 9

// telephones are the numbers that could be a telephone's.
func telephones(text string) []string {
	return slices.DeleteFunc(numbers(text), func(n string) bool { return len(n) < telephoneDigits })
}

func digitsOf(text string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, text)
}

// months by the beginning of their names in the languages that the shop speaks, and their
// neighbours'.
var months = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
var monthsElsewhere = map[string]string{
	"mär": "mar", "mai": "may", "okt": "oct", "dez": "dec", "fév": "feb", "avr": "apr", "juin": "jun", "juil": "jul",
	"aoû": "aug", "déc": "dec", "ene": "jan", "abr": "apr", "ago": "aug", "dic": "dec",
}

const monthName = `(jan|feb|mar|mär|apr|may|mai|jun|juin|jul|juil|aug|sep|oct|okt|nov|dec|dez|fév|avr|aoû|` +
	`déc|ene|abr|ago|dic)[\p{L}]*`

var (
	isoDate   = regexp.MustCompile(`\b(\d{4})-(\d{2})-(\d{2})`)
	shortDate = regexp.MustCompile(`\b(\d{1,2})([./])(\d{1,2})(?:[./](\d{2,4})|\.)`)
	dayMonth  = regexp.MustCompile(`(?i)\b(\d{1,2})(?:st|nd|rd|th|\.)?\s+(?:of\s+|de\s+)?` + monthName)
	monthDay  = regexp.MustCompile(`(?i)\b` + monthName + `\.?\s+(\d{1,2})(?:st|nd|rd|th)?\b`)
)

// dates are those in a text as month-day; one that can be read in two ways is the lower
// number first.
func dates(text string) (found []string) {
	add := func(month, day string) {
		month, day = strings.TrimLeft(month, "0"), strings.TrimLeft(day, "0")
		if len(month) > len(day) || len(month) == len(day) && month > day {
			month, day = day, month
		}
		found = append(found, month+"-"+day)
	}
	for _, m := range isoDate.FindAllStringSubmatch(text, -1) {
		add(m[2], m[3])
	}
	for _, m := range shortDate.FindAllStringSubmatch(text, -1) {
		add(m[1], m[3])
	}
	for _, m := range dayMonth.FindAllStringSubmatch(text, -1) {
		add(month(m[2]), m[1])
	}
	for _, m := range monthDay.FindAllStringSubmatch(text, -1) {
		add(month(m[1]), m[2])
	}
	return found
}

func month(name string) string {
	name = strings.ToLower(name)
	if other, ok := monthsElsewhere[name]; ok {
		name = other
	}
	n := slices.Index(months, name[:3]) + 1
	return strings.TrimLeft(string([]byte{byte('0' + n/10), byte('0' + n%10)}), "0")
}

// otherwiseSeen is a text without its amounts and without the days of its dates, which
// are looked at by themselves. Years are numbers like others.
func otherwiseSeen(text string) string {
	return shortDate.ReplaceAllString(isoDate.ReplaceAllString(amount.ReplaceAllString(text, " "), " $1 "), " $4 ")
}

// sureOfLanguage is the confidence from which an answer is in another language, and
// enoughWords what it takes to tell.
const (
	sureOfLanguage = 0.8
	enoughWords    = 4
)

func speaks(answer string, k *dialog.Knowledge, l dialog.Language) bool {
	if k.Tongue == nil || l == "" || len(strings.Fields(answer)) < enoughWords {
		return true
	}
	guess := k.Tongue.Classify(answer)
	return guess.Confidence < sureOfLanguage || dialog.Language(guess.Intent) == l
}
