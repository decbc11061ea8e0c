package knowledge

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

const (
	// maxSearched is how long a broken file may be, in bytes, to be searched for the line:
	// it is parsed some dozens of times for that.
	maxSearched = 64 << 10
	// maxOver is over how many lines a list in brackets or a quotation goes at most, for
	// the search; longer ones are taken for the mistake.
	maxOver = 30
)

// parserSays takes apart an error of the YAML parser.
var parserSays = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)

// broken is the line in which a text stops being YAML, and how. The line that the parser
// names is often that where the block begins, one less, or none.
func broken(text []byte, err error) (line int, says string) {
	says = err.Error()
	if match := parserSays.FindStringSubmatch(says); match != nil {
		line, _ = strconv.Atoi(match[1])
		says = match[2]
	}
	if len(text) <= maxSearched {
		line = brokenLine(text)
	}
	return line, says
}

// brokenLine is the line after the longest beginning of a text that is YAML. What is
// broken stays so however much of the text follows, so that the line is found by halving;
// but the beginning of a list in brackets is no YAML either, until it is closed.
func brokenLine(text []byte) int {
	lines := slices.Collect(bytes.Lines(text))
	sound := func(n int) bool {
		var node yaml.Node
		return yaml.Unmarshal(bytes.Join(lines[:n], nil), &node) == nil
	}
	for good := 0; ; {
		bad := len(lines)
		for bad-good > 1 {
			if middle := (good + bad) / 2; sound(middle) {
				good = middle
			} else {
				bad = middle
			}
		}
		closed := bad + 1
		for closed <= min(bad+maxOver, len(lines)) && !sound(closed) {
			closed++
		}
		if closed > min(bad+maxOver, len(lines)) {
			return bad
		}
		good = closed
	}
}
