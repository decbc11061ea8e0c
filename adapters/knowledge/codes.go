package knowledge

import (
	"slices"

	"go.yaml.in/yaml/v4"

	"github.com/chatledger/chatledger/domain/dialog"
)

// codes reads codes.yaml: the text for each code that a tool can return. The other system
// defines the codes and their values.
func (r *reading) codes(p page) {
	root := p.root()
	if root == nil {
		return
	}
	p.pairs(root, "codes.yaml", func(tool, list *yaml.Node) {
		if dialog.Toolbox[tool.Value].Says == "" {
			p.wrong(tool, "%q is no tool that answers with a code; there are %s", tool.Value,
				names(slices.Values(saying())))
			return
		}
		words := map[string]dialog.Text{}
		r.k.Codes[tool.Value] = words
		p.pairs(list, tool.Value, func(code, value *yaml.Node) {
			words[code.Value] = p.text(value, code.Value, maxText, func(string, int) {})
		})
	})
}

// saying returns the tools that answer with a code.
func saying() (all []string) {
	for name, tool := range dialog.Toolbox {
		if tool.Says != "" {
			all = append(all, name)
		}
	}
	return all
}
