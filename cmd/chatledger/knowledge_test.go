package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// knowledgeWith returns a folder with these files.
func knowledgeWith(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestKnowledgeCheck_Mistakes_OnePerLine(t *testing.T) {
	t.Parallel()
	dir := knowledgeWith(t, map[string]string{
		"bot.yaml":         "languages: [en]\ntreshold: 0.5\n",
		"intents/all.yaml": "refund:\n  answer: We give {money} back.\n",
		"rules.yaml":       "- {name: angry, words: [damn], priority: asap}\n",
	})
	code, stdout, stderr := command(t.Context(), "knowledge", "check", dir)
	if code != 1 || !strings.HasPrefix(stderr, "chatledger: ") || !strings.HasSuffix(stderr, ": 4 mistakes\n") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	for i, want := range []string{"bot.yaml:2: ", "intents/all.yaml:1: refund has no example",
		"intents/all.yaml:2: nothing fills {money}", "rules.yaml:1: "} {
		if len(lines) != 4 || !strings.HasPrefix(lines[i], want) {
			t.Fatalf("printed %q, want line %d to begin with %q", stdout, i+1, want)
		}
	}
}

func TestKnowledgeCheck_Intents_PrintsConfusions(t *testing.T) {
	t.Parallel()
	dir := knowledgeWith(t, map[string]string{
		"bot.yaml":         "languages: [en]\nthreshold: 0.1\n",
		"intents/all.yaml": "refund:\n  answer: Soon.\npayment:\n  answer: By card.\n",
		"intents/refund.txt": "I want my money back\nwhere is my refund\ngive me my money\n" +
			"when do I get my money back\nrefund please\nmoney for the broken lamp\n",
		"intents/payment.txt": "can I pay by card\nmy card was declined\nhow do I pay\n" +
			"which cards do you take\npay with my bank\nmoney for the second lamp\n",
	})
	code, stdout, stderr := command(t.Context(), "knowledge", "check", dir)
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d, stderr %q", code, stderr)
	}
	for _, want := range []string{`(?m)^hash       [0-9a-f]{16}$`, `(?m)^languages  en$`,
		`(?m)^trial .* \d+\.\d % understood, \d+\.\d % asked about \(below 0\.1\), \d+\.\d % mistaken$`,
		`(?m)^  \d+ x \w+ taken for \w+, such as intents/\w+\.txt:\d+ "`} {
		if !regexp.MustCompile(want).MatchString(stdout) {
			t.Errorf("nothing like %s in\n%s", want, stdout)
		}
	}
	if _, quick, _ := command(t.Context(), "knowledge", "check", "--quick", dir); !strings.HasPrefix(stdout, quick) ||
		strings.Contains(quick, "trial") {
		t.Errorf("a quick check prints\n%s", quick)
	}
	workflows := regexp.MustCompile(`(?m)^workflows  billing_address_change, .*troubleshooting$`)
	if _, shop, _ := command(t.Context(), "knowledge", "check", "--quick"); !workflows.MatchString(shop) {
		t.Errorf("of the shop it prints\n%s", shop)
	}
}

func TestKnowledgeCheck_Gaps_AreNamed(t *testing.T) {
	t.Parallel()
	dir := knowledgeWith(t, map[string]string{
		"bot.yaml":               "languages: [de]\n",
		"intents/all.yaml":       "erstattung:\n  answer: Innerhalb von 5 Tagen.\n",
		"intents/erstattung.txt": "Wo ist mein Geld?\nErstattung\n",
		"words.yaml":             "welcome: Hallo!\n",
	})
	code, stdout, stderr := command(t.Context(), "knowledge", "check", dir)
	if code != 0 || !strings.Contains(stdout, "intents/erstattung.txt has 2 examples") ||
		!regexp.MustCompile(`(?m)^words .*\bhelp\b.* are said in English`).MatchString(stdout) ||
		strings.Contains(stdout, "welcome") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

func TestKnowledgeTry_Message_PrintsTurn(t *testing.T) {
	t.Parallel()
	for text, wants := range map[string][]string{
		"Where is my order 1001?": {"intent      order_status\n", "language    en\n",
			"tool        order_status number=\"1001\"\n"},
		"Ich möchte mit einem Menschen reden": {"intent      person\n", "language    de\n",
			"person      high, because asked\n", "says        Natürlich."},
		"hello":  {"intent      greeting\n", "says        Hello! What can I do for you?\n            [Where is my order?]\n"},
		"qwertz": {"intent      unknown\n", "says        I'm not sure what you mean."},
	} {
		code, stdout, stderr := command(t.Context(), "knowledge", "try", text)
		for _, want := range wants {
			if code != 0 || stderr != "" || !strings.Contains(stdout, want) {
				t.Errorf("%q: exit %d, %q, want %q in\n%s", text, code, stderr, want, stdout)
			}
		}
	}
	refused(t, "no such file", "knowledge", "try", "--folder=/nowhere", "hello")
}
