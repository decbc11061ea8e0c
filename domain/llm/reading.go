package llm

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/chatledger/chatledger/domain"
)

// An attack is seldom written plainly. A text is therefore read in several ways, each of
// which undoes a disguise: letters of other alphabets and styles, digits for letters,
// letters set apart, words turned round, and codes.

// lookAlike are letters that are drawn like Latin ones, and Latin ones with marks.
var lookAlike = pairs("аaеeоoрpсcуyхxіiјjѕsԁdһhкkмmнhтtвbгrпnαaβbεeηnιiκkνvοoρpτtυuχxɡgıi")
var withMark = pairs("áaàaâaäaãaåaāaąaçcćcčcďdéeèeêeëeēeęeěeíiìiîiïiīiłlñnńnňnóoòoôoöoõoøoōo" +
	"řrśsšsşsťtúuùuûuüuūuůuýyÿyźzžzżzğgßs")
var digits = pairs("0o1i3e4a5s7t8b@a$s!i|l")

func pairs(list string) map[rune]rune {
	runes, m := []rune(list), map[rune]rune{}
	for i := 0; i+1 < len(runes); i += 2 {
		m[runes[i]] = runes[i+1]
	}
	return m
}

// plain is a text in small letters without marks, styles and signs that nobody sees.
func plain(text string) string {
	text = strings.NewReplacer("n't", "nt", "n’t", "nt").Replace(text)
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 0xE0020 && r < 0xE007F: // tags, which are not drawn
			r -= 0xE0000
		case r >= 0xFF01 && r <= 0xFF5E: // full width
			r -= 0xFEE0
		case r >= 0x1D400 && r <= 0x1D6A3: // bold, italic, script, ...
			r = 'a' + (r-0x1D400)%52%26
		case r >= 0x24B6 && r <= 0x24E9: // in circles
			r = 'a' + (r-0x24B6)%26
		case r >= 0x1F130 && r <= 0x1F189: // in squares
			r = 'a' + (r-0x1F130)%32%26
		case unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Mn, r) || r == 0xAD:
			return -1
		}
		r = unicode.ToLower(r)
		if base, marked := withMark[r]; marked {
			return base
		}
		return r
	}, text)
}

func swap(text string, with map[rune]rune) string {
	return strings.Map(func(r rune) rune {
		if other, ok := with[r]; ok {
			return other
		}
		return r
	}, text)
}

var (
	code64 = regexp.MustCompile(`[A-Za-z0-9+/_-]{16,}={0,2}`)
	// Letters that spaces set apart are words apart by more of them; those that other
	// signs do, by any.
	wideGap = regexp.MustCompile(`\s{2,}|\s*[/|]\s*|\n`)
	anyGap  = regexp.MustCompile(`\s+`)
	codeHex = regexp.MustCompile(`(?:[0-9a-fA-F]{2}[\s:]?){12,}`)
)

// readings are the words of a text in each way of reading it that differs from the others.
func readings(text string) [][]string {
	text = domain.Shorten(text, readMax)
	written := plain(text)
	ways := []string{
		written, swap(written, lookAlike), swap(swap(written, lookAlike), digits), rot13(written), reversed(written),
	}
	for _, found := range code64.FindAllString(text, codesMax) {
		found = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(found, "="))
		if decoded, err := base64.RawStdEncoding.DecodeString(found); err == nil && legible(decoded) {
			ways = append(ways, plain(string(decoded)))
		}
	}
	for _, found := range codeHex.FindAllString(text, codesMax) {
		found = strings.NewReplacer(" ", "", ":", "", "\n", "", "\t", "").Replace(found)
		if decoded, err := hex.DecodeString(found); err == nil && legible(decoded) {
			ways = append(ways, plain(string(decoded)))
		}
	}
	var all [][]string
	for i, way := range ways {
		if !slices.Contains(ways[:i], way) {
			words := strings.FieldsFunc(way,
				func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' })
			if all = append(all, words); apart(words) {
				all = append(all, spelt(way, wideGap), spelt(way, anyGap))
			}
		}
	}
	return all
}

// Bounds of a reading: of Telegram's longest message, in characters, and of the codes in
// it that are tried.
const (
	readMax  = 5000
	codesMax = 4
)

func legible(text []byte) bool {
	return utf8.Valid(text) && !slices.ContainsFunc([]rune(string(text)),
		func(r rune) bool { return unicode.IsControl(r) && !unicode.IsSpace(r) })
}

// apart reports whether letters are set apart: several words in a row have one.
func apart(words []string) bool {
	row := 0
	for _, w := range words {
		if row++; utf8.RuneCountInString(w) != 1 {
			row = 0
		}
		if row >= 5 {
			return true
		}
	}
	return false
}

// spelt reads letters that are set apart, by these words' gaps.
func spelt(text string, gap *regexp.Regexp) []string {
	var words []string
	for _, part := range gap.Split(text, -1) {
		if word := strings.Join(strings.FieldsFunc(part,
			func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), ""); word != "" {
			words = append(words, word)
		}
	}
	return words
}

func rot13(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return 'a' + (r-'a'+13)%26
		}
		return r
	}, text)
}

func reversed(text string) string {
	runes := []rune(text)
	slices.Reverse(runes)
	return string(runes)
}
