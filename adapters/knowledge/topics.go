package knowledge

import (
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/domain/dialog"
)

var (
	// spoken are intents of every bot that customers express in words: a folder may have
	// examples of them.
	spoken = []dialog.Intent{dialog.Help, dialog.Cancel, dialog.Back}
	// greeted are intents of every bot whose answer a folder may define.
	greeted = []dialog.Intent{dialog.Start, dialog.Help}
	// reserved are intents that a folder must not define.
	reserved = []dialog.Intent{
		dialog.Unknown,
		dialog.Cancel,
		dialog.Back,
		dialog.File,
		dialog.Pressed,
		dialog.Corrected,
		dialog.Answered,
		dialog.Waited,
	}
)

// Variables that every text may use.
const (
	customer = "customer" // the customer's name
	title    = "title"    // of the running workflow
)

// topics reads a file of intents/: the reaction to each intent.
func (r *reading) topics(p page) {
	root := p.root()
	if root == nil {
		return
	}
	p.pairs(root, "a file of intents", func(key, value *yaml.Node) {
		intent := dialog.Intent(p.name(key, "an intent"))
		_, twice := r.k.Topics[intent]
		switch {
		case slices.Contains(reserved, intent):
			p.wrong(key, "%s is an intent that the bot acts on by itself: remove it here; what it says then is in words.yaml",
				intent)
		case twice:
			p.wrong(key, "the intent %s stands in another file already: keep one", intent)
		default:
			r.k.Topics[intent] = r.topic(p, key, value)
		}
	})
}

func (r *reading) topic(p page, key, n *yaml.Node) (t dialog.Topic) {
	ways := 0
	p.object(n, "an intent", fields{
		"answer": func(n *yaml.Node) {
			ways++
			t.Answers = r.answers(p, n)
		},
		"workflow": func(n *yaml.Node) {
			ways++
			t.Workflow = p.name(n, "a workflow")
			r.starts[t.Workflow] = true
			r.last = append(r.last, func() {
				if _, ok := r.k.Workflows[t.Workflow]; !ok {
					p.wrong(n, "there is no workflow %s: write workflows/%s.yaml, or name one of those there are", t.Workflow,
						t.Workflow)
				}
			})
		},
		"hand_over": func(n *yaml.Node) {
			ways++
			t.HandOver = p.handOver(n)
		},
		"say":      func(n *yaml.Node) { t.Say = p.text(n, "say", maxText, p.only(customer)) },
		"courtesy": func(n *yaml.Node) { t.Courtesy = p.flag(n, "courtesy") },
	})
	switch {
	case ways != 1:
		p.wrong(key, "%s needs one of answer, workflow and hand_over", key.Value)
	case t.Say != nil && t.Answers != nil:
		p.wrong(key, "%s has both say and answer: write all of it under answer", key.Value)
	}
	if !slices.Contains(greeted, dialog.Intent(key.Value)) {
		r.last = append(r.last, func() { r.learnable(p, key) })
	}
	return t
}

// learnable reports an intent that lacks examples in a language.
func (r *reading) learnable(p page, key *yaml.Node) {
	for _, language := range r.k.Languages {
		if !slices.ContainsFunc(r.examples,
			func(e Example) bool { return string(e.Intent) == key.Value && e.Language == language }) {
			p.wrong(key, "%s has no example in %s: write messages of customers into intents/%s.%s.txt, one a line", key.Value,
				language, key.Value, language)
		}
	}
}

// answers reads one text, one answer, or a list of answers whose last one has no words.
func (r *reading) answers(p page, n *yaml.Node) (all []dialog.Answer) {
	switch {
	case n.Kind == yaml.SequenceNode:
		p.list(n, "answers", maxChoices, func(n *yaml.Node) { all = append(all, r.answer(p, n)) })
	case under(n, "text") != nil:
		all = append(all, r.answer(p, n))
	default:
		all = append(all, dialog.Answer{Text: p.text(n, "answer", maxText, p.only(customer))})
	}
	for i, a := range all {
		switch last := i == len(all)-1; {
		case last && len(a.Words) > 0:
			p.wrong(n, "the last answer is for all other messages: remove its words")
		case !last && len(a.Words) == 0:
			p.wrong(n, "answer %d has no words, so none after it is ever given: move it to the end", i+1)
		}
	}
	return all
}

func (r *reading) answer(p page, n *yaml.Node) (a dialog.Answer) {
	p.object(n, "an answer", fields{
		"words": func(n *yaml.Node) { a.Words = p.phrases(n, "words") },
		"text":  func(n *yaml.Node) { a.Text = p.text(n, "text", maxText, p.only(customer)) },
		"buttons": func(n *yaml.Node) {
			p.list(n, "buttons", maxChoices, func(n *yaml.Node) { a.Buttons = append(a.Buttons, r.topicButton(p, n)) })
		},
	})
	if a.Text == nil {
		p.wrong(n, "text is missing")
	}
	return a
}

func (r *reading) topicButton(p page, n *yaml.Node) (b dialog.TopicButton) {
	p.object(n, "a button", fields{
		"label": func(n *yaml.Node) { b.Label = p.text(n, "label", maxLabel, p.only()) },
		"intent": func(n *yaml.Node) {
			b.Intent = dialog.Intent(n.Value)
			r.mustKnow(p, n, dialog.Help)
		},
	})
	if b.Label == nil || b.Intent == "" {
		p.wrong(n, "a button needs a label and an intent")
	}
	return b
}

// mustKnow reports an intent that is neither the folder's nor one of these.
func (r *reading) mustKnow(p page, n *yaml.Node, others ...dialog.Intent) {
	r.last = append(r.last, func() {
		intent := dialog.Intent(n.Value)
		if _, ok := r.k.Topics[intent]; !ok && !slices.Contains(others, intent) {
			p.wrong(n, "there is no intent %q: write it into a file of intents/, or name one of those there are",
				n.Value)
		}
	})
}

// handOver reads a reason, with normal priority when it has none.
func (p page) handOver(n *yaml.Node) dialog.HandOver {
	h := dialog.HandOver{Priority: dialog.Normal}
	if n.Kind == yaml.ScalarNode {
		h.Reason = p.name(n, "a reason")
		return h
	}
	p.object(n, "hand_over", fields{
		"reason":   func(n *yaml.Node) { h.Reason = p.name(n, "a reason") },
		"priority": func(n *yaml.Node) { h.Priority = p.priority(n) },
	})
	if h.Reason == "" {
		p.wrong(n, "reason is missing: analysts count hand-overs by it")
	}
	return h
}
