package intents

import (
	"cmp"
	"math"
	"slices"
)

const (
	// sharpness turns margins into shares of a whole, as the factor in the exponents of
	// a softmax. Between 2 and 6 it hardly matters.
	sharpness = 3
	// folds is how many times a part of the examples is kept from training and guessed at.
	folds = 4
	// leftOutEvery is of how many intents each fold knows nothing of one: their messages
	// are as strange to it as those that fit no intent are to the model.
	leftOutEvery = 10
	// fewestIntents is how many intents there must be to leave one out: two remain.
	fewestIntents = 3
	// strangers is the share of messages that fit no intent, as confidence assumes it.
	strangers = 0.05
	// trust is how many trials the usual confidence counts for. A few hundred trials
	// outvote it; a handful does not.
	trust = 10
	// steps is how often the confidence is improved; it settles within ten.
	steps = 20
)

// usual is the confidence that thousands of examples of 77 and of 150 intents lead to,
// rounded: with hardly any examples it is this.
var usual = confidence{2.5, 2, 1}

// signals are what tells right guesses from wrong ones: 1, the margin of the guess, and
// the logarithm of its share among all intents, which is 0 when no other comes near.
// More was tried, and did not help.
type signals [3]float64

// confidence weighs signals, as a logistic regression. No weight but the first is below
// 0: a larger margin, or a larger share, never means less.
type confidence signals

func (c confidence) of(s signals) float64 {
	sum := 0.0
	for i, weight := range c {
		sum += weight * s[i]
	}
	return 1 / (1 + math.Exp(-sum))
}

// judge finds the best of the classes, and what tells how good that guess is.
func judge(margins []float32) (best int, s signals) {
	for class, margin := range margins {
		if margin > margins[best] {
			best = class
		}
	}
	all := 0.0
	for _, margin := range margins {
		all += math.Exp(sharpness * float64(margin-margins[best]))
	}
	return best, signals{1, float64(margins[best]), -math.Log(all)}
}

// trial is a guess at a message that was kept from training.
type trial struct {
	signals  signals
	right    bool
	stranger bool // of an intent that was kept from training, too
}

// calibrate learns how far guesses can be trusted.
func calibrate(examples []Example) confidence {
	fold := deal(examples)
	var trials []trial
	for n := range folds {
		trials = append(trials, tryOut(examples, fold, n)...)
	}
	return learnConfidence(trials)
}

// place is where an example takes part: in the fold in which it is guessed at, and
// where its whole intent is strange, or -1.
type place struct{ kept, strange int }

// deal spreads the examples of each intent, and the intents, over the folds.
func deal(examples []Example) []place {
	places := make([]place, 0, len(examples))
	groups := slices.Collect(byIntent(examples))
	every := min(leftOutEvery, len(groups))
	order := make([]int, len(groups)) // a place in line for each intent
	for i := range order {
		order[i] = i
	}
	d := dice(0)
	d.shuffle(order)
	for i, group := range groups {
		strange := -1
		if len(groups) >= fewestIntents {
			strange = order[i] % every
		}
		first := d.below(folds)
		within := make([]int, len(group))
		for k := range within {
			within[k] = (first + k) % folds
		}
		d.shuffle(within)
		for _, kept := range within {
			places = append(places, place{kept, strange})
		}
	}
	return places
}

// byIntent yields the examples of one intent after the other.
func byIntent(examples []Example) func(yield func([]Example) bool) {
	return func(yield func([]Example) bool) {
		for len(examples) > 0 {
			n := 1
			for n < len(examples) && examples[n].Intent == examples[0].Intent {
				n++
			}
			if !yield(examples[:n]) {
				return
			}
			examples = examples[n:]
		}
	}
}

// tryOut trains without what a fold keeps, and guesses at that.
func tryOut(examples []Example, places []place, fold int) []trial {
	var seen, kept []Example
	var strange []bool
	for i, e := range examples {
		switch p := places[i]; {
		case p.strange == fold, p.kept == fold:
			kept, strange = append(kept, e), append(strange, p.strange == fold)
		default:
			seen = append(seen, e)
		}
	}
	m := fit(seen)
	var trials []trial
	for i, e := range kept {
		if margins, known := m.margins(e.Text); known > 0 {
			best, s := judge(margins)
			trials = append(trials, trial{s, m.intents[best] == e.Intent, strange[i]})
		}
	}
	return trials
}

// learnConfidence fits the confidence to trials by Newton's method. It begins with the
// usual one and is drawn to it, all the less the more trials there are.
func learnConfidence(trials []trial) confidence {
	weight := strangersWeigh(trials)
	c := usual
	for range steps {
		var slope signals
		var bend [len(slope)][len(slope)]float64
		for i := range slope {
			slope[i] = trust * (usual[i] - c[i])
			bend[i][i] = trust
		}
		for _, t := range trials {
			p, truth, w := c.of(t.signals), 0.0, 1.0
			if t.right {
				truth = 1
			}
			if t.stranger {
				w = weight
			}
			for i := range slope {
				slope[i] += w * (truth - p) * t.signals[i]
				for j := range slope {
					bend[i][j] += w * p * (1 - p) * t.signals[i] * t.signals[j]
				}
			}
		}
		for i, step := range solve(bend, slope) {
			if c[i] += step; i > 0 {
				c[i] = max(c[i], 0)
			}
		}
	}
	return c
}

// strangersWeigh tells what a trial with a strange intent must count for, that they
// have their share.
func strangersWeigh(trials []trial) float64 {
	n := 0
	for _, t := range trials {
		if t.stranger {
			n++
		}
	}
	return strangers / (1 - strangers) * float64(len(trials)-n) / float64(max(n, 1))
}

// solve finds x with a·x = b for a positive definite a, by elimination.
func solve(a [3][3]float64, b signals) signals {
	for i := range b {
		for j := i + 1; j < len(b); j++ {
			factor := a[j][i] / a[i][i]
			for k := i; k < len(b); k++ {
				a[j][k] -= factor * a[i][k]
			}
			b[j] -= factor * b[i]
		}
	}
	for i := len(b) - 1; i >= 0; i-- {
		for j := i + 1; j < len(b); j++ {
			b[i] -= a[i][j] * b[j]
		}
		b[i] /= a[i][i]
	}
	return b
}

// ranked lists the classes by margin, the largest first.
func ranked(margins []float32) []int {
	order := make([]int, len(margins))
	for class := range order {
		order[class] = class
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(margins[b], margins[a]) })
	return order
}
