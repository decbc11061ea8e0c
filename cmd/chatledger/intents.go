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
	Train   string `required:"" placeholder:"FILE" help:"The examples: lines of intent, tab, message, and optionally another tab and the language."`
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
	Test      string   `xor:"test" required:"" placeholder:"FILE" help:"The messages to measure on, in the format of the examples."`
	Folds     int      `xor:"test" required:"" placeholder:"K" help:"Instead of a test file, train K times, each time without one Kth of the examples, and measure on that part."`
	OOS       string   `name:"oos" default:"oos" placeholder:"NAME" help:"The intent of test messages that are out of scope; its examples are not trained on."`
	Threshold *float64 `placeholder:"X" help:"The confidence, 0 to 1, below which a message counts as not understood; the default is the bot's own."`
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
