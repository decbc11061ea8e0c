package telegramsim

import (
	"cmp"
	"errors"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxText is Telegram's limit for the text of a message after entity parsing, in UTF-16 code units.
const maxText = 4096

// entity is a MessageEntity. Offset and Length count UTF-16 code units.
type entity struct {
	Type   string `json:"type"`
	Offset int    `json:"offset"`
	Length int    `json:"length"`
	URL    string `json:"url,omitempty"`
}

// utf16Len returns the length of text in UTF-16 code units, which Telegram counts.
func utf16Len(text string) int {
	n := 0
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}

// entityOf holds the entity type of each HTML tag that Telegram accepts.
var entityOf = map[string]string{
	"b": "bold", "strong": "bold", "i": "italic", "em": "italic",
	"u": "underline", "ins": "underline", "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough",
	"code": "code", "pre": "pre", "a": "text_link", "blockquote": "blockquote",
	"span": "spoiler", "tg-spoiler": "spoiler", "tg-emoji": "custom_emoji", "tg-time": "date_time",
}

// parseText converts the text that a bot sent to the text that a customer sees, and checks its length. HTML
// is parsed, so that a missing escape fails as at Telegram. The two Markdown modes are accepted, but their
// text is not parsed.
func parseText(text, mode string) (plain string, entities []entity, fault *apiError) {
	if plain, entities, fault = parseFormatted(text, mode); fault != nil {
		return "", nil, fault
	}
	switch trimmed := strings.TrimSpace(plain); {
	case trimmed == "":
		return "", nil, badRequest("message text is empty")
	case utf16Len(trimmed) > maxText:
		return "", nil, badRequest("message is too long")
	}
	return plain, entities, nil
}

// parseFormatted is parseText without the check of the length: captions have another limit.
func parseFormatted(text, mode string) (plain string, entities []entity, fault *apiError) {
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
	if len(entities) == 0 { // with entities, trimming would move the offsets
		plain = strings.TrimSpace(plain)
	}
	return plain, entities, nil
}

var (
	tagName   = regexp.MustCompile(`^<([^\s>]*)`)
	startTag  = regexp.MustCompile(`(?i)^<[^\s>]*((?:\s+[^\s=>/"']+(?:\s*=\s*(?:"[^"]*"|'[^']*'|[a-z0-9.-]+))?)*)\s*>`)
	attribute = regexp.MustCompile(`(?i)([^\s=>/"']+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([a-z0-9.-]+)))?`)
	endTag    = regexp.MustCompile(`^</([^\s>]*)\s*>`)
	charRef   = regexp.MustCompile(`^&(?:(lt|gt|amp|quot)([^a-zA-Z]|$)|#([0-9]+)|#x([0-9a-fA-F]+))`)
)

// openTag is a start tag whose end tag has not been read yet.
type openTag struct {
	name string
	entity
}

// parseHTML parses Telegram's subset of HTML: known tags, properly nested, and character references.
func parseHTML(text string) (string, []entity, *apiError) {
	var (
		plain    strings.Builder
		length   int // of plain, in UTF-16 units
		open     []openTag
		entities []entity
	)
	for rest := text; rest != ""; {
		size, fault := 0, (*apiError)(nil)
		switch {
		case strings.HasPrefix(rest, "</"):
			if size, fault = readEnd(rest, open); fault != nil {
				return "", nil, fault
			}
			done := open[len(open)-1].entity
			open = open[:len(open)-1]
			if done.Length = length - done.Offset; done.Length > 0 {
				entities = append(entities, done)
			}
		case rest[0] == '<':
			var tag openTag
			if tag, size, fault = readStart(rest); fault != nil {
				return "", nil, fault
			}
			tag.Offset = length
			open = append(open, tag)
		default:
			var shown string
			shown, size = character(rest)
			plain.WriteString(shown)
			length += utf16Len(shown)
		}
		rest = rest[size:]
	}
	if len(open) > 0 {
		return "", nil, unparsable("Can't find end tag corresponding to start tag \"" + open[len(open)-1].name + "\"")
	}
	// Telegram lists an outer entity before the ones inside it.
	slices.SortStableFunc(entities, func(a, b entity) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(b.Length, a.Length))
	})
	return plain.String(), entities[:min(len(entities), maxEntities)], nil
}

// Visible returns the text that a customer sees of a text in Telegram's HTML of any length.
func Visible(text string) (string, error) {
	plain, _, fault := parseHTML(text)
	if fault != nil {
		return "", errors.New(fault.description)
	}
	return plain, nil
}

func unparsable(why string) *apiError { return badRequest("can't parse entities: " + why) }

// readStart reads the start tag that text begins with.
func readStart(text string) (tag openTag, size int, fault *apiError) {
	found := startTag.FindStringSubmatch(text)
	name := strings.ToLower(tagName.FindStringSubmatch(text)[1])
	if entityOf[name] == "" && len(name)+1 < len(text) {
		return tag, 0, unparsable("Unsupported start tag \"" + name + "\"")
	}
	if found == nil {
		return tag, 0, unparsable("Unclosed start tag")
	}
	attributes := map[string]string{}
	for _, found := range attribute.FindAllStringSubmatch(found[1], -1) {
		attributes[found[1]] = html.UnescapeString(found[2] + found[3] + found[4])
	}
	if name == "span" && attributes["class"] != "tg-spoiler" {
		return tag, 0, unparsable("Tag \"span\" must have class \"tg-spoiler\"")
	}
	if id, err := strconv.ParseInt(attributes["emoji-id"], 10, 64); name == "tg-emoji" && (err != nil || id <= 0) {
		return tag, 0, badRequest("Invalid custom emoji identifier specified")
	}
	tag = openTag{name, entity{Type: entityOf[name]}}
	if name == "a" {
		tag.URL = attributes["href"]
	}
	return tag, len(found[0]), nil
}

// readEnd reads the end tag that text begins with. An end tag without a name ends the last open tag.
func readEnd(text string, open []openTag) (size int, fault *apiError) {
	found := endTag.FindStringSubmatch(text)
	switch {
	case len(open) == 0:
		return 0, unparsable("Unexpected end tag")
	case found == nil:
		return 0, unparsable("Unclosed end tag")
	}
	if name, want := strings.ToLower(found[1]), open[len(open)-1].name; name != want && name != "" {
		return 0, unparsable("Unmatched end tag, expected \"</" + want + ">\", found \"</" + name + ">\"")
	}
	return len(found[0]), nil
}

// maxEntities is the number of entities of a message that Telegram shows. It ignores further ones.
const maxEntities = 100

// character reads the first character of text: a character reference that Telegram knows, with or without
// its semicolon, or any other character.
func character(text string) (shown string, size int) {
	found := charRef.FindStringSubmatch(text)
	if found == nil {
		_, size = utf8.DecodeRuneInString(text)
		return text[:size], size
	}
	size = len(found[0]) - len(found[2])
	switch {
	case found[1] != "":
		shown = html.UnescapeString("&" + found[1] + ";")
	default:
		digits, base := found[3], 10
		if digits == "" {
			digits, base = found[4], 16
		}
		n, err := strconv.ParseInt(digits, base, 32)
		if err != nil || n == 0 || n >= utf8.MaxRune || size > 9 {
			return "&", 1
		}
		shown = string(rune(n))
	}
	if strings.HasPrefix(text[size:], ";") {
		size++
	}
	return shown, size
}

// commandEntity returns the entity of a /command at the start of a customer's text. Bots use no other entity
// of a customer's message.
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
