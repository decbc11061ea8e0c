package pgdev

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// account is the unprivileged user that root runs the server as.
type account struct {
	name     string
	uid, gid int
}

// home is where the data lives and who owns it. A nil owner is the user of
// this process.
type home struct {
	data  string
	owner *account
}

// makeDir makes dir and its parents. Root leaves the last one open to pass
// through, whatever the umask, because the server's user must.
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

// findHome decides where the data of c.Dir lives: in it, or, when root's
// stand-in cannot enter it, in a folder of its own elsewhere. Data that exists
// is never left behind for a new, empty cluster.
func findHome(c Config) (home, error) {
	h := home{data: filepath.Join(c.Dir, "pg")}
	if os.Geteuid() != 0 {
		if info, err := os.Stat(h.data); err == nil {
			if uid, _, ok := ownerOf(info); ok && uid != os.Geteuid() {
				return home{}, fmt.Errorf("%s belongs to another user (uid %d): run as that user or as root, or choose another --data-dir", h.data, uid)
			}
		}
		return h, nil
	}
	elsewhere := home{data: filepath.Join(fallbackDir(c), "pg")}
	if !h.initialised() && elsewhere.initialised() {
		h = elsewhere
	}
	if h.initialised() {
		owner, err := ownerAccount(h.data)
		if err != nil {
			return home{}, err
		}
		h.owner = owner
		if closed := firstClosed(filepath.Dir(h.data), *owner); closed != "" {
			return home{}, fmt.Errorf("the user of its data, %s, can no longer enter %s: run chmod o+x %s", owner.name, closed, closed)
		}
		if h == elsewhere {
			c.Log.Info("the database of this directory is kept elsewhere", "dir", c.Dir, "data", h.data)
		}
		return h, nil
	}

	owner, err := unprivileged()
	if err != nil {
		return home{}, err
	}
	h.owner = owner
	closed := firstClosed(c.Dir, *owner)
	if closed == "" {
		return h, nil
	}
	h.data = elsewhere.data
	parent := filepath.Dir(h.data)
	if err := makeOwnDir(parent); err != nil {
		return home{}, fmt.Errorf("user %s cannot enter %s, and the folder to use instead cannot be had: %w", owner.name, closed, err)
	}
	if also := firstClosed(parent, *owner); also != "" {
		return home{}, fmt.Errorf("user %s can enter neither %s nor %s: run chmod o+x on one of them, or choose another --data-dir", owner.name, closed, also)
	}
	c.Log.Warn("the database is kept elsewhere, because its user cannot enter the directory",
		"dir", c.Dir, "user", owner.name, "closed", closed, "data", h.data)
	return h, nil
}

// fallbackDir is derived from the directory it stands in for, so that the next
// start finds it again.
func fallbackDir(c Config) string {
	parent := c.FallbackDir
	if parent == "" {
		parent = os.TempDir()
	}
	sum := sha256.Sum256([]byte(c.Dir))
	return filepath.Join(parent, fmt.Sprintf("chatledger-%x", sum[:8]))
}

// makeOwnDir makes a folder in a place where everybody may make folders, and
// refuses one that somebody else has put there first.
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
		return fmt.Errorf("%s belongs to somebody else or is writable by others: remove it", dir)
	}
	return os.Chmod(dir, 0o711)
}

// unprivileged finds a user for the server. The packages of PostgreSQL make
// one named postgres; nobody exists everywhere.
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
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as: run this program as another user")
}

// ownerAccount is the user that made the data, who must go on with it.
func ownerAccount(data string) (*account, error) {
	info, err := os.Stat(data)
	if err != nil {
		return nil, err
	}
	uid, gid, ok := ownerOf(info)
	if !ok || uid == 0 {
		return nil, fmt.Errorf("%s belongs to root, as which PostgreSQL does not run: give it to another user (chown -R postgres %s)", data, data)
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return &account{name: name, uid: uid, gid: gid}, nil
}

// firstClosed returns the topmost folder on the way to dir, dir included, that
// the user may not enter, or "".
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

// initialise makes the cluster beside its place and moves it there when it is
// whole, so that a killed run leaves nothing that looks like data.
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
	// Exclusive: nobody else's file may receive the password.
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

	args := []string{"-D", fresh, "-U", role, "--auth=scram-sha-256", "--pwfile=" + pwfile,
		"--encoding=UTF8", "--locale=C", "--no-instructions"}
	if fast {
		// Nothing to sync, and sixteen times less log to write and to copy.
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

// resetPassword sets the password of a server that is not running, in
// PostgreSQL's single-user mode, which asks for none.
func (h home) resetPassword(ctx context.Context, bin, password string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "--single", "-D", h.data, "postgres")
	cmd.Stdin = strings.NewReader("alter role " + role + " password '" + password + "'\n")
	if err := h.run(cmd); err != nil {
		return fmt.Errorf("set a new password: %w", err)
	}
	return nil
}

// run runs one of PostgreSQL's programs to its end; the error has what it said last.
func (h home) run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	h.prepare(cmd, false)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Path, err, lastLines(out.String()))
	}
	return nil
}

// prepare sets what every child needs: its user, a group of its own, so that
// the terminal's Ctrl-C does not reach it, and an environment in which no
// setting of the caller's changes what PostgreSQL does or in which language.
func (h home) prepare(cmd *exec.Cmd, dieWithParent bool) {
	cmd.Dir = filepath.Dir(h.data)
	cmd.SysProcAttr = childAttributes(h.owner, dieWithParent)
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "PG") || strings.HasPrefix(name, "LC_") || name == "LANG" || name == "LANGUAGE" || name == "TZ" {
			continue
		}
		cmd.Env = append(cmd.Env, kv)
	}
	cmd.Env = append(cmd.Env, "LC_ALL=C", "TZ=UTC")
}
