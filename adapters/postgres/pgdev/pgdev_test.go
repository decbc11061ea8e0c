//go:build unix

package pgdev

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// helperDir, when set, makes this test binary a program that starts a server in that
// folder, prints its pid, and waits to be killed.
const helperDir = "PGDEV_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		helper(dir)
	}
	code := m.Run()
	if err := os.RemoveAll(image.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func helper(dir string) {
	s, err := Start(context.Background(),
		Config{Dir: dir, Settings: quick, Fast: os.Getenv("PGDEV_HELPER_FAST") != ""})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println("ready", pidIn(filepath.Join(s.data, "postmaster.pid")))
	_, _ = io.Copy(io.Discard, os.Stdin) // until killed, or the test has ended
	os.Exit(0)
}

// quick turns off what only costs time in tests.
var quick = map[string]string{"fsync": "off", "shared_buffers": "16MB"}

func minute(t testing.TB) context.Context {
	t.Helper()
	// Not the test's own context, which has ended when cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// openDir returns the name of a directory that does not exist yet and that PostgreSQL's
// user can enter, unlike one in t.TempDir.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(ScratchDir(), "pgdev-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}

// image is a cluster that most tests copy: creating one takes half a second, copying
// it a tenth of that.
var image struct {
	once sync.Once
	dir  string
	err  error
}

func makeImage() error {
	dir, err := os.MkdirTemp(ScratchDir(), "pgdev-image-")
	if err != nil {
		return err
	}
	image.dir = dir
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Start(ctx, Config{Dir: dir, Fast: true})
	if err != nil {
		return err
	}
	cred, _ := readDSN(s.dsnFile())
	cred.port = 0 // each copy chooses its own
	return errors.Join(s.Stop(ctx), writeDSN(s.dsnFile(), cred.dsn()))
}

// madeDir is openDir with a cluster in it.
func madeDir(t testing.TB) string {
	t.Helper()
	image.once.Do(func() { image.err = makeImage() })
	if image.err != nil {
		t.Fatal(image.err)
	}
	dir := openDir(t)
	if err := Copy(dir, image.dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func started(t testing.TB, c Config) *Server {
	t.Helper()
	s, err := Start(minute(t), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, s) })
	return s
}

func stopped(t testing.TB, s *Server) {
	t.Helper()
	if err := s.Stop(minute(t)); err != nil {
		t.Error(err)
	}
}

func query[T any](t testing.TB, dsn, sql string) T {
	t.Helper()
	ctx := minute(t)
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var v T
	if err := conn.QueryRow(ctx, sql).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestStart_AfterStop_KeepsDataAndDSN(t *testing.T) {
	t.Parallel()
	c := Config{Dir: madeDir(t), Settings: quick}
	first := started(t, c)
	ctx := minute(t)
	conn, err := pgx.Connect(ctx, first.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "create table kept as select 42 as i"); err != nil {
		t.Fatal(err)
	}
	stopped(t, first)
	stopped(t, first) // a second Stop does nothing
	if !IsDSNOf(c.Dir, first.DSN()) || IsDSNOf(c.Dir, "") || IsDSNOf(t.TempDir(), first.DSN()) {
		t.Error("the connection string of the stopped server is not recognised")
	}

	second := started(t, c)
	if second.DSN() != first.DSN() {
		t.Errorf("the connection string changed from %s to %s", first.DSN(), second.DSN())
	}
	if got := query[int](t, second.DSN(), "select i from kept"); got != 42 {
		t.Errorf("read %d, want 42", got)
	}
}

func TestServer_AnyClient_NeedsPassword(t *testing.T) {
	t.Parallel()
	s := started(t, Config{Dir: openDir(t), Settings: quick})
	info, err := os.Stat(filepath.Join(s.Dir(), "dsn"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("dsn has mode %o, want 600", info.Mode().Perm())
	}
	b, err := os.ReadFile(filepath.Join(s.Dir(), "dsn"))
	if err != nil || string(b) != s.DSN()+"\n" {
		t.Errorf("dsn holds %q (%v), want %q", b, err, s.DSN())
	}
	for setting, want := range map[string]string{
		"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "password_encryption": "scram-sha-256",
		"server_encoding": "UTF8", "lc_collate": "C", "TimeZone": "UTC",
	} {
		if got := query[string](t, s.DSN(), "select current_setting('"+setting+"')"); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	wrong := strings.Replace(s.DSN(), "@", "x@", 1)
	if conn, err := pgx.Connect(minute(t), wrong); err == nil {
		_ = conn.Close(minute(t))
		t.Error("a wrong password was accepted")
	}
	methods := query[string](t, s.DSN(), "select string_agg(distinct auth_method, ',') from pg_hba_file_rules")
	if methods != "scram-sha-256" {
		t.Errorf("pg_hba.conf accepts %s, want scram-sha-256 only", methods)
	}
}

func TestStart_LostDSN_SetsNewPassword(t *testing.T) {
	t.Parallel()
	c := Config{Dir: madeDir(t), Settings: quick}
	first := started(t, c)
	stopped(t, first)
	if err := os.Remove(first.dsnFile()); err != nil {
		t.Fatal(err)
	}
	second := started(t, c)
	if query[int](t, second.DSN(), "select 1") != 1 || second.DSN() == first.DSN() {
		t.Errorf("connection string %s, before %s; want a new one that works", second.DSN(), first.DSN())
	}
}

// killedParent starts a server from another process, kills that process, and
// returns the server's pid.
func killedParent(t *testing.T, dir string, env ...string) (server int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), helperDir+"="+dir), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "ready %d", &server); err != nil {
		t.Fatalf("%v: %s", err, line)
	}

	// While it runs, no other process may use the directory.
	_, err = Start(minute(t), Config{Dir: dir})
	want := fmt.Sprintf("another chatledger (pid %d) is using %s; stop it or choose another --data-dir",
		cmd.Process.Pid, dir)
	if err == nil || err.Error() != want {
		t.Errorf("second start: %v; want %s", err, want)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
	return server
}

func TestStart_ProgramWasKilled_AdoptsServer(t *testing.T) {
	t.Parallel()
	dir := madeDir(t)
	pid := killedParent(t, dir)
	if !isPostmaster(pid, filepath.Join(dir, "pg")) {
		t.Fatal("the server died with its program")
	}
	s := started(t, Config{Dir: dir, Settings: quick})
	if got := pidIn(filepath.Join(s.data, "postmaster.pid")); got != pid {
		t.Errorf("the server is process %d, want the one left behind, %d", got, pid)
	}
	if query[int](t, s.DSN(), "select 1") != 1 {
		t.Error("it does not answer")
	}
	stopped(t, s)
	if isPostmaster(pid, s.data) {
		t.Error("it still runs after Stop")
	}
}

func TestStart_OtherSettings_ReplacesServer(t *testing.T) {
	t.Parallel()
	dir := madeDir(t)
	pid := killedParent(t, dir)
	s := started(t, Config{Dir: dir, Settings: map[string]string{"fsync": "off", "work_mem": "7MB"}})
	if got := pidIn(filepath.Join(s.data, "postmaster.pid")); got == pid {
		t.Error("it was kept")
	}
	if got := query[string](t, s.DSN(), "show work_mem"); got != "7MB" {
		t.Errorf("work_mem is %s, want 7MB", got)
	}
}

func TestFastServer_ProgramIsKilled_Ends(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can do this")
	}
	dir := madeDir(t)
	pid := killedParent(t, dir, "PGDEV_HELPER_FAST=1")
	o := &orphan{pid: pid, data: filepath.Join(dir, "pg")}
	gone, quit := o.watch()
	defer quit()
	select {
	case <-gone:
	case <-minute(t).Done():
		t.Fatal("the server outlived its program")
	}
}

func TestStart_PidOfAnotherProgram_Starts(t *testing.T) {
	t.Parallel()
	c := Config{Dir: madeDir(t), Settings: quick}
	s := started(t, c)
	pidFile := filepath.Join(s.data, "postmaster.pid")
	left, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	stopped(t, s)
	// As after a power failure in a container: the pid in the file is that of another
	// program of the same user.
	other := exec.Command("cat")
	home, err := findHome(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	home.prepare(other, false)
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = other.Wait() }()
	_, rest, _ := strings.Cut(string(left), "\n")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(other.Process.Pid)+"\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if home.owner != nil {
		if err := os.Chown(pidFile, home.owner.uid, home.owner.gid); err != nil {
			t.Fatal(err)
		}
	}
	if got := query[int](t, started(t, c).DSN(), "select 1"); got != 1 {
		t.Error("it does not answer")
	}
}

// A checkout under /root works as everywhere: the data is in its folder, and a server
// whose program was killed is found there.
func TestStart_UserCannotEnterParent_KeepsDataInDir(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("only root runs the server as another user, and only Linux passes folders on")
	}
	closed := openDir(t)
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "data")
	pid := killedParent(t, dir) // initdb ran, too
	c := Config{Dir: dir, Settings: quick}
	s := started(t, c)
	if got := pidIn(filepath.Join(dir, "pg", "postmaster.pid")); got != pid {
		t.Errorf("the server is process %d, want the one left behind, %d", got, pid)
	}
	if query[bool](t, s.DSN(), "select pg_reload_conf()") != true {
		t.Error("it does not reload its configuration")
	}
	stopped(t, s)
	if isPostmaster(pid, s.data) {
		t.Error("it still runs after Stop")
	}

	// Without its password, and then with every folder open.
	if err := os.Remove(filepath.Join(dir, "dsn")); err != nil {
		t.Fatal(err)
	}
	stopped(t, started(t, c))
	if err := os.Chmod(closed, 0o711); err != nil {
		t.Fatal(err)
	}
	if query[int](t, started(t, c).DSN(), "select 1") != 1 {
		t.Error("it does not answer")
	}
}

