// Package text has the few ways in which commands format counts and lists.
package text

import (
	"fmt"
	"strings"
)

func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func Join[S ~string](all []S) string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = string(one)
	}
	return strings.Join(texts, ", ")
}

func OrNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
