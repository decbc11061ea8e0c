package dialog

import "maps"

// Coded is what another system finds, as a code that a team has words for in each of its
// languages, beside words of the system's own.
type Coded struct {
	Code   string            `json:"code,omitempty"`   // such as post_code_missing
	Values map[string]string `json:"values,omitempty"` // what the words are filled with, such as the town
}

// outputCode is the output of a tool that holds the code.
const outputCode = "code"

// output adds the code and its values to what a tool answers, whose own outputs win.
func (c Coded) output(own map[string]string) map[string]string {
	if c.Code == "" {
		return own
	}
	all := map[string]string{}
	maps.Copy(all, c.Values)
	maps.Copy(all, own)
	all[outputCode] = c.Code
	return all
}

// worded is what a tool has answered, with the team's words for its code in the place of
// the tool's own.
func (t *talk) worded(tool string, output map[string]string) map[string]string {
	text := t.Knowledge.Codes[tool][output[outputCode]]
	if len(text) == 0 {
		return output
	}
	said := maps.Clone(output)
	said[Toolbox[tool].Says] = t.text(text, output)
	return said
}
