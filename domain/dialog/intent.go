package dialog

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Intent is what the customer wants.
type Intent string

// Intents the bot tells apart.
const (
	Unknown         Intent = "unknown"
	Start           Intent = "start"
	Help            Intent = "help"
	Greeting        Intent = "greeting"
	Thanks          Intent = "thanks"
	Cancel          Intent = "cancel"
	Person          Intent = "person"
	OrderStatus     Intent = "order_status"
	Billing         Intent = "billing"
	ChangeAddress   Intent = "change_address"
	Troubleshooting Intent = "troubleshooting"
	Pressed         Intent = "button"     // a button says what it wants by itself
	Corrected       Intent = "correction" // an edited message
)

// Understanding is what was made of a message.
type Understanding struct {
	Intent     Intent
	Confidence float64 // 0 to 1
	Order      string  // an order number in the text; "" when there is none
	Angry      bool
}

// A cue is a phrase that speaks for an intent, with its weight. Weights of one
// intent add up; 1 is certain.
type cue struct {
	phrase string
	weight float64
}

var cues = []struct {
	intent Intent
	cues   []cue
}{
	{Cancel, []cue{{"cancel", 0.6}, {"stop", 0.6}, {"never mind", 0.9}, {"forget it", 0.9}, {"abort", 0.8}}},
	{Person, []cue{{"talk to a person", 1}, {"speak to a person", 1}, {"human", 0.8}, {"real person", 1}, {"person", 0.6},
		{"agent", 0.6}, {"operator", 0.6}, {"someone from support", 1}, {"talk to someone", 1}, {"speak to someone", 1}, {"representative", 0.9}, {"manager", 0.6}, {"colleague", 0.5}}},
	{ChangeAddress, []cue{{"billing address", 0.7}, {"address", 0.4}, {"change", 0.25}, {"update", 0.25}, {"new", 0.15}, {"moved", 0.45}, {"move", 0.2}, {"correct", 0.15}}},
	{OrderStatus, []cue{{"where is my order", 1}, {"order status", 1}, {"status of my order", 1}, {"track", 0.6}, {"tracking", 0.6}, {"order", 0.5}, {"package", 0.55},
		{"parcel", 0.55}, {"delivery", 0.5}, {"delivered", 0.4}, {"arrive", 0.4}, {"shipped", 0.5}, {"where is", 0.25}, {"where's", 0.25}, {"when will", 0.25}}},
	{Billing, []cue{{"invoice", 0.8}, {"refund", 0.8}, {"money back", 0.9}, {"charged", 0.7}, {"charge", 0.6}, {"bill", 0.6}, {"billing", 0.55}, {"payment", 0.6},
		{"receipt", 0.7}, {"paid", 0.45}, {"pay", 0.45}, {"card", 0.4}, {"declined", 0.4}, {"twice", 0.3}, {"price", 0.4}}},
	{Troubleshooting, []cue{{"can't log in", 1}, {"cannot log in", 1}, {"can't sign in", 1}, {"log in", 0.6}, {"login", 0.6}, {"password", 0.7}, {"not working", 0.8},
		{"doesn't work", 0.8}, {"does not work", 0.8}, {"broken", 0.55}, {"crash", 0.8}, {"crashes", 0.8}, {"error", 0.6}, {"freezes", 0.7}, {"app", 0.25}, {"problem with", 0.4}, {"bug", 0.6}}},
	{Help, []cue{{"help", 0.6}, {"what can you do", 1}, {"how does this work", 0.9}}},
	{Thanks, []cue{{"thanks", 0.6}, {"thank you", 0.7}, {"cheers", 0.55}}},
	{Greeting, []cue{{"hello", 0.6}, {"hi", 0.6}, {"hey", 0.6}, {"good morning", 0.7}, {"good evening", 0.7}, {"good afternoon", 0.7}}},
}

// threshold is the confidence from which an intent counts as understood; below
// it a wrong answer costs the customer more than a question does.
const threshold = 0.5

var anger = []string{"outrageous", "unacceptable", "ridiculous", "furious", "angry", "terrible", "worst", "disgusting", "useless",
	"scam", "lawyer", "sue you", "fed up", "third time", "how many times", "wtf", "damn", "awful", "incompetent", "stupid bot"}

// orderNumber finds "1001", "#1001", "A-20451": four to ten digits with at most
// three letters before, standing alone.
var orderNumber = regexp.MustCompile(`(?:^|[\s#(:])((?:[A-Za-z]{1,3}-?)?\d{4,10})(?:$|[\s?!.,;:)])`)

// Understand makes what it can of a text.
func Understand(text string) Understanding {
	words := wordsOf(text)
	u := Understanding{Intent: Unknown, Angry: isAngry(text, words)}
	if match := orderNumber.FindStringSubmatch(text); match != nil {
		u.Order = strings.ToUpper(match[1])
	}
	switch command(text) {
	case "/start":
		u.Intent, u.Confidence = Start, 1
	case "/help":
		u.Intent, u.Confidence = Help, 1
	case "/cancel":
		u.Intent, u.Confidence = Cancel, 1
	default:
		u.Intent, u.Confidence = best(words)
		if u.Order != "" && u.Intent == Unknown && len(strings.Fields(text)) <= 3 {
			u.Intent, u.Confidence = OrderStatus, 0.7 // a bare number answers "which order?"
		}
	}
	return u
}

// command is the bot command a text begins with, without "@bot".
func command(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	first, _, _ = strings.Cut(first, "@")
	if !strings.HasPrefix(first, "/") {
		return ""
	}
	return strings.ToLower(first)
}

func best(words string) (Intent, float64) {
	intent, confidence := Unknown, 0.0
	for _, candidate := range cues {
		sum := 0.0
		for _, c := range candidate.cues {
			if strings.Contains(words, " "+c.phrase+" ") {
				sum += c.weight
			}
		}
		if sum = min(sum, 1); sum >= threshold && sum > confidence {
			intent, confidence = candidate.intent, sum
		}
	}
	return intent, confidence
}

// wordsOf is the text in lower case, words and apostrophes only, set off by
// single spaces at both ends too: " where's my order 1001 ".
func wordsOf(text string) string {
	text = strings.ReplaceAll(strings.ToLower(text), "’", "'")
	fields := strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\''
	})
	return " " + strings.Join(fields, " ") + " "
}

// isAngry looks for strong words, shouting and hammering of the exclamation mark.
func isAngry(text, words string) bool {
	if slices.ContainsFunc(anger, func(phrase string) bool { return strings.Contains(words, " "+phrase+" ") }) {
		return true
	}
	if strings.Contains(text, "!!!") {
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
	return letters >= 12 && capitals*10 >= letters*8
}

func saysYes(text string) bool {
	return slices.Contains([]string{" yes ", " y ", " yes please ", " ok ", " okay ", " correct ", " right ", " that's right ", " confirm "}, wordsOf(text))
}

func saysNo(text string) bool {
	words := wordsOf(text)
	if slices.Contains([]string{" no ", " n ", " nope ", " wrong ", " no thanks "}, words) {
		return true
	}
	for _, phrase := range []string{" still ", " didn't ", " did not ", " doesn't ", " does not ", " not helped ", " no luck "} {
		if strings.Contains(words, phrase) {
			return true
		}
	}
	return false
}
