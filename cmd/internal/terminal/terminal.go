// Package terminal prepares text for people at a terminal. Much of the text is written by
// others, and a terminal must not obey the control characters in it.
package terminal

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// OneLine returns text as one line of at most limit characters, without control characters.
func OneLine(text string, limit int) string {
	return Shorten(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text), limit)
}

// Shorten cuts text to at most limit characters, and marks the cut.
func Shorten(text string, limit int) string {
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return text
}

// Age returns the time since at, in the largest unit that suits people.
func Age(at, now time.Time) string {
	switch d := now.Sub(at); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
