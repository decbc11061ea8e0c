package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/domain/intents"
)

type intentsCmd struct {
	Train trainIntents `cmd:"" help:"Train a model from examples and write it to a file."`
	Eval  evalIntents  `cmd:"" help:"Train from examples and measure on other messages."`
}

// trainingData is where a model comes from.
type trainingData struct {
	Train   string `required:"" placeholder:"FILE" help:"Examples: lines of intent, tab, message, and perhaps another tab and the language."`
	Cache   string `placeholder:"DIR" help:"Where trained models are kept; without it in the user's cache folder."`
	NoCache bool   `help:"Train even if there is a model of these examples, and keep none."`
}

type trainIntents struct {
	trainingData
	Out string `required:"" placeholder:"FILE" help:"Where the model goes."`
}

type evalIntents struct {
	trainingData
	Test      string   `xor:"test" required:"" placeholder:"FILE" help:"Messages to measure on, in the form of the examples."`
	Folds     int      `xor:"test" required:"" placeholder:"K" help:"Instead of a test, train K times without a Kth of the examples and measure on that."`
	OOS       string   `name:"oos" default:"oos" placeholder:"NAME" help:"The intent that stands for none in the test; examples of it are not trained on."`
	Threshold *float64 `placeholder:"X" help:"Confidence below which a message counts as not understood, 0 to 1; without it the bot's own."`
	Language  string   `placeholder:"CODE" help:"Only test messages of this language."`
}

const (
	// longestLine is how many bytes a line of examples may have: Telegram's longest
	// message has a quarter of it.
	longestLine = 64 << 10
	// confusionsShown is how many pairs of intents an evaluation lists.
	confusionsShown = 10
	// fewestFolds and mostFolds bound a cross-validation: each fold is a training.
	fewestFolds, mostFolds = 2, 100
	// fewestIntents is how many intents a classifier can tell apart at least.
	fewestIntents = 2
)

// sample is a line of a file of examples.
type sample struct {
	intents.Example
	language string
}

// Run trains and writes the model.
func (c *trainIntents) Run(e *env) error {
	m, err := c.model(e, "")
	if err != nil {
		return err
	}
	if err := knowledge.WriteModel(c.Out, m.Model); err != nil {
		return fmt.Errorf("write the model to %s: %w", c.Out, err)
	}
	m.print(e.stdout)
	return nil
}

// Run trains and prints how well the model does on the test.
func (c *evalIntents) Run(e *env) error {
	threshold := intents.Threshold
	if c.Threshold != nil {
		threshold = *c.Threshold
	}
	if !(threshold >= 0 && threshold <= 1) {
		return fmt.Errorf("--threshold %v: a confidence lies between 0 and 1", threshold)
	}
	if c.Test == "" {
		return c.crossValidate(e, threshold)
	}
	test, err := readSamples(c.Test)
	if err != nil {
		return err
	}
	if c.Language != "" {
		test = slices.DeleteFunc(test, func(s sample) bool { return s.language != c.Language })
		if len(test) == 0 {
			return fmt.Errorf("%s: no message has the language %q in its third column", c.Test, c.Language)
		}
	}
	m, err := c.model(e, c.OOS)
	if err != nil {
		return err
	}
	m.print(e.stdout)
	v := newEvaluation()
	v.add(m.Model, test, c.OOS)
	v.print(e.stdout, c.Test, threshold)
	return nil
}

// crossValidate measures on the examples themselves: every one is guessed at by a model
// that has not seen it.
func (c *evalIntents) crossValidate(e *env, threshold float64) error {
	if c.Folds < fewestFolds || c.Folds > mostFolds {
		return fmt.Errorf("--folds %d: give a number from %d to %d", c.Folds, fewestFolds, mostFolds)
	}
	samples, err := readSamples(c.Train)
	if err != nil {
		return err
	}
	v := newEvaluation()
	for fold := range c.Folds {
		var seen []intents.Example
		var kept []sample
		of := map[string]int{} // samples of an intent so far
		for _, s := range samples {
			if of[s.Intent]++; of[s.Intent]%c.Folds == fold {
				kept = append(kept, s)
			} else if s.Intent != c.OOS {
				seen = append(seen, s.Example)
			}
		}
		v.add(intents.Train(seen), kept, c.OOS)
		if err := e.ctx.Err(); err != nil {
			return err
		}
	}
	v.print(e.stdout, fmt.Sprintf("%s in %d folds", c.Train, c.Folds), threshold)
	return nil
}

