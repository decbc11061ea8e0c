package projections_test

import (
	"slices"
	"testing"

	"github.com/chatledger/chatledger/domain/chat"
	"github.com/chatledger/chatledger/projections"
)

// NewCodec declares for each event which tables fold it, or that no table does.
func TestEvents_EachOne_DeclaresItsTables(t *testing.T) {
	t.Parallel()
	codec := chat.NewCodec()
	for name := range codec.Names() {
		if codec.Former(name) {
			continue
		}
		tables, declared := codec.FoldedBy(name)
		if !declared {
			t.Errorf("%s: nothing declares which tables fold it: call FoldedBy where it is registered", name)
		}
		for _, table := range tables {
			p, err := projections.Named(table)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if p.Concerned() == nil {
				t.Errorf("%s: %s folds every event and needs no declaration", name, table)
			}
		}
	}
	for _, p := range projections.All() {
		for _, event := range p.Concerned() {
			if tables, _ := codec.FoldedBy(codec.Name(event)); !slices.Contains(tables, p.Name()) {
				t.Errorf("%s folds %s, which does not declare it", p.Name(), codec.Name(event))
			}
		}
	}
}
