package pgdev

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// setParentDeathSignal lets the kernel stop the server at once when the thread
// that started it ends, however that happens.
func setParentDeathSignal(attr *syscall.SysProcAttr) { attr.Pdeathsig = immediateSignal }

// isPostmaster reports whether pid is a live PostgreSQL that works in data: a
// server's working directory is its data directory. A zombie has none.
func isPostmaster(pid int, data string) bool {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(data); err == nil {
		data = real
	}
	exe, err := os.Readlink(filepath.Join(proc, "exe"))
	return err == nil && cwd == data && strings.HasPrefix(filepath.Base(exe), "postgres")
}
