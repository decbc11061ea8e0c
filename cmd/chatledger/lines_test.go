package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// lineLimit is the greatest length of a Go line in characters; a tab is one.
const lineLimit = 120

// longLines returns the numbers of the lines that are longer than lineLimit.
func longLines(text string) (numbers []int) {
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		if n++; utf8.RuneCountInString(line) > lineLimit {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func TestGoLines_AllFiles_WithinLimit(t *testing.T) {
	t.Parallel()
	root, files := filepath.Join("..", ".."), 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."): // .git, .data
			return filepath.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, n := range longLines(string(text)) {
			t.Errorf("%s:%d: the line has more than %d characters: break it", path, n, lineLimit)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d Go files were checked", files)
	}
}

func TestLongLines_LineAboveLimit_Numbered(t *testing.T) {
	t.Parallel()
	fits, long := "\t"+strings.Repeat("ä", lineLimit-1), strings.Repeat("a", lineLimit+1)
	if got := longLines(fits + "\n" + long + "\n"); !slices.Equal(got, []int{2}) {
		t.Errorf("got %v, want [2]", got)
	}
}
