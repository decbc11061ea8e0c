package commands

import (
	"fmt"
	"runtime"
)

// Panicked is the error of what was recovered from a panic, and where that was. Of what
// was thrown it tells the type alone, unless it is the runtime's own word: the rest may
// quote a customer.
func Panicked(thrown any, stack []byte) error {
	if mistake, ok := thrown.(runtime.Error); ok {
		return fmt.Errorf("panicked: %w\n%s", mistake, stack)
	}
	return fmt.Errorf("panicked with a %T\n%s", thrown, stack)
}