// trained is a model and what is told of how it came about.
type trained struct {
	*intents.Model
	file     string
	examples int
	cached   bool
	took     time.Duration
}

// model trains from the file, without the examples of an intent that stands for none.
func (c *trainingData) model(e *env, none string) (*trained, error) {
	samples, err := readSamples(c.Train)
	if err != nil {
		return nil, err
	}
	var examples []intents.Example
	names := map[string]bool{}
	for _, s := range samples {
		if none == "" || s.Intent != none {
			examples = append(examples, s.Example)
			names[s.Intent] = true
		}
	}
	if len(names) < fewestIntents {
		return nil, fmt.Errorf("%s: %d intent in %d examples: give examples of at least %d, as there is nothing to tell apart", c.Train, len(names), len(examples), fewestIntents)
	}
	t := &trained{file: c.Train, examples: len(examples)}
	start := time.Now()
	t.Model, t.cached, err = knowledge.Models{Dir: c.cacheDir()}.Train(examples)
	t.took = time.Since(start)
	if err != nil { // the model works all the same
		fmt.Fprintf(e.stderr, "chatledger: %v; name another folder with --cache, or none with --no-cache\n", err)
	}
	return t, nil
}

// cacheDir is where models are kept; "" when nowhere.
func (c *trainingData) cacheDir() string {
	if c.NoCache {
		return ""
	}
	if c.Cache != "" {
		return c.Cache
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "chatledger", "intents")
}

func (t *trained) print(out io.Writer) {
	size := "unknown"
	if data, err := t.MarshalBinary(); err == nil {
		size = fmt.Sprintf("%.1f MB", float64(len(data))/1e6)
	}
	how := "trained"
	if t.cached {
		how = "read from the cache"
	}
	fmt.Fprintf(out, "model      %s: %d examples of %d intents, %s in %v, %s\n",
		t.file, t.examples, len(t.Intents()), how, t.took.Round(10*time.Millisecond), size)
}

// readSamples reads a file of examples; an error names the line.
func readSamples(file string) ([]sample, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var samples []sample
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestLine)
	n := 0
	for lines.Scan() {
		n++
		s, err := readSample(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		if s.Intent != "" {
			samples = append(samples, s)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%s:%d: a line longer than %d bytes: is this a file of examples?", file, n+1, longestLine)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file, err)
	case len(samples) == 0:
		return nil, fmt.Errorf("%s: no examples: write lines of intent, tab, message", file)
	}
	return samples, nil
}

// readSample takes a line apart; a blank line is no sample.
func readSample(line []byte) (sample, error) {
	if !utf8.Valid(line) {
		return sample{}, errors.New("not UTF-8: save the file as UTF-8 text")
	}
	line = bytes.TrimPrefix(line, []byte("\ufeff"))
	if len(bytes.TrimSpace(line)) == 0 {
		return sample{}, nil
	}
	columns := strings.Split(strings.TrimRight(string(line), "\r\n"), "\t")
	for i := range columns {
		columns[i] = strings.TrimSpace(columns[i])
	}
	if len(columns) < 2 || len(columns) > 3 || columns[0] == "" || columns[1] == "" {
		return sample{}, errors.New("write intent, tab, message, and perhaps another tab and the language")
	}
	s := sample{Example: intents.Example{Intent: columns[0], Text: columns[1]}}
	if len(columns) == 3 {
		s.language = columns[2]
	}
	return s, nil
}

// evaluation is what a model made of test messages.
type evaluation struct {
	guesses   []evaluated
	confused  map[confusion]int
	unknown   map[string]int // messages of intents without an example
	durations []time.Duration
}

type evaluated struct {
	confidence     float64
	inScope, right bool
}

// confusion is an intent that was taken for another.
type confusion struct{ wanted, guessed string }

func newEvaluation() *evaluation {
	return &evaluation{confused: map[confusion]int{}, unknown: map[string]int{}}
}

// add guesses at every message, and measures the time of each.
func (v *evaluation) add(m *intents.Model, test []sample, none string) {
	names := m.Intents()
	for _, s := range test {
		start := time.Now()
		guess := m.Classify(s.Text)
		v.durations = append(v.durations, time.Since(start))
		v.guesses = append(v.guesses, evaluated{guess.Confidence, s.Intent != none, s.Intent == guess.Intent})
		if s.Intent == none {
			continue
		}
		if s.Intent != guess.Intent {
			v.confused[confusion{s.Intent, guess.Intent}]++
		}
		if _, known := slices.BinarySearch(names, s.Intent); !known {
			v.unknown[s.Intent]++
		}
	}
}

// counts are the messages of a test on either side of a threshold.
type counts struct {
	inScope, right             int // right whatever the confidence
	outOfScope, refused        int // refused of those out of scope
	understood, understoodWell int // of all; and those of them that were right
}

func (v *evaluation) at(threshold float64) (c counts) {
	for _, g := range v.guesses {
		understood := g.confidence >= threshold
		if understood {
			c.understood++
		}
		switch {
		case g.inScope:
			c.inScope++
			if g.right {
				c.right++
				if understood {
					c.understoodWell++
				}
			}
		default:
			c.outOfScope++
			if !understood {
				c.refused++
			}
		}
	}
	return c
}

// percent is a share in words; of nothing there is none.
func percent(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(part)/float64(whole))
}

