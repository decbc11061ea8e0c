package pgdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// errNoBinaries is one line: it may be the first message that a new user sees.
var errNoBinaries = errors.New("no PostgreSQL server programs found: install them " +
	"(apt-get install postgresql, dnf install postgresql-server, brew install postgresql@16) or set DATABASE_URL")

// installed lists the folders where packages install the server's programs. Most
// packages do not add them to PATH. .ci/postgres looks at the same folders.
var installed = []string{
	"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
	"/usr/pgsql-*/bin",                  // PostgreSQL's own RPMs
	"/usr/libexec/postgresql*",          // Alpine
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew on Apple silicon
	"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// finder holds the system calls of a search for binaries; tests replace them.
type finder struct {
	lookPath func(program string) (string, error)
	bindir   func() (string, error) // pg_config --bindir
	glob     func(pattern string) ([]string, error)
}

var system = finder{
	lookPath: exec.LookPath,
	bindir: func() (string, error) {
		out, err := exec.Command("pg_config", "--bindir").Output()
		return strings.TrimSpace(string(out)), err
	},
	glob: filepath.Glob,
}

// FindBinaries returns the folder of an installed PostgreSQL's server programs:
// the one in PATH, the one that pg_config prints, or the highest version in the
// folders where packages install it. The error is one line and says what to install.
func FindBinaries() (dir string, err error) { return system.find() }

func (f finder) find() (string, error) {
	for dir := range f.candidates {
		return dir, nil
	}
	return "", errNoBinaries
}

// candidates yields every folder that holds both programs, the preferred one first.
func (f finder) candidates(yield func(dir string) bool) {
	if initdb, err := f.lookPath("initdb"); err == nil {
		// A link in PATH points into the folder that holds all the programs.
		if real, err := filepath.EvalSymlinks(initdb); err == nil {
			initdb = real
		}
		if dir := filepath.Dir(initdb); filepath.IsAbs(dir) && hasPrograms(dir) && !yield(dir) {
			return
		}
	}
	if dir, err := f.bindir(); err == nil && filepath.IsAbs(dir) && hasPrograms(dir) && !yield(dir) {
		return
	}
	var dirs []string
	for _, pattern := range installed {
		found, _ := f.glob(pattern) // fails only for a malformed pattern
		dirs = append(dirs, found...)
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return versionInPath(b) - versionInPath(a) })
	for _, dir := range dirs {
		if hasPrograms(dir) && !yield(dir) {
			return
		}
	}
}

// hasPrograms reports whether both programs needed are in dir.
func hasPrograms(dir string) bool {
	return executable(filepath.Join(dir, "initdb")) && executable(filepath.Join(dir, "postgres"))
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

var pathVersion = regexp.MustCompile(`(?i)(?:postgresql[@/-]?|pgsql-|Versions/)(\d+)`)

// versionInPath returns the major version in a folder's name, or 0.
func versionInPath(dir string) int {
	m := pathVersion.FindStringSubmatch(dir)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // too long for a number: 0 as well
	return n
}

var printedVersion = regexp.MustCompile(`\b(\d+)(?:\.|devel|beta|rc|\s|$)`)

// major returns the major version of the server in dir: from the path, or else from
// the program itself. It returns 0 when neither works.
func major(ctx context.Context, dir string) int {
	if v := versionInPath(dir); v != 0 {
		return v
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "-V").Output()
	if err != nil {
		return 0
	}
	m := printedVersion.FindSubmatch(out)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(string(m[1])) // too long for a number: unknown
	return n
}

// binariesFor returns programs that can run the data in home: any version for a new
// cluster, the same major version for an existing one. After an upgrade of
// the system both the old and the new version may be installed.
func binariesFor(ctx context.Context, h home) (string, error) {
	return system.binariesFor(ctx, h)
}

func (f finder) binariesFor(ctx context.Context, h home) (string, error) {
	b, err := os.ReadFile(filepath.Join(h.data, "PG_VERSION"))
	if err != nil {
		dir, err := f.find()
		if err == nil {
			return dir, nil
		}
		return download(ctx, err)
	}
	made, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return "", fmt.Errorf("%s/PG_VERSION does not hold a PostgreSQL version: %q", h.data, b)
	}
	var others []string
	for dir := range f.candidates {
		v := major(ctx, dir)
		if v == made || v == 0 {
			return dir, nil
		}
		others = append(others, dir)
	}
	if len(others) == 0 || made == downloadMajor {
		dir, err := download(ctx, errNoBinaries)
		if err != nil || made == downloadMajor {
			return dir, err
		}
		others = append(others, dir)
	}
	return "", fmt.Errorf("the data in %s was created by PostgreSQL %d, but only %s is installed: "+
		"install version %d or remove the data", h.data, made, strings.Join(others, ", "), made)
}
