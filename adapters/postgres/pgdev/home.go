package pgdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// account is the unprivileged user as which root runs the server.
type account struct {
	name     string
	uid, gid int
}

// home is the data directory and its owner. A nil owner is the user of this process.
type home struct {
	data  string
	owner *account

	// parent is set when the owner cannot enter the folder of data. Every child then
	// inherits this open folder, and reaches the data through it instead of by path.
	parent *os.File
}

// makeDir creates dir and its parents. As root it makes dir enterable for the server's
// user, whatever the umask.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		return os.Chmod(dir, 0o711)
	}
	return nil
}

// findHome returns the home of the data of dir. The caller closes it.
func findHome(dir string) (home, error) {
	h := home{data: filepath.Join(dir, "pg")}
	if os.Geteuid() != 0 {
		if info, err := os.Stat(h.data); err == nil {
			if uid, _, ok := ownerOf(info); ok && uid != os.Geteuid() {
				return home{}, fmt.Errorf("%s belongs to another user (uid %d): "+
					"run as that user or as root, or choose another --data-dir", h.data, uid)
			}
		}
		return h, nil
	}
	var err error
	if h.initialised() {
		h.owner, err = ownerAccount(h.data)
	} else {
		h.owner, err = unprivileged()
	}
	if err != nil {
		return home{}, err
	}
	if closed := firstClosed(dir, *h.owner); closed == "" {
		return h, nil
	} else if closed == dir || runtime.GOOS != "linux" {
		return home{}, fmt.Errorf("user %s, who owns the data in %s, cannot enter %s: run chmod o+x %s",
			h.owner.name, h.data, closed, closed)
	}
	h.parent, err = os.Open(dir)
	return h, err
}

func (h home) close() {
	if h.parent != nil {
		_ = h.parent.Close()
	}
}

// path returns the name under which the programs open the data directory, or a file
// beside it. An inherited open folder can be entered whatever the modes of its parents;
// on Linux its name is /proc/self/fd/3.
func (h home) path(file string) string {
	if h.parent == nil {
		return file
	}
	return filepath.Join("/proc/self/fd/3", filepath.Base(file))
}

// makeOwnDir creates a folder in a place where every user may create folders. It
// rejects an existing folder that belongs to another user.
func makeOwnDir(dir string) error {
	err := os.Mkdir(dir, 0o711)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	uid, _, ok := ownerOf(info)
	if !info.IsDir() || (ok && uid != os.Geteuid()) || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s belongs to another user or is writable by others: remove it", dir)
	}
	return os.Chmod(dir, 0o711)
}

// unprivileged returns a user for the server: postgres, which PostgreSQL's packages
// create, or nobody, which exists on every system.
func unprivileged() (*account, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid > 0 {
			return &account{name: name, uid: uid, gid: gid}, nil
		}
	}
	return nil, errors.New("PostgreSQL does not run as root, and the users postgres and nobody do not exist: " +
		"run this program as another user")
}

// ownerAccount returns the owner of existing data. The server must run as that user.
func ownerAccount(data string) (*account, error) {
	info, err := os.Stat(data)
	if err != nil {
		return nil, err
	}
	uid, gid, ok := ownerOf(info)
	if !ok || uid == 0 {
		return nil, fmt.Errorf("%s belongs to root, but PostgreSQL does not run as root: "+
			"give it to another user (chown -R postgres %s)", data, data)
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return &account{name: name, uid: uid, gid: gid}, nil
}

// firstClosed returns the topmost folder in the path of dir, dir included, that the
// user may not enter, or "".
func firstClosed(dir string, a account) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	closed := ""
	for {
		info, err := os.Stat(dir)
		if err != nil {
			closed = dir
		} else if uid, gid, ok := ownerOf(info); ok {
			need := os.FileMode(0o001)
			switch {
			case uid == a.uid:
				need = 0o100
			case gid == a.gid:
				need = 0o010
			}
			if info.Mode().Perm()&need == 0 {
				closed = dir
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return closed
		}
		dir = parent
	}
}

func (h home) initialised() bool {
	_, err := os.Stat(filepath.Join(h.data, "PG_VERSION"))
	return err == nil
}

// initialise creates the cluster in a temporary folder and renames it when it is
// complete, so that a killed run leaves nothing that looks like data.
func (h home) initialise(ctx context.Context, bin, password string, fast bool) error {
	parent := filepath.Dir(h.data)
	fresh := h.data + ".new"
	pwfile := filepath.Join(parent, ".password")
	for _, left := range []string{fresh, pwfile} {
		if err := os.RemoveAll(left); err != nil {
			return fmt.Errorf("create cluster: %w", err)
		}
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	// Exclusive, so that the password is never written into another user's file.
	f, err := os.OpenFile(pwfile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	defer os.Remove(pwfile)
	_, err = f.WriteString(password + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	if h.owner != nil {
		for _, path := range []string{fresh, pwfile} {
			if err := os.Chown(path, h.owner.uid, h.owner.gid); err != nil {
				return fmt.Errorf("create cluster: give its folder to user %s: %w", h.owner.name, err)
			}
		}
	}

	args := []string{"-D", h.path(fresh), "-U", role, "--auth=scram-sha-256", "--pwfile=" + h.path(pwfile),
		"--encoding=UTF8", "--locale=C", "--no-instructions"}
	if fast {
		// No sync, and a sixteenth of the write-ahead log to write and to copy.
		args = append(args, "--no-sync", "--wal-segsize=1")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), args...)
	if err := h.run(cmd); err != nil {
		_ = os.RemoveAll(fresh)
		return fmt.Errorf("create cluster: %w", err)
	}
	if err := os.Rename(fresh, h.data); err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	return nil
}

// resetPassword sets the password of a server that is not running. It uses
// PostgreSQL's single-user mode, which asks for no password.
func (h home) resetPassword(ctx context.Context, bin, password string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--single", "-D", h.path(h.data), "postgres")
	cmd.Stdin = strings.NewReader("alter role " + role + " password '" + password + "'\n")
	if err := h.run(cmd); err != nil {
		return fmt.Errorf("set a new password: %w", err)
	}
	return nil
}

// run runs one of PostgreSQL's programs. The error holds the last lines of its output.
func (h home) run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	h.prepare(cmd, false)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Path, err, lastLines(out.String()))
	}
	return nil
}

// prepare sets the user, process group, folder and environment of a child. Its own
// process group keeps the terminal's Ctrl-C from it. Variables that would change
// PostgreSQL's behaviour or the language of its messages are removed.
func (h home) prepare(cmd *exec.Cmd, dieWithParent bool) {
	cmd.Dir = filepath.Dir(h.data)
	if h.parent != nil {
		cmd.Dir = "/"
		cmd.ExtraFiles = []*os.File{h.parent} // descriptor 3
	}
	cmd.SysProcAttr = childAttributes(h.owner, dieWithParent)
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		locale := strings.HasPrefix(name, "LC_") || name == "LANG" || name == "LANGUAGE"
		if !locale && !strings.HasPrefix(name, "PG") && name != "TZ" {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C", "TZ=UTC")
}
