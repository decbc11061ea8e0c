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
	CancelOrder     Intent = "cancel_order" // or whatever else was bought
	Billing         Intent = "billing"
	ChangeAddress   Intent = "change_address"
	Troubleshooting Intent = "troubleshooting"
	Complaint       Intent = "complaint"  // anger, whatever about
	File            Intent = "file"       // a photo or document without a word
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

// intentCues are the phrases that speak for one intent.
type intentCues struct {
	intent Intent
	cues   []cue
}

// wishes are what customers come for.
var wishes = []intentCues{
	{Cancel, []cue{{"cancel", 0.6}, {"stop", 0.6}, {"never mind", 0.9}, {"nevermind", 0.9}, {"forget it", 0.9}, {"abort", 0.8}}},
	{CancelOrder, []cue{{"cancel", 0.5}, {"cancelling", 0.4}, {"order", 0.3}, {"purchase", 0.4}, {"subscription", 0.4}}},
	{Person, []cue{{"talk to a person", 1}, {"speak to a person", 1}, {"human", 0.8}, {"real person", 1}, {"person", 0.6}, {"agent", 0.6}, {"operator", 0.6},
		{"someone from support", 1}, {"talk to someone", 1}, {"speak to someone", 1}, {"speak with someone", 1}, {"talk with someone", 1}, {"talk to somebody", 1},
		{"representative", 0.9}, {"manager", 0.6}, {"colleague", 0.5}, {"call me back", 0.9}, {"give me a call", 0.9}, {"customer service", 0.6}, {"robot", 0.5}, {"not a bot", 0.8}, {"to a bot", 0.8}}},
	{ChangeAddress, []cue{{"billing address", 0.7}, {"address", 0.4}, {"email address", -0.8}, {"e mail address", -0.8}, {"delivery address", -0.5}, {"shipping address", -0.5},
		{"my new address", 0.4}, {"change", 0.25}, {"update", 0.25}, {"new", 0.15}, {"moved", 0.5}, {"moving", 0.3}, {"move", 0.2}, {"correct", 0.15}, {"wrong", 0.15}}},
	{OrderStatus, []cue{{"where is my order", 1}, {"order status", 1}, {"status of my order", 1}, {"track", 0.6}, {"tracking", 0.6}, {"order", 0.5}, {"orders", 0.5}, {"ordered", 0.5},
		{"package", 0.55}, {"parcel", 0.55}, {"shipment", 0.55}, {"delivery", 0.5}, {"delivered", 0.5}, {"arrive", 0.5}, {"arrived", 0.5}, {"shipped", 0.5}, {"shipping", 0.4},
		{"delivery address", -0.8}, {"shipping address", -0.8}, {"never got", 0.4}, {"not received", 0.4}, {"haven't received", 0.5}, {"didn't receive", 0.5}, {"still waiting", 0.3},
		{"where is", 0.25}, {"where's", 0.25}, {"when will", 0.25}, {"my stuff", 0.3}}},
	{Billing, []cue{{"invoice", 0.8}, {"invoices", 0.8}, {"refund", 0.8}, {"refunded", 0.8}, {"money back", 0.9}, {"charged", 0.7}, {"charge", 0.6}, {"charges", 0.6}, {"bill", 0.6},
		{"billing", 0.55}, {"billed", 0.7}, {"payment", 0.6}, {"receipt", 0.7}, {"paid", 0.45}, {"pay", 0.5}, {"card", 0.4}, {"credit card", 0.2}, {"declined", 0.4}, {"twice", 0.3}, {"price", 0.4},
		{"overcharged", 0.9}, {"vat", 0.5}}},
	{Troubleshooting, []cue{{"can't log in", 1}, {"cannot log in", 1}, {"can't login", 1}, {"can't sign in", 1}, {"log in", 0.6}, {"login", 0.6}, {"sign in", 0.6}, {"locked out", 0.7}, {"password", 0.7},
		{"not working", 0.8}, {"isn't working", 0.8}, {"doesn't work", 0.8}, {"does not work", 0.8}, {"stopped working", 0.9}, {"broken", 0.55}, {"crash", 0.8}, {"crashes", 0.8}, {"crashed", 0.8},
		{"crashing", 0.8}, {"error", 0.6}, {"freezes", 0.7}, {"frozen", 0.6}, {"app", 0.25}, {"won't open", 0.5}, {"won't load", 0.7}, {"problem with", 0.4}, {"bug", 0.6}}},
}

// courtesies are said beside a wish as often as alone; they count when no wish is there.
var courtesies = []intentCues{
	{Help, []cue{{"help", 0.6}, {"what can you do", 1}, {"how does this work", 0.9}}},
	{Thanks, []cue{{"thanks", 0.6}, {"thank you", 0.7}, {"thanks for", 0.2}, {"thx", 0.6}, {"cheers", 0.55}}},
	{Greeting, []cue{{"hello", 0.6}, {"hi", 0.6}, {"hey", 0.6}, {"good morning", 0.7}, {"good evening", 0.7}, {"good afternoon", 0.7}}},
}

// threshold is the confidence from which an intent counts as understood; below
// it a wrong answer costs the customer more than a question does.
const threshold = 0.5

