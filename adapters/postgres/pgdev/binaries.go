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

// errNoBinaries is one line, because it is the first thing a newcomer may see.
var errNoBinaries = errors.New("no PostgreSQL server programs found: install them " +
	"(apt-get install postgresql, dnf install postgresql-server, brew install postgresql@16) or set DATABASE_URL")

// installed are the folders where packages put the server's programs, which
// most of them keep out of PATH.
var installed = []string{
	"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
	"/usr/pgsql-*/bin",                  // PostgreSQL's own RPMs
	"/usr/libexec/postgresql*",          // Alpine
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew on Apple silicon
	"/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// finder is how binaries are looked for; tests replace it.
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
// the one in PATH, the one pg_config names, or the highest version in the usual
// places. The error is one line that says what to install.
func FindBinaries() (dir string, err error) { return system.find() }

func (f finder) find() (string, error) {
	for dir := range f.candidates {
		return dir, nil
	}
	return "", errNoBinaries
}

// candidates yields every folder that holds both programs needed, best first.
func (f finder) candidates(yield func(dir string) bool) {
	if initdb, err := f.lookPath("initdb"); err == nil {
		// A link in PATH leads to the folder that has all the programs.
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
		found, _ := f.glob(pattern) // fails for a malformed pattern only
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

// versionInPath is the major version that a folder's name tells, or 0.
func versionInPath(dir string) int {
	m := pathVersion.FindStringSubmatch(dir)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // too long for a number: 0 as well
	return n
}

var printedVersion = regexp.MustCompile(`\b(\d+)(?:\.|devel|beta|rc|\s|$)`)

// major asks the server itself when its path does not tell.
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

// binariesFor returns programs that can run the data in home: any version for
// a new cluster, but only the same major version for one that exists, which
// an upgrade of the system may have left beside a newer one.
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
		return "", fmt.Errorf("%s/PG_VERSION is not a version of PostgreSQL: %q", h.data, b)
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
	return "", fmt.Errorf("the data in %s is of PostgreSQL %d, but only %s is installed: install version %d or remove the data",
		h.data, made, strings.Join(others, ", "), made)
}
