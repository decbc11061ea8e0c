package pgdev

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// setParentDeathSignal makes the kernel stop the server immediately when the thread
// that started it ends, for whatever reason.
func setParentDeathSignal(attr *syscall.SysProcAttr) { attr.Pdeathsig = immediateSignal }

// isPostmaster reports whether pid is a running PostgreSQL server on data. The working
// directory of a server is its data directory; a zombie has no working directory.
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
