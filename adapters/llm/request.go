package llm

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/shared"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/dialog"
	"github.com/chatledger/chatledger/domain/llm"
)

// params is a question as the API wants it.
func (c *Client) params(q commands.AskModel) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:               c.config.Name,
		MaxCompletionTokens: openai.Int(int64(min(max(q.Tokens, 1), maxTokens))),
		StreamOptions:       openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)},
		Tools:               []openai.ChatCompletionToolUnionParam{handOver},
	}
	for _, name := range q.Tools {
		if tool, known := dialog.Toolbox[name]; known {
			p.Tools = append(p.Tools, function(tool))
		}
	}
	for _, m := range q.Messages {
		p.Messages = append(p.Messages, message(m))
	}
	return p
}

func message(m llm.Message) openai.ChatCompletionMessageParamUnion {
	switch m.Role {
	case llm.System:
		return openai.SystemMessage(m.Text)
	case llm.Tool:
		return openai.ToolMessage(m.Text, m.Call)
	case llm.Model:
		said := openai.ChatCompletionAssistantMessageParam{}
		if m.Text != "" || len(m.Calls) == 0 {
			said.Content.OfString = openai.String(m.Text)
		}
		for _, call := range m.Calls {
			input, err := json.Marshal(call.Input)
			if err != nil { // a map of strings always can
				panic(err)
			}
			if call.Input == nil {
				input = []byte("{}")
			}
			said.ToolCalls = append(said.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
				ID: call.ID, Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{Name: call.Tool, Arguments: string(input)}}})
		}
		return openai.ChatCompletionMessageParamUnion{OfAssistant: &said}
	default:
		return openai.UserMessage(m.Text)
	}
}

// function is a tool with the schema of what goes into it.
func function(tool dialog.Tool) openai.ChatCompletionToolUnionParam {
	properties, required := map[string]any{}, []string{}
	for _, f := range tool.Input {
		properties[f.Name] = map[string]string{"type": "string", "description": f.Description}
		if !f.Optional {
			required = append(required, f.Name)
		}
	}
	description := tool.Description
	if tool.Writes {
		description += " The customer is asked to confirm it with a button."
	}
	return openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{Name: tool.Name, Description: openai.String(description),
		Parameters: shared.FunctionParameters{"type": "object", "properties": properties, "required": required, "additionalProperties": false}})
}

var handOver = function(dialog.Tool{Name: llm.HandOver, Description: "Fetch a colleague, who goes on with the customer.",
	Input: []dialog.Field{{Name: "reason", Description: "why, in a few words"}}})

// maxCalls bounds what is kept of an answer's calls; of more than a few nothing is used.
const maxCalls = 2 * llm.MaxCalls

// answer is a streamed one, as far as it has come.
type answer struct {
	text     strings.Builder
	calls    []partial
	finished string
	in, out  int64
}

// partial is a call whose input comes in pieces.
type partial struct {
	index    int64
	id, name string
	input    strings.Builder
}

func (a *answer) add(chunk openai.ChatCompletionChunk) *Error {
	if chunk.Usage.PromptTokens > 0 {
		a.in, a.out = chunk.Usage.PromptTokens, chunk.Usage.CompletionTokens
	}
	for _, choice := range chunk.Choices {
		if choice.Index != 0 {
			continue
		}
		a.text.WriteString(choice.Delta.Content)
		for _, piece := range choice.Delta.ToolCalls {
			a.addCall(piece)
		}
		if choice.FinishReason != "" {
			a.finished = choice.FinishReason
		}
	}
	size := a.text.Len()
	for i := range a.calls {
		size += a.calls[i].input.Len()
	}
	if size > maxText {
		return &Error{State: commands.Refused, Reason: fmt.Sprintf("the answer is longer than %d bytes", maxText)}
	}
	return nil
}

func (a *answer) addCall(piece openai.ChatCompletionChunkChoiceDeltaToolCall) {
	i := len(a.calls) - 1
	for i >= 0 && a.calls[i].index != piece.Index {
		i--
	}
	if i < 0 {
		if len(a.calls) == maxCalls {
			return
		}
		a.calls = append(a.calls, partial{index: piece.Index})
		i = len(a.calls) - 1
	}
	call := &a.calls[i]
	if piece.ID != "" {
		call.id = piece.ID
	}
	if piece.Function.Name != "" {
		call.name = piece.Function.Name
	}
	call.input.WriteString(piece.Function.Arguments)
}

// reply is the answer, once it is whole.
func (a *answer) reply() (Reply, *Error) {
	switch a.finished {
	case "stop", "tool_calls", "function_call":
	case "":
		return Reply{}, &Error{State: commands.Again, Reason: "the answer was cut off"}
	case "length":
		return Reply{}, &Error{State: commands.Refused, Reason: "the answer took more tokens than it may"}
	default:
		return Reply{}, &Error{State: commands.Refused, Reason: fmt.Sprintf("the server ended the answer: %.*q", maxQuoted, a.finished)}
	}
	r := Reply{Text: clean(a.text.String()), TokensIn: int(a.in), TokensOut: int(a.out)}
	for i := range a.calls {
		r.Calls = append(r.Calls, a.calls[i].call())
	}
	return r, nil
}

// call reads the input leniently: models write numbers where texts are wanted.
func (p *partial) call() llm.Call {
	call := llm.Call{ID: clean(p.id), Tool: clean(p.name)}
	text := strings.TrimSpace(p.input.String())
	if text == "" {
		return call
	}
	var values map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		call.Problem = "the input is no JSON object"
		return call
	}
	call.Input = map[string]string{}
	for name, value := range values {
		switch v := value.(type) {
		case nil:
		case string:
			call.Input[clean(name)] = clean(v)
		case json.Number, bool:
			call.Input[clean(name)] = fmt.Sprint(v)
		default:
			call.Problem = fmt.Sprintf("%.40q is no text", clean(name))
		}
	}
	return call
}
