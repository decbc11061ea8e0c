package llm

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/chatledger/chatledger/adapters/outbound"
	"github.com/chatledger/chatledger/domain"
	"github.com/chatledger/chatledger/domain/llm"
)

const (
	// maxCalls bounds the tool calls of an answer. Further ones are dropped: only llm.MaxCalls are made.
	maxCalls = 2 * llm.MaxCalls
	// maxEvent bounds one event of a stream, in bytes. An event usually has some words, but a server may
	// send a whole answer as one event.
	maxEvent = 1 << 20
	// maxCounted limits the tokens that a server may count for one call, above what any model reads.
	// Other counts are not believed: they would spend a day's budget at once, or give it back.
	maxCounted = 100_000_000
)

var errCutOff = errors.New("the answer was cut off")

// chunk is the data of an event, with the fields that are used here.
type chunk struct {
	Choices []struct {
		Index int `json:"index"`
		Delta struct {
			Content   string      `json:"content"`
			ToolCalls []callPiece `json:"tool_calls"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage struct {
		PromptTokens     int `json:"prompt_tokens"`
		CompletionTokens int `json:"completion_tokens"`
	} `json:"usage"`
	Error json.RawMessage `json:"error"`
}

// callPiece is a part of a tool call: the first one names the tool, the others continue
// its arguments.
type callPiece struct {
	Index    int    `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// answer collects a streamed answer.
type answer struct {
	text                strings.Builder
	calls               []partialCall
	finishReason        string
	tooLong             bool
	tokensIn, tokensOut int
}

// partialCall is a tool call whose arguments arrive in pieces.
type partialCall struct {
	index     int
	id, name  string
	arguments strings.Builder
}

// read collects the events of a response. It stops if the answer gets too long.
func (a *answer) read(r outbound.Response) error {
	events := eventReader{lines: bufio.NewScanner(r.Body)}
	events.lines.Buffer(nil, maxEvent)
	for !a.tooLong {
		data, err := events.next()
		if err == io.EOF || err == nil && data == "[DONE]" {
			if a.finishReason == "" {
				return errCutOff
			}
			return nil
		}
		if err != nil {
			return err
		}
		var c chunk
		if err := json.Unmarshal([]byte(data), &c); err != nil {
			return fmt.Errorf("the answer cannot be read: %w", err)
		}
		if len(c.Error) > 0 && string(c.Error) != "null" {
			return fmt.Errorf("the server reported an error while it answered: %q", errorText(c.Error))
		}
		a.add(c)
	}
	return nil
}

func (a *answer) add(c chunk) {
	if in, out := c.Usage.PromptTokens, c.Usage.CompletionTokens; in > 0 && in <= maxCounted &&
		out >= 0 && out <= maxCounted {
		a.tokensIn, a.tokensOut = c.Usage.PromptTokens, c.Usage.CompletionTokens
	}
	for _, choice := range c.Choices {
		if choice.Index != 0 {
			continue
		}
		a.text.WriteString(choice.Delta.Content)
		for _, piece := range choice.Delta.ToolCalls {
			a.addCall(piece)
		}
		if choice.FinishReason != "" {
			a.finishReason = choice.FinishReason
		}
	}
	size := a.text.Len()
	for i := range a.calls {
		size += a.calls[i].arguments.Len()
	}
	a.tooLong = size > maxText
}

func (a *answer) addCall(piece callPiece) {
	i := len(a.calls) - 1
	for i >= 0 && a.calls[i].index != piece.Index {
		i--
	}
	if i < 0 {
		if len(a.calls) == maxCalls {
			return
		}
		a.calls = append(a.calls, partialCall{index: piece.Index})
		i = len(a.calls) - 1
	}
	call := &a.calls[i]
	if piece.ID != "" {
		call.id = piece.ID
	}
	if piece.Function.Name != "" {
		call.name = piece.Function.Name
	}
	call.arguments.WriteString(piece.Function.Arguments)
}

// reply returns the complete answer. The error is an *Error.
func (a *answer) reply() (Reply, error) {
	switch {
	case a.tooLong:
		return Reply{}, &Error{
			State:  domain.DeliveryRefused,
			Reason: fmt.Sprintf("the answer is longer than %d bytes", maxText),
		}
	case a.finishReason == "length":
		return Reply{}, &Error{State: domain.DeliveryRefused, Reason: "the answer took more tokens than allowed"}
	case a.finishReason != "stop" && a.finishReason != "tool_calls" && a.finishReason != "function_call":
		return Reply{}, &Error{
			State:  domain.DeliveryRefused,
			Reason: fmt.Sprintf("the server ended the answer: %.*q", maxQuoted, clean(a.finishReason)),
		}
	}
	r := Reply{Text: clean(a.text.String()), TokensIn: a.tokensIn, TokensOut: a.tokensOut}
	for i := range a.calls {
		r.Calls = append(r.Calls, a.calls[i].call())
	}
	return r, nil
}

// call decodes the arguments leniently: models write numbers where text is expected.
func (p *partialCall) call() llm.Call {
	call := llm.Call{ID: clean(p.id), Tool: clean(p.name)}
	text := strings.TrimSpace(p.arguments.String())
	if text == "" {
		return call
	}
	var values map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		call.Problem = "the input is not a JSON object"
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
			call.Problem = fmt.Sprintf("%.40q is not text", clean(name))
		}
	}
	return call
}

// eventReader reads server-sent events.
type eventReader struct{ lines *bufio.Scanner }

// next returns the data of the next event that has data, or io.EOF. It skips other fields, and comments, which
// some servers send to keep the connection open.
func (e eventReader) next() (string, error) {
	var data []string
	for e.lines.Scan() {
		line := e.lines.Text()
		if line == "" && data != nil {
			return strings.Join(data, "\n"), nil
		}
		if value, ok := strings.CutPrefix(line, "data:"); ok {
			data = append(data, strings.TrimPrefix(value, " "))
		}
	}
	if err := e.lines.Err(); err != nil {
		return "", err
	}
	if data != nil { // the last event may have no empty line after it
		return strings.Join(data, "\n"), nil
	}
	return "", io.EOF
}
