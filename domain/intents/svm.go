package intents

import (
	"math"
	"runtime"
	"slices"
)

const (
	// penalty is what a message on the wrong side of a boundary costs; one of the class
	// costs penaltyClass, as it stands against all the others, and they are many. That is
	// for a class of middling size. In a smaller one each message costs as much more:
	// what teams have many examples of is not what customers ask most.
	penalty      = 1
	penaltyClass = 3
	// rounds is how often all examples are gone through at most; nearly every class is
	// done before.
	rounds = 20
	// closeEnough ends the search: so far may the steepest and the flattest direction
	// still differ. Closer does not classify better.
	closeEnough = 0.1
)

// separate finds a boundary between each class and all the others: a linear support
// vector machine with squared hinge loss, by coordinate descent on the dual problem
// (Hsieh, Chang, Lin, Keerthi and Sundararajan, 2008). Classes do not depend on each
// other, so every processor takes the next one.
func (m *Model) separate(rows []row, classes []int) {
	n := len(m.words.rarity)
	m.weights = make([]int8, n*len(m.intents))
	m.units, m.bias = make([]float32, len(m.intents)), make([]float32, len(m.intents))
	todo := make(chan int, len(m.intents))
	for class := range m.intents {
		todo <- class
	}
	close(todo)
	done := make(chan struct{})
	workers := min(runtime.GOMAXPROCS(0), len(m.intents))
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			s := newSolver(rows, n)
			for class := range todo {
				s.solve(classes, class)
				m.keep(class, s.weights, s.bias)
			}
		}()
	}
	for range workers {
		<-done
	}
}

// keep rounds a class's weights to bytes: the model is a quarter as large then. A text
// has hundreds of features, among which the errors cancel out.
func (m *Model) keep(class int, weights []float32, bias float32) {
	var most float32
	for _, w := range weights {
		most = max(most, w, -w)
	}
	m.bias[class] = bias
	if most == 0 {
		return
	}
	m.units[class] = most / math.MaxInt8
	for feature, w := range weights {
		m.weights[feature*len(m.intents)+class] = int8(math.Round(float64(w / m.units[class])))
	}
}

// solver finds boundaries, one class after the other in the same memory.
type solver struct {
	rows    []row
	weights []float32
	bias    float32
	duals   []float32 // by row: how much it holds the boundary where it is
	lengths []float32 // by row: its square, the bias among its values
	order   []int
}

func newSolver(rows []row, features int) *solver {
	s := &solver{rows: rows, weights: make([]float32, features), duals: make([]float32, len(rows)),
		lengths: make([]float32, len(rows)), order: make([]int, len(rows))}
	for i, r := range rows {
		s.lengths[i] = 1
		for _, v := range r.values {
			s.lengths[i] += v * v
		}
	}
	return s
}

// solve leaves in weights and bias the boundary of a class. Rows that lie far on their
// side are left out of further rounds until all others have settled.
func (s *solver) solve(classes []int, class int) {
	clear(s.weights)
	clear(s.duals)
	s.bias = 0
	for i := range s.order {
		s.order[i] = i
	}
	slackClass := s.slackOf(classes, class)
	dice := dice(class)
	active, settled := len(s.order), float32(math.MaxFloat32)
	for range rounds {
		var steepest, flattest float32 = -math.MaxFloat32, math.MaxFloat32
		dice.shuffle(s.order[:active])
		for k := 0; k < active; k++ {
			i := s.order[k]
			side, slack := float32(-1), float32(1)/(2*penalty)
			if classes[i] == class {
				side, slack = 1, slackClass
			}
			gradient := s.side(i)*side - 1 + slack*s.duals[i]
			if s.duals[i] == 0 && gradient > settled {
				active--
				s.order[k], s.order[active] = s.order[active], s.order[k]
				k--
				continue
			}
			downhill := gradient
			if s.duals[i] == 0 {
				downhill = min(gradient, 0)
			}
			steepest, flattest = max(steepest, downhill), min(flattest, downhill)
			if downhill != 0 {
				s.move(i, side, gradient/(s.lengths[i]+slack))
			}
		}
		switch {
		case steepest-flattest >= closeEnough:
			if settled = steepest; settled <= 0 {
				settled = math.MaxFloat32
			}
		case active == len(s.order):
			return
		default: // look once more at what was left out
			active, settled = len(s.order), math.MaxFloat32
		}
	}
}

// slackOf tells how softly the messages of a class hold on to their side.
func (s *solver) slackOf(classes []int, class int) float32 {
	size := 0
	for _, c := range classes {
		if c == class {
			size++
		}
	}
	middling := float32(len(classes)) / float32(1+slices.Max(classes))
	return float32(size) / middling / (2 * penalty * penaltyClass)
}

// side tells on which side of the boundary a row lies, and how far.
func (s *solver) side(i int) float32 {
	r, sum := s.rows[i], s.bias
	values := r.values[:len(r.features)]
	for k, feature := range r.features {
		sum += s.weights[feature] * values[k]
	}
	return sum
}

// move takes a row's dual down by a step, as far as it goes, and the boundary with it.
func (s *solver) move(i int, side, step float32) {
	dual := max(s.duals[i]-step, 0)
	change := (dual - s.duals[i]) * side
	s.duals[i] = dual
	s.bias += change
	r := s.rows[i]
	values := r.values[:len(r.features)]
	for k, feature := range r.features {
		s.weights[feature] += change * values[k]
	}
}

// dice are pseudo-random numbers that are the same every time.
type dice uint64

func (d *dice) below(n int) int {
	*d++
	return int(mix(uint64(*d), 0) % uint64(n))
}

func (d *dice) shuffle(order []int) {
	for i := len(order) - 1; i > 0; i-- {
		j := d.below(i + 1)
		order[i], order[j] = order[j], order[i]
	}
}