// sureOfAnger is the confidence of a complaint: the words are strong, but people joke.
const sureOfAnger = 0.9

var anger = []string{"outrageous", "unacceptable", "ridiculous", "furious", "angry", "terrible", "worst", "disgusting", "useless",
	"scam", "lawyer", "sue you", "fed up", "third time", "how many times do i", "how many times have i", "wtf", "damn", "awful", "incompetent", "stupid bot"}

// joy is what people hammer the exclamation mark for when they are not angry.
var joy = []string{"great", "perfect", "awesome", "amazing", "wonderful", "love", "super", "nice", "wow", "yay", "happy", "congratulations"}

// An order number is "1001", "#1001", "A-20451": four to ten digits with at most
// three letters before, standing alone. One that is called a number comes first,
// so that "in March 2024 I placed order 1001" is about 1001.
var (
	anyNumber   = regexp.MustCompile(`(?:^|[\s#№(:"'“„‘])((?:[A-Za-z]{1,3}-?)?\d{4,10})(?:$|[\s?!.,;:)"'”“’])`)
	namedNumber = regexp.MustCompile(`(?i)(?:\b(?:orders?|parcel|package|number|no|nr)\b\.?(?: (?:is|was|number|no\.?|nr\.?))*[\s:]*[#№]?|[#№])\s*((?:[a-z]{1,3}-?)?\d{4,10})\b`)
)

func orderNumber(text string) string {
	for _, pattern := range []*regexp.Regexp{namedNumber, anyNumber} {
		if match := pattern.FindStringSubmatch(text); match != nil {
			return strings.ToUpper(match[1])
		}
	}
	return ""
}

// Understand makes what it can of a text.
func Understand(text string) Understanding {
	words := wordsOf(text)
	u := Understanding{Intent: Unknown, Order: orderNumber(text), Angry: isAngry(text, words)}
	switch command(text) {
	case "/start":
		u.Intent, u.Confidence = Start, 1
	case "/help":
		u.Intent, u.Confidence = Help, 1
	case "/cancel":
		u.Intent, u.Confidence = Cancel, 1
	default:
		u.Intent, u.Confidence = best(wishes, words)
		switch {
		case u.Intent == Cancel && cancelsSomething(words):
			u.Intent = CancelOrder
		case u.Intent == ChangeAddress && containsAny(words, []string{"cancel"}):
			u.Intent = Cancel
		case u.Intent != Unknown:
		case u.Order != "" && len(strings.Fields(text)) <= 3:
			u.Intent, u.Confidence = OrderStatus, 0.7 // a bare number answers "which order?"
		default:
			u.Intent, u.Confidence = best(courtesies, words)
		}
	}
	return u
}

// command is the bot command a text begins with, without "@bot".
func command(text string) string {
	if !strings.HasPrefix(text, "/") {
		return ""
	}
	first, _, _ := strings.Cut(strings.Fields(text)[0], "@")
	return strings.ToLower(first)
}

// small is words that "cancel" may stand with and still mean what we are doing now.
var small = strings.Fields("cancel stop please just now i i'd need want like would could can you to it that this the my all everything for me " +
	"ok okay no yes sorry actually thanks thank wait hi hello address billing change changes process operation command request conversation current")

// cancelsSomething tells "cancel my reservation" from "please cancel that".
func cancelsSomething(words string) bool {
	return containsAny(words, []string{"cancel"}) && slices.ContainsFunc(strings.Fields(words), func(word string) bool { return !slices.Contains(small, word) })
}

// best is the intent that most speaks for; of equals the first.
func best(candidates []intentCues, words string) (Intent, float64) {
	intent, confidence := Unknown, 0.0
	for _, candidate := range candidates {
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

// isAngry looks for strong words, for sentences with the exclamation mark hammered,
// and for shouting. "OK!!!" is no sentence, and an address in capitals no shout.
func isAngry(text, words string) bool {
	if containsAny(words, anger) {
		return true
	}
	hammered := strings.Contains(text, "!!!") && strings.Count(words, " ") > 3
	if courtesy, _ := best(courtesies, words); hammered && courtesy == Unknown && !containsAny(words, joy) {
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

func containsAny(words string, phrases []string) bool {
	return slices.ContainsFunc(phrases, func(phrase string) bool { return strings.Contains(words, " "+phrase+" ") })
}

// saysYes is strict: what is confirmed is changed.
func saysYes(text string) bool {
	if trimmed := strings.TrimSpace(text); trimmed == "👍" || trimmed == "✅" {
		return true
	}
	return slices.Contains([]string{" yes ", " y ", " yep ", " yeah ", " sure ", " yes please ", " ok ", " okay ", " correct ", " right ", " that's right ", " that's correct ",
		" yes that's right ", " yes that's correct ", " yes correct ", " yes it is ", " yes change it ", " confirm ", " confirmed ", " looks good "}, wordsOf(text))
}

// saysNo tells a no, or that something did not work.
func saysNo(text string) bool {
	words := wordsOf(text)
	return slices.Contains([]string{" no ", " n ", " nope ", " wrong ", " no thanks ", " that's wrong ", " not correct ", " no it's wrong "}, words) ||
		containsAny(words, []string{"still", "didn't", "did not", "doesn't", "does not", "not helped", "not help", "no luck"})
}
