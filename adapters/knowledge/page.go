package knowledge

import (
	"bytes"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/adapters/yamlfile"
)

// page is one YAML file. It is read node by node, because a node knows its line and a decoded
// value does not. A mistake is noted, and reading goes on.
type page struct {
	*reading
	file string
}

func (p page) wrong(n *yaml.Node, format string, args ...any) {
	p.mistake(p.file, n.Line, format, args...)
}

// root returns the content of the file; nil when the file is empty or not YAML, which is
// noted.
func (p page) root() *yaml.Node {
	root, second, wrong := yamlfile.Parse(p.files[p.file])
	switch {
	case wrong != nil:
		p.mistake(p.file, wrong.Line,
			"this is no YAML (%s): look at the indentation, and quote texts with : or # in them", wrong.Says)
	case second != 0:
		p.mistake(p.file, second, "a second document begins here: remove the line ---")
	case root == nil:
		p.mistake(p.file, 0, "it is empty: write something into it or remove it")
	}
	return root
}

// fields are the readers of an object's keys.
type fields map[string]func(*yaml.Node)

// object reads an object with known keys.
func (p page) object(n *yaml.Node, what string, known fields) {
	p.pairs(n, what, func(key, value *yaml.Node) {
		read, ok := known[key.Value]
		if !ok {
			p.wrong(key, "%s has no %q; it may have %s", what, key.Value, names(maps.Keys(known)))
			return
		}
		read(value)
	})
}

// pairs reads an object whose keys the team chooses.
func (p page) pairs(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		p.wrong(n, "%s is written as lines of `key: value`", what)
		return
	}
	seen := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if line, twice := seen[key.Value]; twice {
			p.wrong(key, "%q is already in line %d: keep one", key.Value, line)
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
}

// under returns the value of a key; nil when there is none. Some keys decide how others are
// read, in any order.
func under(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// hasAny reports whether n has one of these keys.
func hasAny(n *yaml.Node, keys fields) bool {
	for key := range keys {
		if under(n, key) != nil {
			return true
		}
	}
	return false
}

// list reads a list with at most most items.
func (p page) list(n *yaml.Node, what string, most int, each func(*yaml.Node)) {
	switch {
	case n.Kind != yaml.SequenceNode:
		p.wrong(n, "%s are written as a list, each on a line that begins with a dash", what)
	case len(n.Content) > most:
		p.wrong(n, "there are %d %s; %d is the most", len(n.Content), what, most)
	default:
		for _, item := range n.Content {
			each(item)
		}
	}
}

// scalar returns a single value; false when the node is something else.
func (p page) scalar(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		p.wrong(n, "%s is a single value", what)
		return "", false
	}
	value := strings.TrimSpace(n.Value)
	if value == "" {
		p.wrong(n, "%s is missing", what)
		return "", false
	}
	return value, true
}

// name is the form of names: they are used in buttons, tables and metrics.
var name = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func (p page) name(n *yaml.Node, what string) string {
	value, ok := p.scalar(n, what)
	if ok && (!name.MatchString(value) || len(value) > maxName) {
		p.wrong(n, "%s is called %q: use up to %d of a-z 0-9 _, beginning with a letter", what, value, maxName)
	}
	return value
}

func (p page) names(n *yaml.Node, what string) (all []string) {
	p.list(n, what, maxChoices, func(n *yaml.Node) { all = append(all, p.name(n, "each of the "+what)) })
	return all
}

func (p page) flag(n *yaml.Node, what string) bool {
	switch n.Value {
	case "true", "yes":
		return true
	case "false", "no":
	default:
		p.wrong(n, "%s is true or false", what)
	}
	return false
}

func (p page) count(n *yaml.Node, what string, least, most int) int {
	value, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || value < least || value > most {
		p.wrong(n, "%s is a number from %d to %d", what, least, most)
	}
	return value
}

func (p page) share(n *yaml.Node, what string) float64 {
	value, err := strconv.ParseFloat(n.Value, 64)
	if n.Kind != yaml.ScalarNode || err != nil || !(value >= 0 && value <= 1) {
		p.wrong(n, "%s is a number from 0 to 1, such as 0.6", what)
	}
	return value
}

func (p page) duration(n *yaml.Node, what string, least, most time.Duration) time.Duration {
	value, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || value < least || value > most {
		p.wrong(n, "%s is a time from %v to %v, such as 45s, 15m or 1h30m", what, least, most)
	}
	return value
}

// names returns a sorted list of the choices.
func names[S ~string](all iter.Seq[S]) string {
	var list []string
	for one := range all {
		list = append(list, string(one))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// legible reports whether bytes are text that PostgreSQL can store.
func legible(text []byte) bool { return utf8.Valid(text) && !bytes.ContainsRune(text, 0) }
