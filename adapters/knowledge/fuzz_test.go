package knowledge

import (
	"maps"
	"slices"
	"testing"
)

// FuzzAFolderIsReadOrItsMistakesAreTold: for any content of the files, Read returns the knowledge or its mistakes.
func FuzzAFolderIsReadOrItsMistakesAreTold(f *testing.F) {
	names := slices.Sorted(maps.Keys(small))
	for i, name := range names {
		f.Add(uint8(i), small[name])
		f.Add(uint8(i), "a: &x [*x]\n<<: {b: }\n? [c]\n: d\n")
		f.Add(uint8(i), "- - {name: [], ask: {}, choices: {}, next: []}\n")
	}
	f.Fuzz(func(t *testing.T, which uint8, text string) {
		k, err := Read(changed(map[string]string{names[int(which)%len(names)]: text}), Options{Untrained: true})
		if (k == nil) == (err == nil) || err != nil && len(Mistakes(err)) == 0 {
			t.Errorf("read %v with the error %v, want either the knowledge or mistakes", k, err)
		}
	})
}
