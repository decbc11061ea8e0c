package chat

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/chatledger/chatledger/domain/dialog"
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

// Order look-ups, address checks and address updates were kinds of events of their own
// until every tool's became one.

func orderLookupBecameATool(fields map[string]json.RawMessage) map[string]json.RawMessage {
	return asked(fields,
		ToolRequested{
			For: ForWorkflow, Tool: dialog.OrderStatus, Input: map[string]string{"number": text(fields["order"])},
		})
}

func addressCheckBecameATool(fields map[string]json.RawMessage) map[string]json.RawMessage {
	return asked(fields,
		ToolRequested{
			For: ForWorkflow, Tool: dialog.CheckAddress, Input: map[string]string{"address": text(fields["address"])},
		})
}

func addressUpdateBecameATool(fields map[string]json.RawMessage) map[string]json.RawMessage {
	return asked(fields,
		ToolRequested{
			For: ForWorkflow, Tool: dialog.ChangeAddress, Input: map[string]string{"address": text(fields["address"])},
			Writes: true,
		})
}

// asked is a request with the fields that it always had.
func asked(fields map[string]json.RawMessage, r ToolRequested) map[string]json.RawMessage {
	return merge(fields, r, "to", "customer")
}

func orderBecameOutput(fields map[string]json.RawMessage) map[string]json.RawMessage {
	var found struct {
		Number string
		Found  bool
		Order  dialog.Order
	}
	_ = json.Unmarshal(whole(fields), &found)
	r := ToolReturned{Tool: dialog.OrderStatus, Input: map[string]string{"number": found.Number}}
	if text(fields["reason"]) == "" || found.Found {
		r.Output = found.Order.Output(found.Found)
	}
	return merge(fields, r, "delivery", "reason")
}

func checkBecameOutput(fields map[string]json.RawMessage) map[string]json.RawMessage {
	var found struct {
		Address string
		Check   *dialog.AddressCheck
	}
	_ = json.Unmarshal(whole(fields), &found)
	r := ToolReturned{Tool: dialog.CheckAddress, Input: map[string]string{"address": found.Address}}
	if found.Check != nil {
		r.Output = found.Check.Output()
	}
	return merge(fields, r, "delivery", "reason")
}

func addressBecameOutput(fields map[string]json.RawMessage) map[string]json.RawMessage {
	address := map[string]string{"address": text(fields["address"])}
	return merge(fields, ToolReturned{Tool: dialog.ChangeAddress, Input: address, Output: address}, "delivery",
		"receipt")
}

func failureBecameOutput(fields map[string]json.RawMessage) map[string]json.RawMessage {
	return merge(fields,
		ToolReturned{Tool: dialog.ChangeAddress, Input: map[string]string{"address": text(fields["address"])}},
		"delivery", "reason")
}

// merge is today's event with the fields of the old one that are kept.
func merge(old map[string]json.RawMessage, event any, kept ...string) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	today, _ := json.Marshal(event)
	_ = json.Unmarshal(today, &fields)
	for _, name := range kept {
		if value, ok := old[name]; ok {
			fields[name] = value
		}
	}
	return fields
}

func text(field json.RawMessage) (s string) {
	_ = json.Unmarshal(field, &s)
	return s
}

func whole(fields map[string]json.RawMessage) []byte {
	text, _ := json.Marshal(fields)
	return text
}

// with sets one field. Strings and maps of strings always have a JSON form.
func with(fields map[string]json.RawMessage, name string, value any) map[string]json.RawMessage {
	fields[name], _ = json.Marshal(value)
	return fields
}
