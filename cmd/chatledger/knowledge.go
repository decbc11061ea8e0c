package main

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/cmd/internal/clock"
	"github.com/chatledger/chatledger/cmd/internal/text"
	"github.com/chatledger/chatledger/domain/dialog"
)

// knowledgeCmd works on the folder that a team writes for its bot (docs/knowledge.md).
type knowledgeCmd struct {
	Check knowledgeCheckCmd `cmd:"" help:"Tell every mistake in a folder, or how well its intents are told apart."`
	Try   knowledgeTryCmd   `cmd:"" help:"Say what the bot makes of a message."`
}

// knowledgeFolder is what both of them read.
type knowledgeFolder struct {
	dir string
}

func (f knowledgeFolder) open() fs.FS {
	if f.dir == "" {
		return knowledge.Shop
	}
	return os.DirFS(f.dir)
}

// read reads the folder, or prints what is wrong with it.
func (f knowledgeFolder) read(out io.Writer, options knowledge.Options) (*dialog.Knowledge, error) {
	k, err := knowledge.Read(f.open(), options)
	mistakes := knowledge.Mistakes(err)
	if len(mistakes) == 0 {
		return k, err
	}
	for _, m := range mistakes {
		fmt.Fprintln(out, m)
	}
	return nil, fmt.Errorf("%s: %s", cmp.Or(f.dir, "the shop"), text.Plural(len(mistakes), "mistake"))
}

type knowledgeCheckCmd struct {
	Folder string `arg:"" optional:"" type:"existingdir" help:"The folder; the shop that comes with the program when left out."`
	Quick  bool   `help:"Look for mistakes only: train nothing."`
}

func (c *knowledgeCheckCmd) Run(e *env) error {
	folder := knowledgeFolder{c.Folder}
	k, err := folder.read(e.stdout, knowledge.Options{Untrained: true})
	if err != nil {
		return err
	}
	examples, err := knowledge.Examples(folder.open())
	if err != nil {
		return err
	}
	summarize(e.stdout, k, examples)
	if c.Quick || len(examples) == 0 {
		return nil
	}
	printTrial(e.stdout, knowledge.Try(examples, k.Threshold), k.Threshold)
	return nil
}

// fewExamples is below how many of a language an intent is hard to tell from others.
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
			fmt.Fprintf(out, "few        %s has %s; from %d on an intent is told apart well\n", file, text.Plural(count[file], "example"), fewExamples)
		}
	}
	for _, language := range k.Languages {
		if missing := wordsMissing(k, language); len(missing) > 0 {
			fmt.Fprintf(out, "words      %s are said in English to who speaks %s: write them into words.yaml\n", text.Join(missing), language)
		}
	}
}

// wordsMissing are those of the bot's own words that it says in English to who speaks
// something else.
func wordsMissing(k *dialog.Knowledge, language dialog.Language) (missing []dialog.Word) {
	for word := range dialog.Words() {
		if language != dialog.English && k.Words[word][language] == "" {
			missing = append(missing, word)
		}
	}
	slices.Sort(missing)
	return missing
}

// maxConfusions are printed; a team mends the worst first and looks again.
const maxConfusions = 12

func printTrial(out io.Writer, t knowledge.Trial, threshold float64) {
	share := func(n int) float64 { return 100 * float64(n) / float64(t.Examples) }
	fmt.Fprintf(out, "trial      of each example, by a model that does not know it: %.1f %% understood, %.1f %% asked about (below %g), %.1f %% mistaken\n",
		share(t.Right), share(t.Asked), threshold, share(t.Mistaken))
	for i, c := range t.Confusions {
		if i == maxConfusions {
			fmt.Fprintf(out, "and %s more\n", text.Plural(len(t.Confusions)-i, "pair"))
			break
		}
		x := c.Examples[0]
		fmt.Fprintf(out, "  %d x %s taken for %s, such as %s:%d %q\n", c.Times, c.Meant, c.Taken, x.File, x.Line, x.Text)
	}
}

type knowledgeTryCmd struct {
	Text     string          `arg:"" help:"The message."`
	Folder   string          `type:"existingdir" help:"The folder; the shop that comes with the program when left out."`
	Language dialog.Language `help:"Of the conversation so far."`
}

func (c *knowledgeTryCmd) Run(e *env) error {
	k, err := knowledgeFolder{c.Folder}.read(e.stdout, knowledge.Options{})
	if err != nil {
		return err
	}
	tools := map[string]bool{}
	for name := range dialog.Toolbox {
		tools[name] = true
	}
	turn := dialog.Take(dialog.Context{Knowledge: k, Tools: tools, Prefers: c.Language}, dialog.Act{Text: c.Text, MessageID: 1, At: clock.Now()})
	u := k.Understand(c.Text, turn.Language)
	fmt.Fprintf(e.stdout, "intent      %s\nconfidence  %.2f (understood from %.2f)\nlanguage    %s\n", u.Intent, u.Confidence, k.Threshold, turn.Language)
	printTurn(e.stdout, turn)
	return nil
}

func printTurn(out io.Writer, turn dialog.Turn) {
	for _, move := range turn.Moves {
		fmt.Fprintf(out, "step        %s of %s\n", move.To, move.Workflow)
	}
	if turn.Call.Tool != "" {
		fmt.Fprintf(out, "tool        %s", turn.Call.Tool)
		for _, field := range slices.Sorted(maps.Keys(turn.Call.Input)) {
			fmt.Fprintf(out, " %s=%q", field, turn.Call.Input[field])
		}
		fmt.Fprintln(out)
	}
	if turn.HandOver.Reason != "" {
		fmt.Fprintf(out, "person      %s, because %s\n", turn.HandOver.Priority, turn.HandOver.Reason)
	}
	for _, reply := range turn.Replies {
		fmt.Fprintf(out, "says        %s\n", strings.ReplaceAll(reply.Text, "\n", "\n            "))
		for _, b := range reply.Buttons {
			fmt.Fprintf(out, "            [%s]\n", b.Text)
		}
	}
}
