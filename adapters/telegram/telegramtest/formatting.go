package telegramtest

import (
	"cmp"
	"html"
	"slices"
	"strings"
	"unicode/utf16"
)

// maxText is Telegram's limit of a message's text after entity parsing, in
// UTF-16 code units.
const maxText = 4096

// entity is a MessageEntity. Offset and Length count UTF-16 code units.
type entity struct {
	Type   string `json:"type"`
	Offset int    `json:"offset"`
	Length int    `json:"length"`
	URL    string `json:"url,omitempty"`
}

// utf16Len is the length of text as Telegram counts it.
func utf16Len(text string) int {
	n := 0
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

// entityOf names the entity of each HTML tag Telegram knows.
var entityOf = map[string]string{
	"b": "bold", "strong": "bold", "i": "italic", "em": "italic",
	"u": "underline", "ins": "underline", "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough",
	"code": "code", "pre": "pre", "a": "text_link", "blockquote": "blockquote",
	"span": "spoiler", "tg-spoiler": "spoiler", "tg-emoji": "custom_emoji",
}

// parseText turns what a bot sent into what a customer reads, and checks its
// length. HTML is parsed, so that a forgotten escape fails here as it would at
// Telegram; the two Markdown modes are accepted and shown as written.
func parseText(text, mode string) (plain string, entities []entity, fault *apiError) {
	switch strings.ToLower(mode) {
	case "", "none", "markdown", "markdownv2":
		plain = text
	case "html":
		if plain, entities, fault = parseHTML(text); fault != nil {
			return "", nil, fault
		}
	default:
		return "", nil, badRequest("unsupported parse_mode")
	}
	trimmed := strings.TrimSpace(plain)
	if trimmed == "" {
		return "", nil, badRequest("message text is empty")
	}
	if utf16Len(trimmed) > maxText {
		return "", nil, badRequest("message is too long")
	}
	if len(entities) == 0 { // offsets would move; formatted text keeps its edges
		plain = trimmed
	}
	return plain, entities, nil
}

// parseHTML is Telegram's HTML subset: known tags, properly nested, and the
// character references.
func parseHTML(text string) (string, []entity, *apiError) {
	var (
		plain    strings.Builder
		length   int // of plain, in UTF-16 units
		open     []entity
		tags     []string
		entities []entity
	)
	write := func(part string) {
		part = html.UnescapeString(part)
		plain.WriteString(part)
		length += utf16Len(part)
	}
	for rest := text; rest != ""; {
		before, tail, isTag := strings.Cut(rest, "<")
		write(before)
		if !isTag {
			break
		}
		tag, after, closed := strings.Cut(tail, ">")
		if !closed {
			return "", nil, badRequest("can't parse entities: Unclosed start tag")
		}
		rest = after
		if name, ending := strings.CutPrefix(tag, "/"); ending {
			name = strings.ToLower(strings.TrimSpace(name))
			last := len(tags) - 1
			if last < 0 {
				return "", nil, badRequest("can't parse entities: Unexpected end tag")
			}
			if name != tags[last] && name != "" {
				return "", nil, badRequest("can't parse entities: Unmatched end tag, expected \"</" + tags[last] + ">\", found \"</" + name + ">\"")
			}
			done := open[last]
			open, tags = open[:last], tags[:last]
			if done.Length = length - done.Offset; done.Length > 0 {
				entities = append(entities, done)
			}
			continue
		}
		name, attributes, _ := strings.Cut(tag, " ")
		name = strings.ToLower(name)
		kind, known := entityOf[name]
		if !known {
			return "", nil, badRequest("can't parse entities: Unsupported start tag \"" + name + "\"")
		}
		started := entity{Type: kind, Offset: length}
		if name == "a" {
			started.URL = attribute(attributes, "href")
		}
		open, tags = append(open, started), append(tags, name)
	}
	if len(tags) > 0 {
		return "", nil, badRequest("can't parse entities: Can't find end tag corresponding to start tag \"" + tags[len(tags)-1] + "\"")
	}
	// Telegram lists an outer entity before the ones inside it.
	slices.SortStableFunc(entities, func(a, b entity) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(b.Length, a.Length))
	})
	return plain.String(), entities, nil
}

// attribute reads one attribute's value, quoted either way.
func attribute(attributes, name string) string {
	_, value, ok := strings.Cut(attributes, name+"=")
	if !ok || value == "" {
		return ""
	}
	if quote := value[:1]; quote == `"` || quote == "'" {
		value, _, _ = strings.Cut(value[1:], quote)
	} else {
		value, _, _ = strings.Cut(value, " ")
	}
	return html.UnescapeString(value)
}

// commandEntity marks a leading /command, the one entity bots rely on in a
// customer's plain text.
func commandEntity(text string) []entity {
	if !strings.HasPrefix(text, "/") {
		return nil
	}
	command := strings.Fields(text)[0]
	if len(command) < 2 {
		return nil
	}
	return []entity{{Type: "bot_command", Length: utf16Len(command)}}
}
