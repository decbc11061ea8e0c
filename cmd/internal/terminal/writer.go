package terminal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// Output returns a writer to out. If out is a terminal, what a terminal would obey or hide is written
// as an escape, unless raw is set. A pipe or a file gets everything as it is.
func Output(out io.Writer, raw bool) io.Writer {
	if file, ok := out.(*os.File); ok && !raw && term.IsTerminal(int(file.Fd())) {
		return NewWriter(out)
	}
	return out
}

// Writer makes control characters, characters that change the direction of text, and other invisible
// ones visible: \u001b, as JSON writes it, so that JSON stays JSON. Line feeds and tabs pass, and so do
// joiners, which emoji and some scripts are written with. A byte that is not UTF-8 becomes \x9b.
type Writer struct {
	out  io.Writer
	rest []byte // the beginning of a character whose end has not been written yet
}

// NewWriter returns a Writer to out.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	text := p
	if len(w.rest) > 0 {
		text = append(w.rest, p...)
		w.rest = nil
	}
	var b bytes.Buffer
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1 && !utf8.FullRune(text):
			w.rest, size = bytes.Clone(text), len(text)
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case obeyed(r):
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		default:
			b.Write(text[:size])
		}
		text = text[size:]
	}
	if _, err := w.out.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

const (
	nonJoiner = '\u200c'
	joiner    = '\u200d'
)

// obeyed reports whether a terminal does something with a character other than showing it.
func obeyed(r rune) bool {
	switch r {
	case '\n', '\t', nonJoiner, joiner:
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
