package authoring

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/chatledger/chatledger/adapters/knowledge"
	"github.com/chatledger/chatledger/domain/dialog"
)

// Try prints how the bot understands a message, and what it would do. The language is that
// of the conversation so far; it may be empty.
func (f Folder) Try(out io.Writer, text string, language dialog.Language, at time.Time) error {
	k, err := f.read(out, knowledge.Options{})
	if err != nil {
		return err
	}
	tools := map[string]bool{}
	for name := range dialog.Toolbox {
		tools[name] = true
	}
	turn := dialog.Take(dialog.Context{Knowledge: k, Tools: tools, Prefers: language},
		dialog.Act{Text: text, MessageID: 1, At: at})
	u := k.Understand(text, turn.Language)
	fmt.Fprintf(out, "intent      %s\nconfidence  %.2f (understood from %.2f)\nlanguage    %s\n",
		u.Intent, u.Confidence, k.Threshold, turn.Language)
	printTurn(out, turn)
	return nil
}

// printTurn prints what the bot would do: workflow steps, a tool call, a hand-over, replies.
func printTurn(out io.Writer, turn dialog.Turn) {
	for _, move := range turn.Moves {
		fmt.Fprintf(out, "step        %s of %s\n", move.To, move.Workflow)
	}
	for _, call := range append([]dialog.ToolCall{turn.Call}, turn.Asides...) {
		if call.Tool == "" {
			continue
		}
		fmt.Fprintf(out, "tool        %s", call.Tool)
		for _, field := range slices.Sorted(maps.Keys(call.Input)) {
			fmt.Fprintf(out, " %s=%q", field, call.Input[field])
		}
		fmt.Fprintln(out)
	}
	if turn.HandOver.Reason != "" {
		fmt.Fprintf(out, "person      %s, because %s\n", turn.HandOver.Priority, turn.HandOver.Reason)
	}
	for _, reply := range turn.Replies {
		fmt.Fprintf(out, "says        %s\n", strings.ReplaceAll(reply.Text, "\n", "\n            "))
		for _, b := range reply.Buttons {
			fmt.Fprintf(out, "            [%s]\n", b.Text)
		}
	}
}
