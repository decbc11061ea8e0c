package telemetry

import "strings"

// OneLine joins the lines of an error for a log or a terminal. It omits a line that the next one repeats:
// pgx reports an address twice, once with TLS and once without.
func OneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if n := len(lines); n > 0 && strings.HasPrefix(line, lines[n-1]) {
			lines[n-1] = line // the longer one, for example with advice
		} else if line != "" {
			lines = append(lines, line)
		}
	}
	var b strings.Builder
	for i, line := range lines {
		switch {
		case i > 0 && strings.HasSuffix(lines[i-1], ":"):
			b.WriteString(" ")
		case i > 0:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return b.String()
}
