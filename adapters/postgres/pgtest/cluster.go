//go:build unix

package pgtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/chatledger/chatledger/adapters/postgres/pgdev"
	"github.com/chatledger/chatledger/schema"
)

const (
	// imageFormat is part of an image's key. Raise it when pgdev makes clusters
	// differently.
	imageFormat = 1

	// imageAge is how long an image that no test uses is kept. Every change to
	// a migration makes a new one, of some 30 MB.
	imageAge = 3 * 24 * time.Hour

	prefix = "chatledger-test-"
)

// startCluster starts the server on a copy of an image: a cluster, stopped,
// that already has the migrated template. Copying takes a tenth of the time
// that initdb and the migrations do.
func startCluster(ctx context.Context) (*pgdev.Server, *reaper, error) {
	sweep()
	image, err := findImage(ctx)
	if err != nil {
		return nil, nil, err
	}
	return startOn(ctx, image, nil, func(string) error { return nil })
}

// startOn starts a server on a copy of the directory of a stopped one. prepare may change the data
// before.
func startOn(
	ctx context.Context, image string, settings map[string]string, prepare func(data string) error,
) (*pgdev.Server, *reaper, error) {
	dir, err := makeTempDir()
	if err != nil {
		return nil, nil, err
	}
	r, err := startReaper(dir)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := pgdev.Copy(dir, image); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir), r.dismiss())
	}
	if err := prepare(filepath.Join(dir, "pg")); err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir), r.dismiss())
	}
	server, err := pgdev.Start(ctx, pgdev.Config{Dir: dir, Fast: true, Settings: settings})
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir), r.dismiss())
	}
	return server, r, nil
}

// makeTempDir makes a folder that PostgreSQL's user may pass through.
func makeTempDir() (string, error) {
	dir, err := os.MkdirTemp(pgdev.ScratchDir(), prefix)
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o711)
}

// findImage returns the directory of the image for the installed server and
// the present migrations, and makes it when it is missing.
func findImage(ctx context.Context) (string, error) {
	cache := filepath.Join(pgdev.ScratchDir(), fmt.Sprintf("chatledger-images-%d", os.Getuid()))
	if err := os.Mkdir(cache, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	if err := ours(cache); err != nil {
		return "", err
	}
	image := filepath.Join(cache, imageKey())
	lock, err := lockFile(filepath.Join(cache, "lock"), syscall.LOCK_EX)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	now := time.Now()
	if _, err := os.Stat(filepath.Join(image, "dsn")); err == nil {
		return image, os.Chtimes(image, now, now)
	}
	prune(cache, now)
	building := filepath.Join(cache, "building")
	if err := os.RemoveAll(building); err != nil {
		return "", err
	}
	if err := buildImage(ctx, building); err != nil {
		return "", errors.Join(err, os.RemoveAll(building))
	}
	return image, os.Rename(building, image)
}

func buildImage(ctx context.Context, dir string) error {
	server, err := pgdev.Start(ctx, pgdev.Config{Dir: dir, Fast: true, Settings: map[string]string{
		"min_wal_size": "2MB", // keep no used-up log, which would only be copied
	}})
	if err != nil {
		return err
	}
	// Migrations that fail leave the image without a template. The first test
	// that wants one then tries again and reports the failure; tests that need
	// no schema go on.
	_ = imageTemplate(ctx, server)
	return server.Stop(ctx)
}

func imageTemplate(ctx context.Context, server *pgdev.Server) error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	err := makeTemplate(ctx, server)
	if shared.admin != nil {
		err = errors.Join(err, shared.admin.Close(ctx))
		shared.admin = nil
	}
	return err
}

// imageKey names what an image depends on: the server's program, the
// migrations, and how images are made.
func imageKey() string {
	h := sha256.New()
	if bin, err := pgdev.FindBinaries(); err == nil {
		program := filepath.Join(bin, "postgres")
		if info, err := os.Stat(program); err == nil {
			fmt.Fprintln(h, program, info.Size(), info.ModTime().UnixNano())
		}
	}
	fmt.Fprintln(h, imageFormat, schema.Fingerprint())
	return fmt.Sprintf("image-%x", h.Sum(nil)[:8])
}

// prune removes the images that nobody has used for long; the cache's lock is
// held, but a copy may be under way, which is why young ones stay.
func prune(cache string, now time.Time) {
	images, _ := filepath.Glob(filepath.Join(cache, "image-*"))
	for _, image := range images {
		if info, err := os.Stat(image); err == nil && now.Sub(info.ModTime()) > imageAge {
			_ = os.RemoveAll(image) // tried again next time
		}
	}
}

// ours refuses a folder that another user has made where we look for our own.
func ours(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s belongs to somebody else or is writable by others: remove it", dir)
	}
	return nil
}

// sweep removes what test binaries left behind whose reaper was killed too.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(pgdev.ScratchDir(), prefix+"*"))
	for _, dir := range dirs {
		if ours(dir) == nil && abandoned(dir) {
			_ = os.RemoveAll(dir) // tried again next time
		}
	}
}

// abandoned reports whether nobody will use the directory again. Its owner
// locks it and then writes its pid, so a pid without a lock is a dead owner's.
// A directory without a pid is being made, or was a long time ago.
func abandoned(dir string) bool {
	name := filepath.Join(dir, "lock")
	pid, err := os.ReadFile(name)
	if err != nil || len(pid) == 0 {
		info, err := os.Stat(dir)
		return err == nil && time.Since(info.ModTime()) > imageAge
	}
	lock, err := lockFile(name, syscall.LOCK_EX|syscall.LOCK_NB)
	if err != nil {
		return false
	}
	return lock.Close() == nil
}

func lockFile(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// reaper is a process that waits for this one to end, however it ends, and
// then removes the folder of its server, which Linux has stopped by then.
type reaper struct {
	cmd   *exec.Cmd
	alive io.WriteCloser // closed by the kernel when this process ends
}

// reap reads until the other end of its standard input is closed. A word means
// that all is done already. Where the server is still running it is told to
// stop, and the folder is removed as soon as nothing writes in it any more:
// 100 tries, a tenth of a second apart.
const reap = `
trap '' INT TERM HUP
read word && exit 0
if pid=$(head -n 1 "$0/pg/postmaster.pid") && ps -ww -o command= -p "$pid" | grep -qF -e "$0"; then
	kill -QUIT "$pid"
fi
for try in 0 1 2 3 4 5 6 7 8 9; do
	for again in 0 1 2 3 4 5 6 7 8 9; do
		rm -rf "$0" && exit 0
		sleep 0.1
	done
done
`

func startReaper(dir string) (*reaper, error) {
	cmd := exec.Command("/bin/sh", "-c", reap, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // out of the reach of Ctrl-C
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the process that cleans up: %w", err)
	}
	return &reaper{cmd: cmd, alive: alive}, nil
}

// dismiss ends the reaper; there is nothing left for it to do.
func (r *reaper) dismiss() error {
	_, err := io.WriteString(r.alive, "done\n")
	return errors.Join(err, r.alive.Close(), r.cmd.Wait())
}
