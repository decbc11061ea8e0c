package intents

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// load reads examples of intent and message, a tab between them.
func load(t testing.TB, file string) (examples []Example) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		intent, text, _ := strings.Cut(strings.TrimSpace(line), "\t")
		examples = append(examples, Example{intent, text})
	}
	return examples
}

// shop is a model of a small shop that is written to in three languages.
var shop = sync.OnceValue(func() *Model {
	return Train(load(&testing.B{}, "testdata/shop.tsv"))
})

func TestClassifier_UnseenMessages_Understood(t *testing.T) {
	t.Parallel()
	right, inScope, refused, outOfScope := 0, 0, 0, 0
	for _, e := range load(t, "testdata/shop-test.tsv") {
		g := shop().Classify(e.Text)
		if e.Intent == "oos" {
			outOfScope++
			if g.Confidence < 0.5 {
				refused++
			}
			continue
		}
		inScope++
		if g.Intent == e.Intent && g.Confidence >= Threshold {
			right++
		} else {
			t.Logf("%q is taken for %v", e.Text, g)
		}
	}
	// Some may go wrong: eleven examples of an intent in three languages are few.
	if right < inScope-2 || refused < outOfScope-2 {
		t.Errorf("%d of %d understood, %d of %d strange ones found", right, inScope, refused, outOfScope)
	}
}

func TestTrain_SameExamples_SameModel(t *testing.T) {
	// Not parallel: the number of processors is changed.
	examples := load(t, "testdata/shop.tsv")
	first, err := Train(examples).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, processors := range []int{1, 7} {
		runtime.GOMAXPROCS(processors)
		slices.Reverse(examples)
		again, err := Train(append(examples, examples[3])).MarshalBinary()
		if err != nil || !bytes.Equal(first, again) {
			t.Errorf("on %d processors, in another order and with one said twice, the model differs (%v)", processors,
				err)
		}
	}
}

func TestConfidence_Margin_GrowsAsProbability(t *testing.T) {
	t.Parallel()
	c := shop().confidence
	last := 0.0
	for margin := -3.0; margin < 3; margin += 0.25 {
		p := c.of(signals{1, margin, -0.5})
		if p <= last || p >= 1 {
			t.Errorf("margin %v: confidence %v after %v", margin, p, last)
		}
		if alone := c.of(signals{1, margin, 0}); alone < p {
			t.Errorf("margin %v: %v without a rival, %v with one", margin, alone, p)
		}
		last = p
	}
}

func TestConfidence_Trials_Calibrate(t *testing.T) {
	t.Parallel()
	// Of guesses without a margin three in four are right, of those with one, all but few.
	var trials []trial
	for i := range 4000 {
		trials = append(trials, trial{signals{1, 0, 0}, i%4 > 0, false}, trial{signals{1, 1, 0}, i%50 > 0, false})
	}
	c := learnConfidence(trials)
	if low, high := c.of(signals{1, 0, 0}), c.of(signals{1, 1, 0}); low < 0.73 || low > 0.77 || high < 0.96 ||
		high > 0.99 {
		t.Errorf("confidence %v where 0.75 are right, %v where 0.98 are", low, high)
	}
	if c := learnConfidence(nil); c != usual {
		t.Errorf("without trials the confidence is %v", c)
	}
	// What speaks against sense is not believed.
	for i := range trials {
		trials[i].right = !trials[i].right
	}
	if c := learnConfidence(trials); c[1] < 0 {
		t.Errorf("a larger margin counts for less: %v", c)
	}
}

func TestCrossValidation_Folds_CoverEachExampleOnce(t *testing.T) {
	t.Parallel()
	examples := load(t, "testdata/shop.tsv")
	places := deal(examples)
	var kept, strange [folds]int
	for i, p := range places {
		if i > 0 && examples[i].Intent == examples[i-1].Intent && p.strange != places[i-1].strange {
			t.Errorf("a part of %s is strange", examples[i].Intent)
		}
		kept[p.kept]++
		if p.strange >= 0 && p.strange < folds {
			strange[p.strange]++
		}
	}
	for fold := range folds {
		if kept[fold] < len(examples)/folds-5 || kept[fold] > len(examples)/folds+5 || strange[fold] == 0 ||
			strange[fold] > len(examples)/2 {
			t.Errorf("fold %d keeps %d of %d examples, and %d are strange to it", fold, kept[fold], len(examples),
				strange[fold])
		}
	}
}

