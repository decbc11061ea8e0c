// Package intents tells what a message wants, having been shown examples. It trains a
// linear classifier over words, pairs of words and pieces of words in seconds, needs
// neither network nor a model of somebody else's, and knows when it does not know: its
// confidence is learned from messages it was not trained on, some of which fit no
// intent it knew. The same examples lead to the same model, whatever runs beside it.
//
// A message goes through features.go (what is seen of it), svm.go (how the weights are
// found) and confidence.go (how sure one may be). encode.go keeps a model in bytes.
package intents

import (
	"cmp"
	"math"
	"slices"
)

// Trainer names this way of training: the same examples under the same name lead to
// the same model. It changes with everything that changes a model.
const Trainer = "intents/1"

// Threshold is the confidence below which a message counts as not understood. In the
// validation messages of CLINC150 it refuses three of four that fit no intent, and one in
// a hundred that fits and was guessed right.
const Threshold = 0.3

// Example is a message and what it wants.
type Example struct{ Intent, Text string }

// Guess is what a message may want, and how sure that is: of the messages guessed with
// a confidence of 0.8, four in five want just this.
type Guess struct {
	Intent     string
	Confidence float64 // 0 to 1
	Known      float64 // how much of the message the examples have, 0 to 1
}

// Model knows intents by examples. It may be used by several goroutines at once.
type Model struct {
	intents    []string // by class
	words      vocabulary
	weights    []int8    // of a feature for each class: [feature*classes + class]
	units      []float32 // what 1 in weights is worth, by class
	bias       []float32 // by class
	confidence confidence
}

// Train learns from examples. Their order does not matter, nor does saying one twice
// in the same words. Without examples it leads to a model that understands nothing.
func Train(examples []Example) *Model {
	examples = slices.Clone(examples)
	slices.SortFunc(examples, func(a, b Example) int {
		return cmp.Or(cmp.Compare(a.Intent, b.Intent), cmp.Compare(a.Text, b.Text))
	})
	examples = slices.Compact(examples)
	m := fit(examples)
	m.confidence = calibrate(examples)
	return m
}

// fit finds the weights, and leaves the confidence open.
func fit(examples []Example) *Model {
	m := &Model{words: learnVocabulary(examples)}
	rows, classes := make([]row, len(examples)), make([]int, len(examples))
	for i, e := range examples {
		if len(m.intents) == 0 || m.intents[len(m.intents)-1] != e.Intent {
			m.intents = append(m.intents, e.Intent)
		}
		rows[i], classes[i] = m.words.read(e.Text), len(m.intents)-1
	}
	m.separate(rows, classes)
	return m
}

// Classify tells what a text most likely wants. Of a text in which nothing is known it
// says nothing: the zero Guess.
func (m *Model) Classify(text string) Guess {
	margins, known := m.margins(text)
	if known == 0 {
		return Guess{}
	}
	best, s := judge(margins)
	return Guess{m.intents[best], m.confidence.of(s), known}
}

// Rank gives the n likeliest guesses, the best first; its first is Classify's.
func (m *Model) Rank(text string, n int) []Guess {
	margins, known := m.margins(text)
	if known == 0 {
		return nil
	}
	best, s := judge(margins)
	classes := ranked(margins)
	var guesses []Guess
	for _, class := range classes[:max(0, min(n, len(classes)))] {
		// A further guess is as much less likely than the first as its share is less.
		share := math.Exp(sharpness * float64(margins[class]-margins[best]))
		guesses = append(guesses, Guess{m.intents[class], m.confidence.of(s) * share, known})
	}
	return guesses
}

// Intents are the names that a guess may have, in order.
func (m *Model) Intents() []string { return slices.Clone(m.intents) }

// margins tells how far on each class's side of its boundary a text lies, and how much
// of it is known.
func (m *Model) margins(text string) (margins []float32, known float64) {
	r := m.words.read(text)
	margins = make([]float32, len(m.intents))
	for i, feature := range r.features {
		value := r.values[i]
		known += float64(value * value)
		weights := m.weights[int(feature)*len(margins):][:len(margins)]
		for class, weight := range weights {
			margins[class] += value * float32(weight)
		}
	}
	for class := range margins {
		margins[class] = margins[class]*m.units[class] + m.bias[class]
	}
	return margins, known
}
