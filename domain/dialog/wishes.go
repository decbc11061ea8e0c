package dialog

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A message may ask for several things: "the invoice of 1001, and where is 1002?". It is cut where a
// sentence ends and where a word joins two wishes. Parts that want nothing by themselves belong to the
// part before. What is left are wishes that differ; a message with one is understood as a whole.

// wish is one of the things that a message asks for.
type wish struct {
	Understanding
	text string // the part of the message that says it
}

// wishesMax limits the parts of a message that are looked at.
const wishesMax = 12

// wishes are the things that a message asks for; one, the whole message, unless it surely asks for more.
func (t *talk) wishes(u Understanding) []wish {
	whole := wish{u, t.act.Text}
	if followUp, ok := t.followUp(u); ok {
		whole.Intent, whole.Confidence = followUp, 1
		return []wish{whole}
	}
	k := t.Knowledge
	if k.Model == nil || t.act.Button != "" || command(t.act.Text) != "" || k.Topics[u.Intent].HandOver.Reason != "" {
		return []wish{whole}
	}
	parts := k.parts(t.act.Text)
	if len(parts) == 1 {
		return []wish{whole}
	}
	var all []wish
	lead := ""
	for _, part := range parts {
		intent, confidence := k.guess(part)
		topic, wanted := k.Topics[intent]
		orders, least := orderNumbers(part), k.Plain
		if len(orders) > 0 {
			least = k.Threshold // what names an order is about something
		}
		wanted = wanted && topic.known() && !topic.Courtesy && confidence >= least && !onlyNumbers(k, part)
		last := len(all) - 1
		switch {
		case wanted && topic.HandOver.Reason != "": // an operator sees to all of it
			whole.Intent, whole.Confidence = intent, confidence
			return []wish{whole}
		case wanted && (last < 0 || all[last].Intent != intent):
			all = append(all, wish{Understanding{Intent: intent, Confidence: confidence}, lead + part})
			all[last+1].Orders, lead = orderNumbers(lead+part), ""
		case last >= 0:
			all[last].add(part, orders)
		default:
			lead += part
		}
	}
	for i := range all {
		all[i].Language, all[i].words = u.Language, wordsOf(all[i].text)
	}
	switch all = k.distinct(all); {
	case len(all) > 1:
		return k.share(all, u.Orders)
	case len(all) == 1 && all[0].Intent == u.Intent && len(all[0].Orders) > 0:
		whole.Orders = all[0].Orders
	}
	return []wish{whole}
}

// share lets look-ups that name no order mean the only one that the message names: "where is 1001, and
// can I have the invoice?".
func (k *Knowledge) share(all []wish, orders []string) []wish {
	for i, w := range all {
		if len(orders) == 1 && len(w.Orders) == 0 && k.brief(w) {
			all[i].Orders = orders
		}
	}
	return all
}

// brief reports whether a wish begins a brief workflow.
func (k *Knowledge) brief(w wish) bool {
	def := k.Workflows[k.Topics[w.Intent].Workflow]
	return def != nil && def.Brief
}

// add takes a further part of the message into a wish.
func (w *wish) add(part string, orders []string) {
	w.text += part
	for _, order := range orders {
		if !slices.Contains(w.Orders, order) && len(w.Orders) < numbersMax {
			w.Orders = append(slices.Clip(w.Orders), order)
		}
	}
}

// distinct leaves out what only tells of another wish: who writes that they ordered a lamp and that it
// came broken does not ask where the order is. A brief look-up beside a longer matter is a wish when it
// names an order of its own or is a question.
func (k *Knowledge) distinct(all []wish) (kept []wish) {
	longer := slices.ContainsFunc(all, func(w wish) bool { return !k.brief(w) })
	for i, w := range all {
		own := slices.ContainsFunc(w.Orders, func(order string) bool {
			return !slices.ContainsFunc(append(slices.Clone(all[:i]), all[i+1:]...), func(other wish) bool {
				return slices.Contains(other.Orders, order)
			})
		})
		same := slices.IndexFunc(kept, func(other wish) bool { return other.Intent == w.Intent })
		switch {
		case same >= 0:
			kept[same].add(" "+w.text, w.Orders)
		case !longer || !k.brief(w) || own || strings.Contains(w.text, "?"):
			kept = append(kept, w)
		}
	}
	return kept
}

// followUp is the intent of a message that names orders only, after a word such as "and": what was
// wanted last is wanted for these, too.
func (t *talk) followUp(u Understanding) (Intent, bool) {
	last := t.Last
	if last == Answered {
		last = t.Knowledge.wishFor(t.Run.Workflow)
	}
	def := t.Knowledge.Workflows[t.Knowledge.Topics[last].Workflow]
	if def == nil || !def.Brief || len(u.Orders) == 0 || !onlyNumbers(t.Knowledge, t.act.Text) {
		return "", false
	}
	_, joined := t.Knowledge.joins(strings.Fields(t.act.Text))
	return last, joined
}

// wishFor is the intent that begins a workflow; the first by its name when several do.
func (k *Knowledge) wishFor(workflow string) Intent {
	for _, intent := range slices.Sorted(maps.Keys(k.Topics)) {
		if workflow != "" && k.Topics[intent].Workflow == workflow {
			return intent
		}
	}
	return Unknown
}

// onlyNumbers reports whether a text consists of order numbers, of words that join, and at most of one
// other that wants nothing, such as "please".
func onlyNumbers(k *Knowledge, text string) bool {
	numbers := numbersIn(text)
	if len(numbers) == 0 {
		return false
	}
	var others []string
	for rest := strings.Fields(wordsOf(withoutNumbers(text, numbers))); len(rest) > 0; {
		n, joins := k.joins(rest)
		if !joins {
			others, n = append(others, rest[0]), 1
		}
		rest = rest[n:]
	}
	if len(others) == 0 {
		return true
	}
	intent, _ := k.classify(others[0])
	return len(others) == 1 && (intent == Unknown || k.Topics[intent].Courtesy)
}

