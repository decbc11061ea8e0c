//go:build unix

package pgdev

import (
	"errors"
	"os"
	"syscall"
)

// immediateSignal makes PostgreSQL end immediately, without a last checkpoint.
const immediateSignal = syscall.SIGQUIT

// tryLock takes an exclusive lock that ends when f is closed, or reports that
// another open file has it.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func ownerOf(info os.FileInfo) (uid, gid int, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}

// childAttributes puts the child into its own process group and, for root, runs it as
// owner without root's supplementary groups.
func childAttributes(owner *account, dieWithParent bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if owner != nil {
		attr.Credential = &syscall.Credential{Uid: uint32(owner.uid), Gid: uint32(owner.gid), Groups: []uint32{}}
	}
	if dieWithParent {
		setParentDeathSignal(attr)
	}
	return attr
}
