package dialog_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/chatledger/chatledger/domain/dialog"
)

func TestSplit_LongText_CutAtBestPlace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		limit int
		want  []string
	}{
		"it fits":                        {"Hello there.", 12, []string{"Hello there."}},
		"blank":                          {" \n\t ", 12, nil},
		"space at its ends":              {"\n  Hello.  \n", 12, []string{"Hello."}},
		"a paragraph goes before a line": {"aaa\n\nbb bb\nbb bb", 14, []string{"aaa", "bb bb\nbb bb"}},
		"an empty line may hold spaces":  {"aaa\n \t\nbb bb\nbb bb", 14, []string{"aaa", "bb bb\nbb bb"}},
		"a line goes before a word":      {"aaaa aaaa\nbb bb bb", 14, []string{"aaaa aaaa", "bb bb bb"}},
		"a word goes before a character": {"aaaa bbbb cccc", 12, []string{"aaaa bbbb", "cccc"}},
		"the last of them":               {"a\n\nb\n\nc\n\nd", 7, []string{"a\n\nb\n\nc", "d"}},
		"a cut at the very limit":        {"aaaa bbbb", 4, []string{"aaaa", "bbbb"}},
		"space behind the limit":         {"aaaa      bbbb", 4, []string{"aaaa", "bbbb"}},
		"a paragraph that ends too soon": {"a\n\nbbbbbb bbbbbb bbbbbb", 16, []string{"a\n\nbbbbbb bbbbbb", "bbbbbb"}},
		"one long word":                  {"aaaaaaaaaa", 4, []string{"aaaa", "aaaa", "aa"}},
		"a pair of surrogates":           {"aaa😀", 4, []string{"aaa", "😀"}},
		"a family":                       {"aaa👨‍👩‍👧‍👦", 11, []string{"aaa", "👨‍👩‍👧‍👦"}},
		"a skin tone":                    {"aaa👍🏽", 6, []string{"aaa", "👍🏽"}},
		"flags":                          {"🇩🇪🇫🇷🇮🇹", 7, []string{"🇩🇪", "🇫🇷", "🇮🇹"}},
		"a flag of tags":                 {"aa🏴󠁧󠁢󠁷󠁬󠁳󠁿", 14, []string{"aa", "🏴󠁧󠁢󠁷󠁬󠁳󠁿"}},
		"a keycap":                       {"aaa1️⃣", 5, []string{"aaa", "1️⃣"}},
		"an accent of its own":           {"aaae\u0301", 4, []string{"aaa", "e\u0301"}},
		"syllables of Hangul": {
			"\u1112\u1161\u11ab\u1112\u1161", 4, []string{"\u1112\u1161\u11ab", "\u1112\u1161"},
		},
		"a character above the limit": {
			"e" + strings.Repeat("\u0301", 9), 5, []string{
				"e" + strings.Repeat("\u0301", 4), strings.Repeat("\u0301", 5),
			},
		},
		"right to left":           {"שלום לכולם", 6, []string{"שלום", "לכולם"}},
		"markup is text like any": {"<b>aa</b> &amp;", 9, []string{"<b>aa</b>", "&amp;"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, dialog.Split(c.text, c.limit)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestToast_LongText_FitsTelegramsLimit(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		" \n":                    "",
		strings.Repeat("a", 200): strings.Repeat("a", 200),
		strings.Repeat("a", 201): strings.Repeat("a", 199) + "…",
		strings.Repeat("😀", 101): strings.Repeat("😀", 99) + "…",
		strings.Repeat("word ", 39) + "hippopotamus": strings.TrimSpace(strings.Repeat("word ", 39)) + "…",
	} {
		if got := dialog.Toast(text); got != want || units(got) > dialog.MaxToast {
			t.Errorf("of %q %q is shown, want %q", text, got, want)
		}
	}
}

func TestSplitHTML_Tags_ClosedAndReopened(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		limit int
		want  []string
	}{
		"it fits":         {"<b>Hello</b> <i>you</i>", 9, []string{"<b>Hello</b> <i>you</i>"}},
		"nothing is seen": {"<b> </b><i></i>", 9, nil},
		"one tag":         {"<b>aaaa bbbb</b>", 4, []string{"<b>aaaa</b>", "<b>bbbb</b>"}},
		"nested tags": {
			"<b>aa <i>bb cc</i></b>", 5, []string{"<b>aa <i>bb</i></b>", "<b><i>cc</i></b>"},
		},
		"a cut between tags": {"<b>aaaa</b> <i>bbbb</i>", 4, []string{"<b>aaaa</b>", "<i>bbbb</i>"}},
		"a link keeps its address": {
			`<a href="https://e.org/?a=1&amp;b=2">aaaa bbbb</a>`, 4, []string{
				`<a href="https://e.org/?a=1&amp;b=2">aaaa</a>`, `<a href="https://e.org/?a=1&amp;b=2">bbbb</a>`,
			},
		},
		"code keeps its language": {
			`<pre><code class="language-go">a&lt;b c</code></pre>`, 3, []string{
				`<pre><code class="language-go">a&lt;b</code></pre>`, `<pre><code class="language-go">c</code></pre>`,
			},
		},
		"a quotation stays folded": {
			`<blockquote expandable>aaaa bbbb</blockquote>`, 4, []string{
				`<blockquote expandable>aaaa</blockquote>`, `<blockquote expandable>bbbb</blockquote>`,
			},
		},
		"two alike are not made one": {
			"<blockquote>a</blockquote><blockquote>b</blockquote>", 4, []string{
				"<blockquote>a</blockquote><blockquote>b</blockquote>",
			},
		},
		"references count once":     {"&lt;&#x1F600;&amp;&quot;", 5, []string{`&lt;😀&amp;"`}},
		"a reference is never cut":  {"aa&amp;&amp;", 3, []string{"aa&amp;", "&amp;"}},
		"a cut makes no reference":  {"a &ltx", 5, []string{"a", "&amp;ltx"}},
		"nor does it within a word": {"&ltx", 3, []string{"&amp;lt", "x"}},
		"other names are text":      {"&nbsp;", 9, []string{"&amp;nbsp;"}},
		"tags and all in capitals": {
			`<B>a</B><SPAN class=tg-spoiler>b</SPAN>`, 4, []string{`<B>a</b><SPAN class=tg-spoiler>b</span>`},
		},
		"a > in an address": {`<a href="a>b">c</a>`, 4, []string{`<a href="a>b">c</a>`}},
		"an emoji is not torn": {
			`aaa<tg-emoji emoji-id="5">👍🏽</tg-emoji>`, 6, []string{"aaa", `<tg-emoji emoji-id="5">👍🏽</tg-emoji>`},
		},
		"more than Telegram formats": {
			strings.Repeat("<b>a</b>", 150), 4096, []string{
				strings.Repeat("<b>a</b>", 100), strings.Repeat("<b>a</b>", 50),
			},
		},
		"space between tags is at cut": {
			"<b>aaaa</b>\n\n<i> </i>\n<u>bbbb</u>", 5, []string{"<b>aaaa</b>", "<u>bbbb</u>"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := dialog.SplitHTML(c.text, c.limit)
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Errorf("error %v; -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestSplitHTML_InvalidMarkup_Refused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"<br>":                         "<br> is not one of Telegram's tags",
		"<b/>":                         "not one of Telegram's tags",
		"a < b":                        "not one of Telegram's tags",
		"a <":                          "has no end",
		"<b":                           "has no end",
		"<a href":                      "has no end",
		"<a href=":                     "has no end",
		"<a href=x":                    "has no end",
		`<a href="x>y</a>`:             "has no end",
		`<a href="x"`:                  "has no end",
		`<a ="x">y</a>`:                "without a name",
		"<a href=x/>y</a>":             "needs quotes",
		"<b>a":                         "<b> is not closed",
		"a</b>":                        "</b> closes no tag",
		"<b>a</i>":                     "</i> closes no tag",
		"<b><i>a</b></i>":              "</b> closes no tag",
		"<b>a</b":                      "closes no tag",
		"<span>a</span>":               `needs class="tg-spoiler"`,
		`<span class="x">a</span>`:     `needs class="tg-spoiler"`,
		"<tg-emoji>👍</tg-emoji>":       "needs an emoji-id",
		`<tg-emoji emoji-id="x">👍`:     "needs an emoji-id",
		"&#xD800;":                     "&#xD800; stands for no character",
		strings.Repeat("<b>", 101):     "too many",
		"<" + strings.Repeat("é", 100): "…",
	} {
		parts, err := dialog.SplitHTML(text, 4096)
		if parts != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %q, error %v, want one with %q", text, parts, err, want)
		}
	}
}

// Whatever a text is made of

// characters are each one character to a reader.
var characters = []string{"a", "b", "é", "e\u0301", "ß", "漢", "字", "ש", "ل", "مُ", "नि", "\u1112\u1161\u11ab", "한",
	"😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🏴󠁧󠁢󠁷󠁬󠁳󠁿", "1️⃣", "<", ">", "&", "\"", "'", ";", "#", "l", "t", "\u200f",
	"\x00"}

var spaces = []string{" ", "  ", "\n", "\n\n", " \n \n ", "\t", "\u00a0"}

// words draws a text of characters and spaces.
func words(t *rapid.T) (text []string) {
	return rapid.SliceOf(rapid.OneOf(rapid.SampledFrom(characters), rapid.SampledFrom(characters),
		rapid.SampledFrom(spaces))).Draw(t, "text")
}

// markup draws a well-formed text in Telegram's HTML.
func markup(t *rapid.T, depth int) string {
	var b strings.Builder
	for range rapid.IntRange(0, 4).Draw(t, "pieces") {
		name := rapid.SampledFrom([]string{"b", "i", "tg-spoiler", "code", "pre", "a", "blockquote", "span"}).Draw(t,
			"tag")
		attributes := map[string]string{
			"a": ` href="https://e.org/?q=&lt;&amp;b"`, "blockquote": " expandable", "span": ` class='tg-spoiler'`,
		}[name]
		if depth > 0 && rapid.Bool().Draw(t, "tagged") {
			fmt.Fprintf(&b, "<%s%s>%s</%s>", name, attributes, markup(t, depth-1), name)
			continue
		}
		for _, c := range words(t) {
			switch rapid.IntRange(0, 3).Draw(t, "written") {
			case 0:
				for _, r := range c {
					if r == 0 {
						b.WriteRune(r) // which no reference stands for
						continue
					}
					fmt.Fprintf(&b, "&#%d;", r)
				}
			default:
				b.WriteString(strings.NewReplacer("<", "&lt;", ">", "&gt", "&", "&amp;").Replace(c))
			}
		}
	}
	return b.String()
}

var anyTag = regexp.MustCompile(`<[^>]*>`)

// seen is what a part in HTML shows; the tests' own reading of it, for what the parts
// may hold: every < begins a tag, and there are three references.
func seen(part string) string {
	return strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(anyTag.ReplaceAllString(part, ""))
}

// wellFormed reports whether each tag is closed in turn.
func wellFormed(part string) bool {
	var open []string
	for _, tag := range anyTag.FindAllString(part, -1) {
		name, _, _ := strings.Cut(strings.Trim(tag, "</>"), " ")
		switch n := len(open); {
		case tag[1] != '/':
			open = append(open, name)
		case n == 0 || open[n-1] != name:
			return false
		default:
			open = open[:n-1]
		}
	}
	return len(open) == 0
}

func unspaced(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
}

func units(text string) int { return len(utf16.Encode([]rune(text))) }

// wantParts checks what is true of the visible texts of any parts.
func wantParts(t *rapid.T, text string, parts []string, limit int) {
	for i, part := range parts {
		if n := units(part); n > limit || part == "" || strings.TrimSpace(part) != part {
			t.Fatalf("part %d of %d is %q, %d units of %d", i+1, len(parts), part, n, limit)
		}
		rest, found := strings.CutPrefix(strings.TrimSpace(text), part)
		if !found {
			t.Fatalf("part %d is %q, the text goes on with %q", i+1, part, text)
		}
		text = strings.TrimSpace(rest)
		// A quarter of the characters that fit; each may be of one or of two units.
		if space := units(rest) - units(text); text != "" && units(part)+space < limit/8 {
			t.Fatalf("part %d is only %q, and %q follows", i+1, part, text)
		}
	}
	if strings.TrimSpace(text) != "" {
		t.Fatalf("lost: %q", text)
	}
}

func TestSplit_AnyText_PartsAreTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(words(t), "")
		limit := rapid.IntRange(2, 60).Draw(t, "limit")
		parts := dialog.Split(text, limit)
		wantParts(t, text, parts, limit)
		for _, part := range parts {
			if again := dialog.Split(part, limit); !slices.Equal(again, []string{part}) {
				t.Fatalf("%q is cut again: %q", part, again)
			}
		}
	})
}

