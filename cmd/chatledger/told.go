package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/chat"
)

// told is what a chat's model was asked, said and cost, in words.
func told(history []domain.Recorded) [][2]string {
	var asks, in, out int
	var cost int64
	var lines [][2]string
	add := func(what, format string, args ...any) {
		lines = append(lines, [2]string{what, fmt.Sprintf(format, args...)})
	}
	for _, r := range history {
		switch e := r.Event.(type) {
		case chat.ModelAsked:
			asks++
			last := e.Messages[len(e.Messages)-1]
			add(fmt.Sprintf("model asked %d", e.Ask), "round %d, %d messages, the last of %s: %s", e.Round, len(e.Messages), last.Role, last.Text)
		case chat.ModelAnswered:
			in, out, cost = in+e.TokensIn, out+e.TokensOut, cost+e.Cost
			add(fmt.Sprintf("model answered %d", e.Ask), "%s", answerOf(e))
		case chat.ConfirmationAsked:
			add("to confirm", "%s%s", e.Call.Tool, inputs(e.Call.Input))
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
	if asks == 0 && len(lines) == 0 {
		return nil
	}
	total := [2]string{"model", fmt.Sprintf("%d questions, %d tokens in and %d out, cost %.6f", asks, in, out, float64(cost)/1e6)}
	return append([][2]string{total}, lines...)
}

// answerOf is what a model said, wanted, or did not do, on one line.
func answerOf(e chat.ModelAnswered) string {
	var parts []string
	for _, c := range e.Calls {
		call := c.Tool + inputs(c.Input)
		if c.Problem != "" {
			call += " (not used: " + c.Problem + ")"
		}
		parts = append(parts, call)
	}
	if e.Text != "" {
		parts = append(parts, strings.Join(strings.Fields(e.Text), " "))
	}
	for _, why := range []struct{ what, text string }{{"failed: ", e.Reason}, {"held back: ", e.Blocked}} {
		if why.text != "" {
			parts = append(parts, why.what+why.text)
		}
	}
	if e.Outdated {
		parts = append(parts, "outdated")
	}
	return fmt.Sprintf("%s (%d tokens in, %d out, %d ms)", strings.Join(parts, "; "), e.TokensIn, e.TokensOut, e.Took)
}

func inputs(fields map[string]string) (list string) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		list += fmt.Sprintf(" %s = %s", name, fields[name])
	}
	return list
}
