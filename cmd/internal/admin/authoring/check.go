// Package authoring helps a team that writes the knowledge of its bot: it checks the folder
// and tries messages on it.
package authoring

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/cmd/internal/text"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Folder is the path of a knowledge folder; empty means the built-in shop.
type Folder string

func (f Folder) files() fs.FS {
	if f == "" {
		return knowledge.Shop
	}
	return knowledge.Dir(string(f))
}

// read reads the folder. It prints every mistake.
func (f Folder) read(out io.Writer, options knowledge.Options) (*dialog.Knowledge, error) {
	k, err := knowledge.Read(f.files(), options)
	mistakes := knowledge.Mistakes(err)
	if len(mistakes) == 0 {
		return k, err
	}
	for _, m := range mistakes {
		fmt.Fprintln(out, m)
	}
	return nil, fmt.Errorf("%s: %s", cmp.Or(string(f), "the shop"), text.Plural(len(mistakes), "mistake"))
}

// Check prints the mistakes in a folder, or else a summary and, unless quick, how often its
// intents are confused.
func (f Folder) Check(out io.Writer, quick bool) error {
	k, err := f.read(out, knowledge.Options{Untrained: true})
	if err != nil {
		return err
	}
	examples, err := knowledge.Examples(f.files())
	if err != nil {
		return err
	}
	summarize(out, k, examples)
	if quick || len(examples) == 0 {
		return nil
	}
	printTrial(out, knowledge.Try(examples, k.Threshold), k.Threshold)
	return nil
}

// fewExamples is the number of examples in one language below which an intent is often confused
// with others.
const fewExamples = 10

func summarize(out io.Writer, k *dialog.Knowledge, examples []knowledge.Example) {
	fmt.Fprintf(out, "hash       %s\nlanguages  %s\nintents    %d, by %s\nworkflows  %s\nrules      %d\ncanned     %d\n",
		k.Hash, text.Join(k.Languages), len(k.Topics), text.Plural(len(examples), "example"),
		cmp.Or(text.Join(slices.Sorted(maps.Keys(k.Workflows))), "none"), len(k.Rules), len(k.Canned))
	count := map[string]int{}
	for _, x := range examples {
		count[x.File]++
	}
	for _, file := range slices.Sorted(maps.Keys(count)) {
		if count[file] < fewExamples {
			fmt.Fprintf(out, "few        %s has %s; an intent needs %d or more to be recognized well\n",
				file, text.Plural(count[file], "example"), fewExamples)
		}
	}
	for _, language := range k.Languages {
		if missing := wordsMissing(k, language); len(missing) > 0 {
			fmt.Fprintf(out, "words      %s are said in English to customers who write in %s: add them to words.yaml\n",
				text.Join(missing), language)
		}
	}
}

// wordsMissing returns the bot's own words that have no translation into a language; the bot
// says them in English.
func wordsMissing(k *dialog.Knowledge, language dialog.Language) (missing []dialog.Word) {
	for word := range dialog.Words() {
		if language != dialog.English && k.Words[word][language] == "" {
			missing = append(missing, word)
		}
	}
	slices.Sort(missing)
	return missing
}

// maxConfusions is how many pairs are printed: a team corrects the worst first and checks again.
const maxConfusions = 12

func printTrial(out io.Writer, t knowledge.Trial, threshold float64) {
	share := func(n int) float64 { return 100 * float64(n) / float64(t.Examples) }
	fmt.Fprintf(out, "trial      each example, classified by a model trained without it:"+
		" %.1f %% understood, %.1f %% asked about (below %g), %.1f %% mistaken\n",
		share(t.Right), share(t.Asked), threshold, share(t.Mistaken))
	for i, c := range t.Confusions {
		if i == maxConfusions {
			fmt.Fprintf(out, "and %s more\n", text.Plural(len(t.Confusions)-i, "pair"))
			break
		}
		x := c.Examples[0]
		fmt.Fprintf(out, "  %d x %s taken for %s, such as %s:%d %q\n",
			c.Times, c.Meant, c.Taken, x.File, x.Line, x.Text)
	}
}
