package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestQuarantine_Bodies_AreListedAndUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if code, stdout, _ := w.cli("quarantine"); code != 0 || stdout != "nothing is in quarantine\n" {
		t.Errorf("empty: %d %s", code, stdout)
	}
	const body = "{\"no\": \"update\", \x1b[31m\xff\x00"
	w.mustPost(body)
	w.mustPost(body)
	w.mustPost(`[]`)
	code, stdout, _ := w.cli("quarantine", "list", "--bot", "demo")
	lines := strings.Split(stdout, "\n")
	if code != 0 || len(lines) != 3 ||
		!regexp.MustCompile(`^3 .* demo +2 bytes +1 times +the body is not a JSON object$`).MatchString(lines[0]) ||
		!regexp.MustCompile(`^1 .* demo +24 bytes +2 times +the body is not a JSON object$`).MatchString(lines[1]) {
		t.Errorf("list: %d\n%s", code, stdout)
	}
	if _, stdout, _ := w.cli("quarantine", "--bot", "other"); stdout != "nothing is in quarantine\n" {
		t.Errorf("of another bot: %s", stdout)
	}
	if code, stdout, _ := w.cli("quarantine", "show", "1"); code != 0 || stdout != body {
		t.Errorf("show: %d %q", code, stdout)
	}
	if code, _, stderr := w.cli("quarantine", "show", "77"); code != 1 ||
		!strings.Contains(stderr, "body 77 is not in quarantine") {
		t.Errorf("show 77: %d %s", code, stderr)
	}
}
