// Package pgdev runs a private PostgreSQL server for development and tests. The
// program can be tried without setting up a database first.
//
// The server belongs to one directory, which holds its data, its log and the
// connection string. A lock file prevents two programs from using it. The server
// listens on 127.0.0.1 only and on no Unix socket. Every connection needs the
// random password, which is in the file dsn with mode 0600.
//
// Outside tests the server is durable: committed data survives a crash of this
// program, of the server and of the machine. When this program is killed, the
// server keeps running, and the next Start adopts it.
//
// PostgreSQL refuses to run as root, so root starts it as an unprivileged user.
// On Linux that user need not be able to enter the parents of the directory
// (a checkout under /root): the server inherits it as an open folder.
package pgdev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// startTimeout limits the wait for a server that is starting. Replaying two
	// gigabytes of log after a crash takes tens of seconds on a slow disk.
	startTimeout = 2 * time.Minute

	// startAttempts is how often a server is launched when another program takes the
	// chosen port between the probe and the server's start.
	startAttempts = 5
)

// Config is the server's directory, port and settings.
type Config struct {
	// Dir holds everything: pg/ (the data), dsn (the connection string, mode
	// 0600), postgres.log and lock. Start creates it when it is missing.
	Dir string

	// Port on 127.0.0.1. With 0 the first start chooses a free port, and later starts
	// in the directory use it again unless another program has it. With Fast
	// and 0 every start chooses a port.
	Port int

	// Fast trades durability for speed, for tests: no fsync, little memory, no
	// autovacuum. On Linux the server also ends with this process.
	Fast bool

	// Settings override this package's server settings: {"shared_buffers": "1GB"}.
	Settings map[string]string

	// Log receives messages about the server. Nil discards them.
	Log *slog.Logger
}

// Server is a running PostgreSQL server. This process holds the lock of its directory.
type Server struct {
	dir  string // absolute Config.Dir
	data string // the data directory, dir/pg
	bin  string
	dsn  string
	log  *slog.Logger
	lock *os.File
	proc process

	stop    sync.Mutex
	stopped bool
}

// Start returns a server that accepts connections: a server that an earlier process
// left running in the directory, or a new one. The first start in a directory
// creates the cluster and the database, which takes about a second; later starts
// take some 50 ms. ctx limits the start only; the server runs until Stop.
func Start(ctx context.Context, c Config) (*Server, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout,
		fmt.Errorf("not ready within %s", startTimeout))
	defer cancel()
	if c.Dir == "" {
		return nil, errors.New("start postgres: no directory given: set --data-dir")
	}
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("start postgres in %s: %w", c.Dir, err)
	}
	c.Dir = dir
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err // names the directory and the process that holds it
	}
	s, err := start(ctx, c)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("start postgres in %s: %w", dir, err)
	}
	s.lock = lock
	return s, nil
}

// start does the work of Start while the directory is locked.
func start(ctx context.Context, c Config) (*Server, error) {
	home, err := findHome(c.Dir)
	if err != nil {
		return nil, err
	}
	defer home.close()
	bin, err := binariesFor(ctx, home)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: c.Dir, data: home.data, bin: bin, log: c.Log}
	cred, known := readDSN(s.dsnFile())

	if pid := runningPostmaster(home.data); pid != 0 {
		if known && s.adopt(ctx, c, home, cred, pid) {
			return s, nil
		}
		c.Log.Info("stopping the PostgreSQL server that an earlier run left running", "pid", pid)
		if err := (&orphan{pid: pid, data: home.data}).stop(ctx); err != nil {
			return nil, fmt.Errorf("stop the PostgreSQL server left running (pid %d): %w", pid, err)
		}
	}

	fresh := !home.initialised()
	if fresh {
		c.Log.Info("creating a database cluster", "data", home.data, "programs", bin)
		cred = credentials{password: newPassword(), port: cred.port}
		if err := home.initialise(ctx, bin, cred.password, c.Fast); err != nil {
			return nil, err
		}
	} else if !known {
		cred = credentials{password: newPassword()}
		c.Log.Warn("the connection string file is missing or invalid; setting a new password", "file", s.dsnFile())
		if err := home.resetPassword(ctx, bin, cred.password); err != nil {
			return nil, err
		}
	}

	for attempt := 1; ; attempt++ {
		port, err := choosePort(c, cred.port)
		if err != nil {
			return nil, err
		}
		if cred.port != 0 && port != cred.port && c.Port == 0 && !c.Fast {
			c.Log.Warn("another program uses the port of this directory; using another port", "was", cred.port, "port",
				port)
		}
		cred.port = port
		s.dsn = cred.dsn()
		// Written before the launch: when this process is killed in between, the
		// next start finds the running server and needs its password.
		if err := writeDSN(s.dsnFile(), s.dsn); err != nil {
			return nil, err
		}
		err = s.launch(ctx, c, home, port)
		if errors.Is(err, errPortTaken) && c.Port == 0 && attempt < startAttempts {
			cred.port = 0
			continue
		}
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// DSN is the connection string of the database made for the program, as its
// superuser: postgres://chatledger:PASSWORD@127.0.0.1:PORT/chatledger?sslmode=disable
func (s *Server) DSN() string { return s.dsn }

// Dir is the directory of Config, absolute.
func (s *Server) Dir() string { return s.dir }

// BinDir is the folder of the server's programs. An installed PostgreSQL also has psql,
// pg_dump and pgbench there; a downloaded one does not.
func (s *Server) BinDir() string { return s.bin }

func (s *Server) dsnFile() string { return filepath.Join(s.dir, "dsn") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "postgres.log") }

// Stop shuts the server down and waits for its end: open transactions are rolled back,
// connections are closed, data is written to disk. When ctx ends first, Stop stops
// the server immediately and returns an error. Committed data is safe then, too, but
// the next start has to replay the write-ahead log. Calling Stop again does nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Lock()
	defer s.stop.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	err := s.proc.stop(ctx)
	if cerr := s.lock.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("stop postgres in %s: %w", s.dir, err)
	}
	return nil
}

// Copy copies the directory of a stopped server, with data, user and password, to a new
// directory for Start. It is for tests: copying a prepared cluster takes a tenth of
// the time of creating one.
func Copy(to, from string) error {
	if err := makeDir(to); err != nil {
		return fmt.Errorf("copy postgres directory: %w", err)
	}
	for _, name := range []string{"dsn", "pg"} {
		if err := copyTree(filepath.Join(to, name), filepath.Join(from, name)); err != nil {
			return fmt.Errorf("copy postgres directory: %w", err)
		}
	}
	return nil
}

// copyTree copies files, folders, modes and, for root, owners.
func copyTree(to, from string) error {
	root := os.Geteuid() == 0
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := to + path[len(from):]
		switch {
		case info.IsDir():
			if err := os.Mkdir(target, info.Mode().Perm()); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			if err := copyFile(target, path, info.Mode().Perm()); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither a regular file nor a folder", path)
		}
		if uid, gid, ok := ownerOf(info); root && ok {
			return os.Lchown(target, uid, gid)
		}
		return nil
	})
}

func copyFile(to, from string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	return fill(out, in)
}
