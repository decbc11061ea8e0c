//go:build unix && !linux

package pgdev

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// setParentDeathSignal does nothing: only Linux has such a signal.
func setParentDeathSignal(*syscall.SysProcAttr) {}

// isPostmaster reports whether pid is a running PostgreSQL server whose command line
// contains data.
func isPostmaster(pid int, data string) bool {
	out, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), " -D "+data+" ")
}
