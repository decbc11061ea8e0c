package knowledge

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/chatledger/chatledger/domain/dialog"
)

func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/knowledge.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block is a fenced code block whose first line names a file.
var block = regexp.MustCompile("(?ms)^```[a-z]*\n# ([a-z/._]+)\n(.*?)^```$")

func TestDocs_Example_Works(t *testing.T) {
	t.Parallel()
	folder := fstest.MapFS{}
	for _, match := range block.FindAllStringSubmatch(guide(t), -1) {
		folder[match[1]] = &fstest.MapFile{Data: []byte(match[2])}
	}
	k, err := Read(folder, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(folder) != 9 || len(k.Topics) != 3 || len(k.Rules) != 2 {
		t.Errorf("read %d files, %d intents and %d rules, want 9, 3 and 2", len(folder), len(k.Topics), len(k.Rules))
	}
	turn := dialog.Take(dialog.Context{Knowledge: k}, dialog.Act{Text: "could I book a table for four"})
	if len(turn.Replies) != 1 || !strings.HasPrefix(turn.Replies[0].Text, "For which day?") {
		t.Errorf("a booking begins with %+v", turn)
	}
}

func TestDocs_Guide_NamesAllChoices(t *testing.T) {
	t.Parallel()
	text := guide(t)
	named := func(what string) {
		if !strings.Contains(text, "`"+what+"`") {
			t.Errorf("the guide does not name %s", what)
		}
	}
	for word := range maps.Keys(dialog.Words()) {
		named(string(word))
	}
	for _, check := range dialog.Checks {
		named(string(check))
	}
	for _, tool := range dialog.Toolbox {
		row := regexp.MustCompile("(?m)^\\| `" + tool.Name + "`.*$").FindString(text)
		if (strings.Contains(row, "(changes)")) != tool.Writes {
			t.Errorf("%s changes something: %t, but the guide says %q", tool.Name, tool.Writes, row)
		}
		for _, field := range append(tool.Input, tool.Output...) {
			if !strings.Contains(row, "`"+field.Name+"`") {
				t.Errorf("the guide does not name the field %s of %s: %q", field.Name, tool.Name, row)
			}
		}
	}
}
