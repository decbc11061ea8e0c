package pgdev

import (
	"errors"
	"os"
	"syscall"
)

// The program builds on Windows, but needs DATABASE_URL: the private server does not
// run there.

const immediateSignal = syscall.SIGKILL

var errWindows = errors.New("the private PostgreSQL does not run on Windows: set DATABASE_URL")

func tryLock(*os.File) (bool, error)                      { return false, errWindows }
func ownerOf(os.FileInfo) (uid, gid int, ok bool)         { return 0, 0, false }
func childAttributes(*account, bool) *syscall.SysProcAttr { return nil }
func isPostmaster(int, string) bool                       { return false }
