package knowledge

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/domain/dialog"
)

// call reads a step that calls a tool. The tool's input and output are known, so that a
// misspelt field is found here and not by a customer.
func (d *draft) call(n *yaml.Node, step dialog.Step) *dialog.Call {
	c := &dialog.Call{}
	tool := d.tool(under(n, "call"))
	c.Tool = tool.Name
	result := func(name string, line int) {
		if field, of := strings.CutPrefix(name, "result."); !of {
			d.known(name, line)
		} else if tool.Name != "" && !has(tool.Output, field) {
			d.mistake(d.file, line, "the tool %s answers no %q; it answers %s", tool.Name, field,
				fieldNames(tool.Output))
		}
	}
	d.object(n, "a step that calls a tool", fields{
		"name":  skip,
		"call":  skip,
		"input": func(n *yaml.Node) { c.Input = d.input(n, tool) },
		"wait":  func(n *yaml.Node) { c.Wait = d.text(n, "wait", maxText, d.known) },
		"cases": func(n *yaml.Node) {
			d.list(n, "cases", maxChoices,
				func(n *yaml.Node) { c.Cases = append(c.Cases, d.caseOf(n, step, tool, result)) })
		},
		"next":    skip, // the last of the cases, read above
		"failed":  func(n *yaml.Node) { c.Failed = d.next(n, step, "failed", nil) },
		"without": func(n *yaml.Node) { c.Without = d.next(n, step, "without", nil) },
	})
	if last := under(n, "next"); last != nil {
		c.Cases = append(c.Cases, dialog.Case{Next: d.next(last, step, "next", result)})
	}
	for _, field := range tool.Input {
		if _, given := c.Input[field.Name]; !given && !field.Optional {
			d.wrong(n, "the tool %s needs the input %s: write it under input", tool.Name, field.Name)
		}
	}
	for _, missing := range []struct {
		is   bool
		says string
	}{
		{
			len(c.Cases) == 0 || len(c.Cases[len(c.Cases)-1].When) > 0,
			"next: what follows all answers that no case is about",
		},
		{c.Failed.Step == "", "failed: what follows when it cannot be done"},
		{c.Without.Step == "", "without: what follows where the bot does not have the tool"},
	} {
		if missing.is {
			d.wrong(n, "the step %s has no next step in one case: write %s", step, missing.says)
		}
	}
	return c
}

func (d *draft) tool(n *yaml.Node) dialog.Tool {
	tool, ok := dialog.Toolbox[n.Value]
	if !ok {
		d.wrong(n, "there is no tool %q; there are %s", n.Value, names(maps.Keys(dialog.Toolbox)))
	}
	return tool
}

func (d *draft) input(n *yaml.Node, tool dialog.Tool) map[string]string {
	input := map[string]string{}
	d.pairs(n, "input", func(key, value *yaml.Node) {
		if tool.Name != "" && !has(tool.Input, key.Value) {
			d.wrong(key, "the tool %s takes no %q; it takes %s", tool.Name, key.Value, fieldNames(tool.Input))
		}
		input[key.Value] = d.sentence(value, "an input", maxText, d.known)
	})
	return input
}

func has(all []dialog.Field, name string) bool {
	return slices.ContainsFunc(all, func(f dialog.Field) bool { return f.Name == name })
}

func fieldNames(all []dialog.Field) string {
	list := make([]string, len(all))
	for i, f := range all {
		list[i] = f.Name
	}
	return names(slices.Values(list))
}

// caseOf reads the step that follows certain answers of a tool.
func (d *draft) caseOf(n *yaml.Node, step dialog.Step, tool dialog.Tool, result variables) dialog.Case {
	c := dialog.Case{When: map[string]string{}}
	d.object(n, "a case", with(d.ways(&c.Next, result), fields{
		"when": func(n *yaml.Node) {
			d.pairs(n, "when", func(key, value *yaml.Node) {
				if tool.Name != "" && !has(tool.Output, key.Value) {
					d.wrong(key, "the tool %s answers no %q; it answers %s", tool.Name, key.Value,
						fieldNames(tool.Output))
				}
				c.When[key.Value] = value.Value
			})
		},
	}))
	if len(c.When) == 0 {
		d.wrong(n, "when is missing: say which answers this case is about, or write it as next of the step")
	}
	d.leadOn(n, step, "this case", &c.Next)
	return c
}