func TestSplitHTML_AnyMarkup_WholeAndWellFormed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := markup(t, 3)
		limit := rapid.IntRange(2, 60).Draw(t, "limit")
		whole, err := dialog.SplitHTML(text, 1<<30)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		parts, err := dialog.SplitHTML(text, limit)
		if err != nil {
			t.Fatal(err)
		}
		var shown []string
		for _, part := range parts {
			if !wellFormed(part) {
				t.Fatalf("%q is not well-formed", part)
			}
			if again, err := dialog.SplitHTML(part, limit); err != nil || !slices.Equal(again, []string{part}) {
				t.Fatalf("%q is cut again: %q (%v)", part, again, err)
			}
			shown = append(shown, seen(part))
		}
		wantParts(t, seen(strings.Join(whole, " ")), shown, limit)
	})
}

// TestSplit_Characters_StayWhole is of texts whose every character fits.
func TestSplit_Characters_StayWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := words(t)
		begins := map[int]bool{} // of characters, in the text without spaces
		length := 0
		for _, c := range text {
			begins[length] = true
			length += len(unspaced(c))
		}
		begins[length] = true
		at := 0
		for _, part := range dialog.Split(strings.Join(text, ""), rapid.IntRange(20, 60).Draw(t, "limit")) {
			if at += len(unspaced(part)); !begins[at] {
				t.Fatalf("%q ends within a character of %q", part, text)
			}
		}
	})
}

func TestSplitHTML_AnyBytes_RefusedOrRead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pieces := append([]string{
			"<", "</", ">", "/", "&", "&#", "&#x", ";", "=", `"`, "b", "a href", "code", "x\xff", "9", "  ",
		}, characters...)
		text := strings.Join(rapid.SliceOf(rapid.SampledFrom(pieces)).Draw(t, "text"), "")
		parts, err := dialog.SplitHTML(text, 10)
		if err != nil &&
			(parts != nil || strings.ContainsRune(err.Error(), unicode.ReplacementChar) && !strings.ContainsRune(text,
				'\xff') && !strings.Contains(text, "\xff")) {
			t.Fatalf("%q: %q, %v", text, parts, err)
		}
		for _, part := range parts {
			if n := units(seen(part)); n > 10 || n == 0 || !wellFormed(part) {
				t.Fatalf("%q of %q", part, text)
			}
		}
	})
}
