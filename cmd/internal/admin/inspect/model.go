package inspect

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// modelFields returns what a chat's language model was asked, what it answered and what that
// cost, in words. A chat without a model has no such fields.
func modelFields(history []domain.Recorded) []field {
	var asks, in, out int
	var cost int64
	var fields []field
	add := func(name, format string, args ...any) {
		fields = append(fields, field{name, fmt.Sprintf(format, args...)})
	}
	for _, r := range history {
		switch e := r.Event.(type) {
		case chat.ModelAsked:
			asks++
			last := e.Messages[len(e.Messages)-1]
			add(fmt.Sprintf("model asked %d", e.Ask), "round %d, %d messages, the last of %s: %s",
				e.Round, len(e.Messages), last.Role, last.Text)
		case chat.ModelAnswered:
			in, out, cost = in+e.TokensIn, out+e.TokensOut, cost+e.Cost
			add(fmt.Sprintf("model answered %d", e.Ask), "%s", answerInWords(e))
		case chat.ConfirmationAsked:
			add("to confirm", "%s%s", e.Call.Tool, inputInWords(e.Call.Input))
		case chat.ToolConfirmed:
			add("confirmed", "%t", e.Yes)
		case chat.ToolReturned:
			if e.Receipt != "" {
				add("receipt", "%s of %s", e.Receipt, e.Tool)
			}
		case chat.ExchangeEnded:
			add("model ended", "%s", e.Reason)
		case chat.AttackRefused:
			add("attack refused", "%s", e.Kind)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	total := fmt.Sprintf("%d questions, %d tokens in and %d out, cost %.6f", asks, in, out, float64(cost)/1e6)
	return append([]field{{"model", total}}, fields...)
}

// answerInWords puts a model's answer on one line: its tool calls, its text, and why it was
// not used.
func answerInWords(e chat.ModelAnswered) string {
	var parts []string
	for _, c := range e.Calls {
		call := c.Tool + inputInWords(c.Input)
		if c.Problem != "" {
			call += " (not used: " + c.Problem + ")"
		}
		parts = append(parts, call)
	}
	if e.Text != "" {
		parts = append(parts, strings.Join(strings.Fields(e.Text), " "))
	}
	if e.Reason != "" {
		parts = append(parts, "failed: "+e.Reason)
	}
	if e.Blocked != "" {
		parts = append(parts, "held back: "+e.Blocked)
	}
	if e.Outdated {
		parts = append(parts, "outdated")
	}
	return fmt.Sprintf("%s (%d tokens in, %d out, %d ms)", strings.Join(parts, "; "), e.TokensIn, e.TokensOut, e.Took)
}

func inputInWords(fields map[string]string) (list string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		list += fmt.Sprintf(" %s = %s", name, fields[name])
	}
	return list
}
