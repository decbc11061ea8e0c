package knowledge

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/domain/dialog"
)

// variables checks a variable of a text, with its line.
type variables func(name string, line int)

// text reads a text of the bot: one string for a bot with one language, otherwise one for each
// language. A string without words, such as "{result.problem}", is used in all languages.
func (p page) text(n *yaml.Node, what string, most int, seen variables) dialog.Text {
	if n.Kind == yaml.ScalarNode {
		value := p.sentence(n, what, most, seen)
		if len(p.k.Languages) > 1 && wordy(value) {
			p.wrong(n, "%s is needed in %s: write it once below each", what, names(slices.Values(p.k.Languages)))
		}
		t := dialog.Text{}
		for _, language := range p.k.Languages {
			t[language] = value
		}
		return t
	}
	t := p.said(n, what, most, seen)
	for _, language := range p.k.Languages {
		if _, ok := t[language]; !ok && n.Kind == yaml.MappingNode {
			p.wrong(n, "%s is missing in %s", what, language)
		}
	}
	return t
}

// said reads a text that may be missing in some languages.
func (p page) said(n *yaml.Node, what string, most int, seen variables) dialog.Text {
	t := dialog.Text{}
	p.pairs(n, what, func(key, value *yaml.Node) {
		if p.speaks(key) {
			t[dialog.Language(key.Value)] = p.sentence(value, what, most, seen)
		}
	})
	return t
}

// speaks reports whether a key is one of the bot's languages.
func (p page) speaks(key *yaml.Node) bool {
	if slices.Contains(p.k.Languages, dialog.Language(key.Value)) {
		return true
	}
	p.wrong(key, "%q is none of the languages in bot.yaml, which are %s", key.Value,
		names(slices.Values(p.k.Languages)))
	return false
}

// sentence reads a text in one language.
func (p page) sentence(n *yaml.Node, what string, most int, seen variables) string {
	value, ok := p.scalar(n, what)
	if !ok {
		return ""
	}
	if length := len(utf16.Encode([]rune(value))); length > most {
		p.wrong(n, "%s has %d characters; %d is the most", what, length, most)
	}
	for _, variable := range p.variablesOf(n, value) {
		seen(variable, n.Line)
	}
	return value
}

// variable is a name in braces. Those of a tool's answer begin with "result.".
var variable = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$`)

func (p page) variablesOf(n *yaml.Node, text string) (all []string) {
	for {
		_, rest, found := strings.Cut(text, "{")
		if !found {
			return all
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || !variable.MatchString(name) {
			p.wrong(n, "a { begins a variable such as {customer}: close it with }, and use a-z 0-9 _ between them")
			return all
		}
		all, text = append(all, name), after
	}
}

// only accepts these variables in a text.
func (p page) only(known ...string) variables {
	return func(name string, line int) {
		if !slices.Contains(known, name) {
			p.mistake(p.file, line, "nothing fills {%s} here; there is %s", name, braced(known))
		}
	}
}

// wordy reports whether a text has letters outside its variables.
func wordy(text string) bool {
	inside := false
	return strings.ContainsFunc(text, func(r rune) bool {
		inside = r == '{' || inside && r != '}'
		return !inside && unicode.IsLetter(r)
	})
}

// phrases reads lists of phrases, by language or in one list for all. All of them count,
// whatever the customer's language is.
func (p page) phrases(n *yaml.Node, what string) (all []string) {
	one := func(n *yaml.Node) {
		if value, ok := p.scalar(n, "each of the "+what); ok {
			all = append(all, plainWords(value))
		}
	}
	if n.Kind == yaml.MappingNode {
		p.pairs(n, what, func(key, value *yaml.Node) {
			if p.speaks(key) {
				p.list(value, what, maxPhrases, one)
			}
		})
		return all
	}
	p.list(n, what, maxPhrases, one)
	return all
}

// maxPhrases limits one list: every message is searched for each phrase.
const maxPhrases = 500

// plainWords returns a phrase in the form in which messages are compared: lower case, without
// punctuation. A phrase without words, such as an emoji, stays as it is.
func plainWords(phrase string) string {
	words := strings.FieldsFunc(strings.ReplaceAll(strings.ToLower(phrase), "’", "'"), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '\''
	})
	if len(words) == 0 {
		return strings.TrimSpace(phrase)
	}
	return strings.Join(words, " ")
}

func braced(all []string) string {
	if len(all) == 0 {
		return "no variable"
	}
	return "{" + strings.Join(slices.Sorted(slices.Values(all)), "}, {") + "}"
}
