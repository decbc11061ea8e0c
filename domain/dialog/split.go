package dialog

import (
	"strings"
	"unicode"
	"unicode/utf16"
)

// Telegram's limits of what one message shows, in UTF-16 units: tags do not count,
// and a character reference counts as what it stands for.
const (
	MaxText    = 4096
	MaxCaption = 1024 // below a file
	MaxToast   = 200  // answer to a button
)

const (
	// leastPart says of how full a message must be, as a divisor of its limit, for a cut
	// that keeps a paragraph, a line or a word whole: less looks broken off.
	leastPart = 4
	// maxEntities is how many formatted stretches of a message Telegram shows; it
	// ignores the others.
	maxEntities = 100
)

// Split cuts a plain text into the messages that it takes, none longer than limit (2 at
// least): between paragraphs if possible, else between lines, words, characters as
// people see them, and only then within one. No part is empty, nor has it space at an
// end; a blank text has no parts.
func Split(text string, limit int) []string {
	glyphs := make([]glyph, 0, len(text))
	for _, r := range text {
		glyphs = append(glyphs, glyph{r: r})
	}
	var parts []string
	for _, part := range split(glyphs, limit) {
		var b strings.Builder
		for _, g := range part {
			b.WriteRune(g.r)
		}
		parts = append(parts, b.String())
	}
	return parts
}

// Toast is as much of a plain text as an answer to a button shows.
func Toast(text string) string {
	switch parts := Split(text, MaxToast); len(parts) {
	case 0:
		return ""
	case 1:
		return parts[0]
	default:
		return Split(text, MaxToast-1)[0] + "…"
	}
}

// SplitHTML is Split for Telegram's HTML. Tags that are open at a cut are closed there,
// and opened again behind it. The error says why Telegram would refuse the text.
func SplitHTML(text string, limit int) ([]string, error) {
	glyphs, err := parseHTML(text)
	if err != nil {
		return nil, err
	}
	var parts []string
	for _, part := range split(glyphs, limit) {
		parts = append(parts, writeHTML(part))
	}
	return parts, nil
}

// A glyph is a code point that is shown, and the innermost tag around it.
type glyph struct {
	r  rune
	in *tag
}

func (g glyph) space() bool { return unicode.IsSpace(g.r) }

func split(glyphs []glyph, limit int) (parts [][]glyph) {
	glyphs = trim(glyphs)
	for len(glyphs) > 0 {
		n := reach(glyphs, limit)
		if n < len(glyphs) {
			n = bestCut(glyphs, n)
		}
		parts = append(parts, trim(glyphs[:n]))
		glyphs = trim(glyphs[n:])
	}
	return parts
}

func trim(glyphs []glyph) []glyph {
	for len(glyphs) > 0 && glyphs[0].space() {
		glyphs = glyphs[1:]
	}
	for len(glyphs) > 0 && glyphs[len(glyphs)-1].space() {
		glyphs = glyphs[:len(glyphs)-1]
	}
	return glyphs
}

// reach is how many glyphs one message can hold; at least one.
func reach(glyphs []glyph, limit int) int {
	var outer *tag
	units, entities := 0, 0
	for i, g := range glyphs {
		units += utf16.RuneLen(g.r)
		entities += g.in.below(outer)
		if i > 0 && (units > limit || entities > maxEntities) {
			return i
		}
		outer = g.in
	}
	return len(glyphs)
}

// How good a place is for a cut.
const (
	withinCharacter = iota
	betweenCharacters
	betweenWords
	betweenLines
	betweenParagraphs
)

// bestCut is the last of the best places among the first most.
func bestCut(glyphs []glyph, most int) int {
	at, best := most, place(glyphs, most)
	for k := most - 1; k > 0 && k >= most/leastPart; k-- {
		if glyphs[k].space() {
			continue // the end of this space is as good
		}
		if p := place(glyphs, k); p > best {
			at, best = k, p
		}
	}
	return at
}

// place tells how good a cut before glyph k is.
func place(glyphs []glyph, k int) int {
	from, to := k, k
	for from > 0 && glyphs[from-1].space() {
		from--
	}
	for to < len(glyphs) && glyphs[to].space() {
		to++
	}
	if from == to {
		if joined(glyphs, k) {
			return withinCharacter
		}
		return betweenCharacters
	}
	lines := 0
	for _, g := range glyphs[from:to] {
		if g.r == '\n' {
			lines++
		}
	}
	return betweenWords + min(lines, 2)
}

const zeroWidthJoiner = '\u200d'

// extenders belong to the character before them, whatever it is: marks, variation
// selectors, skin tones, the tags of flags, vowels and finals of Hangul.
var extenders = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x1160, Hi: 0x11ff, Stride: 1}, {Lo: 0x200c, Hi: 0x200d, Stride: 1}},
	R32: []unicode.Range32{{Lo: 0x1f3fb, Hi: 0x1f3ff, Stride: 1}, {Lo: 0xe0020, Hi: 0xe007f, Stride: 1}},
}

// joined reports whether glyph k and the one before are one character to a reader. It
// knows what is common of Unicode's grapheme clusters, not all of it.
func joined(glyphs []glyph, k int) bool {
	if unicode.In(glyphs[k].r, unicode.M, extenders) || glyphs[k-1].r == zeroWidthJoiner {
		return true
	}
	flag := 0 // letters up to k: two make a flag
	for k-flag >= 0 && unicode.Is(unicode.Regional_Indicator, glyphs[k-flag].r) {
		flag++
	}
	return flag > 0 && flag%2 == 0
}
