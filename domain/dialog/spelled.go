package dialog

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Order numbers in words, English and German: "one zero zero one", "order ten oh one",
// "Bestellung eintausendeins". Only a row of single digits is a number by itself; any other is one
// where it is called an order, or is all that was written: a thousand thanks are none.

// numerals are the words that numbers are made of, the longest first: German writes them as one word.
var numerals = func() (all []numeral) {
	for value, names := range map[int]string{
		0: "zero oh o null", 1: "one eins ein", 2: "two zwei zwo", 3: "three drei", 4: "four vier",
		5: "five fünf fuenf", 6: "six sechs", 7: "seven sieben", 8: "eight acht", 9: "nine neun",
		10: "ten zehn", 11: "eleven elf", 12: "twelve zwölf zwoelf", 13: "thirteen dreizehn",
		14: "fourteen vierzehn", 15: "fifteen fünfzehn fuenfzehn", 16: "sixteen sechzehn",
		17: "seventeen siebzehn", 18: "eighteen achtzehn", 19: "nineteen neunzehn", 20: "twenty zwanzig",
		30: "thirty dreißig dreissig", 40: "forty vierzig", 50: "fifty fünfzig fuenfzig",
		60: "sixty sechzig", 70: "seventy siebzig", 80: "eighty achtzig", 90: "ninety neunzig",
		100: "hundred hundert", 1000: "thousand tausend", -1: "and und",
	} {
		for _, name := range strings.Fields(names) {
			all = append(all, numeral{name, value})
		}
	}
	slices.SortFunc(all, func(a, b numeral) int {
		if len(a.word) != len(b.word) {
			return len(b.word) - len(a.word)
		}
		return strings.Compare(a.word, b.word)
	})
	return all
}()

type numeral struct {
	word  string
	value int // -1 is "and"
}

// spelledNumbers are the numbers in words in a text.
func spelledNumbers(text string) (all []number) {
	var values []int
	start, end := 0, 0
	finish := func() {
		for len(values) > 0 && values[len(values)-1] == -1 {
			values = values[:len(values)-1]
		}
		named := naming.MatchString(text[max(0, start-namingBytes):start])
		whole := strings.TrimFunc(text[:start]+text[end:], func(r rune) bool { return !unicode.IsLetter(r) }) == ""
		if value := spelled(values, named || whole); value != "" {
			all = append(all, number{value: value, start: start, end: end, named: named})
		}
		values = nil
	}
	for at := 0; at < len(text); {
		isLetter := func(r rune) bool { return unicode.IsLetter(r) }
		from := strings.IndexFunc(text[at:], isLetter)
		if from < 0 {
			break
		}
		from += at
		to := len(text)
		if i := strings.IndexFunc(text[from:], func(r rune) bool { return !isLetter(r) }); i >= 0 {
			to = from + i
		}
		parsed := numeralsOf(strings.ToLower(text[from:to]))
		joined := len(values) > 0 && strings.Trim(text[end:from], " -,") == ""
		if len(values) > 0 && (len(parsed) == 0 || !joined) {
			finish()
		}
		if len(parsed) > 0 && (len(values) > 0 || parsed[0] != -1) {
			if len(values) == 0 {
				start = from
			}
			values, end = append(values, parsed...), to
		}
		at = to
	}
	if len(values) > 0 {
		finish()
	}
	return all
}

// numeralsOf are the values that a word is made of; nil if it is anything else.
func numeralsOf(word string) (values []int) {
	for word != "" {
		i := slices.IndexFunc(numerals, func(n numeral) bool { return strings.HasPrefix(word, n.word) })
		if i < 0 {
			return nil
		}
		values, word = append(values, numerals[i].value), word[len(numerals[i].word):]
	}
	return values
}

// spelled is the order number that values make; "" if they make none. Digit by digit it needs no name.
func spelled(values []int, named bool) string {
	if slices.Contains(values, 1000) {
		total, part := 0, 0
		for _, v := range values {
			switch v {
			case -1:
			case 100:
				part = max(part, 1) * v
			case 1000:
				total, part = total+max(part, 1)*v, 0
			default:
				part += v
			}
		}
		if total += part; named && total < 1_000_000 {
			return strconv.Itoa(total)
		}
		return ""
	}
	var digits strings.Builder
	for i, v := range values {
		switch {
		case v == -1 || v == 100 || v > 9 && !named:
			return ""
		case v >= 20 && i+1 < len(values) && values[i+1] > 0 && values[i+1] < 10:
			digits.WriteString(strconv.Itoa(v / 10)) // the next is its second digit
		default:
			digits.WriteString(strconv.Itoa(v))
		}
	}
	if digits.Len() < 4 || digits.Len() > 10 {
		return ""
	}
	return digits.String()
}
