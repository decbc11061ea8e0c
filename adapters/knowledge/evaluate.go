package knowledge

import (
	"cmp"
	"maps"
	"slices"

	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/intents"
)

// folds is the number of parts of the cross-validation.
const folds = 5

// Trial is the result of a cross-validation.
type Trial struct {
	Examples, Right int
	Asked           int         // below the threshold: the customer is asked
	Mistaken        int         // taken for another intent: the customer gets a wrong answer
	Confusions      []Confusion // the most frequent first
}

// Confusion is an intent that was classified as another one.
type Confusion struct {
	Meant, Taken dialog.Intent
	Times        int
	Examples     []Example // all of them
}

// Try cross-validates: each example is classified by a model that was trained on four in
// five of the others. It takes as long as training five times.
func Try(examples []Example, threshold float64) Trial {
	part := partition(examples)
	trial := Trial{Examples: len(examples)}
	confused := map[[2]dialog.Intent]*Confusion{}
	for fold := range folds {
		var rest []Example
		for i, e := range examples {
			if part[i] != fold {
				rest = append(rest, e)
			}
		}
		wishes, _ := labelled(rest)
		model := intents.Train(wishes)
		for i, e := range examples {
			if part[i] != fold {
				continue
			}
			taken := understood(model.Classify(e.Text), threshold)
			switch {
			case taken == e.Intent:
				trial.Right++
				continue
			case taken == dialog.Unknown:
				trial.Asked++
				continue
			}
			trial.Mistaken++
			pair := [2]dialog.Intent{e.Intent, taken}
			if confused[pair] == nil {
				confused[pair] = &Confusion{Meant: e.Intent, Taken: taken}
			}
			confused[pair].Times++
			confused[pair].Examples = append(confused[pair].Examples, e)
		}
	}
	for c := range maps.Values(confused) {
		trial.Confusions = append(trial.Confusions, *c)
	}
	slices.SortFunc(trial.Confusions, func(a, b Confusion) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.Meant, b.Meant), cmp.Compare(a.Taken, b.Taken))
	})
	return trial
}

// partition assigns each example to a part, so that each intent is spread over all parts.
func partition(examples []Example) []int {
	count := map[string]int{}
	part := make([]int, len(examples))
	for i, e := range examples {
		part[i] = count[e.File] % folds
		count[e.File]++
	}
	return part
}

func understood(guess intents.Guess, threshold float64) dialog.Intent {
	if guess.Confidence < threshold {
		return dialog.Unknown
	}
	return dialog.Intent(guess.Intent)
}