func TestRank_Order_StartsWithBestGuess(t *testing.T) {
	t.Parallel()
	const text = "I want to change the address of my order"
	ranked := shop().Rank(text, 3)
	if len(ranked) != 3 || ranked[0] != shop().Classify(text) {
		t.Fatalf("ranked %v, guessed %v", ranked, shop().Classify(text))
	}
	if !slices.IsSortedFunc(ranked, func(a, b Guess) int { return int(1e9 * (b.Confidence - a.Confidence)) }) {
		t.Errorf("%v does not fall", ranked)
	}
	if all := shop().Rank(text, 100); len(all) != len(shop().Intents()) {
		t.Errorf("of %d intents %d are ranked", len(shop().Intents()), len(all))
	}
	if none := shop().Rank(text, -1); len(none) != 0 {
		t.Errorf("fewer than none are %v", none)
	}
}

func TestClassifier_AnyText_GetsGuess(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", " ", "\x00", "\xff\xfe\xfd", "🚀🔥", "注文はどこですか", "где мой заказ",
		"wo ist мой 注文 🚀?", strings.Repeat("x", 4096),
		strings.Repeat("where is my order ", 230), strings.Repeat("é", 4096), "\u202e\u0301\u0301",
		strings.Repeat("👩‍👩‍👧", 500)} {
		g := shop().Classify(text)
		if !(g.Confidence >= 0 && g.Confidence <= 1) || !(g.Known >= 0 && g.Known < 1.001) ||
			(g.Intent == "") != (g.Confidence == 0) {
			t.Errorf("%.20q is taken for %v", text, g)
		}
	}
	for _, text := range []string{"", "注文", "🚀🔥", "\xff\xfe"} {
		if g := shop().Classify(text); g != (Guess{}) {
			t.Errorf("of %q nothing is known, and it is taken for %v", text, g)
		}
	}
	if a, b := shop().Classify("WHERE IS MY ORDER"), shop().Classify("where is my order"); a != b {
		t.Errorf("capitals: %v and %v", a, b)
	}
}

func TestTrain_FewExamples_Works(t *testing.T) {
	t.Parallel()
	for n := range 6 {
		var examples []Example
		for i := range n {
			examples = append(examples, Example{fmt.Sprint("intent", i), fmt.Sprint("message number ", i)})
		}
		m := Train(examples)
		if g := m.Classify("message"); !(g.Confidence >= 0 && g.Confidence <= 1) || (n == 0) != (g == Guess{}) {
			t.Errorf("of %d examples: %v", n, g)
		}
	}
}

func TestEncode_RoundTrip_GuessesTheSame(t *testing.T) {
	t.Parallel()
	data, err := shop().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var m Model
	if err := m.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	for _, e := range load(t, "testdata/shop-test.tsv") {
		if a, b := shop().Classify(e.Text), m.Classify(e.Text); a != b {
			t.Errorf("%q: %v, and read back %v", e.Text, a, b)
		}
	}
}

func TestDecode_DamagedModel_Rejected(t *testing.T) {
	t.Parallel()
	data, err := shop().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	m := *shop()
	for _, bad := range [][]byte{nil, []byte("rubbish"), []byte(format), data[:len(data)-1], data[1:],
		append(slices.Clone(data), 0),
		bytes.Replace(data, []byte("intents 1"), []byte("intents 0"), 1)} {
		if err := m.UnmarshalBinary(bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("%d bytes %.30q: %v", len(bad), bad, err)
		}
	}
	for at := 0; at < len(data); at += 997 {
		bad := slices.Clone(data)
		bad[at] ^= 0x10
		if err := m.UnmarshalBinary(bad); !errors.Is(err, ErrDamaged) {
			t.Errorf("a wrong bit in byte %d: %v", at, err)
		}
	}
	if m.Classify("where is my order").Intent != "order_status" {
		t.Error("refused bytes changed the model")
	}
}

func TestGuess_Allocations_AreFew(t *testing.T) {
	m := shop()
	if n := testing.AllocsPerRun(100, func() { m.Classify("where on earth is my order, please?") }); n > 6 {
		t.Errorf("%v allocations a message", n)
	}
}
