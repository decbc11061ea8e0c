package training

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/domain/intents"
)

const (
	// minFolds and maxFolds limit a cross-validation: each fold is a training.
	minFolds, maxFolds = 2, 100
	// minIntents is how many intents a classifier needs.
	minIntents = 2
)

// Source is a file of examples, and where models trained from it are cached.
type Source struct {
	File    string
	Cache   string // a folder; empty for the user's cache folder
	NoCache bool   // train even when there is a cached model, and cache none
	Warn    io.Writer
}

// WriteModel trains from the source, writes the model to a file, and prints a summary.
func WriteModel(out io.Writer, source Source, file string) error {
	m, err := source.train("")
	if err != nil {
		return err
	}
	if err := knowledge.WriteModel(file, m.Model); err != nil {
		return fmt.Errorf("write the model to %s: %w", file, err)
	}
	m.print(out)
	return nil
}

// Evaluation is the settings of an evaluation.
type Evaluation struct {
	OutOfScope string  // the intent of the test messages that are none of the others
	Threshold  float64 // the confidence below which a message counts as not understood
	Language   string  // when not empty, only the test messages of this language count
}

// Check reports a setting that is out of range.
func (x Evaluation) Check() error {
	if !(x.Threshold >= 0 && x.Threshold <= 1) {
		return fmt.Errorf("--threshold %v: a confidence is between 0 and 1", x.Threshold)
	}
	return nil
}

// OnTest trains from the source and prints how well the model classifies the messages of a
// test file.
func (x Evaluation) OnTest(out io.Writer, source Source, testFile string) error {
	test, err := ReadSamples(testFile)
	if err != nil {
		return err
	}
	if x.Language != "" {
		test = slices.DeleteFunc(test, func(s Sample) bool { return s.language != x.Language })
		if len(test) == 0 {
			return fmt.Errorf("%s: no message has the language %q in its third column", testFile, x.Language)
		}
	}
	m, err := source.train(x.OutOfScope)
	if err != nil {
		return err
	}
	m.print(out)
	v := newEvaluation()
	v.add(m.Model, test, x.OutOfScope)
	v.print(out, testFile, x.Threshold)
	return nil
}

// CrossValidate prints how well each example is classified by a model that was trained
// without it.
func (x Evaluation) CrossValidate(ctx context.Context, out io.Writer, source Source, folds int) error {
	if folds < minFolds || folds > maxFolds {
		return fmt.Errorf("--folds %d: give a number from %d to %d", folds, minFolds, maxFolds)
	}
	samples, err := ReadSamples(source.File)
	if err != nil {
		return err
	}
	v := newEvaluation()
	for fold := range folds {
		var examples []intents.Example
		var test []Sample
		seen := map[string]int{} // samples so far, by intent
		for _, s := range samples {
			if seen[s.Intent]++; seen[s.Intent]%folds == fold {
				test = append(test, s)
			} else if s.Intent != x.OutOfScope {
				examples = append(examples, s.Example)
			}
		}
		v.add(intents.Train(examples), test, x.OutOfScope)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	v.print(out, fmt.Sprintf("%s in %d folds", source.File, folds), x.Threshold)
	return nil
}

// trained is a model and how it was made.
type trained struct {
	*intents.Model
	file     string
	examples int
	cached   bool
	took     time.Duration
}

// train trains from the file, without the examples of the intent outOfScope.
func (s Source) train(outOfScope string) (*trained, error) {
	samples, err := ReadSamples(s.File)
	if err != nil {
		return nil, err
	}
	var examples []intents.Example
	names := map[string]bool{}
	for _, one := range samples {
		if outOfScope == "" || one.Intent != outOfScope {
			examples = append(examples, one.Example)
			names[one.Intent] = true
		}
	}
	if len(names) < minIntents {
		return nil, fmt.Errorf("%s: %d intent in %d examples: give examples of at least %d intents",
			s.File, len(names), len(examples), minIntents)
	}
	t := &trained{file: s.File, examples: len(examples)}
	start := time.Now()
	t.Model, t.cached, err = knowledge.Models{Dir: s.cacheDir()}.Train(examples)
	t.took = time.Since(start)
	if err != nil { // the model could not be cached; it works all the same
		fmt.Fprintf(s.Warn, "chatledger: %v; name another folder with --cache, or none with --no-cache\n", err)
	}
	return t, nil
}

// cacheDir returns the folder for trained models, or "" for none.
func (s Source) cacheDir() string {
	if s.NoCache {
		return ""
	}
	if s.Cache != "" {
		return s.Cache
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "chatledger", "intents")
}

func (t *trained) print(out io.Writer) {
	size := "unknown size"
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
