package commands_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/chatledger/chatledger/commands"
	"github.com/chatledger/chatledger/domain/chat"
)

func TestPanic_Report_HasLocationNotValue(t *testing.T) {
	t.Parallel()
	throw := func(f func()) error {
		h := commands.NewHandler(&memory{},
			commands.Config{
				Settings: commands.SettingsFunc(func(string) chat.Settings { f(); return chat.Settings{} }),
			})
		t.Cleanup(h.Close)
		_, err := h.Handle(t.Context(), update(anna, 1))
		return err
	}
	err := throw(func() { panic("what Ada wrote") })
	if err == nil || strings.Contains(err.Error(), "Ada") || !strings.Contains(err.Error(),
		"panicked with a string") || !strings.Contains(err.Error(), "panic_test.go") {
		t.Errorf("%v", err)
	}
	var mistake runtime.Error
	if err := throw(func() { _ = []int{}[len("far out")] }); !errors.As(err, &mistake) {
		t.Errorf("%v", err)
	}
}
