package intents

import (
	"math"
	"slices"
	"unicode"
)

const (
	// maxRunes is how much of a text is read: wishes are said at the beginning, and a
	// message takes 200 microseconds at most.
	maxRunes = 400
	// shortestPiece and longestPiece are the lengths of the pieces of words, in runes:
	// they see through endings, compounds and misspellings.
	shortestPiece, longestPiece = 2, 4
	// pairReach is how many words apart two words may be to count as a pair.
	pairReach = 8
	// manyExamples is from how many examples on a feature must occur in two of them: what
	// only one has is then more than half of the memory and helps nothing. Of few examples
	// nothing can be spared.
	manyExamples = 5000
	// featuresOfAMessage is what most messages have at most: room for them is made at once.
	featuresOfAMessage = 512
)

// Kinds of features, which keep equal hashes of different things apart.
const (
	aWord uint64 = iota + 1
	wordsInOrder
	wordsAnyhow
	firstWord
	firstWords
	lastWord
	aPiece
)

// vocabulary is what is known of features.
type vocabulary struct {
	index   map[uint64]uint32 // by the hash of a feature
	rarity  []float32         // what an occurrence is worth, by feature
	unknown float32           // what one of an unknown feature would be worth
}

// A row is a text as the classifier sees it: features, each with a value. The squares of
// the values add up to 1 when all of the text is known, and to less when it is not.
type row struct {
	features []uint32
	values   []float32
}

// learnVocabulary weighs features by how few of the examples have them, with the
// square root of the usual logarithm: among short messages rare words are
// overrated otherwise.
func learnVocabulary(examples []Example) vocabulary {
	texts := map[uint64]int{}
	var hashes []uint64
	for _, e := range examples {
		hashes, _ = features(hashes[:0], e.Text)
		slices.Sort(hashes)
		for _, hash := range slices.Compact(hashes) {
			texts[hash]++
		}
	}
	fewest := 1
	if len(examples) >= manyExamples {
		fewest = 2
	}
	var known []uint64
	for hash, n := range texts {
		if n >= fewest {
			known = append(known, hash)
		}
	}
	slices.Sort(known)
	rarity := func(n int) float32 {
		return float32(math.Sqrt(1 + math.Log(float64(1+len(examples))/float64(1+n))))
	}
	v := vocabulary{index: make(map[uint64]uint32, len(known)), unknown: rarity(0)}
	for i, hash := range known {
		v.index[hash] = uint32(i)
		v.rarity = append(v.rarity, rarity(texts[hash]))
	}
	return v
}

// read sees a text as known features. Words and pieces count for half each; within
// these a feature counts by its rarity and, less and less, by its occurrences. What is
// unknown has its share, too, so that a text of which little is known lies near no
// intent.
func (v *vocabulary) read(text string) row {
	hashes, words := features(make([]uint64, 0, featuresOfAMessage), text)
	r := row{make([]uint32, 0, len(hashes)), make([]float32, 0, len(hashes))}
	v.view(&r, hashes[:words])
	v.view(&r, hashes[words:])
	return r
}

// view adds one half of a text to its row.
func (v *vocabulary) view(r *row, hashes []uint64) {
	start := len(r.features)
	var all float32 // the sum of squares
	for _, hash := range hashes {
		if feature, ok := v.index[hash]; ok {
			r.features = append(r.features, feature)
		} else {
			all += v.unknown * v.unknown
		}
	}
	found := r.features[start:]
	slices.Sort(found)
	distinct := 0
	for i := 0; i < len(found); {
		feature, times := found[i], 0
		for ; i < len(found) && found[i] == feature; i++ {
			times++
		}
		value := v.rarity[feature] * (1 + float32(math.Log(float64(times))))
		all += value * value
		found[distinct] = feature
		distinct++
		r.values = append(r.values, value)
	}
	r.features = r.features[:start+distinct]
	if all == 0 {
		return
	}
	scale := float32(math.Sqrt(0.5 / float64(all)))
	for i := start; i < len(r.values); i++ {
		r.values[i] *= scale
	}
}

// features appends the hashes of what a text has: first those about whole words, of
// which it tells the number, then the pieces of words.
func features(hashes []uint64, text string) (all []uint64, words int) {
	var room [maxRunes]rune
	letters, ends := split(room[:0], text)
	var wordRoom [maxRunes]uint64
	hashed := wordRoom[:0]
	start := 0
	for _, end := range ends {
		hashed = append(hashed, hashRunes(aWord, letters[start:end]))
		start = end
	}
	for i, word := range hashed {
		hashes = append(hashes, word)
		for j := i + 1; j < len(hashed) && j <= i+pairReach; j++ {
			hashes = append(hashes, hashPair(wordsAnyhow, min(word, hashed[j]), max(word, hashed[j])))
		}
		if i+1 < len(hashed) {
			hashes = append(hashes, hashPair(wordsInOrder, word, hashed[i+1]))
		}
	}
	if n := len(hashed); n > 1 { // how a message begins and ends tells questions from orders
		hashes = append(hashes, hashPair(firstWord, hashed[0], 0),
			hashPair(firstWords, hashed[0], hashed[1]), hashPair(lastWord, hashed[n-1], 0))
	}
	words = len(hashes)
	start = 0
	for _, end := range ends {
		hashes = pieces(hashes, letters[start:end])
		start = end
	}
	return hashes, words
}

// pieces appends the hashes of the pieces of a word, whose two ends count as a letter.
func pieces(hashes []uint64, word []rune) []uint64 {
	const edge = ' '
	at := func(i int) rune {
		if i == 0 || i == len(word)+1 {
			return edge
		}
		return word[i-1]
	}
	for i := range len(word) + 2 {
		hash := aPiece
		for n := 1; n <= longestPiece && i+n <= len(word)+2; n++ {
			hash = mix(hash, uint64(at(i+n-1)))
			if n >= shortestPiece {
				hashes = append(hashes, hash)
			}
		}
	}
	return hashes
}

// split appends the words of a text in small letters, one behind the other, and tells
// where each ends. Signs that say something are words: ?, !, %, currencies, emoji.
func split(letters []rune, text string) (_ []rune, ends []int) {
	start, n := 0, 0
	ends = make([]int, 0, 64)
	end := func() {
		if len(letters) > start {
			ends = append(ends, len(letters))
			start = len(letters)
		}
	}
	for _, r := range text {
		if n++; n > maxRunes {
			break
		}
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r):
			letters = append(letters, unicode.ToLower(r))
		case r == '?', r == '!', r == '%', unicode.IsSymbol(r) && r != unicode.ReplacementChar:
			end()
			letters = append(letters, r)
			end()
		default:
			end()
		}
	}
	end()
	return letters, ends
}

func hashRunes(kind uint64, runes []rune) uint64 {
	hash := kind
	for _, r := range runes {
		hash = mix(hash, uint64(r))
	}
	return hash
}

func hashPair(kind, a, b uint64) uint64 { return mix(mix(kind, a), b) }

// mix folds a value into a hash, so that two of the some million features that
// examples may have are never the same one by chance. It is the finish of
// SplitMix64 (Steele, Lea and Flood, 2014).
func mix(hash, value uint64) uint64 {
	z := hash*0x9e3779b97f4a7c15 + value
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
