// Package pgdev runs a private PostgreSQL server for development and tests, so
// that trying the program needs no database set up beforehand.
//
// The server belongs to one directory: its data, its log and the connection
// string live there, and a lock in it keeps two programs from sharing it. It
// listens on 127.0.0.1 only, on no Unix socket, and lets nobody in without the
// random password that is kept in the dsn file, readable by its owner alone.
//
// Outside tests the server is as durable as any: what was committed survives
// the death of this program, of the server and of the machine. When this
// program is killed the server goes on running; the next Start finds it and
// takes it over.
//
// PostgreSQL refuses to run as root, so root starts it as an unprivileged user,
// who must be able to enter the data directory. Where that user cannot, the
// data is kept beneath the system's temporary folder, and one line in the log
// says so.
package pgdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// startTimeout bounds the wait for a server that is starting. Replaying two
	// gigabytes of log after a crash takes tens of seconds on a slow disk.
	startTimeout = 2 * time.Minute

	// startAttempts is how often a server is launched when another program took
	// the chosen port between our look and the server's.
	startAttempts = 5
)

// Config says where the server lives and how it is tuned.
type Config struct {
	// Dir holds everything: pg/ (the data), dsn (the connection string, mode
	// 0600), postgres.log and lock. It is made when missing.
	Dir string

	// Port on 127.0.0.1. With 0 a free port is chosen at the first start and
	// kept for the directory for as long as nobody else uses it. With Fast and
	// 0 every start chooses anew.
	Port int

	// Fast gives durability up for speed, for tests: no fsync, little memory,
	// no autovacuum. On Linux the server also dies with this process.
	Fast bool

	// Settings are added to, and win over, the server settings this package
	// chooses: {"shared_buffers": "1GB"}.
	Settings map[string]string

	// Log receives one line for each thing worth knowing. Nil discards them.
	Log *slog.Logger

	// FallbackDir is where a folder for the data is made when the server's user
	// cannot enter Dir. Empty: the system's temporary folder.
	FallbackDir string
}

// Server is a running PostgreSQL that this process holds the lock of.
type Server struct {
	dir  string // absolute Config.Dir
	data string // the data directory, usually dir/pg
	bin  string
	dsn  string
	log  *slog.Logger
	lock *os.File
	proc process

	stop    sync.Mutex
	stopped bool
}

// Start returns a server that accepts connections: one that was left running in
// the same directory, or a new one. The first start in a directory creates the
// cluster and the database, which takes about a second; later ones take a few
// hundredths of one. ctx bounds the start only; the server runs until Stop.
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
		return nil, err // complete as it is: who holds the directory, and what to do
	}
	s, err := start(ctx, c)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("start postgres in %s: %w", dir, err)
	}
	s.lock = lock
	return s, nil
}

// start is Start for the holder of the directory's lock.
func start(ctx context.Context, c Config) (*Server, error) {
	home, err := findHome(c)
	if err != nil {
		return nil, err
	}
	bin, err := binariesFor(ctx, home)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: c.Dir, data: home.data, bin: bin, log: c.Log}
	cred, known := readDSN(s.dsnFile())

	if pid := runningPostmaster(home.data); pid != 0 {
		if known && s.adopt(ctx, c, cred, pid) {
			return s, nil
		}
		c.Log.Info("stopping the PostgreSQL that an earlier run left behind", "pid", pid)
		if err := (&orphan{pid: pid, data: home.data}).stop(ctx); err != nil {
			return nil, fmt.Errorf("stop the PostgreSQL left running (pid %d): %w", pid, err)
		}
	}

	fresh := !home.initialised()
	if fresh {
		c.Log.Info("making a new database", "data", home.data, "programs", bin)
		cred = credentials{password: newPassword(), port: cred.port}
		if err := home.initialise(ctx, bin, cred.password, c.Fast); err != nil {
			return nil, err
		}
	} else if !known {
		cred = credentials{password: newPassword()}
		c.Log.Warn("the file with the connection string was lost; setting a new password", "file", s.dsnFile())
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
			c.Log.Warn("another program uses the port of this directory; chose another", "was", cred.port, "port", port)
		}
		cred.port = port
		s.dsn = cred.dsn()
		// Written before the launch: whoever finds the server running, after
		// this process was killed in between, must find its password too.
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

// BinDir is the folder of the server's programs. An installed PostgreSQL has
// psql, pg_dump and pgbench there; a downloaded one only the server.
func (s *Server) BinDir() string { return s.bin }

func (s *Server) dsnFile() string { return filepath.Join(s.dir, "dsn") }
func (s *Server) logFile() string { return filepath.Join(s.dir, "postgres.log") }

// Stop shuts the server down: open transactions are rolled back, connections
// closed, data written out. It waits for the end. When ctx ends first the
// server is stopped at once, which loses nothing but makes the next start
// replay its log, and Stop reports it. Calling Stop again does nothing.
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

// Copy copies the directory of a server that is not running to a new
// directory, where Start finds its data, user and password. For tests: copying
// a prepared cluster takes a tenth of the time of making one.
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
			return fmt.Errorf("%s: neither file nor folder", path)
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
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
