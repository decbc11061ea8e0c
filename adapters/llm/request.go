package llm

import (
	"encoding/json"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/llm"
)

// The request of POST /chat/completions, with the fields that are used here.
type (
	completionRequest struct {
		Model               string           `json:"model"`
		Messages            []requestMessage `json:"messages"`
		Tools               []requestTool    `json:"tools"`
		MaxCompletionTokens int              `json:"max_completion_tokens"`
		Stream              bool             `json:"stream"`
		StreamOptions       streamOptions    `json:"stream_options"`
	}
	streamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	}
	requestMessage struct {
		Role       string        `json:"role"`
		Content    *string       `json:"content,omitempty"` // nil if the model only called tools
		ToolCalls  []requestCall `json:"tool_calls,omitempty"`
		ToolCallID string        `json:"tool_call_id,omitempty"` // of a tool's result
	}
	requestCall struct {
		ID       string `json:"id"`
		Type     string `json:"type"` // always "function"
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"` // JSON
		} `json:"function"`
	}
	requestTool struct {
		Type     string   `json:"type"` // always "function"
		Function function `json:"function"`
	}
	function struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Parameters  schema `json:"parameters"`
	}
	// schema is the JSON schema of a tool's input.
	schema struct {
		Type                 string              `json:"type"` // always "object"
		Properties           map[string]property `json:"properties"`
		Required             []string            `json:"required"`
		AdditionalProperties bool                `json:"additionalProperties"`
	}
	property struct {
		Type        string `json:"type"` // always "string"
		Description string `json:"description"`
	}
)

// longest returns the limit of an answer, in tokens.
func longest(q commands.AskModel) int { return min(max(q.Tokens, 1), maxTokens) }

// request returns the body that asks q.
func (c *Client) request(q commands.AskModel) completionRequest {
	r := completionRequest{
		Model:               c.config.Name,
		MaxCompletionTokens: longest(q),
		Stream:              true,
		StreamOptions:       streamOptions{IncludeUsage: true},
		Tools:               []requestTool{handOver},
	}
	for _, name := range q.Tools {
		if tool, known := dialog.Toolbox[name]; known {
			r.Tools = append(r.Tools, describe(tool))
		}
	}
	for _, m := range q.Messages {
		r.Messages = append(r.Messages, toRequest(m))
	}
	return r
}

func toRequest(m llm.Message) requestMessage {
	r := requestMessage{Content: &m.Text}
	switch m.Role {
	case llm.System:
		r.Role = "system"
	case llm.Tool:
		r.Role, r.ToolCallID = "tool", m.Call
	case llm.Model:
		r.Role = "assistant"
		if m.Text == "" && len(m.Calls) > 0 {
			r.Content = nil
		}
		for _, call := range m.Calls {
			r.ToolCalls = append(r.ToolCalls, callRequest(call))
		}
	default:
		r.Role = "user"
	}
	return r
}

func callRequest(call llm.Call) requestCall {
	input := []byte("{}")
	if call.Input != nil {
		var err error
		if input, err = json.Marshal(call.Input); err != nil {
			panic(err) // a map of strings can always be encoded
		}
	}
	r := requestCall{ID: call.ID, Type: "function"}
	r.Function.Name, r.Function.Arguments = call.Tool, string(input)
	return r
}

// describe returns a tool with the schema of its input.
func describe(tool dialog.Tool) requestTool {
	properties, required := map[string]property{}, []string{}
	for _, f := range tool.Input {
		properties[f.Name] = property{Type: "string", Description: f.Description}
		if !f.Optional {
			required = append(required, f.Name)
		}
	}
	description := tool.Description
	if tool.Writes {
		description += " The customer is asked to confirm it with a button."
	}
	return requestTool{Type: "function", Function: function{
		Name:        tool.Name,
		Description: description,
		Parameters:  schema{Type: "object", Properties: properties, Required: required},
	}}
}

var handOver = describe(dialog.Tool{
	Name:        llm.HandOver,
	Description: "Fetch a colleague, who goes on with the customer.",
	Input:       []dialog.Field{{Name: "reason", Description: "why, in a few words"}},
})
