package telemetry

import "testing"

func TestOneLine_SeveralLines_JoinsThem(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "",
		"one":                                 "one",
		"yaml: errors:\n  line 1\n  line 2\n": "yaml: errors: line 1; line 2",
		"connect:\n\ta: refused\n\ta: refused: look at a": "connect: a: refused: look at a",
	} {
		if got := OneLine(text); got != want {
			t.Errorf("OneLine(%q) = %q, want %q", text, got, want)
		}
	}
}
