package yamlfile

import (
	"strings"
	"testing"
	"time"
)

func TestParse_InvalidText_LineToCorrect(t *testing.T) {
	t.Parallel()
	before := "a:\n  b: [x,\n    y]\n  c: 'two\n    lines'\nd:\n" + strings.Repeat("  - e\n", 20)
	for name, c := range map[string]struct {
		text string
		line int
	}{
		"a colon":               {"f: g: h\ni: j\n", 27},
		"a bracket":             {"f: {g: h {i}.}\nj: k\n", 27},
		"a tab":                 {"\tf: g\nh: i\n", 27},
		"an indentation":        {" f: g\nh: i\n", 27},
		"a quotation left open": {"f: 'g\nh: i\nj: k\n", 27},
		"a list left open":      {"f: [g\nh: i\n", 27},
		"the end of the file":   {"f: [", 27},
		"an unknown alias":      {"f: *g\nh: i\n", 27},
		"a reserved character":  {"f: @g\nh: i\n", 27},
		"no colon":              {"f: g\nh\ni: j\n", 28},
		"no colon at the end":   {"f: g\nh", 28},
		"an item's indentation": {"f:\n  - g: h\n    i: j\n   k: l\n", 30},
		"a missing comma":       {"f: [g\n  h: i, j\nk: l\n", 27},
		"bytes":                 {"f: g\nh: \xff\xfe\n", 28},
		"a control character":   {"f: g\nh: \x01\n", 28},
	} {
		root, _, wrong := Parse([]byte(before + c.text))
		if root != nil || wrong == nil || wrong.Line != c.line || wrong.Says == "" {
			t.Errorf("%s: %+v, want line %d", name, wrong, c.line)
		}
	}
}

func TestParse_SecondDocument_LineReturned(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		empty  bool
		second int
	}{
		"":                 {true, 0},
		"# comment\n":      {true, 0},
		"a: b\n":           {false, 0},
		"a: b\n---\nc: d":  {false, 2},
		"a: b\n---\n*no\n": {false, 1},
	} {
		if root, second, wrong := Parse([]byte(text)); wrong != nil || (root == nil) != want.empty || second != want.second {
			t.Errorf("%q: %v, second document in line %d, %v", text, root, second, wrong)
		}
	}
}

func TestDecodeKnown_WrongValues_KeyAndTypeNamed(t *testing.T) {
	t.Parallel()
	type bot struct {
		Token string             `yaml:"token"`
		Rate  map[string]float64 `yaml:"rate"`
		Count int                `yaml:"count"`
		Wait  time.Duration      `yaml:"wait"`
		Kinds []string           `yaml:"kinds"`
		On    *bool              `yaml:"on"`
		CRM   struct {
			URL string `yaml:"url"`
		} `yaml:"crm"`
	}
	text := "shop:\n  tokn: s3cret\n  rate: {bot: s3cret}\n  count: 12:s3cret\n  wait: soon\n  kinds: {}\n  on: 7\n" +
		"  crm: s3cret\n  token: [s3cret]\n"
	var into map[string]bot
	root, mistakes := DecodeKnown([]byte(text), &into)
	want := []Mistake{
		{2, "field tokn not found"},
		{3, "shop.rate.bot must be a number, not text"},
		{4, "shop.count must be a whole number, not text"},
		{5, "shop.wait must be a duration such as 45s or 1h30m, not text"},
		{6, "shop.kinds must be a list, not lines of `key: value`"},
		{7, "shop.on must be true or false, not a number"},
		{8, "shop.crm must be lines of `key: value`, not text"},
		{9, "shop.token must be text, not a list"},
	}
	if root == nil || len(mistakes) != len(want) {
		t.Fatalf("%v, %+v", root, mistakes)
	}
	for i := range want {
		if mistakes[i] != want[i] {
			t.Errorf("%+v, want %+v", mistakes[i], want[i])
		}
	}
}

func TestDecode_KeyTwice_BothLinesNamed(t *testing.T) {
	t.Parallel()
	var into map[string]string
	_, mistakes := Decode([]byte("a: b\nc: d\na: e\n"), &into)
	if len(mistakes) != 1 || mistakes[0] != (Mistake{3, `mapping key "a" already defined at line 1`}) {
		t.Errorf("%+v", mistakes)
	}
}