func TestStart_PortInUse_NextPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port

	t.Run("configured, fails", func(t *testing.T) {
		_, err := Start(minute(t), Config{Dir: madeDir(t), Port: port, Settings: quick})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d is in use", port)) {
			t.Errorf("started with %v, want that port %d is in use", err, port)
		}
	})
	t.Run("remembered, takes another", func(t *testing.T) {
		c := Config{Dir: madeDir(t), Settings: quick}
		s := started(t, c)
		stopped(t, s)
		cred, _ := readDSN(s.dsnFile())
		cred.port = port
		if err := writeDSN(s.dsnFile(), cred.dsn()); err != nil {
			t.Fatal(err)
		}
		again := started(t, c)
		if strings.Contains(again.DSN(), strconv.Itoa(port)) {
			t.Errorf("%s has the port that is taken", again.DSN())
		}
	})
}

func TestStart_ServerDies_ReturnsItsLog(t *testing.T) {
	t.Parallel()
	_, err := Start(minute(t), Config{Dir: madeDir(t), Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("started with %v, want the last lines of the log", err)
	}
}

func TestStart_ContextEnds_FreesDirectory(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	ctx, cancel := context.WithCancelCause(minute(t))
	enough := errors.New("enough")
	cancel(enough)
	if s, err := Start(ctx, Config{Dir: dir, Settings: quick}); err == nil {
		stopped(t, s)
		t.Fatal("started though its context had ended")
	}
	// The directory is unlocked and usable.
	started(t, Config{Dir: dir, Settings: quick})
}

func TestCopy_SeveralAtOnce_AllStart(t *testing.T) {
	t.Parallel()
	from := Config{Dir: madeDir(t), Fast: true}
	var wg sync.WaitGroup
	for range 3 {
		to := Config{Dir: openDir(t), Fast: true}
		wg.Go(func() {
			if err := Copy(to.Dir, from.Dir); err != nil {
				t.Error(err)
				return
			}
			s, err := Start(minute(t), to)
			if err != nil {
				t.Error(err)
				return
			}
			stopped(t, s)
		})
	}
	wg.Wait()
}

func TestWaitReady_AnotherServer_KeepsWaiting(t *testing.T) {
	t.Parallel()
	s := started(t, Config{Dir: madeDir(t), Settings: quick})
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "postmaster.pid"), []byte("1\n"+data+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ours := &Server{dsn: s.dsn, data: data}
	died := make(chan struct{})
	close(died) // as ours does when it cannot have its port
	if err := ours.waitReady(minute(t), died); !errors.Is(err, errDied) {
		t.Errorf("ended with %v, want %v", err, errDied)
	}
}

func TestOpenLog_TooLarge_Truncates(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "postgres.log")
	if err := os.WriteFile(name, make([]byte, maxLog+1), 0o600); err != nil {
		t.Fatal(err)
	}
	f, offset, err := openLog(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if offset != 0 {
		t.Errorf("the log goes on at %d, want it to start anew", offset)
	}
}

func TestFindBinaries(t *testing.T) {
	t.Parallel()
	nothing := finder{
		lookPath: func(string) (string, error) { return "", exec.ErrNotFound },
		bindir:   func() (string, error) { return "", exec.ErrNotFound },
		glob:     func(string) ([]string, error) { return nil, nil },
	}
	programs := func(t *testing.T, version string) string {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "postgresql", version, "bin")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"initdb", "postgres"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}

	t.Run("none is one line that says what to install", func(t *testing.T) {
		_, err := nothing.find()
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(),
			"apt-get install postgresql") {
			t.Errorf("found with %v", err)
		}
	})
	t.Run("the highest version in the usual places", func(t *testing.T) {
		nine, ten := programs(t, "9"), programs(t, "10")
		f := nothing
		f.glob = func(pattern string) ([]string, error) {
			if strings.HasPrefix(pattern, "/usr/lib") {
				return []string{nine, ten}, nil
			}
			return nil, nil
		}
		if dir, err := f.find(); err != nil || dir != ten {
			t.Errorf("found %s (%v), want %s", dir, err, ten)
		}
	})
	t.Run("PATH wins, and its links are followed", func(t *testing.T) {
		real, other := programs(t, "12"), programs(t, "17")
		link := filepath.Join(t.TempDir(), "initdb")
		if err := os.Symlink(filepath.Join(real, "initdb"), link); err != nil {
			t.Fatal(err)
		}
		f := nothing
		f.lookPath = func(string) (string, error) { return link, nil }
		f.bindir = func() (string, error) { return other, nil }
		if dir, err := f.find(); err != nil || dir != real {
			t.Errorf("found %s (%v), want %s", dir, err, real)
		}
	})
	t.Run("data goes on with the version that made it", func(t *testing.T) {
		old, newer := programs(t, "14"), programs(t, "16")
		f := nothing
		f.bindir = func() (string, error) { return newer, nil }
		f.glob = func(string) ([]string, error) { return []string{newer, old}, nil }
		h := home{data: t.TempDir()}
		for version, want := range map[string]string{"14": old, "16": newer} {
			if err := os.WriteFile(filepath.Join(h.data, "PG_VERSION"), []byte(version+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if dir, err := f.binariesFor(minute(t), h); err != nil || dir != want {
				t.Errorf("for version %s found %s (%v), want %s", version, dir, err, want)
			}
		}
		if err := os.WriteFile(filepath.Join(h.data, "PG_VERSION"), []byte("11\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if dir, err := f.binariesFor(minute(t), h); err == nil || !strings.Contains(err.Error(),
			"install version 11") {
			t.Errorf("for version 11 found %s (%v), want advice to install it", dir, err)
		}
	})
}

// `make postgres` fails where the program would find nothing, so both look at the same folders.
func TestInstalledFolders_InCIScript_Agree(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../../../.ci/postgres")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range installed {
		if !strings.Contains(string(b), "\n        "+pattern+" ") {
			t.Errorf(".ci/postgres does not look at %s", pattern)
		}
	}
}

func TestArguments_CalledTwice_SameOrder(t *testing.T) {
	t.Parallel()
	c := Config{Settings: map[string]string{"work_mem": "1MB", "jit": "on"}}
	a, b := arguments(c, "/d", 1), arguments(c, "/d", 1)
	if !slices.Equal(a, b) {
		t.Errorf("two calls differ:\n%q\n%q", a, b)
	}
	if !slices.Contains(a, "jit=on") || slices.Contains(a, "jit=off") {
		t.Errorf("a setting of the caller's does not win: %q", a)
	}
}

// BenchmarkStart measures how long a program waits for its server.
func BenchmarkStart(b *testing.B) {
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			s := started(b, Config{Dir: openDir(b)})
			b.StopTimer()
			stopped(b, s)
			b.StartTimer()
		}
	})
	b.Run("warm", func(b *testing.B) {
		c := Config{Dir: openDir(b)}
		stopped(b, started(b, c))
		for b.Loop() {
			s := started(b, c)
			b.StopTimer()
			stopped(b, s)
			b.StartTimer()
		}
	})
	b.Run("stop", func(b *testing.B) {
		c := Config{Dir: openDir(b)}
		for b.Loop() {
			b.StopTimer()
			s := started(b, c)
			b.StartTimer()
			stopped(b, s)
		}
	})
}
