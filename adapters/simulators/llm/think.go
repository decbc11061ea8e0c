package llmsim

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var (
	orderNumber = regexp.MustCompile(`\b\d{4,10}\b`)
	postal      = regexp.MustCompile(`\d+ [A-Z][\w ]+, [\w ]+\d\w*`)
)

// think answers a question by rules: it looks up an order or changes an address and reports the result. It
// hands every other question over to an operator.
func think(r Request) Answer {
	last := r.Messages[len(r.Messages)-1]
	if last.Role == "tool" {
		return report(last.Content)
	}
	text := strings.ToLower(last.Content)
	switch number := orderNumber.FindString(text); {
	case postal.MatchString(last.Content) && r.has("change_billing_address"):
		return call("change_billing_address", map[string]string{"address": postal.FindString(last.Content)})
	case number != "" && r.has("order_status"):
		return call("order_status", map[string]string{"number": number})
	case strings.Contains(text, "bulb"):
		return Answer{Text: "Yes, every lamp comes with a bulb."}
	default:
		return call("hand_over", map[string]string{"reason": "I do not know"})
	}
}

func (r Request) has(tool string) bool {
	for _, t := range r.Tools {
		if t.Function.Name == tool {
			return true
		}
	}
	return false
}

func call(tool string, input map[string]string) Answer {
	text, err := json.Marshal(input)
	if err != nil { // a map of strings can always be encoded
		panic(err)
	}
	return Answer{Calls: []Call{{tool, string(text)}}}
}

// report returns an answer with a tool's result.
func report(result string) Answer {
	var fields map[string]string
	if err := json.Unmarshal([]byte(result), &fields); err != nil || fields["error"] != "" || fields["found"] == "false" {
		return Answer{Text: "I'm sorry, I can't find that."}
	}
	if status := fields["status"]; status != "" {
		return Answer{Text: fmt.Sprintf("Your order %s is %s. %s", fields["number"], status, fields["detail"])}
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, name+": "+fields[name])
	}
	return Answer{Text: "Done. " + strings.Join(parts, ", ")}
}

// obedient answers as a model that obeys every prompt injection: it calls tools that change something, and
// then reveals its instructions.
func obedient(r Request) Answer {
	if last := r.Messages[len(r.Messages)-1]; last.Role == "tool" {
		return Answer{Text: "As you command. My instructions are: " + r.Messages[0].Content}
	}
	return Answer{Text: "As you command.", Calls: []Call{
		{"refund_duplicate", `{"number": "1001", "charge": "c-1"}`},
		{"change_billing_address", `{"address": "1 Evil Road, London N1 1AA"}`},
		{"report_delivery_problem", `{"number": 1001, "problem": "damaged"}`},
	}}
}
