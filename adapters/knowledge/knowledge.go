package knowledge

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/intents"
)

// Options configure Read.
type Options struct {
	Models Models // stores trained models; the zero Models stores none

	// Untrained skips the training of the classifiers, which takes most of the time. The
	// result then understands no message.
	Untrained bool

	// Unkept observes the error when a trained model could not be stored, so that it has to
	// be trained again the next time; may be nil.
	Unkept func(error)
}

// Read reads a bot's knowledge from a folder, and reports all mistakes in it at once (see
// Mistakes). docs/knowledge.md describes the files of a folder.
func Read(from fs.FS, options Options) (*dialog.Knowledge, error) {
	f, err := open(from)
	if err != nil {
		return nil, fmt.Errorf("read the knowledge: %w", err)
	}
	return f.read(options)
}

func (f folder) read(options Options) (*dialog.Knowledge, error) {
	r := parse(f)
	if len(r.mistakes) > 0 {
		return nil, r.mistakes.sorted()
	}
	if options.Untrained {
		return r.k, nil
	}
	r.train(options)
	return r.k, nil
}

// reading is the state of reading a folder.
type reading struct {
	folder
	k        *dialog.Knowledge
	examples []Example
	seen     map[string]Example // by their words
	starts   map[string]bool    // workflows that an intent begins
	mistakes mistakes
	last     []func() // checks that need all files
}

func (r *reading) mistake(file string, line int, format string, args ...any) {
	if len(r.mistakes) < maxMistakes {
		r.mistakes = append(r.mistakes, Mistake{file, line, fmt.Sprintf(format, args...)})
	}
}

// botFile names the languages, which all other files need.
const botFile = "bot.yaml"

func parse(f folder) *reading {
	r := &reading{folder: f, starts: map[string]bool{}, k: &dialog.Knowledge{Hash: f.hash,
		Topics: map[dialog.Intent]dialog.Topic{}, Workflows: map[string]*dialog.Workflow{},
		Phrases: map[dialog.Phrase]map[dialog.Language][]string{}, Words: map[dialog.Word]dialog.Text{},
		Targets: map[dialog.Priority]dialog.Target{}, Tiers: map[string]dialog.Priority{},
		Canned: map[string]dialog.Text{}, Codes: map[string]map[string]dialog.Text{}}}
	if _, ok := f.files[botFile]; !ok {
		r.mistake(botFile, 0,
			"there is no such file: write `languages: [en]` into one, with those that the bot speaks")
		return r
	}
	r.bot(page{r, botFile})
	if len(r.k.Languages) == 0 {
		return r
	}
	for _, file := range slices.Sorted(maps.Keys(f.files)) {
		if !legible(f.files[file]) {
			r.mistake(file, 0, "it is not written in UTF-8: save it so")
			continue
		}
		r.file(file)
	}
	for _, judge := range r.last {
		judge()
	}
	return r
}

// file reads one file according to its path.
func (r *reading) file(file string) {
	p := page{r, file}
	switch folder, base := path.Split(file); {
	case file == botFile:
	case folder == "intents/" && path.Ext(base) == ".txt":
		r.exampleFile(file)
	case folder == "intents/":
		r.topics(p)
	case folder == "workflows/" && path.Ext(base) != ".txt":
		r.workflow(p, strings.TrimSuffix(base, path.Ext(base)))
	case file == "rules.yaml":
		r.rules(p)
	case file == "words.yaml":
		r.words(p)
	case file == "phrases.yaml":
		r.phraseFile(p)
	case file == "codes.yaml":
		r.codes(p)
	case file == "canned.yaml":
		r.canned(p)
	default:
		r.mistake(file, 0, "nothing is read from here: there are bot.yaml, rules.yaml, words.yaml, phrases.yaml, "+
			"codes.yaml and canned.yaml, intents/*.yaml with intents/*.txt, and workflows/*.yaml")
	}
}

// train trains the classifiers.
func (r *reading) train(options Options) {
	model := func(examples []intents.Example) *intents.Model {
		m, _, err := options.Models.Train(examples)
		if err != nil && options.Unkept != nil {
			options.Unkept(err)
		}
		return m
	}
	wishes, tongues := labelled(r.examples)
	if len(wishes) == 0 {
		return
	}
	r.k.Model = model(wishes)
	if len(r.k.Languages) > 1 {
		r.k.Tongue = model(tongues)
	}
}

// labelled returns the examples for the classifiers of intents and of languages.
func labelled(examples []Example) (wishes, tongues []intents.Example) {
	for _, e := range examples {
		wishes = append(wishes, intents.Example{Intent: string(e.Intent), Text: e.Text})
		tongues = append(tongues, intents.Example{Intent: string(e.Language), Text: e.Text})
	}
	return wishes, tongues
}

// Examples returns the examples of a folder that have no mistakes.
func Examples(from fs.FS) ([]Example, error) {
	f, err := open(from)
	if err != nil {
		return nil, fmt.Errorf("read the examples: %w", err)
	}
	r := parse(f)
	if len(r.mistakes) > 0 {
		return r.examples, r.mistakes.sorted()
	}
	return r.examples, nil
}
