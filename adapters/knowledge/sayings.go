package knowledge

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Limits of rules and canned replies.
const (
	maxRules = 200
	maxTimes = 20 // of repeats, failures and messages that were not understood
)

// rules reads rules.yaml: when a chat is handed to an operator.
func (r *reading) rules(p page) {
	root := p.root()
	if root == nil {
		return
	}
	p.list(root, "rules", maxRules, func(n *yaml.Node) { r.k.Rules = append(r.k.Rules, r.rule(p, n)) })
}

func (r *reading) rule(p page, n *yaml.Node) (rule dialog.Rule) {
	conditions := fields{
		"words":    func(n *yaml.Node) { rule.Words = p.phrases(n, "words") },
		"shouting": func(n *yaml.Node) { rule.Shouting = p.flag(n, "shouting") },
		"repeats":  func(n *yaml.Node) { rule.Repeats = p.count(n, "repeats", 2, maxTimes) },
		"failures": func(n *yaml.Node) { rule.Failures = p.count(n, "failures", 1, maxTimes) },
		"unsure":   func(n *yaml.Node) { rule.Unsure = p.count(n, "unsure", 1, maxTimes) },
		"tiers":    func(n *yaml.Node) { rule.Tiers = p.names(n, "tiers") },
		"intents": func(n *yaml.Node) {
			p.list(n, "intents", maxPhrases, func(n *yaml.Node) {
				rule.Intents = append(rule.Intents, dialog.Intent(n.Value))
				r.mustKnow(p, n, append([]dialog.Intent{dialog.Unknown}, spoken...)...)
			})
		},
	}
	p.object(n, "a rule", with(conditions, fields{
		"unless":   func(n *yaml.Node) { rule.Unless = p.phrases(n, "unless") },
		"name":     func(n *yaml.Node) { rule.Name = p.name(n, "a rule") },
		"priority": func(n *yaml.Node) { rule.Priority = p.priority(n) },
		"say":      func(n *yaml.Node) { rule.Say = p.text(n, "say", maxText, p.only(customer)) },
	}))
	switch {
	case n.Kind != yaml.MappingNode:
	case rule.Name == "":
		p.wrong(n, "name is missing: tickets are opened for this reason")
	case rule.Priority == "":
		p.wrong(n, "priority is missing: write urgent, high, normal or low")
	case !hasAny(n, conditions):
		p.wrong(n, "the rule %s fits every message: say when a person is needed, by words, shouting, repeats, "+
			"failures, tiers, intents or unsure", rule.Name)
	}
	return rule
}

// wordVariables are the variables of the bot's own texts.
var wordVariables = map[dialog.Word][]string{
	dialog.WordBacklog:     {"count", "list"},
	dialog.WordSwitch:      {"other"},
	dialog.WordThen:        {"other"},
	dialog.WordTakeUp:      {"text"},
	dialog.WordConfirmTool: {"action"},
}

// words reads words.yaml: the bot's own texts. A missing text is said in English, whatever the
// customer's language is.
func (r *reading) words(p page) {
	root := p.root()
	if root == nil {
		return
	}
	plain := dialog.Words()
	p.pairs(root, "words.yaml", func(key, value *yaml.Node) {
		word := dialog.Word(key.Value)
		english, ok := plain[word]
		if !ok {
			p.wrong(key, "the bot says no %q of itself; it says %s", key.Value, names(maps.Keys(plain)))
			return
		}
		known := p.only(append(slices.Clone(wordVariables[word]), customer, title)...)
		if value.Kind == yaml.ScalarNode {
			r.k.Words[word] = p.text(value, key.Value, maxText, known)
			return
		}
		t := p.said(value, key.Value, maxText, known)
		if _, there := t[dialog.English]; !there && slices.Contains(r.k.Languages, dialog.English) {
			t[dialog.English] = english
		}
		r.k.Words[word] = t
	})
}

// meanings are the meanings of whole messages within a workflow, and of words that join wishes.
var meanings = []dialog.Phrase{
	dialog.PhraseYes, dialog.PhraseNo, dialog.PhraseCancel, dialog.PhraseBack, dialog.PhraseAnd,
}

// phraseFile reads phrases.yaml.
func (r *reading) phraseFile(p page) {
	root := p.root()
	if root == nil {
		return
	}
	meant := map[string]dialog.Phrase{}
	p.pairs(root, "phrases.yaml", func(key, value *yaml.Node) {
		meaning := dialog.Phrase(key.Value)
		if !slices.Contains(meanings, meaning) {
			p.wrong(key, "no message means %q; there are %s", key.Value, names(slices.Values(meanings)))
			return
		}
		r.k.Phrases[meaning] = map[dialog.Language][]string{}
		p.pairs(value, key.Value, func(language, list *yaml.Node) {
			if !p.speaks(language) {
				return
			}
			all := p.phrases(list, "phrases")
			for _, phrase := range all {
				if other, twice := meant[phrase]; twice && other != meaning {
					p.wrong(list, "%q means %s, too: keep it under one", phrase, other)
				}
				meant[phrase] = meaning
			}
			r.k.Phrases[meaning][dialog.Language(language.Value)] = all
		})
	})
}

// canned reads canned.yaml: replies that operators send with one key.
func (r *reading) canned(p page) {
	root := p.root()
	if root == nil {
		return
	}
	p.pairs(root, "canned.yaml", func(key, value *yaml.Node) {
		r.k.Canned[p.name(key, "a canned reply")] = p.text(value, key.Value, maxText,
			func(string, int) {}) // the operator fills in the rest
	})
}
