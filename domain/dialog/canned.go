package dialog

import (
	"maps"
	"slices"
	"strings"
)

// CannedReply is a reply for people in a language, with values in the place of its variables.
// missing are the variables that nobody knows, in order; such a reply must not be sent.
// known is false when the team has written no reply under this name.
func (k *Knowledge) CannedReply(
	name string, l Language, values ...map[string]string,
) (text string, missing []string, known bool) {
	template, known := k.Canned[name]
	if !known {
		return "", nil, false
	}
	text = template.in(k, k.Speaks(l))
	unknown := map[string]bool{}
	for _, part := range strings.Split(text, "{")[1:] {
		name, _, closed := strings.Cut(part, "}")
		if closed && !slices.ContainsFunc(values, func(v map[string]string) bool { return v[name] != "" }) {
			unknown[name] = true
		}
	}
	return fill(text, values...), slices.Sorted(maps.Keys(unknown)), true
}