// parts cuts a message behind lines and sentences, and before words that join.
func (k *Knowledge) parts(text string) (parts []string) {
	words := wordForm.FindAllStringIndex(text, -1)
	start := 0
	for i := 0; i < len(words) && len(parts) < wishesMax-1; {
		n, joins := 1, false
		if fields := words[i:min(len(words), i+joinWords)]; !unicode.IsDigit(rune(text[words[i][0]])) {
			n, joins = k.joins(wordsAt(text, fields))
		}
		if joins && words[i][0] > start {
			parts, start = append(parts, text[start:words[i][0]]), words[i][0]
		}
		i += max(n, 1)
		end := words[i-1][1]
		if i < len(words) && (strings.ContainsAny(text[end-1:end], ".;:!?") ||
			text[end-1] == ',' && has(text[start:end], unicode.IsDigit) || // other commas stand within a sentence
			strings.Contains(text[end:words[i][0]], "\n")) {
			parts, start = append(parts, text[start:words[i][0]]), words[i][0]
		}
	}
	return append(parts, text[start:])
}

var wordForm = regexp.MustCompile(`\S+`)

// joinWords limits the words of a phrase that joins two wishes.
const joinWords = 4

func wordsAt(text string, places [][]int) (words []string) {
	for _, at := range places {
		words = append(words, text[at[0]:at[1]])
	}
	return words
}

// joins is how many of these words, from the first on, join two wishes.
func (k *Knowledge) joins(words []string) (n int, ok bool) {
	for n := min(joinWords, len(words)); n > 0; n-- {
		if k.Means(PhraseAnd, strings.Join(words[:n], " ")) {
			return n, true
		}
	}
	return 0, false
}

// serve answers what a message asks for: first what is told at once, then the first matter that takes
// a dialogue, with the second set aside until it is over.
func (t *talk) serve(wishes []wish) {
	running, said, think, told := t.Run.Active(), t.act.Text, "", false
	var longer []wish
	for _, w := range wishes {
		t.act.Text, t.orders = w.text, w.Orders
		topic := t.Knowledge.Topics[w.Intent]
		def := t.Knowledge.Workflows[topic.Workflow]
		switch {
		case len(wishes) == 1 && running:
			t.other(w.Understanding)
		case len(wishes) == 1:
			t.wish(w.Understanding)
		case def != nil && t.passing(def):
		case def != nil:
			longer = append(longer, w)
		case running:
			t.reply(t.answerTo(topic, w.Understanding))
			told = true
		default:
			if t.wish(w.Understanding); t.turn.Think {
				think = strings.TrimSpace(think + " " + w.text)
				t.turn.About.Text = think
			}
		}
	}
	switch {
	case running && len(longer) > 0:
		t.act.Text, t.orders = longer[0].text, longer[0].Orders
		t.other(longer[0].Understanding)
	case running && told:
		t.where() // the question stands
	case len(longer) > 0:
		if len(longer) > 1 {
			t.setAside(longer[1])
		}
		if t.turn.HandOver.Reason == "" {
			t.act.Text, t.orders = longer[0].text, longer[0].Orders
			t.start(t.Knowledge.Topics[longer[0].Intent])
		}
	}
	t.act.Text, t.orders = said, nil
}

// setAside begins a workflow that is resumed when the next one ends. Its first question is asked then.
func (t *talk) setAside(w wish) {
	told := t.turn.Replies
	t.act.Text, t.orders, t.later = w.text, w.Orders, true
	t.start(t.Knowledge.Topics[w.Intent])
	t.later = false
	if !t.Run.Active() {
		return // it needed no dialogue
	}
	t.turn.Replies = told
	t.say(t.word(WordThen, map[string]string{"other": t.workflow().Title.in(t.Knowledge, t.Language)}))
	t.move(Move{Kind: Paused, To: t.Run.Step})
}

// addressAndWish takes an address where one is asked for, and answers what is asked beside it: "12 Baker
// Street, London NW1 6XE. And where is 1001?" It reports whether the message has both.
func (t *talk) addressAndWish() bool {
	def := t.def()
	if !t.Run.Active() || def == nil || def.Ask == nil || def.Ask.Check != CheckPostal || t.Knowledge.Model == nil {
		return false
	}
	parts := t.Knowledge.parts(t.act.Text)
	for i := 1; i < len(parts); i++ {
		before, after := strings.Join(parts[:i], ""), strings.Join(parts[i:], "")
		for _, split := range [][2]string{{before, after}, {after, before}} {
			address, question := strings.Trim(split[0], " \n.!;"), split[1]
			intent, confidence := t.Knowledge.guess(question)
			topic := t.Knowledge.Topics[intent]
			if !isAddress(address) || confidence < t.Knowledge.Plain || !topic.known() || topic.Courtesy ||
				topic.Workflow == t.Run.Workflow || topic.HandOver.Reason != "" {
				continue
			}
			t.claims()
			value, problem := def.Ask.read(t, address)
			t.answer(def, value, problem)
			t.act.Text = question
			if w := t.Knowledge.Workflows[topic.Workflow]; w != nil {
				t.passing(w) // a longer matter is asked for again when this one is over
			} else {
				t.reply(t.answerTo(topic, Understanding{Intent: intent, words: wordsOf(question)}))
			}
			return true
		}
	}
	return false
}
