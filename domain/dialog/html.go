package dialog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Format is how the text of a message is written.
type Format string

// Formats.
const (
	Plain Format = ""
	HTML  Format = "html" // the small set of tags that Telegram knows
)

// tags are those that Telegram knows.
var tags = []string{"a", "b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "code", "pre", "blockquote",
	"span", "tg-spoiler", "tg-emoji", "tg-time"}

const (
	htmlSpace = " \t\n\r\v\x00"
	// maxTag bounds how much of a wrong tag an error shows, in bytes.
	maxTag = 30
)

// tag is a tag that is open at some place, with those around it.
type tag struct {
	name  string
	start string // the start tag, as it was written
	outer *tag   // nil for the outermost
	depth int    // 1 for the outermost
}

func (t *tag) level() int {
	if t == nil {
		return 0
	}
	return t.depth
}

// path is the tags from the outermost down to t.
func (t *tag) path() []*tag {
	path := make([]*tag, t.level())
	for ; t != nil; t = t.outer {
		path[t.depth-1] = t
	}
	return path
}

// below is how many tags are opened between a place in other and one in t.
func (t *tag) below(other *tag) int { return t.level() - common(t, other).level() }

// common is the innermost tag that both stand in.
func common(a, b *tag) *tag {
	for a != b {
		if a.level() >= b.level() {
			a = a.outer
		} else {
			b = b.outer
		}
	}
	return a
}

// parseHTML reads a text as Telegram's server does.
func parseHTML(text string) ([]glyph, error) {
	glyphs := make([]glyph, 0, len(text))
	var in *tag
	for rest := text; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "</"):
			name, after, ok := strings.Cut(rest[2:], ">")
			if name = strings.ToLower(strings.TrimRight(name, htmlSpace)); !ok || in == nil || name != in.name &&
				name != "" {
				return nil, wrong(rest, "closes no tag that is open there")
			}
			in, rest = in.outer, after
		case rest[0] == '<':
			opened, after, err := readTag(rest)
			if err != nil {
				return nil, wrong(rest, err.Error())
			}
			if opened.outer, opened.depth = in, in.level()+1; opened.depth > maxEntities {
				return nil, wrong(rest, "stands in too many others")
			}
			in, rest = opened, after
		case rest[0] == '&':
			r, after := readReference(rest)
			if !utf8.ValidRune(r) {
				return nil, wrong(rest, "stands for no character")
			}
			glyphs, rest = append(glyphs, glyph{r, in}), after
		default:
			r, size := utf8.DecodeRuneInString(rest)
			glyphs, rest = append(glyphs, glyph{r, in}), rest[size:]
		}
	}
	if in != nil {
		return nil, wrong(in.start, "is not closed")
	}
	return glyphs, nil
}

// wrong is the error of a tag or a reference at the beginning of rest.
func wrong(rest, what string) error {
	if i := strings.IndexAny(rest, ">;"); i >= 0 {
		rest = rest[:i+1]
	}
	if len(rest) > maxTag {
		rest = strings.ToValidUTF8(rest[:maxTag], "") + "…"
	}
	return fmt.Errorf("%s %s", rest, what)
}

var errUnclosed = errors.New("has no end: write &lt; for a < that begins no tag")

// readTag reads the start tag that text begins with.
func readTag(text string) (t *tag, after string, err error) {
	end := strings.IndexAny(text, htmlSpace+">")
	if end < 0 {
		return nil, "", errUnclosed
	}
	t = &tag{name: strings.ToLower(text[1:end])}
	if !slices.Contains(tags, t.name) {
		return nil, "", fmt.Errorf("is not one of Telegram's tags (%s): write &lt; for a < that begins no tag",
			strings.Join(tags, " "))
	}
	attributes := map[string]string{}
	for after = text[end:]; ; {
		if after = strings.TrimLeft(after, htmlSpace); strings.HasPrefix(after, ">") {
			break
		}
		var name, value string
		if name, value, after, err = readAttribute(after); err != nil {
			return nil, "", err
		}
		attributes[name] = value
	}
	after = after[1:]
	t.start = text[:len(text)-len(after)]
	if id, err := strconv.ParseInt(attributes["emoji-id"], 10, 64); t.name == "tg-emoji" && (err != nil || id <= 0) {
		return nil, "", errors.New("needs an emoji-id, which is a number")
	}
	if t.name == "span" && attributes["class"] != "tg-spoiler" {
		return nil, "", errors.New(`needs class="tg-spoiler"`)
	}
	return t, after, nil
}

// readAttribute reads the attribute that text begins with. Its value is written as a
// word of letters, digits, dots and hyphens, or in quotes, or there is none.
func readAttribute(text string) (name, value, after string, err error) {
	end := strings.IndexAny(text, htmlSpace+`=>/"'`)
	switch {
	case end < 0:
		return "", "", "", errUnclosed
	case end == 0:
		return "", "", "", errors.New("has an attribute without a name")
	}
	name, after = text[:end], strings.TrimLeft(text[end:], htmlSpace)
	if !strings.HasPrefix(after, "=") {
		return name, "", after, nil
	}
	after = strings.TrimLeft(after[1:], htmlSpace)
	if after != "" && strings.ContainsAny(after[:1], `"'`) {
		var closed bool
		if value, after, closed = strings.Cut(after[1:], after[:1]); !closed {
			return "", "", "", errUnclosed
		}
		return name, value, after, nil
	}
	end = strings.IndexFunc(after, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-')
	})
	if end < 0 {
		return "", "", "", errUnclosed
	}
	if !strings.ContainsAny(after[end:end+1], htmlSpace+">") {
		return "", "", "", errors.New("has a value that needs quotes")
	}
	return name, after[:end], after[end:], nil
}

// maxReference bounds a numeric reference, in bytes without its semicolon: a longer
// one is text to Telegram.
const maxReference = 9

// readReference reads the character reference that text begins with. Telegram knows
// four names, and numbers; any other & is text. The semicolon may be missing.
func readReference(text string) (r rune, after string) {
	digits, base := "0123456789", 10
	skip := len("&#")
	switch {
	case strings.HasPrefix(text, "&#x"):
		digits, base, skip = digits+"abcdefABCDEF", 16, skip+1
	case !strings.HasPrefix(text, "&#"):
		name := text[1 : 1+span(text[1:], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")]
		named := map[string]rune{"lt": '<', "gt": '>', "amp": '&', "quot": '"'}
		if r = named[name]; r == 0 {
			return '&', text[1:]
		}
		return r, strings.TrimPrefix(text[1+len(name):], ";")
	}
	end := skip + span(text[skip:], digits)
	n, err := strconv.ParseInt(text[skip:end], base, 32)
	if err != nil || n == 0 || n >= utf8.MaxRune || end > maxReference {
		return '&', text[1:]
	}
	return rune(n), strings.TrimPrefix(text[end:], ";")
}

// span is the length of what text begins with of these ASCII characters.
func span(text, of string) int { return len(text) - len(strings.TrimLeft(text, of)) }

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// writeHTML is glyphs as Telegram's HTML, well-formed by itself.
func writeHTML(glyphs []glyph) string {
	var b strings.Builder
	var in *tag
	move := func(to *tag) {
		shared := common(in, to)
		for ; in != shared; in = in.outer {
			b.WriteString("</" + in.name + ">")
		}
		for _, t := range to.path()[shared.level():] {
			b.WriteString(t.start)
		}
		in = to
	}
	for _, g := range glyphs {
		if g.in != in {
			move(g.in)
		}
		b.WriteString(escape.Replace(string(g.r)))
	}
	move(nil)
	return b.String()
}
