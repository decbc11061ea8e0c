package chat

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// The shapes of old events and how they are lifted to today's. Each stays here for
// as long as a store may hold one; testdata/events keeps an example of every shape.

// authorBecameAnObject lifts reply_queued@1, whose author was one string: bot, or
// person:<name>.
func authorBecameAnObject(fields map[string]json.RawMessage) map[string]json.RawMessage {
	var before string
	author := Author{Kind: Bot}
	if json.Unmarshal(fields["author"], &before) == nil {
		if name, person := strings.CutPrefix(before, "person:"); person {
			author = Author{Kind: Person, Name: name}
		}
	}
	return with(fields, "author", author)
}

// clearingBecameExplicit lifts workflow_moved@1, whose data held an empty value for
// each field that was cleared.
func clearingBecameExplicit(fields map[string]json.RawMessage) map[string]json.RawMessage {
	var set map[string]string
	if json.Unmarshal(fields["data"], &set) != nil {
		return fields // nothing was collected
	}
	var cleared []string
	for _, field := range slices.Sorted(maps.Keys(set)) {
		if set[field] == "" {
			cleared = append(cleared, field)
			delete(set, field)
		}
	}
	delete(fields, "data")
	return with(with(fields, "set", set), "cleared", cleared)
}

// with sets one field. Strings and maps of strings always have a JSON form.
func with(fields map[string]json.RawMessage, name string, value any) map[string]json.RawMessage {
	fields[name], _ = json.Marshal(value)
	return fields
}