func (v *evaluation) print(out io.Writer, file string, threshold float64) {
	c := v.at(threshold)
	fmt.Fprintf(out, "test       %s: %d messages in scope, %d out of scope\n", file, c.inScope, c.outOfScope)
	slices.Sort(v.durations)
	p := func(share int) time.Duration {
		return v.durations[(len(v.durations)-1)*share/100].Round(time.Microsecond)
	}
	fmt.Fprintf(out, "time       %v a message (p50), %v (p99)\n\n", p(50), p(99))

	fmt.Fprintf(out, "accuracy             %s  best guess right, whatever its confidence; in scope\n", percent(c.right, c.inScope))
	fmt.Fprintf(out, "at threshold         %.2f\n", threshold)
	fmt.Fprintf(out, "in-scope accuracy    %s  right and understood, of those in scope\n", percent(c.understoodWell, c.inScope))
	fmt.Fprintf(out, "out-of-scope recall  %s  not understood, of those out of scope\n", percent(c.refused, c.outOfScope))
	fmt.Fprintf(out, "precision            %s  right, of those understood\n", percent(c.understoodWell, c.understood))
	fmt.Fprintf(out, "coverage             %s  understood, of all\n\n", percent(c.understood, len(v.guesses)))

	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "threshold\tin-scope accuracy\tout-of-scope recall\tprecision\tcoverage")
	for tenth := range 10 {
		t := float64(tenth) / 10
		c := v.at(t)
		fmt.Fprintf(table, "%.1f\t%s\t%s\t%s\t%s\n", t, percent(c.understoodWell, c.inScope), percent(c.refused, c.outOfScope),
			percent(c.understoodWell, c.understood), percent(c.understood, len(v.guesses)))
	}
	table.Flush()
	v.printConfusions(out)
}

// printConfusions lists what is taken for something else most often.
func (v *evaluation) printConfusions(out io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(v.unknown)) {
		fmt.Fprintf(out, "\n%q has no example, and %d messages in the test: if that is on purpose, name it with --oos\n", name, v.unknown[name])
	}
	var list []confusion
	for pair := range v.confused {
		list = append(list, pair)
	}
	slices.SortFunc(list, func(a, b confusion) int {
		return cmp.Or(v.confused[b]-v.confused[a], cmp.Compare(a.wanted, b.wanted), cmp.Compare(a.guessed, b.guessed))
	})
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nconfused\twanted\tguessed")
	for _, pair := range list[:min(len(list), confusionsShown)] {
		fmt.Fprintf(table, "%d\t%s\t%s\n", v.confused[pair], pair.wanted, cmp.Or(pair.guessed, "(nothing)"))
	}
	table.Flush()
}
