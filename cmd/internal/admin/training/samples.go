// Package training trains the classifier of messages from files of examples, and measures
// how well it classifies.
package training

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/chatledger/chatledger/domain/intents"
)

// maxLine limits a line of examples, in bytes: Telegram's longest message has a quarter of it.
const maxLine = 64 << 10

// Sample is a line of a file of examples.
type Sample struct {
	intents.Example
	language string
}

// ReadSamples reads a file of examples. An error names the line.
func ReadSamples(file string) ([]Sample, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var samples []Sample
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	n := 0
	for lines.Scan() {
		n++
		s, err := readSample(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		if s.Intent != "" {
			samples = append(samples, s)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("%s:%d: a line longer than %d bytes: is this a file of examples?",
			file, n+1, maxLine)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", file, err)
	case len(samples) == 0:
		return nil, fmt.Errorf("%s: no examples: write lines of intent, tab, message", file)
	}
	return samples, nil
}

// readSample parses a line. A blank line has no sample.
func readSample(line []byte) (Sample, error) {
	if !utf8.Valid(line) {
		return Sample{}, errors.New("not UTF-8: save the file as UTF-8 text")
	}
	line = bytes.TrimPrefix(line, []byte("\ufeff"))
	if len(bytes.TrimSpace(line)) == 0 {
		return Sample{}, nil
	}
	columns := strings.Split(strings.TrimRight(string(line), "\r\n"), "\t")
	for i := range columns {
		columns[i] = strings.TrimSpace(columns[i])
	}
	if len(columns) < 2 || len(columns) > 3 || columns[0] == "" || columns[1] == "" {
		return Sample{}, errors.New("write intent, tab, message, and perhaps another tab and the language")
	}
	s := Sample{Example: intents.Example{Intent: columns[0], Text: columns[1]}}
	if len(columns) == 3 {
		s.language = columns[2]
	}
	return s, nil
}
