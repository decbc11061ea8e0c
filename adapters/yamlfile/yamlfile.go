// Package yamlfile reads YAML configuration. It reports every mistake with its line and, if it is in a
// value, with the key. It never quotes values, because they may be secrets.
package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Mistake is a mistake in a file.
type Mistake struct {
	Line int // 0 if the mistake concerns the whole file
	Says string
}

// Parse returns the content of the first document; nil if the text is empty. second is the line of a second
// document; 0 if there is none.
func Parse(text []byte) (root *yaml.Node, second int, wrong *Mistake) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document, next yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, 0, nil
	case err != nil:
		mistakes := explain(text, nil, err)
		return nil, 0, &mistakes[0]
	}
	if !errors.Is(decoder.Decode(&next), io.EOF) {
		second = max(next.Line, 1)
	}
	if len(document.Content) == 0 {
		return nil, second, nil
	}
	return document.Content[0], second, nil
}

// Decode decodes the first document of a text into a pointer. With mistakes, it decodes the rest. The root is
// nil if the text is empty or not YAML.
func Decode(text []byte, into any) (root *yaml.Node, mistakes []Mistake) {
	return decode(text, into, false)
}

// DecodeKnown is Decode, but also reports keys that the type does not have.
func DecodeKnown(text []byte, into any) (root *yaml.Node, mistakes []Mistake) {
	return decode(text, into, true)
}

func decode(text []byte, into any, known bool) (root *yaml.Node, mistakes []Mistake) {
	root, _, wrong := Parse(text)
	if wrong != nil {
		return nil, []Mistake{*wrong}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(known)
	if err := decoder.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		mistakes = explain(text, root, err)
	}
	return root, mistakes
}

// explain translates the parser's errors.
func explain(text []byte, root *yaml.Node, err error) (mistakes []Mistake) {
	var several *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &several):
		for _, e := range several.Errors {
			mistakes = append(mistakes, Mistake{line(text, e), says(root, e)})
		}
	case errors.As(err, &one):
		mistakes = append(mistakes, Mistake{line(text, one), says(root, one)})
	}
	if len(mistakes) == 0 {
		mistakes = append(mistakes, Mistake{Says: err.Error()})
	}
	return mistakes
}

// line returns the line that must be corrected. For a list or a quotation without an end this is its first
// line, otherwise the line in which the parser stopped.
func line(text []byte, e *yaml.LoadError) int {
	at := e.Mark.Line
	for _, begun := range []string{"flow", "quoted scalar", "simple key"} {
		if strings.Contains(e.ContextMsg, begun) && e.ContextMark.Line > 0 {
			at = e.ContextMark.Line
		}
	}
	if at == 0 { // an error of the parser's reader has no line
		at = unreadableLine(text)
	}
	return min(at, 1+bytes.Count(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")))
}

// unreadableLine returns the first line with bytes that are not text; 0 if there is none.
func unreadableLine(text []byte) int {
	line := 0
	for one := range bytes.Lines(text) {
		line++
		control := bytes.IndexFunc(one,
			func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f })
		if !utf8.Valid(one) || control >= 0 {
			return line
		}
	}
	return 0
}

var (
	mistyped     = regexp.MustCompile("^cannot construct (!!\\w+)(?s: `.*`)? into (.*)$")
	unknownField = regexp.MustCompile(`^field (.*) not found in type .*$`)
)

// says returns the parser's message without values and Go types.
func says(root *yaml.Node, e *yaml.LoadError) string {
	if match := mistyped.FindStringSubmatch(e.Message); match != nil {
		key := keyAt(root, e.Mark)
		if key == "" {
			key = "the value"
		}
		return fmt.Sprintf("%s must be %s, not %s", key, wanted(match[2]), found(match[1]))
	}
	if match := unknownField.FindStringSubmatch(e.Message); match != nil {
		return fmt.Sprintf("field %s not found", match[1])
	}
	message, _, _ := strings.Cut(e.Message, " (value: ")
	if strings.HasPrefix(message, "found character that cannot start") {
		message += ": indent with spaces, not tabs, and put quotes around text with special characters"
	}
	return message
}

// keyAt returns the path of keys to the value at a position, such as rate.bot.
func keyAt(n *yaml.Node, at yaml.Mark) string {
	if n == nil {
		return ""
	}
	for i, child := range n.Content {
		under := ""
		if n.Kind == yaml.MappingNode {
			if i%2 == 0 {
				continue
			}
			under = n.Content[i-1].Value
		}
		if child.Line == at.Line && child.Column == at.Column && under != "" {
			return under
		}
		if below := keyAt(child, at); below != "" {
			return strings.TrimPrefix(under+"."+below, ".")
		}
	}
	return ""
}

// wanted returns a name for a Go type that authors of YAML understand.
func wanted(goType string) string {
	switch goType = strings.TrimLeft(goType, "*"); {
	case goType == "string":
		return "text"
	case goType == "bool":
		return "true or false"
	case goType == "time.Duration":
		return "a duration such as 45s or 1h30m"
	case strings.HasPrefix(goType, "float"):
		return "a number"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a whole number"
	case strings.HasPrefix(goType, "["):
		return "a list"
	default:
		return "lines of `key: value`"
	}
}

// found returns a name for the type of a value.
func found(tag string) string {
	switch tag {
	case "!!str":
		return "text"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!seq":
		return "a list"
	case "!!map":
		return "lines of `key: value`"
	case "!!null":
		return "empty"
	default:
		return tag
	}
}
