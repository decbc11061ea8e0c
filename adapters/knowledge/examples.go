package knowledge

import (
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Example is a message as customers write it, with its intent.
type Example struct {
	Intent   dialog.Intent
	Language dialog.Language
	Text     string

	File string // below the folder
	Line int
}

// exampleFile reads intents/<intent>.<language>.txt: one message per line.
func (r *reading) exampleFile(file string) {
	p := page{r, file}
	intent, language, ok := r.exampleName(p)
	if !ok {
		return
	}
	line := 0
	for text := range strings.Lines(string(r.files[file])) {
		line++
		text = strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case utf8.RuneCountInString(text) > maxExample:
			r.mistake(file, line, "an example has up to %d characters: shorten it", maxExample)
		case len(r.examples) == maxExamples:
			r.mistake(file, line, "there are more than %d examples: remove some", maxExamples)
			return
		default:
			r.learn(Example{intent, language, text, file, line})
		}
	}
}

// exampleName returns the intent and the language in the name of a file of examples. The
// language may be omitted when the bot speaks only one.
func (r *reading) exampleName(p page) (dialog.Intent, dialog.Language, bool) {
	base := strings.TrimSuffix(path.Base(p.file), ".txt")
	intent, language, ok := strings.Cut(base, ".")
	if !ok && len(r.k.Languages) == 1 {
		language = string(r.k.Languages[0])
	}
	switch {
	case !name.MatchString(intent) || len(intent) > maxName:
		r.mistake(p.file, 0, "a file of examples is called <intent>.<language>.txt, such as refund.en.txt")
		return "", "", false
	case !slices.Contains(r.k.Languages, dialog.Language(language)):
		r.mistake(p.file, 0, "a file of examples is called <intent>.<language>.txt, with one of the languages in "+
			"bot.yaml, which are %s", names(slices.Values(r.k.Languages)))
		return "", "", false
	}
	known := append([]dialog.Intent{dialog.Unknown}, spoken...)
	r.last = append(r.last, func() {
		if _, ok := r.k.Topics[dialog.Intent(intent)]; !ok && !slices.Contains(known, dialog.Intent(intent)) {
			r.mistake(p.file, 0,
				"there is no intent %s: write what the bot does about it into a file of intents/, or rename this one", intent)
		}
	})
	return dialog.Intent(intent), dialog.Language(language), true
}

// learn keeps an example, unless it exists already: under two intents it would lower the
// confidence in both.
func (r *reading) learn(e Example) {
	if r.seen == nil {
		r.seen = map[string]Example{}
	}
	key := plainWords(e.Text)
	other, twice := r.seen[key]
	switch {
	case twice && other.Intent != e.Intent:
		r.mistake(e.File, e.Line, "%q stands under %s, too (%s:%d): keep it under one intent", e.Text, other.Intent,
			other.File, other.Line)
	case twice && other.File == e.File:
		r.mistake(e.File, e.Line, "%q is already in line %d: remove one", e.Text, other.Line)
	default:
		r.seen[key] = e
		r.examples = append(r.examples, e)
	}
}
