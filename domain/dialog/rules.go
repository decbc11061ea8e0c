package dialog

import (
	"slices"
	"strings"
	"unicode"
)

// needsPerson is the first rule that fits a message, if any does.
func (t *talk) needsPerson(u Understanding) (Rule, bool) {
	for _, rule := range t.Knowledge.Rules {
		if t.fits(rule, u) {
			return rule, true
		}
	}
	return Rule{}, false
}

// fits reports whether all conditions of a rule hold. One without any never does, nor one
// that only says when it does not.
func (t *talk) fits(r Rule, u Understanding) bool {
	conditions := []struct{ asked, holds bool }{
		{len(r.Words) > 0, containsAny(u.words, r.Words)},
		{len(r.Unless) > 0, !containsAny(u.words, r.Unless)},
		{r.Shouting, isShouted(t.act.Text, u.words) && !t.Knowledge.Topics[u.Intent].Courtesy},
		{r.Repeats > 0, t.repeats(u) >= r.Repeats},
		{r.Failures > 0, t.Run.Active() && t.Run.Failures >= r.Failures},
		{len(r.Tiers) > 0, slices.Contains(r.Tiers, t.Customer["tier"])},
		{len(r.Intents) > 0, slices.Contains(r.Intents, u.Intent)},
		{r.Unsure > 0, !t.Run.Active() && u.Intent == Unknown && !t.saysYesOrNo() && t.Misunderstood+1 >= r.Unsure},
	}
	any := false
	for _, c := range conditions {
		if c.asked && !c.holds {
			return false
		}
		any = any || c.asked
	}
	return any && len(r.Words)+r.Repeats+r.Failures+len(r.Tiers)+len(r.Intents)+r.Unsure > 0 || any && r.Shouting
}

// repeats is how often the customer has said this lately, this time too. Commands and
// courtesies are said more than once by anybody.
func (t *talk) repeats(u Understanding) int {
	if strings.TrimSpace(u.words) == "" || command(t.act.Text) != "" || t.Knowledge.Topics[u.Intent].Courtesy {
		return 0
	}
	n := 1
	for _, before := range t.Recent {
		if alike(wordsOf(before), u.words) {
			n++
		}
	}
	return n
}

// alike reports whether two messages say the same: most of their words do, and they name
// the same numbers.
func alike(a, b string) bool {
	first, second := strings.Fields(a), strings.Fields(b)
	shared := 0
	for _, word := range first {
		switch {
		case slices.Contains(second, word):
			shared++
		case has(word, unicode.IsDigit):
			return false
		}
	}
	return shared*4 >= max(len(first), len(second))*3 // three words in four
}

// isShouted hears sentences with the exclamation mark hammered, and shouting. "OK!!!"
// is no sentence, and an address in capitals no shout.
func isShouted(text, words string) bool {
	if strings.Contains(text, "!!!") && strings.Count(words, " ") > 3 {
		return true
	}
	letters, capitals := 0, 0
	for _, r := range text {
		if unicode.IsUpper(r) || unicode.IsLower(r) {
			letters++
		}
		if unicode.IsUpper(r) {
			capitals++
		}
	}
	return letters >= 12 && capitals*10 >= letters*8 && !isAddress(text)
}
