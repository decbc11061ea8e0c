package knowledge

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Mistake is something in a folder that cannot be used, and what to do about it.
type Mistake struct {
	File string // below the folder
	Line int    // 0 when it is about the whole file
	Says string
}

func (m Mistake) Error() string {
	if m.Line == 0 {
		return m.File + ": " + m.Says
	}
	return fmt.Sprintf("%s:%d: %s", m.File, m.Line, m.Says)
}

// Mistakes returns the mistakes in an error of Read, by file and line; none when the error has
// another cause, such as a folder that cannot be opened.
func Mistakes(err error) []Mistake {
	var list mistakes
	errors.As(err, &list)
	return list
}

// mistakes are reported all at once, so that a team can correct a folder in one go.
type mistakes []Mistake

func (list mistakes) Error() string {
	all := make([]error, len(list))
	for i, m := range list {
		all[i] = m
	}
	return errors.Join(all...).Error()
}

// sorted sorts mistakes by file and line and removes duplicates.
func (list mistakes) sorted() mistakes {
	slices.SortStableFunc(list, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Says, b.Says))
	})
	return slices.Compact(list)
}
