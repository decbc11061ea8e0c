package llm

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/chatledger/chatledger/domain/dialog"
)

// grounds are the texts of an exchange, by who wrote them. A promise is grounded in what the team
// wrote, and in what tools returned, except for the customer's own words in it: a tool may echo what
// it was called with, or return what the customer once wrote.
type grounds struct {
	secret string          // the instructions
	team   strings.Builder // the persona and the facts
	tools  strings.Builder // results of tools
	theirs strings.Builder // the customer's name and data, and the input of tools
	said   strings.Builder // messages of both sides, and results that are the customer's data
}

func groundsOf(messages []Message) *grounds {
	g, calls := &grounds{}, map[string]string{} // the tools of calls, by id
	for _, m := range messages {
		switch m.Role {
		case System:
			g.instructed(m.Text)
		case Tool:
			g.returned(calls[m.Call], m.Text)
		default:
			g.said.WriteString(m.Text + "\n")
		}
		for _, call := range m.Calls {
			calls[call.ID] = call.Tool
			for _, name := range slices.Sorted(maps.Keys(call.Input)) {
				g.theirs.WriteString(call.Input[name] + "\n")
			}
		}
	}
	return g
}

// instructed takes a briefing apart. No value in it contains a line break, so none can look like
// the beginning of another part.
func (g *grounds) instructed(text string) {
	secret, rest, _ := strings.Cut(text, factsFollow)
	facts, rest, _ := strings.Cut(rest, customerFollows)
	customer, conversation, _ := strings.Cut(rest, conversationFollows)
	persona, _, _ := strings.Cut(secret, "\n\n")
	g.secret = secret
	g.team.WriteString(persona + "\n" + facts + "\n")
	g.theirs.WriteString(customer + "\n")
	g.said.WriteString(conversation + "\n")
}

// returned takes the result of a tool apart. Each value is in quotes, so that one that is a bare
// number can be told from a number in a text.
func (g *grounds) returned(tool, text string) {
	var output map[string]string
	if json.Unmarshal([]byte(text), &output) != nil {
		g.tools.WriteString(text + "\n")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(output)) {
		if value := output[name] + "\n"; dialog.Toolbox[tool].Theirs(name) {
			g.theirs.WriteString(value)
			g.said.WriteString(value)
			continue
		}
		g.tools.WriteString(`"` + output[name] + "\"\n")
	}
}

// grounded returns what find finds in the texts of the team and in those of tools, without what it
// finds in the customer's.
func (g *grounds) grounded(find func(string) []string) []string {
	theirs := find(g.theirs.String())
	own := slices.DeleteFunc(find(g.tools.String()), func(f string) bool { return slices.Contains(theirs, f) })
	return append(own, find(g.team.String())...)
}

// mentioned returns what find finds in any text but the customer's name: an answer may take up what
// was said.
func (g *grounds) mentioned(find func(string) []string) []string {
	return find(g.team.String() + g.tools.String() + g.said.String())
}
