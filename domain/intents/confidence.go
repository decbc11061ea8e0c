package intents

import "math"

// sharpness turns margins into shares of a whole, as the exponents of a softmax.
const sharpness = 3

const signalCount = 5

// signals are what is told of a guess beside the guess.
type signals [signalCount]float64

func signalsOf(margins []float32, r row) signals {
	var first, second float32 = -math.MaxFloat32, -math.MaxFloat32
	for _, m := range margins {
		if m > first {
			first, second = m, first
		} else if m > second {
			second = m
		}
	}
	if len(margins) < 2 {
		second = -1
	}
	all := 0.0
	for _, m := range margins {
		all += math.Exp(sharpness * float64(m-first))
	}
	return signals{1, float64(first), float64(second), -math.Log(all), float64(r.known)}
}

// confidence turns signals into a probability.
type confidence signals

func (c confidence) of(s signals) float64 {
	sum := 0.0
	for i, w := range c {
		sum += w * s[i]
	}
	return 1 / (1 + math.Exp(-sum))
}

const (
	folds         = 4
	outOfScope    = 1.0 / 6
	leaveOutEvery = 10
)

// trial is a guess about a message that was kept from training.
type trial struct {
	signals signals
	right   bool
	weight  float64
}

// calibrate learns how far guesses can be trusted.
func calibrate(examples []Example) confidence {
	return learnConfidence(tryOut(examples))
}

// tryOut guesses at messages that a model was not trained on: every fold keeps a part of each
// intent's examples, and some intents altogether.
func tryOut(examples []Example) []trial {
	var trials []trial
	in, out := 0.0, 0.0
	for fold := range folds {
		var seen, kept []Example
		var strange int
		_ = strange
		class, within := -1, 0
		isOut := func() bool { return mix(uint64(class), 77)%leaveOutEvery == uint64(fold) }
		outFrom := map[int]bool{}
		for i, e := range examples {
			if i == 0 || examples[i-1].Intent != e.Intent {
				class, within = class+1, 0
			}
			within++
			switch {
			case isOut():
				outFrom[len(kept)] = true
				kept = append(kept, e)
			case mix(uint64(within), uint64(class))%folds == uint64(fold):
				kept = append(kept, e)
			default:
				seen = append(seen, e)
			}
		}
		m := fit(seen)
		for i, e := range kept {
			margins, r := m.margins(e.Text)
			if len(r.values) == 0 {
				continue
			}
			best := 0
			for c := range margins {
				if margins[c] > margins[best] {
					best = c
				}
			}
			t := trial{signalsOf(margins, r), m.intents[best] == e.Intent, 1}
			if outFrom[i] {
				t.weight = -1
				out++
			} else {
				in++
			}
			trials = append(trials, t)
		}
	}
	for i := range trials {
		if trials[i].weight < 0 {
			trials[i].weight = outOfScope / (1 - outOfScope) * in / out
		}
	}
	return trials
}

// learnConfidence is a logistic regression by Newton's method.
func learnConfidence(trials []trial) confidence {
	var c confidence
	for range 30 {
		var g [signalCount]float64
		var h [signalCount][signalCount]float64
		for i := range g {
			g[i] = -1e-3 * c[i] * 10
			h[i][i] = 1e-3 * 10
		}
		for _, t := range trials {
			p := c.of(t.signals)
			y := 0.0
			if t.right {
				y = 1
			}
			for i := range g {
				g[i] += t.weight * (y - p) * t.signals[i]
				for j := range g {
					h[i][j] += t.weight * p * (1 - p) * t.signals[i] * t.signals[j]
				}
			}
		}
		step := solveLinear(h, g)
		for i := range c {
			c[i] += step[i]
		}
	}
	return c
}

func solveLinear(a [signalCount][signalCount]float64, b [signalCount]float64) [signalCount]float64 {
	for i := range b {
		for j := i + 1; j < signalCount; j++ {
			f := a[j][i] / a[i][i]
			for k := i; k < signalCount; k++ {
				a[j][k] -= f * a[i][k]
			}
			b[j] -= f * b[i]
		}
	}
	for i := signalCount - 1; i >= 0; i-- {
		for j := i + 1; j < signalCount; j++ {
			b[i] -= a[i][j] * b[j]
		}
		b[i] /= a[i][i]
	}
	return b
}
