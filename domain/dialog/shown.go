package dialog

import "strings"

// Shown is what people see of a text: no tags, and characters for their references.
func (f Format) Shown(text string) string {
	if f != HTML {
		return text
	}
	glyphs, err := parseHTML(text)
	if err != nil {
		return text
	}
	var b strings.Builder
	for _, g := range glyphs {
		b.WriteRune(g.r)
	}
	return b.String()
}
