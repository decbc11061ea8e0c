package pgdev

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// poll is the interval of checks while a server starts or stops. A warm start takes
	// some 50 ms, so a longer interval would delay it.
	poll = 10 * time.Millisecond

	// connectTimeout limits one attempt to connect.
	connectTimeout = 2 * time.Second

	// rejectedTimeout is how long a rejected password may come from another server
	// on the same port, which makes ours end.
	rejectedTimeout = time.Second

	// adoptTimeout limits the wait for the answer of a server left running, which may
	// be replaying its write-ahead log.
	adoptTimeout = 20 * time.Second

	// killGrace is the wait for the server's end after each harder signal.
	killGrace = 5 * time.Second

	// maxLog is the size in bytes at which the log file is truncated.
	maxLog = 10 << 20

	// tailLines and tailBytes limit the part of the log that an error quotes.
	tailLines, tailBytes = 8, 4 << 10
)

var errPortTaken = errors.New("another program uses port")

// process is a running postmaster, which may be a child of this process.
type process interface {
	// stop shuts it down and waits for its end. It sends harder signals when ctx ends first.
	stop(ctx context.Context) error
}

// launch starts the server and waits until the program's database answers.
func (s *Server) launch(ctx context.Context, c Config, h home, port int) error {
	logFile, offset, err := openLog(s.logFile())
	if err != nil {
		return err
	}
	defer logFile.Close()

	cmd := exec.Command(filepath.Join(s.bin, "postgres"), arguments(c, h.path(h.data), port)...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	h.prepare(cmd, c.Fast)
	p, err := spawn(cmd)
	if err != nil {
		return fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	if err := s.waitReady(ctx, p.done); err != nil {
		if errors.Is(err, errDied) {
			end := tail(s.logFile(), offset)
			if strings.Contains(end, "could not bind") || strings.Contains(end,
				"could not create any TCP/IP sockets") {
				return fmt.Errorf("%w %d", errPortTaken, port)
			}
			return fmt.Errorf("the server ended while starting (%w); last lines of %s:\n%s", p.err, s.logFile(), end)
		}
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killGrace)
		defer cancel()
		return errors.Join(err, p.stop(stopCtx))
	}
	s.proc = p
	return nil
}

var errDied = errors.New("the server ended")

// waitReady tries to connect until it succeeds, and creates the program's database
// when it does not exist.
func (s *Server) waitReady(ctx context.Context, died <-chan struct{}) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var rejectedSince time.Time
	for {
		err := s.try(ctx)
		var pgErr *pgconn.PgError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &pgErr) && pgErr.Code == "3D000": // invalid_catalog_name: no such database
			if err := createDatabase(ctx, s.dsn); err != nil {
				return err
			}
			continue
		case errors.As(err, &pgErr) && strings.HasPrefix(pgErr.Code, "28"): // invalid authorization
			// Another server may use the port and reject our password. Ours ends soon then.
			if rejectedSince.IsZero() {
				rejectedSince = time.Now()
			} else if time.Since(rejectedSince) > rejectedTimeout {
				return fmt.Errorf("the server rejects the password in %s: remove that file to set a new password: %w",
					s.dsnFile(), err)
			}
		}
		select {
		case <-died:
			return errDied
		case <-ctx.Done():
			return fmt.Errorf("%w; last attempt: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// try connects once and checks that the server that answers is the one of this
// directory: a copy of the cluster has the same password and may use the port.
func (s *Server) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var theirs string
	query := "select pg_read_file('postmaster.pid')"
	if err := conn.QueryRow(ctx, query, pgx.QueryExecModeSimpleProtocol).Scan(&theirs); err != nil {
		return err
	}
	ours, err := os.ReadFile(filepath.Join(s.data, "postmaster.pid"))
	if err != nil {
		return err
	}
	if firstLine(theirs) != firstLine(string(ours)) {
		return fmt.Errorf("the server that answers is process %s, but the one of %s is %s",
			firstLine(theirs), s.data, firstLine(string(ours)))
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSpace(line)
}

func createDatabase(ctx context.Context, dsn string) error {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	cfg.Database = "postgres"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("create database %s: %w", role, err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "create database "+role); err != nil {
		return fmt.Errorf("create database %s: %w", role, err)
	}
	return nil
}

// adopt takes over the server that an earlier run left running, if it was started with
// the program and options that this run would use, and if it answers.
func (s *Server) adopt(ctx context.Context, c Config, h home, cred credentials, pid int) bool {
	if c.Port != 0 && c.Port != cred.port {
		return false
	}
	if !sameOptions(s.data, filepath.Join(s.bin, "postgres"), arguments(c, h.path(s.data), cred.port)) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, adoptTimeout)
	defer cancel()
	o := &orphan{pid: pid, data: s.data}
	gone, stop := o.watch()
	defer stop()
	s.dsn = cred.dsn()
	if err := s.waitReady(ctx, gone); err != nil {
		return false
	}
	_ = os.Chmod(s.dsnFile(), 0o600)
	s.proc = o
	c.Log.Info("adopted the PostgreSQL server that an earlier run left running", "pid", pid, slog.String("dir", s.dir))
	return true
}

// sameOptions compares a command line with the recorded one of a running server, which
// has each argument in double quotes.
func sameOptions(data, program string, args []string) bool {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.opts"))
	if err != nil {
		return false
	}
	var want strings.Builder
	want.WriteString(program)
	for _, a := range args {
		want.WriteString(` "` + a + `"`)
	}
	return strings.TrimSpace(string(b)) == want.String()
}

// child is a server that this process started.
type child struct {
	proc *os.Process
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// spawn starts cmd and waits for its end in a goroutine. On Linux the parent-death
// signal is sent when the thread that started the child ends, so the goroutine
// keeps its thread until the child has ended.
func spawn(cmd *exec.Cmd) (*child, error) {
	c := &child{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		c.proc = cmd.Process
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		if c.err == nil {
			c.err = errors.New("exit status 0")
		}
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

func (c *child) stop(ctx context.Context) error {
	return shutDown(ctx, c.proc.Signal, c.done)
}

// shutDown sends the signal of a fast shutdown. When ctx ends, it sends the signal of an
// immediate shutdown, and then kills the server. It returns nil only when the
// first signal was enough.
func shutDown(ctx context.Context, signal func(os.Signal) error, done <-chan struct{}) error {
	if err := signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	for _, s := range []struct {
		signal os.Signal
		how    string
	}{{immediateSignal, "stopped immediately"}, {os.Kill, "killed"}} {
		_ = signal(s.signal) // fails when the server has just ended
		timer := time.NewTimer(killGrace)
		select {
		case <-done:
			timer.Stop()
			return fmt.Errorf("%w before the server had shut down; it was %s and replays its log at the next start",
				context.Cause(ctx), s.how)
		case <-timer.C:
		}
	}
	return fmt.Errorf("%w, and the server is still running after kill", context.Cause(ctx))
}

// orphan is a server that an earlier process started and did not stop.
type orphan struct {
	pid  int
	data string
}

func (o *orphan) stop(ctx context.Context) error {
	p, err := os.FindProcess(o.pid)
	if err != nil {
		return err
	}
	defer p.Release()
	done, stop := o.watch()
	defer stop()
	return shutDown(ctx, p.Signal, done)
}

// watch closes gone when the server has ended. It polls, because the system notifies
// only the parent of a process. The caller must call stop.
func (o *orphan) watch() (gone <-chan struct{}, stop func()) {
	closed, quit, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(poll)
		defer tick.Stop()
		for isPostmaster(o.pid, o.data) {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
		close(closed)
	}()
	return closed, func() { close(quit); <-ended }
}

// runningPostmaster returns the pid of the server running on data, or 0.
//
// A killed server leaves its pid file, and another program may have that pid now, above
// all in a restarted container. PostgreSQL would take that program for a running
// server and not start. It accepts the pid of its own parent, so that pid is written
// into the file. PostgreSQL needs the rest of the file to find surviving children
// of the old server.
func runningPostmaster(data string) int {
	file := filepath.Join(data, "postmaster.pid")
	pid := pidIn(file)
	if pid == 0 {
		return 0
	}
	if isPostmaster(pid, data) {
		return pid
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	if _, rest, ok := strings.Cut(string(b), "\n"); ok {
		// When this fails, PostgreSQL reports the cause.
		_ = os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())+"\n"+rest), 0o600)
	}
	return 0
}

func pidIn(file string) int {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	line, _ := bufio.NewReader(f).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 0 {
		return 0
	}
	return pid
}

// openLog opens the server's log for appending, and returns its size.
func openLog(name string) (*os.File, int64, error) {
	if info, err := os.Stat(name); err == nil && info.Size() > maxLog {
		if err := os.Truncate(name, 0); err != nil {
			return nil, 0, fmt.Errorf("truncate log: %w", err)
		}
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, 0, err
	}
	offset, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, offset, nil
}

// tail returns the last lines of the log after offset.
func tail(name string, offset int64) string {
	f, err := os.Open(name)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		offset = max(offset, info.Size()-tailBytes)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, offset, tailBytes))
	if err != nil {
		return err.Error()
	}
	return lastLines(string(b))
}

func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
