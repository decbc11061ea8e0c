package dialog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Functions for the language model: the bot's words, checks of tool inputs, the facts that the
// model may tell, and the hand-over to an operator.

// The ReasonLLM constants are reasons for a hand-over from the language model to an operator.
const (
	ReasonLLMAsked   = "llm_asked"    // the model called hand_over
	ReasonLLMBudget  = "llm_budget"   // rounds, tokens or time ran out
	ReasonLLMFailed  = "llm_failed"   // the call failed
	ReasonLLMTool    = "llm_tool"     // the confirmed action failed
	ReasonLLMBlocked = "llm_blocked:" // the guard blocked the answer; the guard's reason follows
)

// Say returns one of the bot's fixed texts in the language of the conversation.
func (c Context) Say(w Word, values map[string]string) string {
	return begin(c, Act{}).word(w, values)
}

// Fetch returns the turn that hands the chat over to an operator.
func Fetch(c Context, why HandOver, words Word, at Act) Turn {
	t := begin(c, at)
	t.handOver(why, t.word(words))
	return t.done()
}

// Action describes a tool call to the customer who must confirm it: the title of the workflow
// that makes the same call, if there is one, and the input.
func (c Context) Action(call ToolCall) string {
	t := begin(c, Act{})
	tool := Toolbox[call.Tool]
	lines := []string{tool.Description}
	for _, name := range slices.Sorted(maps.Keys(t.Knowledge.Workflows)) {
		if w := t.Knowledge.Workflows[name]; w.uses(call.Tool) && len(w.Title) > 0 {
			lines[0] = w.Title.in(t.Knowledge, t.Language)
			break
		}
	}
	for _, f := range tool.Input {
		if value := call.Input[f.Name]; value != "" {
			lines = append(lines, f.Name+": "+value)
		}
	}
	return strings.Join(lines, "\n")
}

func (w *Workflow) uses(tool string) bool {
	return slices.ContainsFunc(w.Steps, func(s StepDef) bool { return s.Call != nil && s.Call.Tool == tool })
}

// maxValue bounds what a model gives a tool in one field, in characters: as much as a
// customer may answer.
const maxValue = textMax

// Accept is the input in its normal form; the error says what is wrong with it.
func (t Tool) Accept(input map[string]string) (map[string]string, error) {
	accepted := map[string]string{}
	for name := range input {
		if !slices.ContainsFunc(t.Input, func(f Field) bool { return f.Name == name }) {
			return nil, fmt.Errorf("%s has no field %q", t.Name, name)
		}
	}
	for _, f := range t.Input {
		value := strings.TrimSpace(input[f.Name])
		switch {
		case value == "" && f.Optional:
			continue
		case value == "":
			return nil, fmt.Errorf("%s needs %s", t.Name, f.Name)
		case utf8.RuneCountInString(value) > maxValue:
			return nil, fmt.Errorf("%s: longer than %d characters", f.Name, maxValue)
		}
		read, problem := f.Check.read(value)
		if problem != "" {
			return nil, fmt.Errorf("%s: %s", f.Name, plain[problem])
		}
		accepted[f.Name] = read
	}
	return accepted, nil
}

// Fact is the bot's answer to an intent.
type Fact struct {
	Intent Intent
	Text   string
}

// Facts are all simple answers in a language, in the order of their intents.
func (k *Knowledge) Facts(l Language) (facts []Fact) {
	for _, intent := range slices.Sorted(maps.Keys(k.Topics)) {
		if topic := k.Topics[intent]; !topic.Courtesy {
			for _, a := range topic.Answers {
				facts = append(facts, Fact{intent, fill(a.Text.in(k, l))})
			}
		}
	}
	return facts
}

// OrderNumber is the order number in a text; "" when there is none.
func OrderNumber(text string) string { return orderNumber(text) }

// WordsOf is a text's words in small letters, set off by single spaces at both ends too.
func WordsOf(text string) string { return wordsOf(text) }
