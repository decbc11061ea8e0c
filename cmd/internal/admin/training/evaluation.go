package training

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/chatledger/chatledger/domain/intents"
)

// confusionsShown is how many pairs of intents an evaluation lists.
const confusionsShown = 10

// evaluation is the result of classifying test messages.
type evaluation struct {
	guesses   []evaluated
	confused  map[confusion]int
	unknown   map[string]int // messages by intent, of intents without an example
	durations []time.Duration
}

type evaluated struct {
	confidence     float64
	inScope, right bool
}

// confusion is an intent that was classified as another.
type confusion struct{ wanted, guessed string }

func newEvaluation() *evaluation {
	return &evaluation{confused: map[confusion]int{}, unknown: map[string]int{}}
}

// add classifies every message, and measures the time of each.
func (v *evaluation) add(m *intents.Model, test []Sample, none string) {
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

// counts are the numbers of test messages above and below a threshold.
type counts struct {
	inScope, right             int // right: the best guess, at any confidence
	outOfScope, refused        int // refused: out of scope, and below the threshold
	understood, understoodWell int // above the threshold; understoodWell: and right
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

// percent returns a share as text, or - when there is nothing to divide.
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

	fmt.Fprintf(out, "accuracy             %s  best guess right at any confidence, of those in scope\n",
		percent(c.right, c.inScope))
	fmt.Fprintf(out, "at threshold         %.2f\n", threshold)
	fmt.Fprintf(out, "in-scope accuracy    %s  right and understood, of those in scope\n",
		percent(c.understoodWell, c.inScope))
	fmt.Fprintf(out, "out-of-scope recall  %s  not understood, of those out of scope\n",
		percent(c.refused, c.outOfScope))
	fmt.Fprintf(out, "precision            %s  right, of those understood\n",
		percent(c.understoodWell, c.understood))
	fmt.Fprintf(out, "coverage             %s  understood, of all\n\n",
		percent(c.understood, len(v.guesses)))

	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "threshold\tin-scope accuracy\tout-of-scope recall\tprecision\tcoverage")
	for tenth := range 10 {
		t := float64(tenth) / 10
		c := v.at(t)
		fmt.Fprintf(table, "%.1f\t%s\t%s\t%s\t%s\n", t,
			percent(c.understoodWell, c.inScope), percent(c.refused, c.outOfScope),
			percent(c.understoodWell, c.understood), percent(c.understood, len(v.guesses)))
	}
	table.Flush()
	v.printConfusions(out)
}

// printConfusions lists the pairs of intents that are confused most often.
func (v *evaluation) printConfusions(out io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(v.unknown)) {
		fmt.Fprintf(out, "\n%q has no example, and %d messages in the test: if that is on purpose, name it with --oos\n",
			name, v.unknown[name])
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
