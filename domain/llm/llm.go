// Package llm is what a model is told before it answers a customer, and what it may
// say and do: the briefing, the memory of a conversation, its calls of tools, and the
// guards on both sides. All of it is pure: the same conversation gives the same
// questions, and the same answer the same verdict. Nothing in it trusts a model: what it
// says is held against what the tools and the bot's knowledge returned, and what it wants
// changed waits for the customer's own button.
package llm

import (
	"cmp"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/chatledger/chatledger/domain/dialog"
)

// Message is one of those that a model is asked with. The words of Role are those of
// chat completions.
type Message struct {
	Role  Role   `json:"role"`
	Text  string `json:"text,omitempty"`
	Calls []Call `json:"calls,omitempty"` // that the model wanted
	Call  string `json:"call,omitempty"`  // id of the call that a tool's message answers
}

// Role is who a message is of.
type Role string

// Roles.
const (
	System   Role = "system"
	Customer Role = "user"
	Model    Role = "assistant" // or whoever answered in the bot's name before
	Tool     Role = "tool"
)

// Call is a tool that the model wants used.
type Call struct {
	ID      string            `json:"id"`
	Tool    string            `json:"tool"`
	Input   map[string]string `json:"input,omitempty"`
	Problem string            `json:"problem,omitempty"` // why it is not used
}

// HandOver is the tool by which a model fetches a person. It is always there.
const HandOver = "hand_over"

// Limits of an exchange, and what holds where a team has not said.
const (
	defaultRounds = 4                // a look-up, a second one, an answer, and one to spare
	defaultTokens = 12_000           // some five prompts of 2,000 and their answers
	defaultWithin = 45 * time.Second // who waits longer has written again
	defaultLength = 1200             // characters: what one reads on a phone without scrolling twice

	// MaxCalls is how many tools one answer may want.
	MaxCalls = 4
	// MaxPrompt bounds all messages of a question together, in characters: what is longer
	// costs more than a person.
	MaxPrompt = 32_000
)

// Budget is what an exchange about one message may take, with what is left out put in.
func Budget(a dialog.LLM) dialog.LLM {
	a.Rounds, a.Tokens = cmp.Or(a.Rounds, defaultRounds), cmp.Or(a.Tokens, defaultTokens)
	a.Within, a.MaxLength = cmp.Or(a.Within, defaultWithin), cmp.Or(a.MaxLength, defaultLength)
	return a
}

// Size is the length of messages, in characters.
func Size(messages []Message) (n int) {
	for _, m := range messages {
		n += utf8.RuneCountInString(m.Text)
		for _, c := range m.Calls {
			for name, value := range c.Input {
				n += utf8.RuneCountInString(name) + utf8.RuneCountInString(value)
			}
		}
	}
	return n
}

// Result is a tool's answer as a model reads it.
func Result(call Call, output map[string]string) Message {
	text, err := json.Marshal(output)
	if err != nil { // a map of strings always can
		panic(err)
	}
	return Message{Role: Tool, Call: call.ID, Text: string(text)}
}

// NoResult tells a model why a call came to nothing.
func NoResult(call Call, why string) Message {
	return Result(call, map[string]string{"error": why})
}

// Read is the call with its input in normal form; the error says why the tool is not
// used, in words for the model.
func (c Call) Read(tools map[string]bool) (dialog.ToolCall, error) {
	tool, known := dialog.Toolbox[c.Tool]
	switch {
	case c.Problem != "": // so it was found before
		return dialog.ToolCall{}, unused(c.Problem)
	case !known || !tools[c.Tool]:
		return dialog.ToolCall{}, errNoTool
	}
	input, err := tool.Accept(c.Input)
	return dialog.ToolCall{Tool: c.Tool, Input: input}, err
}

// unused is why a tool is not.
type unused string

func (u unused) Error() string { return string(u) }

const errNoTool = unused("there is no such tool")
