package main

import (
	"github.com/chatledger/chatledger/cmd/internal/admin/training"
	"github.com/chatledger/chatledger/domain/intents"
)

type intentsCmd struct {
	Train trainIntentsCmd `cmd:"" help:"Train a model from examples and write it to a file."`
	Eval  evalIntentsCmd  `cmd:"" help:"Train from examples, and measure the model on other messages."`
}

// trainingFlags name the examples.
type trainingFlags struct {
	Train string `required:"" placeholder:"FILE" help:"The examples, a line each: intent, tab, message (tab, language)."`

	Cache   string `placeholder:"DIR" help:"The folder for trained models; the default is in the user's cache folder."`
	NoCache bool   `help:"Train even when there is a cached model of these examples, and cache none."`
}

func (f trainingFlags) source(e *env) training.Source {
	return training.Source{File: f.Train, Cache: f.Cache, NoCache: f.NoCache, Warn: e.stderr}
}

type trainIntentsCmd struct {
	trainingFlags
	Out string `required:"" placeholder:"FILE" help:"The file for the model."`
}

// Run trains and writes the model.
func (c *trainIntentsCmd) Run(e *env) error { return training.WriteModel(e.stdout, c.source(e), c.Out) }

type evalIntentsCmd struct {
	trainingFlags
	Test      string   `xor:"test" required:"" placeholder:"FILE" help:"The test messages, in the format of the examples."`
	Folds     int      `xor:"test" required:"" help:"Measure K times, on one Kth of the examples after another."`
	OOS       string   `default:"oos" placeholder:"NAME" help:"The intent of test messages that are out of scope."`
	Threshold *float64 `placeholder:"X" help:"Below this confidence, 0 to 1, a message is not understood."`
	Language  string   `placeholder:"CODE" help:"Measure only on test messages of this language."`
}

// Run trains, and prints how well the model classifies.
func (c *evalIntentsCmd) Run(e *env) error {
	evaluation := training.Evaluation{OutOfScope: c.OOS, Threshold: intents.Threshold, Language: c.Language}
	if c.Threshold != nil {
		evaluation.Threshold = *c.Threshold
	}
	if err := evaluation.Check(); err != nil {
		return err
	}
	if c.Test == "" {
		return evaluation.CrossValidate(e.ctx, e.stdout, c.source(e), c.Folds)
	}
	return evaluation.OnTest(e.stdout, c.source(e), c.Test)
}
